"""TensorRT and TensorRT-RTX: real engines built without a GPU, and the adapter's own logic over fakes.

Nothing here has run on a device. The fakes have the names of the real libraries, version by version.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import (
    BackendError,
    EngineBuildError,
    EnginePlanError,
    ModelError,
    ModelInputError,
    PlanDeviceError,
    PlanIntegrityError,
    PlanModelError,
    PlanVersionError,
)
from engine.runtime import cuda_device
from engine.runtime.cuda_device import CudaDevice, _driver, require_driver
from engine.runtime.onnx_interface import read_interface
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.tensorrt_builder import BatchRange, build_plan, supported_targets
from engine.runtime.tensorrt_library import TensorRtLibrary, load_library
from engine.runtime.tensorrt_session import TensorRtSession
from tests.support.devices.fake_cuda import FakeArray, Memory, fake_cupy
from tests.support.devices.fake_tensorrt import MAGIC, NAMES, VERSIONS, fake_library, install
from tests.support.networks import Graph, fp16_mixed, unet_3d, vit_block

ROOT = Path(__file__).parents[3]
DEEPSURV = ROOT / "models" / "deepsurv-demo" / "1.0.0" / "model.onnx"
FULL = [version for version in VERSIONS if version.startswith("tensorrt ")]
RTX = next(version for version in VERSIONS if version.startswith("tensorrt-rtx "))
SMALL = unet_3d(width=2, patch=8)


def image(batch: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(batch, 1, 8, 8, 8)).astype(np.float32)


def reference(x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    with OnnxSession(SMALL, threads=1) as session:
        return session.run({"image": x})["logits"]


def flavor_of(version: str) -> Any:
    return version.split(" ", maxsplit=1)[0]


def opened(version: str, *, batch: BatchRange | None = None, cuda_graph: bool = True) -> TensorRtSession:
    library = load_library(flavor_of(version))
    plan = build_plan(library, SMALL, batch=batch).plan
    return TensorRtSession(
        plan, read_interface(SMALL), library=library, device=CudaDevice(), cuda_graph=cuda_graph
    )


class TestRealBuilder:
    """TensorRT-RTX needs no GPU to build."""

    @pytest.fixture
    def library(self) -> TensorRtLibrary:
        pytest.importorskip(
            "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make setup-export"
        )
        return load_library("tensorrt-rtx")

    @pytest.mark.parametrize(
        ("network", "precision", "target"),
        [
            (unet_3d, "fp32", "sm_86"),
            (unet_3d, "fp16_mixed", "sm_120"),
            (unet_3d, "fp16_mixed", "sm_75"),
            (vit_block, "fp32", "sm_120"),
            (vit_block, "fp16_mixed", "sm_89"),
        ],
    )
    def test_it_builds(self, library: TensorRtLibrary, network: Any, precision: str, target: str) -> None:
        """Other pairs, of what is exported, are in test_engines_of_exports.py."""
        model = network()
        if precision == "fp16_mixed":
            pytest.importorskip(
                "onnxconverter_common", reason="the converter is not installed: make setup-export"
            )
            model = fp16_mixed(model)
        assert len(build_plan(library, model, target=target).plan) > 10_000

    @pytest.mark.parametrize("target", ["sm_86", "sm_89", "sm_120"])
    def test_the_demo_risk_model_builds(self, library: TensorRtLibrary, target: str) -> None:
        batch = BatchRange(1, 64, 1024)
        assert build_plan(library, DEEPSURV.read_bytes(), target=target, batch=batch).plan

    @pytest.mark.parametrize("target", ["sm_87", "sm_90", "sm_100", "sm_86;x", "current "])
    def test_other_targets_are_refused_with_a_way_out(self, library: TensorRtLibrary, target: str) -> None:
        with pytest.raises(EngineBuildError, match=r"on the device itself, with target current"):
            build_plan(library, SMALL, target=target)

    def test_the_builders_own_refusal_is_told(self, library: TensorRtLibrary) -> None:
        with pytest.raises(EngineBuildError, match="FP32 3D convolution is not supported"):
            build_plan(library, SMALL, target="sm_75")

    def test_an_unknown_operator_is_told(self, library: TensorRtLibrary) -> None:
        graph = Graph(seed=0)
        graph.add("Det", "x", output="y")
        model = graph.model({"x": ("batch", 3, 3)}, {"y": ("batch",)})
        with pytest.raises(EngineBuildError, match="Det"):
            build_plan(library, model, target="sm_89")

    def test_progress_is_told_and_raising_stops_the_build(self, library: TensorRtLibrary) -> None:
        told: list[tuple[str, int, int]] = []
        build_plan(library, SMALL, target="sm_89", on_progress=lambda *step: told.append(step))
        assert {"Building engine"} < {phase for phase, _, _ in told}
        assert all(0 <= done <= total for _, done, total in told)

        def stop(_phase: str, done: int, _total: int) -> None:
            if done:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            build_plan(library, SMALL, target="sm_89", on_progress=stop)

    def test_bytes_that_are_no_plan_are_refused_by_the_real_runtime(
        self, library: TensorRtLibrary, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "cupy", fake_cupy(Memory()))
        monkeypatch.setattr(cuda_device, "require_driver", lambda: None)
        for content in (b"x" * 5000, b"short"):
            with pytest.raises(EnginePlanError):
                TensorRtSession(content, read_interface(SMALL), library=library, device=CudaDevice())

    def test_the_recorded_names_are_those_installed(self, library: TensorRtLibrary) -> None:
        version = f"tensorrt-rtx {library.version}"
        if version not in NAMES:
            pytest.skip(
                f"names.json has no {version}: run tests/support/devices/tensorrt_api/record_names.py"
            )
        for name, members in NAMES[version].items():
            assert set(members) <= set(dir(getattr(library.api, name)))


def test_a_missing_driver_is_a_backend_error() -> None:
    with suppress(BackendError):
        require_driver()
    with pytest.raises(BackendError, match="no NVIDIA driver"):
        require_driver("libno-such-driver.so.1")


def test_a_driver_is_named_as_the_system_names_it(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert _driver(13010, file) == "CUDA 13.1"
    file.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\nGCC 12.2.0\n"
    )
    assert _driver(13000, file) == "CUDA 13.0, 580.65.06"


class TestEveryVersion:
    """The adapter uses nothing that one of the versions lacks."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_it_builds_and_runs(self, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        memory = install(monkeypatch, version)
        x = image(3)
        with opened(version) as session:
            for _ in range(3):
                np.testing.assert_array_equal(session.run({"image": x})["logits"], reference(x))
            assert flavor_of(version) in session.backend
            assert "NVIDIA Fake, sm_89" in session.backend
        assert "clear TF32" in memory.calls
        graphs = ["begin capture", "launch graph", "launch graph"]
        found = [call for call in memory.calls if "graph" in call or "capture" in call]
        assert found == ([] if version == RTX else graphs)
        assert memory.calls.count("enqueue") == (3 if version == RTX else 2)

    def test_a_fake_has_only_the_names_of_its_version(self) -> None:
        flags = {version: fake_library(version, Memory()).BuilderFlag for version in VERSIONS}
        assert hasattr(flags["tensorrt 10.3.0"], "FP16")
        assert not hasattr(flags["tensorrt 11.4.0.106"], "FP16")
        assert not hasattr(fake_library("tensorrt 11.4.0.106", Memory()), "ComputeCapability")
        config = fake_library("tensorrt 11.4.0.106", Memory()).IBuilderConfig()
        with pytest.raises(AttributeError):
            config.int8_calibrator = None
        with pytest.raises(AssertionError, match="takes"):
            config.set_timing_cache(None)

    @pytest.mark.parametrize("version", FULL)
    def test_timings_are_taken_and_given(self, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
        memory = install(monkeypatch, version)
        library = load_library("tensorrt")
        assert build_plan(library, SMALL, timing_cache=b"old").timing_cache == b"old+"
        memory.fails.add("timings of another device")
        assert build_plan(library, SMALL, timing_cache=b"old").timing_cache == b"+"

    def test_rtx_takes_no_timings_and_builds_for_a_generation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        memory = install(monkeypatch, RTX)
        library = load_library("tensorrt-rtx")
        assert supported_targets(library) == ("sm_75", "sm_80", "sm_86", "sm_89", "sm_120", "sm_121")
        plan = build_plan(library, SMALL, target="sm_120").plan
        assert b'"targets": ["SM120"]' in plan
        assert not [call for call in memory.calls if call.startswith("timings")]


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return install(monkeypatch, FULL[-1])


class TestBuilding:
    def test_a_network_that_cannot_be_read_or_built(self, memory: Memory) -> None:
        library = load_library("tensorrt")
        memory.fails = {"parse"}
        with pytest.raises(EngineBuildError, match="unsupported operator"):
            build_plan(library, SMALL)
        memory.fails = {"build"}
        with pytest.raises(EngineBuildError, match="no kernel for this operator"):
            build_plan(library, SMALL)

    def test_tensorrt_builds_only_for_its_own_device(self, memory: Memory) -> None:
        with pytest.raises(EngineBuildError, match="its own device"):
            build_plan(load_library("tensorrt"), SMALL, target="sm_89")

    def test_only_the_batch_may_be_free(self, memory: Memory) -> None:
        graph = Graph(seed=0)
        graph.add("Relu", "x", output="y")
        model = graph.model({"x": ("batch", 1, "depth")}, {"y": ("batch", 1, "depth")})
        with pytest.raises(EngineBuildError, match="fixed patch shape"):
            build_plan(load_library("tensorrt"), model)

    @pytest.mark.parametrize("content", [b"", b"no model", SMALL[:-100]])
    def test_bytes_that_are_no_model(self, memory: Memory, content: bytes) -> None:
        with pytest.raises(ModelError):
            build_plan(load_library("tensorrt"), content)
        assert memory.calls == []

    def test_a_listener_that_raises_stops_the_build(self, memory: Memory) -> None:
        def stop(*_step: object) -> None:
            raise ValueError("enough")

        with pytest.raises(ValueError, match="enough"):
            build_plan(load_library("tensorrt"), SMALL, on_progress=stop)
        assert "build" not in memory.calls


class TestRunning:
    @pytest.mark.parametrize("batch", [1, 2, 4, 5, 9])
    def test_larger_batches_are_computed_in_parts(self, memory: Memory, batch: int) -> None:
        x = image(batch)
        with opened(FULL[-1], batch=BatchRange(1, 2, 4)) as session:
            outputs = session.run({"image": x})
            np.testing.assert_allclose(outputs["logits"], reference(x), atol=1e-5)

    def test_few_batch_sizes_are_kept(self, memory: Memory) -> None:
        with opened(FULL[-1]) as session:
            for batch in (1, 2, 3, 2, 3, 2):
                np.testing.assert_array_equal(
                    session.run({"image": image(batch)})["logits"], reference(image(batch))
                )
            assert memory.calls.count("context") == 3
            session.run({"image": image(1)})
            assert memory.calls.count("context") == 4
        assert not list(memory.arrays.values())

    def test_without_graphs_every_run_is_enqueued(self, memory: Memory) -> None:
        with opened(FULL[-1], cuda_graph=False) as session:
            for _ in range(3):
                session.run({"image": image(1)})
            assert "no CUDA graphs" in session.backend
        assert memory.calls.count("enqueue") == 3
        assert "begin capture" not in memory.calls

    def test_threads_may_share_it(self, memory: Memory) -> None:
        images = [image(1 + seed % 3, seed) for seed in range(12)]
        with opened(FULL[-1]) as session, ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda x: session.run({"image": x})["logits"], images))
        for x, logits in zip(images, found, strict=True):
            np.testing.assert_array_equal(logits, reference(x))

    def test_arrays_on_the_device_stay_there(self, memory: Memory) -> None:
        x = image(2)
        with opened(FULL[-1]) as session:
            given = FakeArray(memory, x.copy())
            first = session.run_on_device({"image": given})["logits"]
            given.values[:] = 0
            session.run_on_device({"image": given})
            np.testing.assert_array_equal(first.values, reference(x))
            with pytest.raises(ModelInputError, match="CuPy"):
                session.run_on_device({"image": x})
            with pytest.raises(ModelInputError, match="at most 8"):
                session.run_on_device({"image": FakeArray(memory, image(9))})
        waits = [call for call in memory.calls if call.startswith("wait for")]
        assert len(waits) == 4

    @pytest.mark.parametrize(
        "inputs",
        [
            {},
            {"other": image(1)},
            {"image": image(1).astype(np.float64)},
            {"image": image(1)[..., :7]},
            {"image": image(0)},
        ],
    )
    def test_inputs_that_do_not_fit_are_refused(self, memory: Memory, inputs: dict[str, Any]) -> None:
        with opened(FULL[-1]) as session:
            with pytest.raises(ModelInputError):
                session.run(inputs)
            assert "enqueue" not in memory.calls

    @pytest.mark.parametrize("failing", ["enqueue", "context", "begin capture", "empty"])
    def test_what_fails_on_the_device_is_a_backend_error(self, memory: Memory, failing: str) -> None:
        with opened(FULL[-1]) as session:
            if failing == "begin capture":
                session.run({"image": image(1)})
            memory.fails.add(failing)
            with pytest.raises(BackendError, match=r"tensorrt 11\.4"):
                session.run({"image": image(1)})
            memory.fails.clear()
            np.testing.assert_array_equal(session.run({"image": image(1)})["logits"], reference(image(1)))

    def test_it_is_closed_after_its_block_and_closing_twice_is_nothing(self, memory: Memory) -> None:
        with opened(FULL[-1]) as session:
            pass
        session.close()
        with pytest.raises(BackendError, match="closed"):
            session.run({"image": image(1)})


