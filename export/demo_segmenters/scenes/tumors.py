"""Tumors of scenes: 4 to 40 mm, round to spiculated, solid, part-solid or ground glass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.fields import PatchGrid, share_within, smooth_noise

_DIAMETER_MM: Final = (4.0, 40.0)
_PART_SOLID_SHARE: Final = 0.2
_GROUND_GLASS_SHARE: Final = 0.12
_SPICULATED_SHARE: Final = 0.3


@dataclass(frozen=True, eq=False)
class Tumor:
    """A tumor on the grid of a scene.

    Parameters
    ----------
    distance_mm : ndarray of float32, (z, y, x)
        Signed distance to its surface, negative inside: exact on a ball, to first order elsewhere.
    radius_mm : float
        Mean radius.
    solid_hu, halo_hu : float
    halo_mm : float
        Width of the outer part that is ground glass alone; infinite if all of it is.
    edge_mm : float
        Half the width of its blurred edge.
    """

    distance_mm: Float32Array
    radius_mm: float
    solid_hu: float
    halo_hu: float
    halo_mm: float
    edge_mm: float

    def paint(self, hu: Float32Array, distance_mm: Float32Array) -> Float32Array:
        """The tissue ``hu`` with the tumor in it, where the distance to its surface is ``distance_mm``."""
        inside = share_within(-distance_mm, self.edge_mm)
        solid = share_within(-distance_mm - np.float32(min(self.halo_mm, 1e3)), self.edge_mm)
        looks = self.halo_hu + solid * (self.solid_hu - self.halo_hu) if self.halo_mm > 0.0 else self.solid_hu
        # Ground glass lets vessels be seen.
        painted = np.maximum(looks - hu, np.minimum(self.solid_hu - hu, 0.0))
        return np.asarray(hu + inside * painted, dtype=np.float32)


def draw_tumor(rng: np.random.Generator, grid: PatchGrid, center_mm: Float32Array) -> Tumor:
    """Draw a tumor at a place."""
    low, high = _DIAMETER_MM
    radius = 0.5 * float(np.exp(rng.uniform(np.log(low), np.log(high))))
    axes = radius * np.array([1.0, rng.uniform(0.7, 1.0), rng.uniform(0.65, 1.0)])
    axes *= radius / np.cbrt(axes.prod())
    distance = ellipsoid_distance_mm(rng, grid.positions_mm() - center_mm[:, None, None, None], axes)
    distance -= np.float32(radius * rng.uniform(0.0, 0.22)) * smooth_noise(rng, grid, 0.6 * radius + 1.0)
    if rng.random() < _SPICULATED_SHARE:
        ridges = np.maximum(smooth_noise(rng, grid, max(0.3 * radius, 1.5)) - np.float32(1.0), 0.0)
        distance -= np.float32(rng.uniform(0.5, 2.0)) * ridges
    kind = rng.random()
    halo = 0.0
    if kind < _GROUND_GLASS_SHARE:
        halo = np.inf
    elif kind < _GROUND_GLASS_SHARE + _PART_SOLID_SHARE:
        halo = float(rng.uniform(0.2, 0.9)) * radius
    return Tumor(
        distance,
        radius,
        solid_hu=float(rng.uniform(-100.0, 110.0)),
        halo_hu=float(rng.uniform(-720.0, -350.0)),
        halo_mm=halo,
        edge_mm=float(rng.uniform(0.4, 1.3)),
    )


def ellipsoid_distance_mm(
    rng: np.random.Generator, offsets_mm: Float32Array, axes_mm: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Float32Array:
    """Signed distance (negative inside) to an ellipsoid at offset 0 that is turned at random, along the ray."""
    turn = Rotation.random(random_state=rng).as_matrix()
    scaled = np.tensordot((turn / axes_mm[:, None]).astype(np.float32), offsets_mm, axes=1)
    level = np.maximum(np.sqrt((scaled**2).sum(axis=0)), np.float32(0.05))
    distance = np.sqrt((offsets_mm**2).sum(axis=0))
    along_ray = distance * (1.0 - 1.0 / level)
    return np.asarray(np.maximum(along_ray, -np.float32(axes_mm.min())), dtype=np.float32)
