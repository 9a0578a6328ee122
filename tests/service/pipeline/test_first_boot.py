"""The first start of an appliance: what happens before it says SERVING, in which order, and what stops it."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import LogCapture

from engine.errors import BackendError, ColdspotError, EnginePlanError, ParityError, PlanIntegrityError
from engine.manifest import Channel, SegmentationSection
from engine.runtime import cuda_device
from engine.runtime.backends import BackendTiming, InferenceBackend
from engine.runtime.plan_cache import PLAN_FILE, RECORD_FILE
from engine.runtime.tensorrt_session import TensorRtSession
from engine.segmentation import Segmenter, open_segmenter
from engine.selftest import segmenter as segmenter_selftest
from service.client.client import ColdspotClient
from service.pipeline.backend_choice import RecordedChoice
from service.pipeline.first_boot import BootingPipeline, BuildProgress, ensure_plans, require_reference_answer
from service.pipeline.segmenters import ENGINES
from service.server import ColdspotServer
from service.settings import Settings
from tests.support.devices.fake_cuda import Memory, fake_cupy
from tests.support.devices.fake_tensorrt import install
from tests.support.segmentation_models import threshold_network, write_bundle_folder
from tests.support.stub_engine import settings_for

MODELS = Path(__file__).parents[3] / "models"
JETPACK = "tensorrt 10.16.1.11"
"""Of JetPack 7.2."""
BUILDING, BUILT, FOUND = "building engine", "engine built", "engine found"
WARM, PARITY, TESTED, SERVING = "warmed up", "parity", "self-test passed", "serving"
NO_MODEL = "no model is installed"
SECTION = SegmentationSection(
    framework="nnunet_v2",
    purpose="ablation_zone",
    labels={"background": 0, "zone": 1},
    spacing_mm=(3.0, 3.0, 3.0),
    patch_shape=(24, 24, 24),
    channels=(Channel(name="CT", scheme="none"),),
)


@pytest.fixture
def told() -> Iterator[list[Any]]:
    """What the service logs."""
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.configure(**before)


class Watched(BootingPipeline):
    """Asks the service from outside whether it serves, at every step of its start."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.answers: list[bool] = []
        self.port = 0

    def ask(self) -> None:
        with ColdspotClient(f"127.0.0.1:{self.port}") as client:
            self.answers.append(client.is_serving())

    def warm_up(self) -> None:
        self.ask()
        super().warm_up()
        self.ask()

    def self_test(self) -> None:
        super().self_test()
        self.ask()


def boot(settings: Settings) -> list[bool]:
    """Start a service and stop it; whether it said SERVING at each step and after the last."""
    pipeline = Watched(settings)
    server = ColdspotServer(settings, pipeline)
    pipeline.port = server.port
    try:
        server.start()
        pipeline.ask()
    finally:
        server.stop()
    return pipeline.answers


def events(told: list[Any]) -> list[str]:
    """What was logged, without the numbers and the names behind the colon."""
    return [re.split(":", entry["event"], maxsplit=1)[0] for entry in told]


def in_order(told: list[Any], *expected: str) -> None:
    """Every expected event, each first told after the one before it was last told."""
    found = events(told)
    for earlier, later in itertools.pairwise(expected):
        last = len(found) - 1 - found[::-1].index(earlier)
        assert last < found.index(later), (earlier, later, found)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A site's own model, of which nothing is known but that it gives labels."""
    write_bundle_folder(
        tmp_path / "models" / "zone" / "1.0.0",
        {"model.onnx": threshold_network(SECTION, -300.0)},
        id="zone",
        demo=False,
        fitted_on="nothing",
        segmentation=SECTION.model_dump(mode="json"),
    )
    return tmp_path / "models"


