"""Bundles: what a manifest may say, and that files are what it says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BundleIntegrityError, ManifestError
from engine.manifest import load_bundle, read_manifest
from tests.support.bundle_seals import sealed_anew

DEMO = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    shutil.copytree(DEMO, folder)
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Change manifest keys; ``a__b`` reaches into section ``a``."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        target = manifest
        for section in sections:
            target = target[int(section)] if section.isdigit() else target[section]
        target[int(last) if last.isdigit() else last] = value
    path.write_text(json.dumps(manifest))
    sealed_anew(folder)


def test_the_shipped_bundle_is_whole() -> None:
    loaded = load_bundle(DEMO)
    assert (loaded.manifest.id, loaded.manifest.version) == ("deepsurv-demo", "1.0.0")
    assert hashlib.sha256(loaded.model_bytes).hexdigest() == loaded.model_sha256
    assert loaded.manifest.demo
    assert len(loaded.model_bytes) < 1 << 20


@settings(max_examples=30, deadline=None)
@given(
    position=st.integers(0, 10**9),
    bit=st.integers(0, 7),
    name=st.sampled_from(["model.onnx", "MODEL_CARD.md"]),
)
def test_one_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, name: str
) -> None:
    folder = tmp_path_factory.mktemp("flip") / "bundle"
    shutil.copytree(DEMO, folder)
    content = bytearray((folder / name).read_bytes())
    content[position % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(BundleIntegrityError, match="SHA-256"):
        load_bundle(folder)


@pytest.mark.parametrize("change", [b"", b"more"])
def test_a_truncated_or_longer_file_is_found(bundle: Path, change: bytes) -> None:
    content = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(content + change if change else content[:-1])
    with pytest.raises(BundleIntegrityError):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.bin",
        "a/../../secret.bin",
        "/etc/passwd",
        "..",
        ".",
        "",
        "./model.onnx",
        "a//b",
        "a\\b",
        "a\0b",
    ],
)
def test_a_path_that_leaves_the_bundle_is_refused(bundle: Path, name: str) -> None:
    secret = bundle.parent / "secret.bin"
    secret.write_bytes(b"secret")
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    rewrite(bundle, files={**files, name: hashlib.sha256(b"secret").hexdigest()})
    with pytest.raises(ManifestError, match="leaves the bundle"):
        load_bundle(bundle)


@pytest.mark.parametrize("through_folder", [False, True])
def test_a_link_out_of_the_bundle_is_refused(bundle: Path, through_folder: bool) -> None:
    outside = bundle.parent / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_bytes(b"weights")
    name = "folder/weights.bin" if through_folder else "weights.bin"
    if through_folder:
        (bundle / "folder").symlink_to(outside, target_is_directory=True)
    else:
        (bundle / name).symlink_to(outside / "weights.bin")
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    rewrite(bundle, files={**files, name: hashlib.sha256(b"weights").hexdigest()})
    with pytest.raises(BundleIntegrityError, match="link out of its bundle"):
        load_bundle(bundle)


def test_a_missing_listed_file_is_found(bundle: Path) -> None:
    (bundle / "MODEL_CARD.md").unlink()
    with pytest.raises(BundleIntegrityError, match="cannot be read"):
        load_bundle(bundle)


def test_a_file_nobody_listed_is_refused(bundle: Path) -> None:
    (bundle / "model.plan").write_bytes(b"executable")
    with pytest.raises(BundleIntegrityError, match="listed neither"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema_version": 1}', b"[" * 100_000]
)
def test_a_malformed_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    sealed_anew(bundle)
    with pytest.raises(ManifestError):
        load_bundle(bundle)


def test_a_missing_manifest_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        load_bundle(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "blue"},
        {"survival__colour": "blue"},
        {"survival__covariates__1__colour": "blue"},
        {"schema_version": 2},
        {"kind": "oracle"},
        {"id": "../deepsurv"},
        {"version": "1.0"},
        {"demo": "yes"},
        {"demo": False},
        {"fitted_on": "217 patients"},
        {"files": {}},
        {"files__model.onnx": "0"},
        {"inputs": []},
        {"parity__max_abs_difference": 1.0},
        {"parity__max_abs_difference": float("nan")},
        {"parity__reference_outputs": []},
        {"parity__reference_outputs__0__covariates": [1.0]},
        {"parity__reference_outputs__0__log_risk": [1.0]},
        {"survival__horizons_months": []},
        {"survival__horizons_months": [24, 12]},
        {"survival__horizons_months": [12, 9000]},
        {"survival__uses_radscore": True},
        {"survival__complete_coverage_rule": "tcr_at_least_0.9"},
        {"survival__covariates": []},
        {"survival__covariates__0__name": "fibrinogen_g_per_l"},
        {"survival__covariates__0__coding": {"f": 0.0}},
        {"survival__covariates__1__sd": 0.0},
        {"survival__covariates__1__training_low": 50.0},
        {"survival__covariates__1__distribution": {"kind": "uniform"}},
        {"survival__covariates__1__distribution__log_sd": -1.0},
        {"survival__covariates__2__name": "radscore"},
        {"survival__baseline__months": [0.0, 0.0]},
        {"survival__baseline__cumulative_hazard": [[0.0]]},
        {"survival__baseline__cumulative_hazard__0__5": 99.0},
        {"survival__baseline__cumulative_hazard__0__0": -0.1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_manifest_that_contradicts_itself_is_refused(bundle: Path, changes: dict[str, Any]) -> None:
    rewrite(bundle, **changes)
    with pytest.raises(ManifestError, match="export the bundle again"):
        load_bundle(bundle)


@pytest.mark.parametrize("key", sorted(json.loads((DEMO / "manifest.json").read_text())))
def test_no_key_but_the_lists_of_remarks_may_be_left_out(bundle: Path, key: str) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[key]
    path.write_text(json.dumps(manifest))
    sealed_anew(bundle)
    if key in {"assumptions", "performance"}:
        load_bundle(bundle)
    else:
        with pytest.raises(ManifestError, match=key):
            load_bundle(bundle)


def test_the_shipped_manifest_states_the_assumption_about_sex_and_its_parity() -> None:
    manifest = read_manifest(DEMO)
    assert manifest.survival is not None
    assert manifest.parity is not None
    sex = manifest.survival.covariates[0]
    assert sex.coding == {"female": 0.0, "male": 1.0}
    assert any("which sex is coded 1" in assumption for assumption in manifest.assumptions)
    assert manifest.parity.max_abs_difference <= 1e-5
