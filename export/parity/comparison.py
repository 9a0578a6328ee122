"""Whether two sessions give the same outputs: the gate of every bundle and every engine.

Torch-free: the reference is anything with ``run`` and ``backend``. What no number expresses (NaN,
a blank output, other shapes) is an error of its own, because a largest difference would hide it:
NVIDIA/TensorRT engines in FP16 have answered all background without any complaint (nnUNet issue 2874).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from engine.arrays import FloatingArray
from engine.errors import BlankOutputError, NonFiniteOutputError, ParityError
from engine.manifest import ParityReport
from export.parity.measures import (
    DifferenceSummary,
    LabelAgreement,
    OutputSpread,
    cosine_distances,
)

OutputKind = Literal["values", "logits", "regions", "features"]
"""Numbers of any meaning; logits of labels that exclude each other (N, K, z, y, x); logits of
overlapping regions; one vector for each case (N, F)."""

MAX_FLIP_SHARE: Final = 1e-4
"""Share of voxels that may have another label, near ties apart."""

Outputs = Mapping[str, npt.NDArray[Any]]


class ComparableSession(Protocol):
    """An ``InferenceSession``, or anything that behaves like one."""

    @property
    def backend(self) -> str:
        """Library, version, device and precision."""
        ...

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Compute all outputs by name."""
        ...