class TestWithTensorRt:
    """The TensorRT of JetPack 7.2, in host memory; plans, sessions and service are the real ones."""

    @pytest.fixture
    def memory(self, monkeypatch: pytest.MonkeyPatch) -> Memory:
        return install(monkeypatch, JETPACK, name="Orin", major=8, minor=7)

    @pytest.fixture
    def settings(self, tmp_path: Path, models: Path) -> Settings:
        return settings_for(tmp_path, models_dir=models, segmentation_backend="tensorrt")

    def test_built_warmed_up_compared_and_only_then_served(
        self, memory: Memory, settings: Settings, told: list[Any]
    ) -> None:
        assert boot(settings) == [False, False, False, True]
        in_order(told, BUILDING, BUILT, WARM, PARITY, TESTED, SERVING)
        progress = [entry["event"] for entry in told if entry["event"].startswith(BUILDING)]
        assert progress == ["building engine: zone 1.0.0, 1 of 1: Building engine 0/3"]
        (parity,) = (entry for entry in told if entry["event"] == PARITY)
        assert parity["backend"] == "tensorrt 10.16.1.11 (Orin, sm_87, CUDA graphs)"
        assert memory.calls.count("build") == 1

    def test_a_second_start_builds_nothing_and_compares_again(
        self, memory: Memory, settings: Settings, told: list[Any]
    ) -> None:
        boot(settings)
        told.clear()
        assert boot(settings) == [False, False, False, True]
        assert memory.calls.count("build") == 1
        assert not {BUILDING, BUILT} & set(events(told))
        in_order(told, FOUND, WARM, PARITY, TESTED, SERVING)

    def test_a_tampered_engine_is_refused_until_somebody_removes_it(
        self, memory: Memory, settings: Settings, told: list[Any]
    ) -> None:
        boot(settings)
        plan = plan_of(settings)
        plan.write_bytes(changed := plan.read_bytes() + b"\0")
        told.clear()
        with pytest.raises(PlanIntegrityError, match="was changed"):
            boot(settings)
        assert SERVING not in events(told)
        assert plan.read_bytes() == changed
        assert memory.calls.count("build") == 1
        shutil.rmtree(plan.parent)
        assert boot(settings)[-1]
        assert memory.calls.count("build") == 2

    @pytest.mark.parametrize("wrong", [0.1, np.nan])
    def test_an_engine_that_answers_otherwise_serves_nobody(
        self,
        memory: Memory,
        settings: Settings,
        told: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        wrong: float,
    ) -> None:
        run = TensorRtSession.run

        def off(self: TensorRtSession, inputs: dict[str, Any]) -> dict[str, Any]:
            return {name: values + np.float32(wrong) for name, values in run(self, inputs).items()}

        monkeypatch.setattr(TensorRtSession, "run", off)
        with pytest.raises(ColdspotError) as caught:
            boot(settings)
        # A network that gives NaN is stopped by the segmenter itself.
        assert isinstance(caught.value, ParityError) or np.isnan(wrong)
        assert BUILT in events(told)
        assert not {PARITY, SERVING} & set(events(told))

    def test_a_build_that_fails_serves_nobody(
        self, memory: Memory, settings: Settings, told: list[Any]
    ) -> None:
        memory.fails.add("build")
        with pytest.raises(ColdspotError, match="no kernel for"):
            boot(settings)
        assert SERVING not in events(told)
        assert not list((settings.state_dir / ENGINES).glob(f"*/{PLAN_FILE}"))

    def test_with_auto_it_is_told_and_another_backend_serves(
        self, memory: Memory, settings: Settings, told: list[Any]
    ) -> None:
        memory.fails.add("build")
        assert boot(settings.model_copy(update={"segmentation_backend": "auto"}))[-1]
        assert {"no engine is built", SERVING} <= set(events(told))


