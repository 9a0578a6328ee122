"""Ablation zones of many shapes, each as a depth that is positive inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.phantoms.ablation import AblationShape, random_ablation
from engine.phantoms.conditions.description import ProcedureDescription
from engine.phantoms.tumor import evenly_spread

_COOLED_MM: Final = 1.5
"""Tissue this close to a vessel's wall is not ablated."""

VESSEL_RADIUS_MM: Final = 2.2
_LOBES: Final = 5


@dataclass(frozen=True, eq=False)
class Places:
    """Where a depth is asked for, one row each.

    Parameters
    ----------
    tumor_distance_mm : ndarray, (...)
        Signed, verification frame.
    offset_mm : ndarray, (..., 3)
        From the tumor's center, verification frame.
    planning_lps_mm : callable
        Gives the places (..., 3) where the tissue was; few zones ask.
    """

    tumor_distance_mm: Float64Array
    offset_mm: Float64Array
    planning_lps_mm: Callable[[], Float64Array]


class Zone(Protocol):
    """An ablation zone."""

    def depth_mm(self, at: Places) -> Float64Array:
        """Positive inside; continuous, 0 on the surface, but not necessarily a distance."""

    @property
    def reach_mm(self) -> float:
        """No part of the zone is farther from the tumor's surface."""


@dataclass(frozen=True, eq=False)
class _MarginZone:
    """A margin around the tumor that depends on the direction."""

    shape: AblationShape

    def depth_mm(self, at: Places) -> Float64Array:
        """See :class:`Zone`."""
        return self.shape.depth_mm(at.tumor_distance_mm, at.offset_mm)

    @property
    def reach_mm(self) -> float:
        """See :class:`Zone`."""
        return float(self.shape.margin_mm(evenly_spread(2000)).max()) + 1.0


@dataclass(frozen=True, eq=False)
class CooledZone:
    """A zone that stops short of a vessel, a straight line in the planning frame."""

    zone: Zone
    point_lps_mm: Float64Array
    direction: Float64Array

    def depth_mm(self, at: Places) -> Float64Array:
        """See :class:`Zone`."""
        cooled = self.distance_to_axis_mm(at.planning_lps_mm()) - VESSEL_RADIUS_MM - _COOLED_MM
        return np.minimum(self.zone.depth_mm(at), cooled)

    def distance_to_axis_mm(self, planning_lps_mm: Float64Array) -> Float64Array:
        """Distance of planning positions (..., 3) to the vessel's axis."""
        offset = planning_lps_mm - self.point_lps_mm
        across = offset - (offset @ self.direction)[..., None] * self.direction
        return np.asarray(np.linalg.norm(across, axis=-1))

    @property
    def reach_mm(self) -> float:
        """See :class:`Zone`."""
        return self.zone.reach_mm


@dataclass(frozen=True, eq=False)
class _Burns:
    """A zone and balls beside it, together.

    Parameters
    ----------
    zone : Zone
    balls : sequence of (center (3,) from the tumor's, radius mm)
        Verification frame.
    """

    zone: Zone | None
    balls: tuple[tuple[Float64Array, float], ...]
    tumor_max_radius_mm: float

    def depth_mm(self, at: Places) -> Float64Array:
        """See :class:`Zone`."""
        parts = [radius - np.linalg.norm(at.offset_mm - center, axis=-1) for center, radius in self.balls]
        if self.zone is not None:
            parts.append(self.zone.depth_mm(at))
        return np.asarray(np.max(parts, axis=0))

    @property
    def reach_mm(self) -> float:
        """See :class:`Zone`."""
        # The tumor's surface may be much nearer its center than its greatest radius.
        balls = max(float(np.linalg.norm(center)) + radius for center, radius in self.balls)
        return max(balls, 0.0 if self.zone is None else self.zone.reach_mm)


def draw_zone(
    rng: np.random.Generator,
    description: ProcedureDescription,
    tumor_center_lps_mm: Float64Array,
    radius_along: Float64Array,
    tumor_max_radius_mm: float,
) -> Zone:
    """A zone of the kind that a description asks for.

    Parameters
    ----------
    rng : numpy.random.Generator
    description : ProcedureDescription
    tumor_center_lps_mm : ndarray, (3,)
        Planning frame.
    radius_along : ndarray, (N,)
        The tumor's radius along ``evenly_spread(N)``, verification frame.
    tumor_max_radius_mm : float
        Verification frame.

    Raises
    ------
    InvalidRequestError
        The kind is not known.
    """
    margin = description.margin_mm
    match description.zone:
        case "margin" | "left_over":
            return _MarginZone(random_ablation(rng, "miss", margin))
        case "exact":
            return _MarginZone(AblationShape(margin, (), _unit(rng), 0.0, 1.0))
        case "heat_sink":
            axis, away = _unit(rng), _unit(rng)
            away -= (away @ axis) * axis
            away /= np.linalg.norm(away)
            # The vessel passes where it cools a part of the target and leaves the tumor itself alone.
            outer = tumor_max_radius_mm + VESSEL_RADIUS_MM + rng.uniform(0.0, 3.0)
            return CooledZone(
                _MarginZone(random_ablation(rng, "miss", margin)), tumor_center_lps_mm + outer * away, axis
            )
        case "lobed":
            return _MarginZone(_lobed(rng, margin))
        case "burns_joined":
            return _joined(rng, margin, tumor_max_radius_mm)
        case "burns_apart":
            return _apart(rng, margin, radius_along, tumor_max_radius_mm)
    raise InvalidRequestError(f"no zone is called {description.zone!r}")


def _lobed(rng: np.random.Generator, margin_mm: float) -> AblationShape:
    """Deep lobes and clefts between them, the least margin as asked for."""
    waves = tuple(
        (_unit(rng), float(rng.uniform(4.0, 8.0)), float(rng.uniform(5.0, 12.0))) for _ in range(_LOBES)
    )
    drawn = AblationShape(margin_mm, waves, _unit(rng), 0.0, 1.0)
    lift = float(drawn.margin_mm(evenly_spread(4000)).min()) - margin_mm
    return replace(drawn, ample_mm=drawn.ample_mm - lift)


def _joined(rng: np.random.Generator, margin_mm: float, max_radius_mm: float) -> _Burns:
    """Two overlapping balls along one axis."""
    axis, apart = _unit(rng), float(rng.uniform(0.45, 0.75)) * max_radius_mm
    radius = float(np.hypot(max_radius_mm + margin_mm, 0.3 * apart))
    return _Burns(
        None, ((apart * axis, radius), (-apart * axis, float(rng.uniform(0.9, 1.0)) * radius)), max_radius_mm
    )


def _apart(
    rng: np.random.Generator, margin_mm: float, radius_along: Float64Array, max_radius_mm: float
) -> _Burns:
    """A zone that falls short on one side, and a second one there, not touching it."""
    # A broad dip, or the first zone widens around the second.
    first = replace(random_ablation(rng, "miss", margin_mm), dip_sharpness=1.5)
    unit = first.worst_direction
    surface = float(radius_along[int(np.argmax(evenly_spread(len(radius_along)) @ unit))])
    gap, radius = float(rng.uniform(1.5, 2.5)), float(rng.uniform(5.0, 7.0))
    return _Burns(_MarginZone(first), (((surface + margin_mm + gap + radius) * unit, radius),), max_radius_mm)


def _unit(rng: np.random.Generator) -> Float64Array:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
