"""Hounsfield units that tell lung from what is not lung: one value for each idea."""

from __future__ import annotations

from typing import Final

AERATED_LUNG_HU: Final = (-970.0, -500.0)
"""Aerated lung without its vessels; air outside the body and in the bowel is lighter."""

LUNG_THRESHOLD_HU: Final = -400
"""Half-way between aerated lung (about -850) and soft tissue (about 50): the usual pleural threshold."""

OUTSIDE_AIR_HU: Final = -950
"""Air around the patient; even emphysema seldom forms a connected region below it."""
