"""Errors of contours that differ from place to place: how large at each point, and how alike at neighboring ones.

A contour is not only drawn too wide or too narrow as a whole. It strays in places some 5 to 10 mm wide, most of
all where the slices end a structure, and the minimal margin picks the place where it strays farthest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry

_CORRELATION_LENGTH_MM: Final = 5.0
"""Errors this far apart have a correlation of 1/e. Four readers' contours of one nodule, less each one's mean: 0.73 at
2 mm, 0.46 at 4 mm, 0.24 at 6 mm, none at 10 mm."""

_MAX_MODES: Final = 40
_MODE_SPACING_MM: Final = 4.0
"""Modes are centered this far apart on the surface, or wider where ``_MAX_MODES`` would not do."""

_SLICE_SHARE: Final = 0.1
"""Standard deviation of a surface where it faces along the slice normal, as a share of the slice distance. The ends of
balls and ellipsoids lie 0.03 to 0.06 of it off the truth (root mean square), see ``thick_slices``; the margins of
nodules as readers drew them, sampled with slices of 5 mm, 0.46 to 0.54 mm."""


@dataclass(frozen=True, eq=False)
class LocalDoubt:
    """How far a contour may lie off its structure at each place of its surface, as a model knows it.

    Parameters
    ----------
    points_lps_mm : ndarray, (P, 3)
        In the verification frame; at least one.
    sd_mm : ndarray, (P,)
    """

    points_lps_mm: Float64Array
    sd_mm: Float64Array

    def at(self, points_lps_mm: Float64Array) -> Float64Array:
        """Standard deviation at the nearest place of the surface, (N,) mm."""
        _, nearest = cKDTree(self.points_lps_mm).query(points_lps_mm)
        return np.asarray(self.sd_mm[nearest], dtype=np.float64)


def local_sd_mm(sd: float | LocalDoubt, points_lps_mm: Float64Array) -> Float64Array:
    """Standard deviation of a contour's local error seen from points near it, (N,) mm."""
    return sd.at(points_lps_mm) if isinstance(sd, LocalDoubt) else np.full(len(points_lps_mm), sd)


def slice_sd_mm(
    distance_mm: Float32Array,
    geometry: VolumeGeometry,
    points_index: Float64Array,
    slices: tuple[Float64Array, float],
) -> Float64Array:
    """Standard deviation that the slices leave to a surface, seen from points near it, (N,) mm.

    Parameters
    ----------
    distance_mm : ndarray of float32, (z, y, x)
        Signed distance to the surface; finite. Its gradient is the surface's normal.
    geometry : VolumeGeometry
    points_index : ndarray, (N, 3)
    slices : (unit normal (3,) LPS, distance in mm)
    """
    normal, slice_mm = slices
    gradient = np.empty_like(points_index)
    for axis in range(3):
        step = np.eye(3)[axis]
        ahead, behind = (
            ndimage.map_coordinates(distance_mm, (points_index + way * step).T, order=1, mode="nearest")
            for way in (1.0, -1.0)
        )
        gradient[:, axis] = ahead - behind
    facing = gradient @ geometry.affine_lps_mm[:3, :3].T
    length = np.linalg.norm(facing, axis=1)
    return np.asarray(_SLICE_SHARE * slice_mm * np.abs(facing @ normal) / np.maximum(length, 1e-9))


def spread_out(points_index: Float64Array, step: int) -> Float64Array:
    """One of the points in every cube of ``step`` voxels: as many as a draw needs to find the worst place."""
    _, first = np.unique(np.floor(points_index / step).astype(np.int64), axis=0, return_index=True)
    return np.ascontiguousarray(points_index[np.sort(first)])


def smooth_modes(points_mm: Float64Array) -> Float64Array:
    """Modes of a smooth random field on points: with weights of unit variance it has unit variance at each.

    Parameters
    ----------
    points_mm : ndarray, (N, 3)

    Returns
    -------
    ndarray, (N, K)

    Notes
    -----
    Gaussians about centers spread over the points. Two of a width of half the correlation length overlap such that
    errors at a distance d have a correlation of about exp(-d²/L²).
    """
    nearest_mm = np.linalg.norm(points_mm - points_mm[0], axis=1)
    modes = []
    center = 0
    while True:
        distance_mm = np.linalg.norm(points_mm - points_mm[center], axis=1)
        modes.append(np.exp(-2.0 * (distance_mm / _CORRELATION_LENGTH_MM) ** 2))
        nearest_mm = np.minimum(nearest_mm, distance_mm)
        center = int(np.argmax(nearest_mm))
        if len(modes) == _MAX_MODES or nearest_mm[center] < _MODE_SPACING_MM:
            break
    field = np.stack(modes, axis=1)
    return np.asarray(field / np.maximum(np.linalg.norm(field, axis=1, keepdims=True), 1e-12))
