"""What the sheet says of an assessment that the engine does not know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SheetFacts:
    """Whose sheet it is, and what made it.

    Parameters
    ----------
    case_id, assessment_id : str
    assessed_at : str
        ISO 8601, UTC.
    software : str
        Program and version.
    caution : str, optional
        What has to stand above everything but the verdict.
    """

    case_id: str
    assessment_id: str
    assessed_at: str
    software: str
    caution: str = ""