class TestWithTensorRtRtx:
    """The real builder of TensorRT-RTX, for a device that is not there."""

    @pytest.fixture(autouse=True)
    def device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip(
            "tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make setup-export"
        )
        monkeypatch.setitem(sys.modules, "cupy", fake_cupy(Memory()))
        monkeypatch.setattr(cuda_device, "require_driver", lambda: None)

    def test_engines_are_built_with_progress_kept_and_checked(
        self, tmp_path: Path, models: Path, told: list[Any]
    ) -> None:
        settings = settings_for(tmp_path, models_dir=models)
        folder, engines = models / "zone" / "1.0.0", settings.state_dir / ENGINES
        ensure_plans(folder, "tensorrt-rtx", engines)
        in_order(told, BUILDING, BUILT)
        plan = plan_of(settings)
        record = json.loads((plan.parent / RECORD_FILE).read_text())
        assert (record["key"]["target"], record["bytes"]) == ("sm_89", plan.stat().st_size)
        told.clear()
        ensure_plans(folder, "tensorrt-rtx", engines)
        assert events(told) == [FOUND]
        plan.write_bytes(plan.read_bytes()[:-1])
        with pytest.raises(PlanIntegrityError):
            ensure_plans(folder, "tensorrt-rtx", engines)

    def test_what_cannot_run_here_is_not_served(self, tmp_path: Path, models: Path, told: list[Any]) -> None:
        settings = settings_for(tmp_path, models_dir=models, segmentation_backend="tensorrt-rtx")
        with pytest.raises((EnginePlanError, BackendError)):
            boot(settings)
        assert BUILT in events(told)
        assert SERVING not in events(told)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_with_the_sessions_of_a_cpu(tmp_path: Path, told: list[Any], backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed: make setup-export")
    settings = settings_for(tmp_path, models_dir=MODELS, tumor_model="none", segmentation_backend=backend)
    assert boot(settings) == [False, False, False, True]
    in_order(told, WARM, TESTED, SERVING)
    assert (PARITY in events(told)) == (backend != "onnxruntime")  # which is the reference itself


def test_what_the_choice_of_a_backend_compared_is_not_computed_again(
    tmp_path: Path, models: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "logits", lambda *_: pytest.fail("computed again"))
    assert boot(settings_for(tmp_path, models_dir=models))[-1]
    in_order(told, WARM, PARITY, TESTED, SERVING)


def test_a_later_start_takes_the_comparison_that_its_choice_was_made_by(
    tmp_path: Path, models: Path, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, models_dir=models)
    boot(settings)
    monkeypatch.setattr(Segmenter, "logits", lambda *_: pytest.fail("computed again"))
    assert boot(settings)[-1]
    assert events(told).count(PARITY) == 2
    (record,) = (settings.state_dir / ENGINES / "choices").glob("*.json")
    written = json.loads(record.read_text(encoding="utf-8"))
    for timing in written["timings"]:
        timing["largest_difference"] = None if timing["largest_difference"] is None else 1.0
    record.write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(ParityError, match="differs"):
        boot(settings)


def test_what_runs_on_a_gpu_is_compared_at_every_start(models: Path) -> None:
    folder = models / "zone" / "1.0.0"
    with open_segmenter(folder, "onnxruntime") as opened:
        timing = BackendTiming(InferenceBackend.ONNXRUNTIME, opened.backend, 0.1, 1.0, "")
        chosen = RecordedChoice(InferenceBackend.ONNXRUNTIME, (timing,), "2026-01-01T00:00:00+00:00")
        with pytest.raises(ParityError, match="differs"):
            require_reference_answer(folder, opened, chosen)
        on_device = RecordedChoice(InferenceBackend.TENSORRT, (timing,), chosen.measured_at)
        assert require_reference_answer(folder, opened, on_device) == 0.0


def test_a_self_test_without_a_warm_up_segments_too(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested: list[Any] = []
    monkeypatch.setattr(segmenter_selftest, "require_segmenters", lambda *both: tested.append(both))
    pipeline = BootingPipeline(settings_for(tmp_path, models_dir=models, segmentation_backend="onnxruntime"))
    pipeline.self_test()
    assert tested == [(None, pipeline.zone_segmenter)]
    pipeline.self_test()
    assert len(tested) == 1


def test_without_a_model_it_says_so_and_serves(tmp_path: Path, told: list[Any]) -> None:
    (tmp_path / "models").mkdir()
    assert boot(settings_for(tmp_path, models_dir=tmp_path / "models"))[-1]
    in_order(told, NO_MODEL, WARM, SERVING)


def test_progress_is_told_once_a_phase_and_not_too_often(told: list[Any]) -> None:
    progress = BuildProgress("zone 1.0.0", "tensorrt")
    for step in range(1000):
        progress("Tactics", step, 1000)
    progress("Writing", 0, 1)
    assert [entry["event"].split(": ")[-1] for entry in told] == ["Tactics 0/1000", "Writing 0/1"]


def plan_of(settings: Settings) -> Path:
    plans = (settings.state_dir / ENGINES).glob(f"*/{PLAN_FILE}")
    (plan,) = (path for path in plans if not path.parent.name.startswith("timings"))
    return plan


@pytest.mark.acceptance
@pytest.mark.timeout(900)
def test_a_fresh_appliance(tmp_path: Path) -> None:
    """`coldspot serve` with the demo models, no kernel compiled and nothing kept; and once again."""
    starts = [fresh_start(tmp_path) for _ in range(2)]
    for seconds, log in starts:
        written = [json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")]
        order = [written.index(event) for event in (WARM, TESTED, SERVING)]
        assert order == sorted(order)
        assert seconds > 0
    assert starts[1][0] < starts[0][0]
    assert list((tmp_path / "numba").rglob("*.nbi"))


def fresh_start(folder: Path) -> tuple[float, str]:
    """Seconds until the health check agrees, and the log."""
    coldspot = Path(sys.executable).parent / "coldspot"
    port = str(20000 + os.getpid() % 20000)
    environment = {
        **os.environ,
        "COLDSPOT_PORT": port,
        "COLDSPOT_METRICS_PORT": "0",
        "COLDSPOT_STATE_DIR": str(folder / "state"),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }
    log, began = folder / "log", time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        running = subprocess.Popen([str(coldspot), "serve"], env=environment, stdout=out, stderr=out)
    try:
        check, refused = [str(coldspot), "healthcheck", "--server", f"127.0.0.1:{port}"], 0
        while subprocess.run(check, check=False, capture_output=True).returncode != 0:
            refused += 1
            assert running.poll() is None, log.read_text(encoding="utf-8")
        assert refused
        return time.monotonic() - began, log.read_text(encoding="utf-8")
    finally:
        running.terminate()
        assert running.wait(60) == 0
