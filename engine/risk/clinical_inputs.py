"""Inputs of a risk model that do not come from the CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClinicalInputs:
    """Sex and plasma fibrinogen before ablation; an absent one widens the band of the risk."""

    sex: Literal["f", "m"] | None = None
    fibrinogen_g_per_l: float | None = None
