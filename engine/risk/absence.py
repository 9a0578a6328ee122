"""Why an assessment has no risk of progression: the coverage stands, whatever happens to the risk."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RiskAbsenceCode(StrEnum):
    """Why there is no risk; a program acts on these words."""

    PRELIMINARY = "preliminary"
    REFUSED = "refused"
    NO_MODEL = "no_model"
    DEMO_MODEL_IN_CLINICAL_MODE = "demo_model_in_clinical_mode"
    UNUSABLE_INPUT = "unusable_input"
    NO_SIGNATURE = "no_signature"


@dataclass(frozen=True)
class RiskAbsence:
    """Why there is no risk; ``reason`` is a sentence that says what to do."""

    code: RiskAbsenceCode
    reason: str


PRELIMINARY: Final = RiskAbsence(
    RiskAbsenceCode.PRELIMINARY, "a preliminary answer has no risk; wait for the final one"
)
REFUSED: Final = RiskAbsence(
    RiskAbsenceCode.REFUSED, "the assessment was refused, and the risk needs its coverage; see the refusal"
)
NO_MODEL: Final = RiskAbsence(
    RiskAbsenceCode.NO_MODEL, "no risk model is used here; install one, or name it as risk_model"
)
