"""A refusal: the images were read, but no trustworthy number can be given.

It is an outcome, not an error. The numbers of a refused assessment are null.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True)
class Refusal:
    """A typed outcome: ``code`` for programs, ``reason`` (what and what to do) for people."""

    code: RefusalCode
    reason: str


class RefusedError(Exception):
    """Carries a refusal out of a stage; :mod:`engine.assessment` turns it into an outcome."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.refusal = Refusal(code, reason)
