"""What an export of networks of full size takes of the memory: nnU-Net's standard network, and ResEnc-L."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from tests.support.nnunet.folders import write_v2_folder  # noqa: E402 - it needs torch

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux alone"),
]

_EXPORT = """
import resource, sys
from pathlib import Path
from export.nnunet.bundle import export_nnunet

export_nnunet(Path(sys.argv[1]), Path(sys.argv[2]), licence="none: random weights", provenance="a test")
print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_RESENC_L: dict[str, Any] = {
    "residual": True,
    "architecture": {"n_blocks_per_stage": [1, 3, 4, 6, 6, 6], "n_conv_per_stage_decoder": [1] * 5},
}


@pytest.mark.parametrize(
    ("plan", "edge", "folds", "most_gb"),
    [
        pytest.param({}, 128, (0,), 3.5, id="plain, 31 M weights"),
        pytest.param({}, 128, (0, 1, 2), 3.5, id="plain, an ensemble"),
        pytest.param(_RESENC_L, 160, (0,), 6.0, id="ResEnc-L, 102 M weights"),
    ],
)
def test_an_export_stays_within_what_is_documented(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plan: dict[str, Any],
    edge: int,
    folds: tuple[int, ...],
    most_gb: float,
) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    features = (32, 64, 128, 256, 320, 320)
    folder = write_v2_folder(
        tmp_path, patch=(edge,) * 3, spacing=(1.0, 0.8, 0.8), features=features, folds=folds, **plan
    )
    printed = subprocess.run(
        [sys.executable, "-c", _EXPORT, str(folder), str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(printed.stdout) / 1e9 <= most_gb
