"""The ablation zones of training scenes: shapes, ground-glass rim, coagulated core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.phantoms.ablation import random_ablation
from engine.phantoms.thorax import PAINTED_LUNG_HU

Depth = Callable[[Float64Array], Float64Array]
"""Positions (N, 3) to millimeters below a surface, negative outside."""

_MAX_HU: Final = 60.0
"""Burnt tissue is no brighter, whatever lay there."""

_ROUGH_MM: Final = 0.5
"""Standard deviation of the surface's roughness at most."""


@dataclass(frozen=True, eq=False)
class Burn:
    """One ablation zone.

    Parameters
    ----------
    depth_mm : callable
        Depth of positions (N, 3) below its surface, clipped to lung and tumor.
    max_radius_mm : float
        Nothing of it is farther from the place of the scene.
    rim_mm, edge_mm : float
        Width of the ground glass and of its transition into the core.
    rim_hu, core_hu, mottle_hu : float
    mottle_mm : float
        Grain of the mottle.
    shines_through : float
        What share of the tissue's contrast with lung is left in the zone.
    darkens_hu : float
        Denser tissue loses at most this much.
    """

    depth_mm: Depth
    max_radius_mm: float
    rim_mm: float
    edge_mm: float
    rim_hu: float
    core_hu: float
    mottle_hu: float
    mottle_mm: float
    shines_through: float
    darkens_hu: float

    def hu(self, depth_mm: Float64Array, tissue_hu: Float64Array, mottle: Float64Array) -> Float64Array:
        """HU of positions at a depth (mm) inside the burn; ``before`` is the tissue's own HU."""
        inward = np.clip((depth_mm - self.rim_mm) / self.edge_mm + 0.5, 0.0, 1.0)
        burnt = self.rim_hu + inward * (self.core_hu - self.rim_hu)
        burnt += mottle * self.mottle_hu * (0.5 + 0.5 * inward)
        mixed = burnt + self.shines_through * (tissue_hu - PAINTED_LUNG_HU)
        return np.maximum(mixed, np.minimum(tissue_hu - self.darkens_hu, _MAX_HU))


def draw_burn(
    rng: np.random.Generator,
    center_lps_mm: Float64Array,
    tumor_distance_mm: Depth,
    radius_mm: float,
    lung_depth: Depth,
) -> Burn:
    """Draw a zone around a tumor; the shape of more than half does not follow the tumor's."""
    if rng.random() < 0.45:
        surface, reach = _shell(rng, center_lps_mm, tumor_distance_mm, radius_mm)
    else:
        surface, reach = _ellipsoids(rng, center_lps_mm, radius_mm)
    rough = _roughness(rng, center_lps_mm, reach + 4.0)

    def depth(points: Float64Array) -> Float64Array:
        uneven = surface(points) + rough(points)
        return np.minimum(uneven, np.maximum(lung_depth(points), -tumor_distance_mm(points)))

    return Burn(
        depth,
        reach + 3.0,
        rim_mm=float(rng.uniform(1.5, 4.5)),
        edge_mm=float(rng.uniform(0.8, 2.0)),
        rim_hu=float(rng.uniform(-640.0, -380.0)),
        core_hu=float(rng.uniform(-200.0, 20.0)),
        mottle_hu=float(rng.uniform(10.0, 70.0)),
        mottle_mm=float(rng.uniform(0.7, 2.2)),
        shines_through=float(rng.uniform(0.0, 0.15)),
        darkens_hu=float(rng.uniform(30.0, 160.0)),
    )


def _shell(
    rng: np.random.Generator, center_lps_mm: Float64Array, tumor_distance_mm: Depth, radius_mm: float
) -> tuple[Depth, float]:
    """A margin around the tumor that depends on the direction, as in the phantom procedures."""
    min_margin_mm = float(
        rng.choice([rng.uniform(3.0, 11.0), rng.uniform(-4.0, 3.0), rng.uniform(-14.0, -6.0)])
    )
    shape = random_ablation(rng, "half" if min_margin_mm < -6.0 else "miss", min_margin_mm)

    def depth(points: Float64Array) -> Float64Array:
        return shape.depth_mm(tumor_distance_mm(points), points - center_lps_mm)

    return depth, radius_mm + float(shape.ample_mm) + 4.0


def _ellipsoids(
    rng: np.random.Generator, center_lps_mm: Float64Array, radius_mm: float
) -> tuple[Depth, float]:
    """One ellipsoid or two that overlap, off the tumor's center: their depth, and their reach from it, in mm."""
    rotation = Rotation.random(random_state=rng).as_matrix()
    count = 1 if rng.random() < 0.65 else 2
    offset_of_zone = rng.normal(size=3)
    offset_of_zone *= rng.uniform(0.0, 0.9 * radius_mm + 3.0) / np.linalg.norm(offset_of_zone)
    centers, radii = [], []
    for k in range(count):
        shift_mm = (k - 0.5 * (count - 1)) * rng.uniform(8.0, 16.0)
        centers.append(center_lps_mm + offset_of_zone + shift_mm * rotation[0])
        radii.append(
            rng.uniform(8.0, 26.0 if count == 1 else 17.0)
            * np.array([1.0, rng.uniform(0.75, 1.0), rng.uniform(0.7, 1.0)])
        )

    def depth(points: Float64Array) -> Float64Array:
        deepest = np.full(points.shape[:-1], -np.inf)
        for center, axes in zip(centers, radii, strict=True):
            offset = points - center
            distance = np.linalg.norm(offset, axis=-1)
            level = np.linalg.norm((offset @ rotation.T) / axes, axis=-1)
            # The way to the surface along the ray: exact on a ball, close on these.
            inside = distance * (1.0 / np.maximum(level, 1e-6) - 1.0)
            np.maximum(deepest, np.where(level < 1e-3, axes.min(), inside), out=deepest)
        return deepest

    reach = max(
        float(np.linalg.norm(c - center_lps_mm)) + float(axes.max())
        for c, axes in zip(centers, radii, strict=True)
    )
    return depth, reach


def _roughness(rng: np.random.Generator, center_lps_mm: Float64Array, half_mm: float) -> Depth:
    """Smooth noise in millimeters, from a lattice around a point."""
    step_mm = 2.0
    count = int(np.ceil(2.0 * half_mm / step_mm)) + 2
    noise = ndimage.gaussian_filter(rng.standard_normal((count,) * 3), rng.uniform(1.0, 2.5))
    noise *= rng.uniform(0.0, _ROUGH_MM) / noise.std()
    low = center_lps_mm - half_mm

    def depth_at(points: Float64Array) -> Float64Array:
        index = ((points - low) / step_mm).T
        return np.asarray(ndimage.map_coordinates(noise, index, order=1, mode="nearest"))

    return depth_at
