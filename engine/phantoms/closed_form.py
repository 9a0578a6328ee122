"""Spheres and ellipsoids, whose coverage has a formula."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.geometry import VolumeGeometry
from engine.volume import LabelMask


def sphere_overlap_tcr(
    tumor_radius_mm: float, target_margin_mm: float, zone_radius_mm: float, shift_mm: float
) -> float:
    """Share of the grown tumor sphere that a shifted zone sphere covers (volume of a lens)."""
    a, b, d = tumor_radius_mm + target_margin_mm, zone_radius_mm, abs(shift_mm)
    if d >= a + b:
        return 0.0
    if d <= abs(b - a):
        return 1.0 if b >= a else (b / a) ** 3
    lens = np.pi * (a + b - d) ** 2 * (d * d + 2 * d * (a + b) - 3 * (a - b) ** 2) / (12 * d)
    return float(lens / (4.0 / 3.0 * np.pi * a**3))


def sphere_minimal_margin_mm(tumor_radius_mm: float, zone_radius_mm: float, shift_mm: float) -> float:
    """Least signed distance from a tumor sphere to the surface of a shifted zone sphere."""
    return zone_radius_mm - tumor_radius_mm - abs(shift_mm)


def rasterize_ellipsoid(
    geometry: VolumeGeometry, center_lps_mm: npt.ArrayLike, radii_mm: npt.ArrayLike, name: str = "tumor"
) -> LabelMask:
    """Mark the voxels whose centers lie in an ellipsoid with axes along LPS."""
    points = geometry.to_lps(np.moveaxis(np.indices(geometry.shape_zyx), 0, -1))
    scaled = (points - np.asarray(center_lps_mm)) / np.asarray(radii_mm)
    return LabelMask((scaled**2).sum(axis=-1) <= 1.0, geometry, name)


def rasterize_sphere(
    geometry: VolumeGeometry, center_lps_mm: npt.ArrayLike, radius_mm: float, name: str = "tumor"
) -> LabelMask:
    """Mark the voxels whose centers lie in a sphere."""
    return rasterize_ellipsoid(geometry, center_lps_mm, [radius_mm] * 3, name)
