"""A lung that slides along the chest wall: inside it moves smoothly, at the pleura it jumps.

The lung is carried along a flow that runs parallel to the pleura, so that its boundary stays where the chest
wall's is: no gap opens and nothing overlaps, whatever the length of the slide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array

FLOW_LATTICE_MM: Final = 4.0
_FLOW_STEPS: Final = 3
"""Midpoint steps of the flow; a slide of 10 mm goes 3.3 mm in each."""

_PARALLEL_MM: Final = 5.0
FREE_MM: Final = 28.0
"""Down to the first depth below the pleura the flow runs parallel to it, from the second on it is free."""

_MAX_CORRECTION_MM: Final = 3.0
"""No more than this is put right of the flow's error at the pleura."""

NORMAL_SMOOTHING_MM: Final = 5.0
"""The pleura's direction is taken from a depth smoothed this much: ribs and vessels are not walls."""


@dataclass(frozen=True, eq=False)
class Pleura:
    """Where a lung ends, and where along the chest it can slide.

    Parameters
    ----------
    lung_depth_mm : callable
        Depth of planning positions (..., 3) below the pleura, negative outside lung.
    still_at_x_mm, free_at_x_mm : float
        The mediastinum holds the lung at the first x; from the second on, laterally, it slides fully.
    """

    lung_depth_mm: Callable[[Float64Array], Float64Array]
    still_at_x_mm: float
    free_at_x_mm: float


@dataclass(frozen=True, eq=False)
class PleuralSlide:
    """Where lung tissue comes from that a slide has brought to a place of the planning frame.

    Parameters
    ----------
    lung_depth_mm : callable
        As in :class:`Pleura`.
    flow_mm, normal : ndarray of float32, (x, y, z, 3)
        On a lattice of ``FLOW_LATTICE_MM`` from ``origin``: the whole slide, and the way into the lung.
    origin : ndarray, (3,)
    """

    lung_depth_mm: Callable[[Float64Array], Float64Array]
    flow_mm: Float32Array
    normal: Float32Array
    origin: Float64Array

    def in_lung(self, points_lps_mm: Float64Array) -> BoolArray:
        """Whether planning positions (N, 3) lie in lung."""
        return np.asarray(self.lung_depth_mm(points_lps_mm) >= 0.0)

    def apply(self, points_lps_mm: Float64Array) -> Float64Array:
        """Planning positions (N, 3) at the end of the flow."""
        points = points_lps_mm
        step = 1.0 / _FLOW_STEPS
        for _ in range(_FLOW_STEPS):
            halfway = points + 0.5 * step * self._sampled(self.flow_mm, points)
            points = points + step * self._sampled(self.flow_mm, halfway)
        return self._as_deep(points, self.lung_depth_mm(points_lps_mm))

    def _as_deep(self, points: Float64Array, depth_mm: Float64Array) -> Float64Array:
        """Near the pleura, take points back to the depth they came from: the flow's steps are not exact."""
        near = np.flatnonzero(depth_mm < FREE_MM)
        parallel = 1.0 - _smooth_step((depth_mm[near] - _PARALLEL_MM) / (FREE_MM - _PARALLEL_MM))
        missing = np.clip(
            depth_mm[near] - self.lung_depth_mm(points[near]), -_MAX_CORRECTION_MM, _MAX_CORRECTION_MM
        )
        corrected = points.copy()
        corrected[near] += (parallel * missing)[:, None] * self._sampled(self.normal, points[near])
        return corrected

    def _sampled(self, lattice: Float32Array, points: Float64Array) -> Float64Array:
        index = ((points - self.origin) / FLOW_LATTICE_MM).T
        along = [
            ndimage.map_coordinates(lattice[..., axis], index, order=1, mode="nearest") for axis in range(3)
        ]
        return np.stack(along, axis=-1).astype(np.float64)

    def scaled(self, share: float) -> PleuralSlide:
        """The same, ``share`` times as far."""
        return PleuralSlide(self.lung_depth_mm, np.float32(share) * self.flow_mm, self.normal, self.origin)


def slide_along(
    pleura: Pleura, jump_lps_mm: Float64Array, center_lps_mm: Float64Array, half_width_mm: float
) -> PleuralSlide:
    """A slide by ``jump_lps_mm`` where the lung is free, parallel to the pleura where it is near.

    Parameters
    ----------
    pleura : Pleura
    jump_lps_mm : ndarray, (3,)
    center_lps_mm : ndarray, (3,)
        Planning frame; the flow is laid out on a cube around it.
    half_width_mm : float

    Returns
    -------
    PleuralSlide
    """
    axis = np.arange(-half_width_mm, half_width_mm + FLOW_LATTICE_MM, FLOW_LATTICE_MM)
    origin = center_lps_mm - half_width_mm
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1) + center_lps_mm
    depth = pleura.lung_depth_mm(points.reshape(-1, 3)).reshape(points.shape[:3])
    smooth = ndimage.gaussian_filter(depth, NORMAL_SMOOTHING_MM / FLOW_LATTICE_MM, mode="nearest")
    slope = np.stack(np.gradient(smooth, FLOW_LATTICE_MM), axis=-1)
    normal = slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-3)
    parallel = 1.0 - _smooth_step((depth - _PARALLEL_MM) / (FREE_MM - _PARALLEL_MM))
    lateral = (points[..., 0] - pleura.still_at_x_mm) / (pleura.free_at_x_mm - pleura.still_at_x_mm)
    flow = jump_lps_mm - (parallel * (normal @ jump_lps_mm))[..., None] * normal
    flow *= _smooth_step(lateral)[..., None]
    return PleuralSlide(pleura.lung_depth_mm, flow.astype(np.float32), normal.astype(np.float32), origin)


def _smooth_step(share: Float64Array) -> Float64Array:
    clipped = np.clip(share, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3.0 - 2.0 * clipped))
