"""The verdict of an assessment: the one sentence that has to be read first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.assessment.wording import place_in_words, share_in_words, volume_in_words
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE
from engine.findings import LesionFinding

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment, AssessmentMaps
    from engine.findings import ColdSpot


class VerdictKind(StrEnum):
    """What a verdict comes to."""

    COVERED = "covered"
    UNDECIDED = "undecided"
    COVERED_IN_LUNG = "covered in lung"
    NOT_COVERED = "not covered"
    NO_ANSWER = "no answer"


_OPENINGS: Final = {
    VerdictKind.COVERED: "COVERED",
    VerdictKind.UNDECIDED: "UNDECIDED",
    VerdictKind.COVERED_IN_LUNG: "COVERED IN LUNG",
    VerdictKind.NOT_COVERED: "NOT COVERED",
    VerdictKind.NO_ANSWER: "NO ANSWER",
}


@dataclass(frozen=True)
class _Verdict:
    """A verdict and its sentence."""

    kind: VerdictKind
    reason: str

    @property
    def sentence(self) -> str:
        """The verdict in words, what it comes to first."""
        return f"{_OPENINGS[self.kind]}: {self.reason}"


def verdict_of(assessment: AblationAssessment) -> _Verdict:
    """Return the verdict of a final assessment.

    Raises
    ------
    ValueError
        If the assessment is preliminary, or has neither maps nor a refusal.
    """
    if assessment.preliminary:
        raise ValueError("a preliminary assessment has no verdict")
    if assessment.refusal is not None:
        return _Verdict(VerdictKind.NO_ANSWER, assessment.refusal.reason)
    maps, coverage = assessment.maps, assessment.coverage
    if maps is None:
        raise ValueError("a final assessment without maps is a refusal")
    target = f"the {coverage.target_margin_mm:g} mm target"
    if maps.uncovered.any():
        uncovered_ml = float(np.count_nonzero(maps.uncovered)) * maps.geometry.voxel_volume_ml
        return _not_covered(assessment, uncovered_ml, target)
    if coverage.complete is False:
        return _in_lung(assessment, maps, target)
    if coverage.complete is None:
        measured = f"all of {target} lies in the ablation zone on the best alignment"
        return _Verdict(
            VerdictKind.UNDECIDED, f"{measured}, but {_doubt(assessment, coverage.probability_complete)}"
        )
    smallest = _smallest(assessment.margin.minimal_mm, "the smallest margin")
    return _Verdict(VerdictKind.COVERED, f"all of {target} lies in the ablation zone{smallest}")


def _smallest(minimal_mm: float | None, which: str) -> str:
    return "" if minimal_mm is None else f"; {which} is {minimal_mm:.1f} mm"


def _in_lung(assessment: AblationAssessment, maps: AssessmentMaps, target: str) -> _Verdict:
    """Some of the target lies outside the zone, and none of that can be assessed."""
    coverage = assessment.coverage
    hidden = np.count_nonzero(maps.not_assessable) / np.count_nonzero(maps.target)
    beyond = (
        f"{share_in_words(hidden)} of the target lies outside the lung or at its edge and cannot be assessed"
    )
    if coverage.lung_clipped_tcr is None:
        return _Verdict(VerdictKind.UNDECIDED, f"{beyond}: nothing of it can be")
    measured = f"all of {target} in lung lies in the ablation zone"
    if coverage.lung_clipped_complete:
        smallest = _smallest(assessment.margin.lung_clipped_minimal_mm, "the smallest margin there")
        return _Verdict(VerdictKind.COVERED_IN_LUNG, f"{measured}{smallest}; {beyond}")
    doubt = _doubt(assessment, coverage.lung_clipped_probability_complete)
    return _Verdict(VerdictKind.UNDECIDED, f"{measured} on the best alignment, but {doubt}; {beyond}")


def _doubt(assessment: AblationAssessment, probability: float | None) -> str:
    """Why coverage that was measured as complete is not called so."""
    if probability is not None and probability < MIN_PROBABILITY_COMPLETE:
        return (
            f"the probability that it does is only {100 * probability:.0f} % "
            f"({100 * MIN_PROBABILITY_COMPLETE:.0f} % are asked for)"
        )
    drawn = [assessment.lesion.origin, assessment.coverage.zone_origin]
    if any(origin.model is not None for origin in drawn):
        return "a model drew it, and where the model is less sure it would not"
    return "not surely enough to call it covered"


def _not_covered(assessment: AblationAssessment, uncovered_ml: float, target: str) -> _Verdict:
    reason = f"{volume_in_words(uncovered_ml)} of {target}"
    if assessment.uncovered and assessment.uncovered[0].in_lung:
        reason += f", largest part {region_place_in_words(assessment.uncovered[0], assessment.lesion)}"
    return _Verdict(VerdictKind.NOT_COVERED, reason)


def region_place_in_words(region: ColdSpot, lesion: LesionFinding) -> str:
    """Where a region lies as seen from the tumor, with the distance of their centers."""
    place = place_in_words(region.directions, lesion.lung_side)
    if not region.directions or lesion.verification_centroid_lps_mm is None:
        return place
    offset = np.subtract(region.centroid_lps_mm, lesion.verification_centroid_lps_mm)
    return f"{float(np.linalg.norm(offset)):.0f} mm {place} (center to center)"
