"""The OpenVINO session: 32-bit floats, nothing sent, nothing read that was not hashed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engine.errors import BackendError, ModelError, ModelInputError
from engine.manifest import load_bundle
from engine.risk.model import SurvivalModel
from engine.runtime import cpu, openvino_session
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.openvino_session import OpenVinoSession, load_openvino
from tests.support.networks import fp16_mixed, unet_3d, vit_block

pytest.importorskip("openvino", reason="OpenVINO is not installed: make setup-export")

ROOT = Path(__file__).parents[3]
DEEPSURV = ROOT / "models" / "deepsurv-demo" / "1.0.0"
SMALL = unet_3d(width=4, patch=16)


def image(batch: int = 1, seed: int = 0, size: int = 16) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(batch, 1, size, size, size)).astype(np.float32)


@pytest.fixture(scope="module")
def session() -> OpenVinoSession:
    return OpenVinoSession(SMALL, threads=2)


@pytest.mark.parametrize("batch", [1, 3, 2])
def test_it_agrees_with_onnx_runtime(session: OpenVinoSession, batch: int) -> None:
    with OnnxSession(SMALL, threads=2) as reference:
        assert session.inputs == reference.inputs
        assert session.outputs == reference.outputs
        expected = reference.run({"image": image(batch)})["logits"]
    found = session.run({"image": image(batch)})["logits"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert session.backend.startswith("openvino 20")
    assert "CPU, f32" in session.backend


def test_transformers_agree() -> None:
    model, x = vit_block(), {"image": image(2, size=24)}
    with OpenVinoSession(model) as session, OnnxSession(model) as reference:
        np.testing.assert_allclose(
            session.run(x)["features"], reference.run(x)["features"], rtol=1e-4, atol=1e-5
        )


def test_fp16_weights_are_computed_in_32_bit() -> None:
    pytest.importorskip("onnxconverter_common", reason="the converter is not installed: make setup-export")
    model = fp16_mixed(SMALL)
    with OpenVinoSession(model) as session, OnnxSession(model) as reference:
        expected = reference.run({"image": image()})["logits"]
        np.testing.assert_allclose(session.run({"image": image()})["logits"], expected, atol=2e-2)


def test_the_risk_model_reproduces_its_reference_outputs() -> None:
    model = SurvivalModel.load(DEEPSURV, open_session=OpenVinoSession)
    assert model.backend.startswith("openvino")
    assert load_bundle(DEEPSURV).manifest.parity is not None


def test_outputs_are_the_callers_own(session: OpenVinoSession) -> None:
    first = session.run({"image": image()})["logits"]
    kept = first.copy()
    session.run({"image": image(seed=1)})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(session.run({"image": image()})["logits"], kept)


def test_arrays_that_are_views(session: OpenVinoSession) -> None:
    x = image(2)
    flipped = x[:, :, ::-1, :, ::-1]
    expected = session.run({"image": flipped.copy()})["logits"]
    np.testing.assert_array_equal(session.run({"image": flipped})["logits"], expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(
        session.run({"image": frozen})["logits"], session.run({"image": x})["logits"]
    )


def test_few_batch_sizes_stay_compiled() -> None:
    with OpenVinoSession(SMALL, threads=1) as session:
        for batch in (1, 2, 3, 2, 1):
            session.run({"image": image(batch)})
        assert len(session._requests) == openvino_session.KEPT_SHAPES


def test_threads_may_share_it(session: OpenVinoSession) -> None:
    images = [image(1 + seed % 2, seed) for seed in range(8)]
    expected = [session.run({"image": x})["logits"] for x in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run({"image": x})["logits"], images))
    for logits, values in zip(found, expected, strict=True):
        np.testing.assert_array_equal(logits, values)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"other": image()},
        {"image": image().astype(np.float64)},
        {"image": image()[0]},
        {"image": image()[..., :8]},
        {"image": image(0)},
    ],
)
def test_inputs_that_do_not_fit_are_refused(session: OpenVinoSession, inputs: dict[str, Any]) -> None:
    with pytest.raises(ModelInputError):
        session.run(inputs)


def test_it_is_closed_after_its_block_and_closing_twice_is_nothing() -> None:
    with OpenVinoSession(SMALL, threads=1) as session:
        session.run({"image": image()})
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"image": image()})


@pytest.mark.parametrize("content", [b"", b"no model", SMALL[:-10]])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        OpenVinoSession(content)


def test_a_graph_openvino_does_not_take_is_refused() -> None:
    model = onnx.load_from_string(SMALL)
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="OpenVINO"):
        OpenVinoSession(model.SerializeToString())


def test_tensors_in_the_working_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        onnx.load_from_string(SMALL), path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    monkeypatch.chdir(tmp_path)
    openvino = load_openvino()
    openvino.Core().read_model(path.read_bytes())  # it would read them
    with pytest.raises(ModelError, match="another file"):
        OpenVinoSession(path.read_bytes())


def test_coarser_floats_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = load_openvino()

    class Compiled:
        def get_property(self, _name: str) -> Any:
            return real.Type.bf16

    class Core:
        def read_model(self, content: bytes) -> Any:
            return real.Core().read_model(content)

        def compile_model(self, *_given: Any) -> Compiled:
            return Compiled()

    monkeypatch.setattr(
        openvino_session, "load_openvino", lambda: SimpleNamespace(Core=Core, get_version=lambda: "2026-1")
    )
    with pytest.raises(BackendError, match="bf16"):
        OpenVinoSession(SMALL)


def test_importing_it_reports_nothing(tmp_path: Path) -> None:
    program = """
import socket, sys, urllib.request

def report(*_arguments, **_named):
    raise SystemExit("something was sent")

socket.socket.connect = report
urllib.request.urlopen = report
from engine.runtime.openvino_session import load_openvino
load_openvino()
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""
    environment = {key: value for key, value in os.environ.items() if key not in {"CI", "TF_BUILD"}}
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "cpus"),
    [("max 100000", 8), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8), ("nonsense", 8)],
)
def test_a_containers_quota_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(limit)
    assert cpu.usable_cpus(file) == cpus
    assert cpu.usable_cpus(tmp_path / "none") == 8
