"""The parity of a bundle measured again, on this machine: every backend and precision it can run.

Without a source the reference is ONNX Runtime in FP32, which the bundle's own reports compare with the
source; this part needs no torch. With the source (a model folder, a checkpoint) that is the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.errors import BackendError, InvalidRequestError
from engine.manifest import Bundle, ModelManifest, ParityReport, Precision, load_bundle
from engine.progress import ShareProgress
from engine.risk.model import SurvivalModel
from engine.runtime.backends import BACKENDS, REFERENCE, open_session
from export.parity.comparison import (
    MAX_FLIP_SHARE,
    ComparableSession,
    NamedSession,
    OutputKind,
    compare_sessions,
)
from export.parity.sample_lesions import sample_lesions
from export.parity.sample_patches import sample_patches

Inputs = tuple[dict[str, npt.NDArray[Any]], ...]

_FP32_TOLERANCES: Final[dict[str, float]] = {"segmentation": 1e-3, "features": 1e-5}
"""Of logits, and of the cosine distance of feature vectors."""

_COARSE_FLIP_SHARE: Final = 0.01
"""Share of voxels that a precision below FP32 may label otherwise, near ties apart."""

_SURVIVAL_CASES: Final = 1024
_SURVIVAL_RANGE_SD: Final = 4.0


@dataclass(frozen=True)
class _BundleParity:
    """The measured reports, and the backends that could not be measured.

    Parameters
    ----------
    reports : tuple of ParityReport
        Passed or not.
    not_run : dict of str to str
        Backend and the reason.
    """

    reports: tuple[ParityReport, ...]
    not_run: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(report.passed for report in self.reports)


@dataclass(frozen=True)
class _Task:
    """One network of the bundle on one backend."""

    backend: str
    precision: Precision
    member: int


def measure_bundle(
    folder: Path,
    *,
    backends: Sequence[str] = (),
    precisions: Sequence[Precision] = (),
    images: Sequence[Path] = (),
    lesions: Sequence[tuple[Path, Path]] = (),
    source: Path | None = None,
    on_progress: ShareProgress | None = None,
) -> _BundleParity:
    """Compare what a bundle gives on every backend with its reference.

    Parameters
    ----------
    folder : Path
    backends : sequence of str, optional
        By default all that are available here; one that is named and not available is an error.
    precisions : sequence of {"fp32", "fp16_mixed", "int8"}, optional
        By default all variants of the bundle.
    images : sequence of Path, optional
        CTs for a segmentation model; see :func:`export.parity.sample_patches.sample_patches`.
    lesions : sequence of (Path, Path), optional
        CTs with masks for a feature model; see :func:`export.parity.sample_lesions.sample_lesions`.
    source : Path, optional
        What the bundle was exported from (needs torch).
    on_progress : callable, optional
        Called with what is being done and a share from 0 to 1.

    Raises
    ------
    ManifestError, BundleIntegrityError
    ModelError
        If a survival model does not reproduce its reference outputs.
    NonFiniteOutputError, BlankOutputError, ParityError
        If a network gives what is no answer at all.
    BackendError
        If a backend that was named is not available, or there is none to compare with.
    """
    bundle = load_bundle(folder)
    inputs, measured_on = _inputs(bundle.manifest, images, lesions)
    if bundle.manifest.survival is not None:
        SurvivalModel.load(folder)
    tasks = list(_tasks(bundle, backends or BACKENDS, precisions, with_reference=source is not None))
    references = _references(bundle, source)
    reports: list[ParityReport] = []
    not_run: dict[str, str] = {}
    for done, task in enumerate(tasks):
        if on_progress is not None:
            on_progress(f"{task.backend}, {task.precision}", done / len(tasks))
        if task.backend in not_run:
            continue
        try:
            reports.append(_compared(bundle, task, references[task.member], inputs, measured_on))
        except BackendError as error:
            if backends:
                raise
            not_run[task.backend] = str(error)
    if not reports:
        reasons = "; ".join(f"{backend}: {reason}" for backend, reason in not_run.items())
        raise BackendError(
            f"there is nothing here to compare ONNX Runtime with ({reasons}); install coldspot[openvino], or give "
            "the source"
        )
    return _BundleParity(tuple(reports), not_run)


def _tasks(
    bundle: Bundle, backends: Sequence[str], precisions: Sequence[Precision], *, with_reference: bool
) -> Iterator[_Task]:
    """Every network on every backend, but the reference itself."""
    unknown = [precision for precision in precisions if precision not in bundle.manifest.variants]
    if unknown:
        known = ", ".join(bundle.manifest.variants)
        raise InvalidRequestError(f"{bundle.folder} has no variant {unknown[0]}, only {known}")
    for backend in backends:
        for precision in precisions or bundle.manifest.variants:
            if backend == REFERENCE and precision == "fp32" and not with_reference:
                continue
            for member in range(len(bundle.manifest.variants[precision])):
                yield _Task(backend, precision, member)


def _compared(
    bundle: Bundle,
    task: _Task,
    open_reference: _OpenReference,
    inputs: Inputs,
    measured_on: str,
) -> ParityReport:
    """Compare one network on one backend with its reference."""
    networks = bundle.variant(task.precision)
    member = f", member {task.member + 1}" if len(networks) > 1 else ""
    with ExitStack() as stack:
        session = stack.enter_context(
            open_session(networks[task.member], task.backend, precision=task.precision)
        )
        return compare_sessions(
            open_reference(stack),
            NamedSession(session, f"{session.backend}, {task.precision}{member}"),
            inputs,
            tolerance=_tolerance(bundle.manifest, task.precision),
            measured_on=measured_on,
            kind=_kind(bundle.manifest),
            max_flip_share=MAX_FLIP_SHARE if task.precision == "fp32" else _COARSE_FLIP_SHARE,
        )


def _references(bundle: Bundle, source: Path | None) -> list[_OpenReference]:
    """Functions that open the reference, one for each member."""
    if source is None:
        return [_OpenReference(content) for content in bundle.variant("fp32")]
    from export.bundle_parity.source_sessions import source_sessions  # noqa: PLC0415 - needs torch

    return [_OpenReference(session) for session in source_sessions(bundle, source)]


@dataclass(frozen=True, eq=False)
class _OpenReference:
    """The source's session, or the FP32 network that is opened when it is needed."""

    source: ComparableSession | bytes

    def __call__(self, stack: ExitStack) -> ComparableSession:
        if not isinstance(self.source, bytes):
            return self.source
        session = stack.enter_context(open_session(self.source, REFERENCE))
        return NamedSession(session, f"{session.backend}, fp32")


