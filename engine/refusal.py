"""A refusal: the images were read, but no trustworthy number can be given.

It is an outcome, not an error. The numbers of a refused assessment are null.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engine.geometry import Vector3


class RefusalCode(StrEnum):
    """Why no number is given."""

    TARGET_CUT_BY_FIELD_OF_VIEW = "target_cut_by_field_of_view"
    ZONE_CUT_BY_FIELD_OF_VIEW = "zone_cut_by_field_of_view"
    LESION_OUTSIDE_OVERLAP = "lesion_outside_overlap"
    ALIGNMENT_RESIDUAL_TOO_HIGH = "alignment_residual_too_high"
    WRONG_SIDE = "wrong_side"
    LUNG_CHANGED = "lung_changed"
    FOLDING = "folding"
    SLICES_TOO_THICK = "slices_too_thick"
    NO_ZONE = "no_zone"
    LESION_NOT_FOUND = "lesion_not_found"
    SEVERAL_LESIONS = "several_lesions"
    SLICE_DISTANCE_DOUBTFUL = "slice_distance_doubtful"
    LUNG_DOUBTFUL = "lung_doubtful"


@dataclass(frozen=True)
class LesionCandidate:
    """What a segmentation model takes for a tumor: its volume and a place inside it, planning CT, LPS mm."""

    volume_ml: float
    place_lps_mm: Vector3

    def __str__(self) -> str:
        """Volume and place in words."""
        x, y, z = self.place_lps_mm
        return f"{self.volume_ml:.2f} mL at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm"


@dataclass(frozen=True)
class Refusal:
    """A typed outcome: ``code`` for programs, ``reason`` (what and what to do) for people.

    ``candidates`` are those a caller may choose from by a target point.
    """

    code: RefusalCode
    reason: str
    candidates: tuple[LesionCandidate, ...] = ()


class RefusedError(Exception):
    """Carries a refusal out of a stage; :mod:`engine.assessment.verification` turns it into an outcome."""

    def __init__(self, code: RefusalCode, reason: str, candidates: tuple[LesionCandidate, ...] = ()) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code, reason, candidates)

    @classmethod
    def again(cls, refusal: Refusal) -> RefusedError:
        """The error that raises an earlier refusal again."""
        return cls(refusal.code, refusal.reason, refusal.candidates)
