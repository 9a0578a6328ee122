"""Inputs of a risk model that do not come from the CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from engine.errors import InvalidRequestError

FIBRINOGEN_RANGE_G_PER_L: Final = (0.1, 20.0)
"""What plasma fibrinogen can be: from the least that assays report to well above any patient's."""

_MG_PER_DL: Final = 100.0
"""mg/dL in one g/L."""


@dataclass(frozen=True)
class ClinicalInputs:
    """Sex and plasma fibrinogen before ablation; an absent one widens the band of the risk."""

    sex: Literal["f", "m"] | None = None
    fibrinogen_g_per_l: float | None = None


def require_possible_fibrinogen(fibrinogen_g_per_l: float | None) -> None:
    """Refuse a fibrinogen that no patient has, above all one in mg/dL.

    Raises
    ------
    InvalidRequestError
    """
    low, high = FIBRINOGEN_RANGE_G_PER_L
    if fibrinogen_g_per_l is None or low <= fibrinogen_g_per_l <= high:
        return
    hint = "leave it out if it is unknown"
    if low <= fibrinogen_g_per_l / _MG_PER_DL <= high:
        hint = f"in mg/dL it would be {fibrinogen_g_per_l / _MG_PER_DL:g} g/L"
    raise InvalidRequestError(
        f"fibrinogen {fibrinogen_g_per_l:g} is outside {low:g} to {high:g} g/L; {hint}", "fibrinogen_g_per_l"
    )
