"""What a reader noticed in an input and did not refuse.

A warning has a code, so that clinical mode and programs can decide on it, and a message for a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from engine.errors import ClinicalModeError


class InputWarningCode(StrEnum):
    """What was noticed."""

    OTHER = "other"
    NO_AIR = "no_air"
    NO_TISSUE = "no_tissue"
    HU_CLIPPED = "hu_clipped"
    UNIT_NOT_STATED = "unit_not_stated"
    ORIENTATION_NOT_STATED = "orientation_not_stated"
    FILES_LEFT_OUT = "files_left_out"
    COMPANION_FILES = "companion_files"
    OTHER_OBJECTS_LEFT_OUT = "other_objects_left_out"
    PATIENT_NOT_CHECKED = "patient_not_checked"
    MASK_OF_OTHER_SERIES = "mask_of_other_series"
    PADDING = "padding"
    GANTRY_TILT = "gantry_tilt"
    SLICE_THICKNESS = "slice_thickness"
    UNUSED_BITS = "unused_bits"
    OUTLINES_UNITED = "outlines_united"
    OUTLINE_BESIDE_SLICE = "outline_beside_slice"
    OUTLINE_WITHOUT_VOXEL = "outline_without_voxel"
    SLICE_WITHOUT_OUTLINE = "slice_without_outline"
    MASK_SLICE_LOST = "mask_slice_lost"
    MASK_SLICE_NARROW = "mask_slice_narrow"
    MASK_HOLE = "mask_hole"
    MASK_CAVITY = "mask_cavity"
    MASK_PIT = "mask_pit"
    MASK_STRAY_PART = "mask_stray_part"
    MASK_SEVERAL_PARTS = "mask_several_parts"


REFUSED_CLINICALLY: Final = frozenset(
    {
        InputWarningCode.ORIENTATION_NOT_STATED,
        InputWarningCode.MASK_SLICE_LOST,
        InputWarningCode.MASK_HOLE,
        InputWarningCode.MASK_STRAY_PART,
        InputWarningCode.OUTLINES_UNITED,
    }
)
"""Warnings with which clinical mode gives no number: what they name can decide on the margin alone."""

MASK_FAULTS: Final = frozenset(
    {InputWarningCode.MASK_SLICE_LOST, InputWarningCode.MASK_HOLE, InputWarningCode.MASK_STRAY_PART}
)
"""What an answer says in its summary too, not among its warnings alone: one voxel of it can decide on the figures."""


@dataclass(frozen=True)
class InputWarning:
    """One thing that was noticed.

    Parameters
    ----------
    code : InputWarningCode
    message : str
        What was found, where, and what to do.
    """

    code: InputWarningCode
    message: str

    def __str__(self) -> str:
        """The message."""
        return self.message


def messages(warnings: Iterable[InputWarning]) -> tuple[str, ...]:
    """Return the messages, in order."""
    return tuple(warning.message for warning in warnings)


def require_clinical(warnings: Iterable[InputWarning]) -> None:
    """Refuse an input whose warnings clinical mode does not accept.

    Parameters
    ----------
    warnings : iterable of InputWarning

    Raises
    ------
    ClinicalModeError
    """
    unacceptable = [warning.message for warning in warnings if warning.code in REFUSED_CLINICALLY]
    if unacceptable:
        raise ClinicalModeError(f"refused in clinical mode: {'; '.join(unacceptable)}")