def _kind(manifest: ModelManifest) -> OutputKind:
    """What the outputs mean."""
    if manifest.segmentation is not None:
        return "regions" if manifest.segmentation.regions else "logits"
    return "features" if manifest.features is not None else "values"


def _tolerance(manifest: ModelManifest, precision: Precision) -> float:
    """The tolerance of the bundle's own report, else that of its kind."""
    if manifest.parity is not None:
        return manifest.parity.device_tolerance
    recorded = [report.tolerance for report in manifest.parity_reports if precision in report.candidate]
    if precision == "fp32" or not recorded:
        return _FP32_TOLERANCES[manifest.kind]
    return max(recorded)


def _inputs(
    manifest: ModelManifest, images: Sequence[Path], lesions: Sequence[tuple[Path, Path]]
) -> tuple[Inputs, str]:
    """Network inputs prepared as the engine does, and a description of them."""
    if manifest.segmentation is not None:
        patches = sample_patches(manifest.segmentation, images)
        return patches.inputs, patches.measured_on
    if manifest.features is not None:
        samples = sample_lesions(manifest.features, lesions)
        return samples.inputs, samples.measured_on
    columns = manifest.inputs[0].shape[-1]
    covariates = np.random.default_rng(0).uniform(
        -_SURVIVAL_RANGE_SD, _SURVIVAL_RANGE_SD, (_SURVIVAL_CASES, int(columns))
    )
    inputs = ({manifest.inputs[0].name: covariates.astype(np.float32)},)
    return inputs, f"{_SURVIVAL_CASES} drawn cases, standardized"
