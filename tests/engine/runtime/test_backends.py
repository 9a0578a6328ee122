"""Choosing a backend: by name or measured, never by falling back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import BackendError, InvalidRequestError, ModelError
from engine.runtime import backends, onnx_session, openvino_session, tensorrt_library
from engine.runtime.backends import (
    BACKENDS,
    EXECUTED_ON_A_DEVICE,
    NEEDS_A_DEVICE,
    InferenceBackend,
    available_backends,
    fastest_backend,
    open_session,
)
from engine.runtime.onnx_session import CUDA, OnnxSession
from tests.support.devices.fake_tensorrt import install
from tests.support.networks import unet_3d

ROOT = Path(__file__).parents[3]
SMALL = unet_3d(width=2, patch=8)
X = {"image": np.ones((1, 1, 8, 8, 8), np.float32)}


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(tensorrt_library, "_loaded", {})


class TestOpening:
    def test_onnx_runtime_is_always_there(self) -> None:
        with open_session(SMALL, "onnxruntime", threads=1) as session:
            assert session.backend.startswith("onnxruntime")
            assert session.run(X)["logits"].shape == (1, 3, 8, 8, 8)

    @pytest.mark.parametrize("name", ["auto", "", "cpu", "TensorRT", "onnxruntime "])
    def test_no_other_word_is_a_backend(self, name: str) -> None:
        with pytest.raises(InvalidRequestError, match="is not a backend") as raised:
            open_session(SMALL, name)
        assert raised.value.field == "backend"
        assert ("fastest_backend" in str(raised.value)) == (name == "auto")

    @pytest.mark.parametrize(
        ("name", "modules", "words"),
        [
            ("openvino", ["openvino"], r"coldspot\[openvino\]"),
            ("tensorrt", ["tensorrt", "tensorrt_bindings"], r"JetPack"),
            ("tensorrt-rtx", ["tensorrt_rtx_bindings"], "tensorrt-rtx-cu13-libs"),
        ],
    )
    def test_a_library_that_is_not_there_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, modules: list[str], words: str
    ) -> None:
        without(monkeypatch, *modules)
        with pytest.raises(BackendError, match=words):
            open_session(SMALL, name, plan_folder=tmp_path / "engines")

    def test_cupy_that_is_not_there_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        install(monkeypatch, "tensorrt 11.4.0.106")
        without(monkeypatch, "cupy")
        with pytest.raises(BackendError, match=r"coldspot\[gpu\]"):
            open_session(SMALL, "tensorrt", plan_folder=tmp_path / "engines")

    def test_cuda_without_its_provider(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(BackendError, match="onnxruntime-gpu"):
            open_session(SMALL, "onnxruntime-cuda")

    def test_cuda_that_would_run_on_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The provider is in the wheel but does not load: ONNX Runtime then goes on with the CPU."""
        real, given = onnxruntime.InferenceSession, []

        def on_the_cpu(model: bytes, options: Any, *, providers: list[Any], **named: Any) -> Any:
            given.append((providers, named))
            return real(model, options, providers=["CPUExecutionProvider"])

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
        monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)
        with pytest.raises(BackendError, match="would run on the CPU"):
            open_session(SMALL, "onnxruntime-cuda")
        ((providers, named),) = given
        assert providers[0] == (CUDA, onnx_session.CUDA_OPTIONS)
        assert named == {"enable_fallback": 0}

    def test_a_provider_that_fails_is_not_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A real session that asks for what this wheel does not have."""
        if CUDA in onnxruntime.get_available_providers():
            pytest.skip("this ONNX Runtime has a CUDA provider")
        monkeypatch.setattr(onnx_session, "require_cuda_provider", lambda: None)
        with pytest.raises((BackendError, ModelError)), pytest.warns(UserWarning, match="CUDA"):
            OnnxSession(SMALL, device="cuda")


class TestAvailability:
    def test_every_backend_is_listed_with_a_reason(self) -> None:
        found = {status.name: status for status in available_backends()}
        assert tuple(found) == BACKENDS
        assert found[InferenceBackend.ONNXRUNTIME].available
        for status in found.values():
            assert status.available == (not status.reason)
            assert not status.available or status.version

    def test_without_the_optional_libraries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "openvino", "tensorrt", "tensorrt_bindings", "tensorrt_rtx_bindings", "cupy")
        found = {status.name: status for status in available_backends()}
        assert [name for name, status in found.items() if status.available] == ["onnxruntime"]
        assert found[InferenceBackend.OPENVINO].version == ""

    def test_rtx_builds_where_it_cannot_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip(
            "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make setup-export"
        )
        without(monkeypatch, "cupy")
        status = {status.name: status for status in available_backends()}[InferenceBackend.TENSORRT_RTX]
        assert "sm_86, sm_89, sm_120" in status.reason
        assert not status.available

    def test_with_a_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        install(monkeypatch, "tensorrt 10.3.0")
        status = {status.name: status for status in available_backends()}[InferenceBackend.TENSORRT]
        assert status.available
        assert status.version == "10.3.0"

    def test_what_was_never_executed_on_a_device_says_so(self) -> None:
        for status in available_backends():
            if status.name in NEEDS_A_DEVICE and status.name not in EXECUTED_ON_A_DEVICE:
                assert status.executed == "never executed on a device by this project"
        for name, receipt in EXECUTED_ON_A_DEVICE.items():
            assert name in NEEDS_A_DEVICE
            assert name in (ROOT / "benchmarks" / "results" / receipt).read_text(encoding="utf-8")


class TestMeasuring:
    def test_every_candidate_is_in_the_record(self) -> None:
        choice = fastest_backend(SMALL, repeats=2, threads=1)
        assert {timing.backend for timing in choice.timings} == set(BACKENDS)
        chosen = next(timing for timing in choice.timings if timing.backend == choice.backend)
        assert chosen.refused == ""
        assert all(timing.refused for timing in choice.timings if timing.median_s is None)

    def test_what_differs_is_refused_however_fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Wrong(OnnxSession):
            def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
                return {name: value * self.factor for name, value in super().run(inputs).items()}

            factor = 1.01

        monkeypatch.setattr(backends, "OpenVinoSession", Wrong)
        for factor in (1.01, 0.0, np.nan):
            Wrong.factor = factor
            choice = fastest_backend(SMALL, candidates=["onnxruntime", "openvino"], repeats=1, threads=1)
            assert choice.backend == "onnxruntime"
            assert "differs from onnxruntime" in choice.timings[1].refused
        Wrong.factor = 1.0001
        assert not fastest_backend(SMALL, repeats=1, threads=1).timings[2].refused

    def test_nothing_is_chosen_that_was_not_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without(monkeypatch, "openvino")
        with pytest.raises(BackendError, match="OpenVINO does not load"):
            fastest_backend(SMALL, candidates=["openvino"], repeats=1, threads=1)

    def test_openvino_is_measured_where_it_is(self) -> None:
        pytest.importorskip("openvino", reason="OpenVINO is not installed: make setup-export")
        assert openvino_session.load_openvino()
        choice = fastest_backend(SMALL, candidates=["onnxruntime", "openvino"], repeats=1, threads=1)
        assert [timing.backend for timing in choice.timings] == ["onnxruntime", "openvino"]
        assert choice.timings[1].largest_difference == pytest.approx(0, abs=1e-4)

    def test_long_trials_are_few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        runs: list[int] = []

        class Counting(OnnxSession):
            def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
                runs.append(1)
                return super().run(inputs)

        monkeypatch.setattr(backends, "OnnxSession", Counting)
        fastest_backend(SMALL, candidates=["onnxruntime"], repeats=3, threads=1)
        assert len(runs) == 4
        monkeypatch.setattr(backends, "MAX_TRIAL_S", 0.0)
        choice = fastest_backend(SMALL, candidates=["onnxruntime"], repeats=3, threads=1)
        assert len(runs) == 5
        assert choice.timings[0].median_s is not None
