"""Rasterised spheres and ellipsoids with their closed-form coverage and margin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.geometry import Vector3, VolumeGeometry
from engine.volume import LabelMask


def centered_grid(spacing_zyx_mm: Vector3, half_width_mm: float) -> VolumeGeometry:
    """A grid around the origin, at least ``half_width_mm`` to each side, a voxel center on the origin."""
    half = [int(np.ceil(half_width_mm / s)) for s in spacing_zyx_mm]
    z, y, x = (-n * s for n, s in zip(half, spacing_zyx_mm, strict=True))
    shape = (2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1)
    return VolumeGeometry(shape, spacing_zyx_mm, origin_lps_mm=(x, y, z))


def positions(grid: VolumeGeometry) -> npt.NDArray[np.float64]:
    """LPS position of every voxel center, (z, y, x, 3)."""
    return grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1).astype(float))


def ball(
    grid: VolumeGeometry, center_lps_mm: npt.ArrayLike, radii_lps_mm: npt.ArrayLike, name: str
) -> LabelMask:
    """A sphere or axis-aligned ellipsoid; a voxel is inside if its center is."""
    offset = (positions(grid) - np.asarray(center_lps_mm)) / np.asarray(radii_lps_mm, dtype=float)
    return LabelMask((offset**2).sum(axis=-1) <= 1.0, grid, name)


def everywhere(grid: VolumeGeometry) -> LabelMask:
    """A lung that fills the grid: nothing is clipped."""
    return LabelMask(np.ones(grid.shape_zyx, dtype=np.bool_), grid, "lung")


def lens_volume(one_mm: float, other_mm: float, distance_mm: float) -> float:
    """Volume common to two spheres, mm³ (Weisstein, MathWorld, Sphere-Sphere Intersection, eq. 16)."""
    if distance_mm >= one_mm + other_mm:
        return 0.0
    if distance_mm <= abs(one_mm - other_mm):
        return 4.0 / 3.0 * np.pi * min(one_mm, other_mm) ** 3
    reach = (one_mm + other_mm - distance_mm) ** 2
    chord = distance_mm**2 + 2 * distance_mm * (one_mm + other_mm) - 3 * (one_mm - other_mm) ** 2
    return float(np.pi * reach * chord / (12.0 * distance_mm))


def true_coverage(
    tumor_mm: float, zone_mm: float, shift_mm: float, margin_mm: float = 5.0
) -> tuple[float, float]:
    """TCR and minimal margin of a spherical tumor and a spherical zone."""
    target = tumor_mm + margin_mm
    share = lens_volume(target, zone_mm, shift_mm) / (4.0 / 3.0 * np.pi * target**3)
    return share, zone_mm - tumor_mm - shift_mm
