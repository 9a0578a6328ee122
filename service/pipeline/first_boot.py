"""The first start: engines built for this device, warmed up, and compared with the reference, before SERVING.

Nothing is served meanwhile: the health check says so, and the log says how far it is. A second start finds the
engines of the first one, checks that they are the bytes that were built, and compares what runs on a GPU again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.errors import BackendError, EngineBuildError, ParityError
from engine.geometry import VolumeGeometry
from engine.manifest import load_bundle
from engine.runtime.backends import NEEDS_A_DEVICE, REFERENCE
from engine.runtime.cuda_device import CudaDevice
from engine.runtime.plan_cache import PlanCache
from engine.runtime.tensorrt_builder import BatchRange
from engine.runtime.tensorrt_library import FLAVORS, load_library
from engine.runtime.tensorrt_plans import obtain_plan, plan_key
from engine.segmentation import open_segmenter
from engine.volume import Acquisition, CtVolume
from service.logging import get_logger
from service.pipeline.engine import EnginePipeline
from service.pipeline.segmenters import ENGINES

if TYPE_CHECKING:
    from pathlib import Path

    from engine.manifest import ModelManifest, SegmentationSection
    from engine.runtime.tensorrt_library import Flavor
    from engine.segmentation import Segmenter
    from service.pipeline.backend_choice import RecordedChoice
    from service.settings import Settings

_REPORT_EVERY_S: Final = 2.0
"""Seconds between two log lines of one build, for a builder reports thousands of steps."""

_log = get_logger()


class BootingPipeline(EnginePipeline):
    """The engine, with the steps of a first start in its warm-up.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings

    def warm_up(self) -> None:
        """Build what has to be built, warm up, and compare every network with its reference.

        Raises
        ------
        EnginePlanError
            If an existing engine must not be used; it is not overwritten.
        EngineBuildError, BackendError
            If the backend that the settings name cannot run a model.
        ParityError
            If a network's answers here differ from the reference by more than the tolerance.
        """
        if not self.describe().models:
            _log.warning("no model is installed: masks have to be supplied, and there is no risk")
        for segmenter in self.segmenters():
            ensure_plans(
                segmenter.folder, self._settings.segmentation_backend, self._settings.state_dir / ENGINES
            )
        began = time.monotonic()
        super().warm_up()
        _log.info("warmed up", duration_s=round(time.monotonic() - began, 3))
        for segmenter in self.segmenters():
            require_reference_answer(segmenter.folder, segmenter.open(), segmenter.choice)

    def self_test(self) -> None:
        """Measure a phantom of known truth, and segment one."""
        began = time.monotonic()
        super().self_test()
        _log.info("self-test passed", duration_s=round(time.monotonic() - began, 3))


def ensure_plans(folder: Path, backend: str, plan_folder: Path) -> None:
    """Build the engines of a bundle that are not there yet, and check those that are.

    Parameters
    ----------
    folder : Path
        ``models/<id>/<version>``.
    backend : str
        As the settings say; ``auto``: whichever TensorRT is here.
    plan_folder : Path

    Raises
    ------
    EnginePlanError
        If an existing engine must not be used; it is not overwritten.
    EngineBuildError, BackendError
        If the backend is named and cannot be used. With ``auto`` that is logged, and another one is chosen.
    """
    for flavor in FLAVORS:
        if backend not in {flavor, "auto"}:
            continue
        try:
            _ensure_plans_of(flavor, folder, plan_folder)
        except BackendError:  # it is not here
            if backend == flavor:
                raise
        except EngineBuildError as error:
            if backend == flavor:
                raise
            _log.warning("no engine is built", backend=flavor, error_class=type(error).__name__)


def _ensure_plans_of(flavor: Flavor, folder: Path, plan_folder: Path) -> None:
    library, device = load_library(flavor), CudaDevice()
    bundle = load_bundle(folder)
    members = bundle.variant("fp32")
    cache = PlanCache(plan_folder)
    for number, member in enumerate(members, start=1):
        key = plan_key(library, member, precision="fp32", batch=BatchRange(), gpu=device.identity)
        cached, began = cache.path(key).exists(), time.monotonic()
        progress = BuildProgress(f"{_name(bundle.manifest)}, {number} of {len(members)}", flavor)
        obtain_plan(library, member, key, cache, batch=BatchRange(), on_progress=progress)
        _log.info(
            f"engine {'found' if cached else 'built'}: {progress.model}",
            backend=f"{flavor} {library.version}",
            duration_s=round(time.monotonic() - began, 3),
        )


