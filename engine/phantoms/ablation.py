"""The ablation zone: a margin around the tumor that depends on the direction, and how it looks on CT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from engine.arrays import Float64Array
from engine.phantoms.tumor import evenly_spread

AblationKind = Literal["complete", "miss", "under", "half"]

_MARGIN_OF_KIND_MM: Final[dict[str, float]] = {"complete": 6.0, "miss": 2.5, "under": -2.0, "half": -12.0}
"""Least margin along the worst direction, unless the caller names one."""

RIM_MM: Final = 2.5
"""Width of the ground-glass rim around the dense core."""

_GROUND_GLASS_HU: Final = -560.0
_CORE_HU: Final = -60.0


@dataclass(frozen=True, eq=False)
class AblationShape:
    """A zone that reaches ``margin(direction)`` beyond the tumor's surface.

    Parameters
    ----------
    ample_mm : float
        Margin away from the worst direction, before its waves.
    waves : sequence of (direction (3,), height mm, sharpness)
    worst_direction : ndarray, (3,)
    dip_mm : float
        How much less the margin is there.
    dip_sharpness : float
    """

    ample_mm: float
    waves: tuple[tuple[Float64Array, float, float], ...]
    worst_direction: Float64Array
    dip_mm: float
    dip_sharpness: float

    def margin_mm(self, unit: Float64Array) -> Float64Array:
        """Margin along unit directions (..., 3) from the tumor's center."""
        margin = np.full(unit.shape[:-1], self.ample_mm)
        for direction, height, sharpness in self.waves:
            margin += height * np.exp(sharpness * (unit @ direction - 1.0))
        return np.asarray(
            margin - self.dip_mm * np.exp(self.dip_sharpness * (unit @ self.worst_direction - 1.0))
        )

    def depth_mm(self, tumor_distance_mm: Float64Array, offset_from_center: Float64Array) -> Float64Array:
        """Positive inside the zone: the margin along a point's direction less its distance to the tumor."""
        length = np.linalg.norm(offset_from_center, axis=-1)
        unit = offset_from_center / np.maximum(length, 1e-9)[..., None]
        return np.asarray(self.margin_mm(unit) - tumor_distance_mm)

    def center_and_radius_mm(self, tumor_radius_mm: float) -> tuple[Float64Array, float]:
        """Center of gravity (3,) from the tumor's and radius, as if the tumor were a ball."""
        unit = evenly_spread(2000)
        radius = np.maximum(tumor_radius_mm + self.margin_mm(unit), 0.0)
        center = 0.75 * (unit * radius[:, None] ** 4).mean(axis=0) / np.maximum((radius**3).mean(), 1e-9)
        return np.asarray(center), float(np.cbrt((radius**3).mean()))


def random_ablation(
    rng: np.random.Generator, kind: AblationKind, minimal_margin_mm: float | None
) -> AblationShape:
    """A zone of a kind; its minimal margin over all directions is the requested one."""
    min_margin_mm = _MARGIN_OF_KIND_MM[kind] if minimal_margin_mm is None else minimal_margin_mm
    waves = tuple((_unit(rng), float(rng.uniform(0.5, 2.0)), float(rng.uniform(3.0, 8.0))) for _ in range(4))
    ample = max(min_margin_mm + float(rng.uniform(0.5, 2.5)), 6.0)
    sharpness = 1.2 if kind == "half" else float(rng.uniform(3.0, 6.0))
    drawn = AblationShape(ample, waves, _unit(rng), ample - min_margin_mm, sharpness)
    # The waves lift the worst direction too, or a wave's foot is the worst.
    lift = float(drawn.margin_mm(evenly_spread(4000)).min()) - min_margin_mm
    return replace(drawn, ample_mm=ample - lift)


def zone_hu(rng: np.random.Generator, depth_mm: Float64Array) -> Float64Array:
    """HU of the zone by depth: ground glass at the rim, coagulated tissue within."""
    inward = np.clip((depth_mm - RIM_MM + 0.7) / 1.4, 0.0, 1.0)
    mottle = rng.normal(0.0, 25.0, depth_mm.shape)
    return np.asarray(_GROUND_GLASS_HU + inward * (_CORE_HU - _GROUND_GLASS_HU) + mottle)


def _unit(rng: np.random.Generator) -> Float64Array:
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector))