class TestLoading:
    def load(self, plan: bytes, model: bytes = SMALL, flavor: Any = "tensorrt") -> TensorRtSession:
        return TensorRtSession(plan, read_interface(model), library=load_library(flavor), device=CudaDevice())

    def test_a_plan_the_library_refuses(self, memory: Memory) -> None:
        with pytest.raises(EnginePlanError, match="magic tag"):
            self.load(b"no plan")

    def test_the_plan_of_another_model(self, memory: Memory) -> None:
        plan = build_plan(load_library("tensorrt"), vit_block()).plan
        assert plan.startswith(MAGIC)
        with pytest.raises(PlanModelError, match="features"):
            self.load(plan)

    @pytest.mark.parametrize(
        ("found", "error"),
        [
            ("validity MALFORMED_ENGINE", PlanIntegrityError),
            ("validity VERSION_MISMATCH", PlanVersionError),
            ("validity UNSUPPORTED_CC", PlanDeviceError),
            ("validity", EnginePlanError),
        ],
    )
    def test_what_rtx_makes_of_a_header(
        self, monkeypatch: pytest.MonkeyPatch, found: str, error: type[EnginePlanError]
    ) -> None:
        memory = install(monkeypatch, RTX)
        plan = build_plan(load_library("tensorrt-rtx"), SMALL).plan
        memory.fails.add(found)
        with pytest.raises(error) as raised:
            self.load(plan, flavor="tensorrt-rtx")
        assert type(raised.value) is error
        assert "deserialize" not in memory.calls
