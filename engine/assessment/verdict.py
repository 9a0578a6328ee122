"""The verdict of an assessment: the one sentence that has to be read first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.assessment.wording import place_in_words, volume_in_words
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE
from engine.findings import CoverageFinding, LesionFinding

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.findings import ColdSpot


class VerdictKind(StrEnum):
    """What a verdict comes to."""

    COVERED = "covered"
    UNSURE = "unsure"
    COVERED_IN_LUNG = "covered in lung only"
    NOT_COVERED = "not covered"
    NO_ANSWER = "no answer"


_OPENINGS: Final = {
    VerdictKind.COVERED: "COVERED",
    VerdictKind.UNSURE: "NOT SURE",
    VerdictKind.COVERED_IN_LUNG: "COVERED IN LUNG ONLY",
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
        if assessment.lesion.origin.model is not None or coverage.zone_origin.model is not None:
            return _Verdict(
                VerdictKind.UNSURE,
                f"the part of {target} in lung lies in the ablation zone as drawn, but a model drew it",
            )
        missed_ml = float(np.count_nonzero(maps.target & ~maps.zone)) * maps.geometry.voxel_volume_ml
        return _Verdict(
            VerdictKind.COVERED_IN_LUNG,
            f"{volume_in_words(missed_ml)} of {target} lies outside the ablation zone, all of it outside the lung "
            "or at its edge, where coverage cannot be assessed",
        )
    return _covered(coverage, assessment.margin.minimal_mm, target)


def _covered(coverage: CoverageFinding, minimal_mm: float | None, target: str) -> _Verdict:
    """All of the target lies in the zone as it was measured; how sure that is makes the difference."""
    measured = f"all of {target} lies in the ablation zone"
    probability = coverage.probability_complete or 0.0
    if coverage.complete is None:
        return _Verdict(
            VerdictKind.UNSURE,
            f"{measured} as drawn, but a model drew it, and not surely enough to call it covered",
        )
    if probability < MIN_PROBABILITY_COMPLETE:
        return _Verdict(
            VerdictKind.UNSURE,
            f"{measured} on the best alignment, but the probability that it does is only {100 * probability:.0f} %",
        )
    smallest = "" if minimal_mm is None else f"; the smallest margin is {minimal_mm:.1f} mm"
    return _Verdict(VerdictKind.COVERED, measured + smallest)


def _not_covered(assessment: AblationAssessment, uncovered_ml: float, target: str) -> _Verdict:
    reason = f"{volume_in_words(uncovered_ml)} of {target}"
    if assessment.uncovered:
        reason += f", largest part {region_place_in_words(assessment.uncovered[0], assessment.lesion)}"
    return _Verdict(VerdictKind.NOT_COVERED, reason)


def region_place_in_words(region: ColdSpot, lesion: LesionFinding) -> str:
    """Where a region lies as seen from the tumor, with the distance of their centers."""
    place = place_in_words(region.directions, lesion.lung_side)
    if not region.directions or lesion.verification_centroid_lps_mm is None:
        return place
    offset = np.subtract(region.centroid_lps_mm, lesion.verification_centroid_lps_mm)
    return f"{float(np.linalg.norm(offset)):.0f} mm {place} (center to center)"
