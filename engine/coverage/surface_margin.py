"""The margin over the tumor's surface: how much of it is too narrow, and how narrow without its worst spike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import Float64Array
from engine.coverage.grid import MeasurementField

MARGIN_BANDS_MM: Final = (0.0, 5.0, 10.0)
"""Edges of the margin shares: outside, insufficient, sufficient, ample."""

_MM2_PER_CM2: Final = 100.0


@dataclass(frozen=True, eq=False)
class _SurfaceMargin:
    """The margin at points spread over the tumor's surface.

    Parameters
    ----------
    margin_mm : ndarray, (N,)
        Negative outside the zone.
    area_mm2 : ndarray, (N,)
        The part of the surface that each point stands for.
    """

    margin_mm: Float64Array
    area_mm2: Float64Array

    @property
    def shares(self) -> tuple[float, float, float, float]:
        """Shares of the surface with a margin below 0, 0 to 5, 5 to 10 and at least 10 mm."""
        band = np.searchsorted(MARGIN_BANDS_MM, self.margin_mm, side="right")
        area = np.bincount(band, self.area_mm2, minlength=4)
        share = area / area.sum()
        return float(share[0]), float(share[1]), float(share[2]), float(share[3])

    def quantile_mm(self, share: float) -> float:
        """The margin that this share of the surface is at or below."""
        order = np.argsort(self.margin_mm)
        reached = np.cumsum(self.area_mm2[order])
        return float(self.margin_mm[order][np.searchsorted(reached, share * reached[-1])])

    def area_below_cm2(self, margin_mm: float) -> float:
        """Area of the surface whose margin is smaller, cm²."""
        return float(self.area_mm2[self.margin_mm < margin_mm].sum()) / _MM2_PER_CM2


def measure_surface_margin(field: MeasurementField) -> _SurfaceMargin:
    """Measure the margin over the tumor's surface.

    Parameters
    ----------
    field : MeasurementField

    Returns
    -------
    _SurfaceMargin

    Notes
    -----
    The points are where lines between neighboring voxels cross the surface. A piece of area A and unit normal n is
    crossed by A (|n_z| + |n_y| + |n_x|) / h² of them at a spacing of h, so that each stands for the inverse of that
    (Crofton's formula for the three axes).
    """
    index = field.tumor_surface_index.T
    margin = -ndimage.map_coordinates(field.distance_to_zone_mm, index, order=1, mode="nearest")
    slope = np.stack([_slope(field, index, axis) for axis in range(3)])
    length = np.maximum(np.linalg.norm(slope, axis=0), np.finfo(np.float64).tiny)
    crossings = np.maximum(np.abs(slope).sum(axis=0) / length, 1.0)
    return _SurfaceMargin(
        np.asarray(margin, dtype=np.float64), field.geometry.spacing_zyx_mm[0] ** 2 / crossings
    )


def _slope(field: MeasurementField, index: Float64Array, axis: int) -> Float64Array:
    """Difference of the distance to the tumor across two voxels along an axis, at (3, N) indices."""
    step = np.zeros((3, 1))
    step[axis] = 1.0
    ahead, behind = (
        ndimage.map_coordinates(field.distance_to_tumor_mm, index + sign * step, order=1, mode="nearest")
        for sign in (1.0, -1.0)
    )
    return np.asarray(ahead, dtype=np.float64) - behind
