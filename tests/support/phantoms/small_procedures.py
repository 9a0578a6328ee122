"""Small procedures for tests: made once, one switch at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from engine.phantoms.conditions import ConditionedProcedure, ProcedureDescription, make_conditioned

PLAIN = ProcedureDescription(
    11,
    tumor_volume_ml=0.5,
    margin_mm=4.0,
    place="subpleural",
    planning_noise_hu=1.0,
    verification_noise_hu=1.0,
    planning_slice_mm=1.5,
    verification_slice_mm=1.5,
    in_plane_mm=1.2,
    planning_field_mm=64.0,
    verification_field_mm=64.0,
)
"""The procedure in which the tests turn one switch."""


@cache
def made(**switches: Any) -> ConditionedProcedure:
    """The plain procedure with some switches turned."""
    return make_conditioned(replace(PLAIN, **switches))