def compare_sessions(
    reference: ComparableSession,
    candidate: ComparableSession,
    inputs: Iterable[Mapping[str, npt.NDArray[Any]]],
    *,
    tolerance: float,
    measured_on: str,
    kind: OutputKind = "values",
    max_flip_share: float = MAX_FLIP_SHARE,
    on_progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Run two sessions on the same inputs and measure how their outputs differ.

    Parameters
    ----------
    reference, candidate : InferenceSession or alike
    inputs : iterable of mappings
        Arrays by name; each mapping is one call of both, its first axis counts cases.
    tolerance : float
        Of the largest cosine distance for ``features``, else of the largest absolute difference.
    measured_on : str
        Which images, for the report.
    kind : {"values", "logits", "regions", "features"}, optional
        What the outputs mean.
    max_flip_share : float, optional
        Share of the voxels that may have another label, near ties apart.
    on_progress : callable, optional
        Given the number of calls that are done.

    Returns
    -------
    ParityReport
        ``passed`` if within the tolerance and, for labels, if few enough voxels have another one.

    Raises
    ------
    NonFiniteOutputError
        If either gives NaN or infinity.
    BlankOutputError
        If the candidate gives one value everywhere, or background alone, and the reference does not.
    ParityError
        If the candidate gives other names or shapes, or there is no input.
    """
    comparison = OutputComparison(reference.backend, candidate.backend, kind)
    for done, arrays in enumerate(inputs, start=1):
        comparison.add(reference.run(dict(arrays)), candidate.run(dict(arrays)))
        if on_progress is not None:
            on_progress(done)
    return comparison.report(tolerance=tolerance, measured_on=measured_on, max_flip_share=max_flip_share)


def require_parity(report: ParityReport) -> ParityReport:
    """Return a report that passed.

    Raises
    ------
    ParityError
        If it was not.
    """
    if report.passed:
        return report
    measure = f"largest difference {report.max_abs:.3g}"
    if report.cosine_distance is not None:
        measure = f"largest cosine distance {report.cosine_distance:.3g}"
    labels = ""
    if report.label_flips is not None:
        labels = f", {decided_flips(report)} of {report.voxels} voxels with another label, near ties apart"
    raise ParityError(
        f"{report.candidate} does not answer as {report.reference} does on {report.measured_on}: {measure} "
        f"(tolerance {report.tolerance:g}){labels}; do not use it, and export or build it again"
    )


def decided_flips(report: ParityReport) -> int:
    """Voxels with another label that the reference had decided clearly."""
    return (report.label_flips or 0) - (report.near_tie_flips or 0)


@dataclass(frozen=True)
class NamedSession:
    """A session under a name that says more than its own, such as the precision of its graph."""

    session: ComparableSession
    backend: str

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Compute all outputs by name."""
        return self.session.run(inputs)


@dataclass
class OutputComparison:
    """Outputs of two networks, compared one call after another; for whole volumes without sessions too.

    Parameters
    ----------
    reference, candidate : str
        Library, version, device and precision.
    kind : {"values", "logits", "regions", "features"}
    """

    reference: str
    candidate: str
    kind: OutputKind = "values"
    cases: int = 0
    _differences: DifferenceSummary = field(default_factory=DifferenceSummary)
    _distance: float = 0.0
    _labels: LabelAgreement | None = None
    _spread: dict[str, OutputSpread] = field(default_factory=dict)

    def add(self, expected: Outputs, actual: Outputs) -> None:
        """Compare one call's outputs.

        Raises
        ------
        NonFiniteOutputError
        ParityError
            If names or shapes differ.
        """
        if set(actual) != set(expected) or not expected:
            raise ParityError(
                f"{self.candidate} gives {_list(actual)}, {self.reference} {_list(expected)}; export again"
            )
        for name, value in expected.items():
            self._add(name, np.asarray(value), np.asarray(actual[name]))
        self.cases += len(next(iter(expected.values())))

    def report(
        self, *, tolerance: float, measured_on: str, max_flip_share: float = MAX_FLIP_SHARE
    ) -> ParityReport:
        """Sum up what was added.

        Raises
        ------
        BlankOutputError
        ParityError
            If nothing was compared.
        """
        if not self.cases:
            raise ParityError("nothing was compared; give at least one input")
        self._refuse_blank()
        largest = self._differences.max
        is_vector = self.kind == "features"
        passed = (self._distance if is_vector else largest) <= tolerance
        agreement: dict[str, Any] = {}
        if self._labels is not None:
            passed = passed and self._labels.decided_flips <= max_flip_share * self._labels.voxels
            agreement = {
                "dice": self._labels.min_dice,
                "label_flips": self._labels.flips,
                "near_tie_flips": self._labels.near_tie_flips,
                "voxels": self._labels.voxels,
            }
        return ParityReport(
            reference=self.reference,
            candidate=self.candidate,
            measured_on=measured_on,
            cases=self.cases,
            max_abs=largest,
            mean_abs=self._differences.mean,
            p999_abs=self._differences.percentile_99_9,
            cosine_distance=self._distance if is_vector else None,
            tolerance=tolerance,
            passed=bool(passed),
            **agreement,
        )

    def _add(self, name: str, expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> None:
        """Compare one output."""
        if expected.shape != actual.shape or not expected.size:
            raise ParityError(
                f"{name} has the shape {actual.shape} from {self.candidate}, {expected.shape} from "
                f"{self.reference}; export again"
            )
        _require_finite(name, expected, self.reference)
        _require_finite(name, actual, self.candidate)
        # Half-precision outputs are subtracted in single precision; doubles stay doubles.
        wide = np.result_type(expected, actual, np.float32)
        wide_expected: FloatingArray = expected.astype(wide, copy=False)
        wide_actual: FloatingArray = actual.astype(wide, copy=False)
        self._differences.add(wide_expected, wide_actual)
        self._spread.setdefault(name, OutputSpread()).add(wide_expected, wide_actual)
        if self.kind == "features":
            self._distance = max(self._distance, float(cosine_distances(wide_expected, wide_actual).max()))
        elif self.kind in {"logits", "regions"}:
            self._labels = self._labels or LabelAgreement(exclusive=self.kind == "logits")
            self._labels.add(wide_expected, wide_actual)

    def _refuse_blank(self) -> None:
        """Tell a blank output from one that is merely inexact."""
        for name, spread in self._spread.items():
            if spread.is_blank:
                raise BlankOutputError(
                    f"{self.candidate} gives one and the same {name} for all inputs, {self.reference} does not; "
                    "it is broken, most likely by its precision: use the variant fp32"
                )
        if self._labels is not None and self._labels.is_blank:
            raise BlankOutputError(
                f"{self.candidate} finds background alone where {self.reference} finds "
                f"{self._labels.decided_foreground} voxels of structures; it is broken, most likely by its "
                "precision: use the variant fp32"
            )


def _require_finite(name: str, value: npt.NDArray[Any], backend: str) -> None:
    """Refuse NaN and infinity, which no difference shows."""
    if not np.isfinite(value).all():
        share = 1 - np.count_nonzero(np.isfinite(value)) / value.size
        raise NonFiniteOutputError(
            f"{backend} gives NaN or infinity in {share:.2%} of {name}; its precision does not hold this "
            "network: use the variant fp32"
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