class BuildProgress:
    """Logs how far the build of one engine is: each phase once, and then not too often.

    Parameters
    ----------
    model : str
    flavor : str
        The library that builds.
    """

    def __init__(self, model: str, flavor: str) -> None:
        self.model, self._flavor = model, flavor
        self._phases: set[str] = set()
        self._reported_s = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Log a phase of the builder, its steps done, and its steps in all."""
        now = time.monotonic()
        if phase in self._phases and now - self._reported_s < _REPORT_EVERY_S:
            return
        self._phases.add(phase)
        self._reported_s = now
        _log.info(f"building engine: {self.model}: {phase} {done}/{total}", backend=self._flavor)


def require_reference_answer(folder: Path, opened: Segmenter, choice: RecordedChoice | None = None) -> float:
    """Compare an open model with ONNX Runtime on the CPU, which its bundle was accepted with.

    The input is one patch of a synthetic CT, half of it one value, as air is: there single precision fails first.
    On a CPU the comparison that the backend was chosen by holds as long as the choice does: same network, libraries
    and processor. What runs on a GPU is compared at every start.

    Parameters
    ----------
    folder : Path
        Its bundle.
    opened : Segmenter
    choice : RecordedChoice, optional
        The measurement that its backend was chosen by.

    Returns
    -------
    float
        The largest difference of a logit.

    Raises
    ------
    ParityError
        If it is larger than the tolerance of the bundle's own parity report, or not a number.
    """
    began = time.monotonic()
    measured = _measured_by_choice(opened, choice)
    if measured is None:
        with open_segmenter(folder, REFERENCE) as reference:
            if reference.backend == opened.backend:
                return 0.0
            ct = _synthetic_ct(opened.section)
            measured = float(np.abs(opened.logits(ct) - reference.logits(ct)).max())
    tolerance = _recorded_tolerance(opened.manifest)
    if not measured <= tolerance:  # so that NaN is refused too
        raise ParityError(
            f"{opened.identity} with {opened.backend} differs from {REFERENCE} by {measured:g}, and its bundle allows "
            f"{tolerance:g}; choose another segmentation_backend, or remove its engine and start again"
        )
    _log.info(
        "parity", backend=opened.backend, outcome="passed", duration_s=round(time.monotonic() - began, 3)
    )
    return measured


def _recorded_tolerance(manifest: ModelManifest) -> float:
    """Return by how much the single-precision network of a bundle may differ from its source."""
    fp32 = [report for report in manifest.parity_reports if "fp32" in report.candidate]
    return min(report.tolerance for report in fp32 or manifest.parity_reports)


def _measured_by_choice(opened: Segmenter, choice: RecordedChoice | None) -> float | None:
    """Return the difference measured when the backend was chosen; None where that covered only part of the model."""
    if len(opened.manifest.variants["fp32"]) > 1:
        return None
    timings = opened.timings
    if not timings and choice is not None and choice.backend not in NEEDS_A_DEVICE:
        timings = choice.timings
    return next((timing.largest_difference for timing in timings if timing.described == opened.backend), None)


def _synthetic_ct(section: SegmentationSection) -> CtVolume:
    """Return lung with a ball of soft tissue, on the network's own grid."""
    z, y, x = (section.patch_shape[axis] for axis in section.transpose_backward)
    spacing_z, spacing_y, spacing_x = (section.spacing_mm[axis] for axis in section.transpose_backward)
    geometry = VolumeGeometry((z, y, x), (spacing_z, spacing_y, spacing_x))
    rng = np.random.default_rng(7)
    hu = np.rint(rng.normal(-850.0, 40.0, (z, y, x)))
    offsets = [(np.arange(n) - n / 2.0) / (n / 4.0) for n in (z, y, x)]
    hu[np.add.outer(np.add.outer(offsets[0] ** 2, offsets[1] ** 2), offsets[2] ** 2) < 1.0] += 890.0
    hu[..., : x // 2] = -1000.0
    return CtVolume(hu.astype(np.int16), geometry, Acquisition(series_description="made up, not a patient"))


def _name(manifest: ModelManifest) -> str:
    return f"{manifest.id} {manifest.version}"
