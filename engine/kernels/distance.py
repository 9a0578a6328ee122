"""Euclidean distances in mm: to a mask's voxels, and signed to a sub-voxel surface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.errors import InvalidRequestError
from engine.kernels.arguments import (
    Index3,
    Region,
    Vector3,
    require_bound,
    require_region,
    require_spacing,
    require_volume,
)
from engine.kernels.backend import KernelBackend, select
from engine.kernels.reference import distance as definition

BOUND_TOLERANCE = definition.BOUND_TOLERANCE
"""Distances up to ``bound_mm * (1 + BOUND_TOLERANCE)`` are kept: room for float32 rounding."""


class _DistanceTwin(Protocol):
    """What every backend's ``distance`` module offers."""

    def distance_mm(
        self, mask: BoolArray, spacing: Vector3, bound: float, start: Index3, stop: Index3
    ) -> Float32Array: ...

    def signed_distance_mm(
        self,
        occupancy: Float32Array,
        spacing: Vector3,
        level: float,
        bound: float,
        start: Index3,
        stop: Index3,
    ) -> Float32Array: ...


def distance_mm(
    mask: BoolArray,
    spacing_zyx_mm: Sequence[float],
    *,
    bound_mm: float | None = None,
    region: Region | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Float32Array:
    """Exact Euclidean distance from each voxel center to the nearest marked voxel center.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
        Not changed.
    spacing_zyx_mm : sequence of float
        Voxel spacing, mm.
    bound_mm : float, optional
        Distances beyond it become ``inf``; only the mask's surroundings are then worked on.
    region : tuple of three slices, optional
        Sub-box to return; voxels of the mask outside it still count.
    kernels : KernelBackend

    Returns
    -------
    ndarray of float32, (z, y, x) of the region
        mm; 0 on marked voxels, ``inf`` everywhere for an empty mask.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    Separable over the axes, each pass a lower envelope of parabolas: Felzenszwalb and
    Huttenlocher, Theory of Computing 8 (2012), section 2; Maurer et al., IEEE TPAMI 25 (2003).
    """
    mask = require_volume(mask, "mask", np.bool_)
    spacing = require_spacing(spacing_zyx_mm)
    start, stop = require_region(region, mask.shape)
    twin: _DistanceTwin = select(kernels, "distance")
    return twin.distance_mm(mask, spacing, require_bound(bound_mm), start, stop)


def signed_distance_mm(
    occupancy: Float32Array,
    spacing_zyx_mm: Sequence[float],
    *,
    level: float = 0.5,
    bound_mm: float | None = None,
    region: Region | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Float32Array:
    """Signed distance from each voxel center to the sub-voxel surface of an occupancy.

    The surface is the set of points where the occupancy, linear along every edge between
    neighboring voxels, crosses ``level``; the distance to the nearest of them is exact.

    Parameters
    ----------
    occupancy : ndarray of float32, (z, y, x)
        Share of each voxel that lies inside, 0 to 1. Not changed.
    spacing_zyx_mm : sequence of float
        Voxel spacing, mm.
    level : float
        Occupancy of the surface; a voxel at or above it lies inside.
    bound_mm, region, backend
        As in :func:`distance_mm`; beyond the bound the result is ``+inf`` or ``-inf``.

    Returns
    -------
    ndarray of float32, (z, y, x) of the region
        mm, negative inside, positive outside; infinite where there is no surface.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError
        InvalidRequestError also for an occupancy that is not finite.
    """
    occupancy, level = _require_occupancy(occupancy, level)
    spacing = require_spacing(spacing_zyx_mm)
    start, stop = require_region(region, occupancy.shape)
    twin: _DistanceTwin = select(kernels, "distance")
    return twin.signed_distance_mm(occupancy, spacing, level, require_bound(bound_mm), start, stop)


def surface_points_mm(
    occupancy: Float32Array, spacing_zyx_mm: Sequence[float], level: float = 0.5
) -> Float64Array:
    """Points of the sub-voxel surface that :func:`signed_distance_mm` measures to.

    Parameters
    ----------
    occupancy, spacing_zyx_mm, level
        As in :func:`signed_distance_mm`.

    Returns
    -------
    ndarray of float64, (N, 3)
        (z, y, x) offsets in mm from the center of voxel (0, 0, 0).

    Raises
    ------
    InvalidGeometryError, InvalidRequestError
    """
    occupancy, level = _require_occupancy(occupancy, level)
    return definition.surface_points_mm(occupancy, require_spacing(spacing_zyx_mm), level)


def _require_occupancy(occupancy: Float32Array, level: float) -> tuple[Float32Array, float]:
    checked = require_volume(occupancy, "occupancy", np.float32)
    if not math.isfinite(level):
        raise InvalidRequestError(f"surface level {level} must be a finite number, usually 0.5")
    # The sum is not finite if a voxel is not: one pass, no temporary.
    if not math.isfinite(float(np.sum(checked, dtype=np.float64))):
        raise InvalidRequestError("occupancy holds NaN or infinite voxels; it must lie between 0 and 1")
    return checked, float(np.float32(level))
