"""Definition of the distance kernels: SciPy's transform, and a tree over surface points."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.kernels.arguments import Index3, Vector3

BOUND_TOLERANCE = 1e-6


def distance_mm(mask: BoolArray, spacing: Vector3, bound: float, start: Index3, stop: Index3) -> Float32Array:
    """SciPy's exact transform of the whole mask, cut to the region and the bound."""
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    if not mask.any():  # SciPy would measure to a voxel that is not there
        return np.full(mask[box].shape, np.inf, dtype=np.float32)
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing)[box]
    distance[distance > bound * (1 + BOUND_TOLERANCE)] = np.inf
    return np.ascontiguousarray(distance, dtype=np.float32)


def signed_distance_mm(
    occupancy: Float32Array, spacing: Vector3, level: float, bound: float, start: Index3, stop: Index3
) -> Float32Array:
    """Nearest surface point of every voxel center, by k-d tree."""
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inside = occupancy[box] >= level
    points = surface_points_mm(occupancy, spacing, level)
    distance = np.full(inside.shape, np.inf)
    if len(points):
        centers = np.moveaxis(np.mgrid[box], 0, -1) * np.array(spacing)
        distance = np.asarray(cKDTree(points).query(centers)[0])
        distance[distance > bound * (1 + BOUND_TOLERANCE)] = np.inf
    return np.where(inside, -distance, distance).astype(np.float32)


def surface_points_mm(occupancy: Float32Array, spacing: Vector3, level: float) -> Float64Array:
    """Linear crossings of ``level`` on the grid edges along z, y and x: (N, 3), mm."""
    families = []
    for axis in range(3):
        before = np.moveaxis(occupancy, axis, 0)[:-1]
        after = np.moveaxis(occupancy, axis, 0)[1:]
        crossing = np.argwhere((before >= level) != (after >= level))
        a = before[tuple(crossing.T)].astype(np.float64)
        b = after[tuple(crossing.T)].astype(np.float64)
        points = crossing.astype(np.float64)
        points[:, 0] += (level - a) / (b - a)
        families.append(np.insert(points[:, 1:], axis, points[:, 0], axis=1))
    return np.asarray(np.concatenate(families) * np.array(spacing))
