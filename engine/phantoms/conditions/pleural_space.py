"""Air or fluid between lung and chest wall: the lung falls back from the wall by its depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.phantoms.chest import Chest
from engine.phantoms.conditions.description import ProcedureDescription

_REACH_MM: Final = 60.0
"""From where it is deepest, the depth falls to nothing over this distance."""

_RETREAT_DEPTH_MM: Final = 45.0
"""Over this depth the lung's retreat fades."""

_STEP_MM: Final = 1.5
_AIR_HU: Final = -990.0
_FLUID_HU: Final = 12.0


@dataclass(frozen=True, eq=False)
class PleuralSpace:
    """A layer along a patch of the pleura.

    Parameters
    ----------
    chest : Chest
    place : ndarray, (3,)
        On the pleura, where the layer is deepest; planning frame.
    depth_mm : float
    hu : float
        Of what fills it.
    """

    chest: Chest
    place: Float64Array
    depth_mm: float
    hu: float

    def local_depth_mm(self, points_lps_mm: Float64Array) -> Float64Array:
        """Depth of the layer at planning positions (N, 3) by the wall's motion."""
        distance = np.linalg.norm(points_lps_mm - self.place, axis=-1)
        share = np.clip(1.0 - distance / _REACH_MM, 0.0, 1.0)
        return np.asarray(self.depth_mm * share * share * (3.0 - 2.0 * share))

    def apply(self, points_lps_mm: Float64Array) -> Float64Array:
        """Where the lung at planning positions (N, 3) lay before it fell back: nearer the wall."""
        moved = points_lps_mm.copy()
        layer = self.local_depth_mm(points_lps_mm)
        near = np.flatnonzero(layer > 0.0)
        depth = self.chest.lung_depth_mm(points_lps_mm[near])
        fade = 1.0 - np.clip((depth - layer[near]) / _RETREAT_DEPTH_MM, 0.0, 1.0)
        moved[near] += (layer[near] * fade**2)[:, None] * outward(self.chest, points_lps_mm[near])
        return moved


def outward(chest: Chest, points_lps_mm: Float64Array) -> Float64Array:
    """Unit vectors (N, 3) from planning positions towards the pleura."""
    steps = 4.0 * np.eye(3)
    slope = np.stack(
        [
            chest.lung_depth_mm(points_lps_mm + step) - chest.lung_depth_mm(points_lps_mm - step)
            for step in steps
        ],
        axis=-1,
    )
    return np.asarray(-slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-3))


def place_on_pleura(
    chest: Chest, start: Float64Array, direction: Float64Array, reach_mm: float = 90.0
) -> Float64Array:
    """The first place from ``start`` along a direction where the lung ends; the last one in reach if it does not."""
    unit = direction / np.linalg.norm(direction)
    along = start + np.arange(0.0, reach_mm, _STEP_MM)[:, None] * unit
    outside = np.flatnonzero(chest.lung_depth_mm(along) < 0.0)
    return np.asarray(along[outside[0] if outside.size else -1])


def pleural_space(
    rng: np.random.Generator, description: ProcedureDescription, chest: Chest, lesion_lps_mm: Float64Array
) -> PleuralSpace | None:
    """The layer that a description asks for, by the wall next to the lesion: air more in front, fluid more behind."""
    depth_mm = description.pneumothorax_mm or description.effusion_mm
    if not depth_mm:
        return None
    air = bool(description.pneumothorax_mm)
    tilt = np.array([0.0, -0.5 if air else 0.5, 0.0]) + rng.normal(0.0, 0.15, 3)
    direction = outward(chest, lesion_lps_mm[None])[0] + tilt
    place = place_on_pleura(chest, lesion_lps_mm, direction)
    return PleuralSpace(chest, place, depth_mm, _AIR_HU if air else _FLUID_HU)
