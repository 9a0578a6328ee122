"""The files an assessment has."""

from __future__ import annotations

from typing import Final

from engine.errors import InvalidRequestError

ASSESSMENT_JSON: Final = "assessment.json"
SHEET_PNG: Final = "sheet.png"
_DRAWN_NAMES: Final = (
    "tumor.nii.gz",
    "target.nii.gz",
    "zone.nii.gz",
    "uncovered.nii.gz",
    "margin_mm.nii.gz",
    "verification_region.nii.gz",
    SHEET_PNG,
)
ARTIFACT_NAMES: Final = (*_DRAWN_NAMES, ASSESSMENT_JSON)
REFUSED_ARTIFACT_NAMES: Final = (SHEET_PNG, ASSESSMENT_JSON)
"""What a refused assessment has of them."""


def check_artifact_name(name: str) -> None:
    """Refuse a name that no artifact has; nothing else becomes part of a path.

    Raises
    ------
    InvalidRequestError
    """
    if name not in ARTIFACT_NAMES:
        raise InvalidRequestError(f"an artifact is one of {', '.join(ARTIFACT_NAMES)}", "name")
