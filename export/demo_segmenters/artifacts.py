"""What the scanner and the needle add to a training scene: metal and its streaks, thick slices, noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry


def add_needle(
    rng: np.random.Generator, hu: Float32Array, grid: VolumeGeometry, center_lps_mm: Float64Array
) -> None:
    """Put a needle from far outside to near a point, with bright and dark streaks along it.

    ``hu`` is changed in place; the grid is upright.
    """
    direction = rng.normal(size=3) * np.array([1.0, 1.0, 0.5])
    direction /= np.linalg.norm(direction)
    tip = center_lps_mm + rng.normal(0.0, 4.0, 3) - direction * rng.uniform(0.0, 12.0)
    radius_mm, metal_hu = rng.uniform(0.4, 1.0), rng.uniform(1800.0, 3071.0)
    z, y, x = np.indices(grid.shape_zyx, dtype=np.float32, sparse=True)
    dz, dy, dx = grid.spacing_zyx_mm
    origin = np.array(grid.origin_lps_mm) - tip
    offset = [
        axis * np.float32(s) + np.float32(o)
        for axis, s, o in zip((x, y, z), (dx, dy, dz), origin, strict=True)
    ]
    along = sum(o * np.float32(d) for o, d in zip(offset, direction, strict=True))
    distance_behind_tip = np.maximum(along, 0.0)
    square = sum(
        (o - distance_behind_tip * np.float32(d)) ** 2 for o, d in zip(offset, direction, strict=True)
    )
    distance_mm = np.sqrt(np.asarray(square, dtype=np.float32))
    angle = np.arctan2(offset[1], offset[0])
    waves = np.cos(rng.integers(2, 7) * angle + np.float32(rng.uniform(0.0, 6.28)))
    hu += (
        np.float32(rng.uniform(10.0, 90.0))
        * waves
        * np.exp(-distance_mm / np.float32(rng.uniform(4.0, 12.0)))
    )
    coarse = 0.5 * float(max(grid.spacing_zyx_mm[1:]))
    share = np.clip((np.float32(radius_mm) - distance_mm) / np.float32(2.0 * coarse) + 0.5, 0.0, 1.0)
    hu += share * (np.float32(metal_hu) - hu)


def scanned(
    rng: np.random.Generator, hu: Float32Array, grid: VolumeGeometry, slices_together: int
) -> tuple[Float32Array, VolumeGeometry]:
    """Average groups of slices, add sharpness and correlated noise; returns HU (z, y, x) and their geometry."""
    slices = len(hu) // slices_together * slices_together
    thick = hu[:slices].reshape(-1, slices_together, *hu.shape[1:]).mean(axis=1)
    dz, dy, dx = grid.spacing_zyx_mm
    x, y, z = (float(v) for v in grid.to_lps(np.array([[0.5 * (slices_together - 1), 0.0, 0.0]]))[0])
    scan_geometry = VolumeGeometry(
        (len(thick), *hu.shape[1:]),
        (dz * slices_together, dy, dx),
        directions_zyx_lps=grid.directions_zyx_lps,
        origin_lps_mm=(x, y, z),
    )
    blurred = ndimage.gaussian_filter(thick, (0.0, *(2 * (rng.uniform(0.0, 0.9),))))
    if rng.random() < 0.3:  # a sharp kernel overshoots
        blurred += np.float32(rng.uniform(0.2, 0.8)) * (
            blurred - ndimage.gaussian_filter(blurred, (0, 1.2, 1.2))
        )
    noise = ndimage.gaussian_filter(
        rng.standard_normal(thick.shape).astype(np.float32), (0.0, *(2 * (rng.uniform(0.3, 1.0),)))
    )
    blurred += np.float32(rng.uniform(3.0, 35.0)) * noise / noise.std()
    return blurred, scan_geometry
