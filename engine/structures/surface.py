"""From a voxel mask to the smooth surface it was drawn from, without changing any voxel.

A binary mask says only that the surface runs somewhere between two voxel centers. Distances from its
staircase are biased: the bumps always win. The occupancy field here has its 0.5 level where the surface
most likely was, and keeps every voxel center on the side where the mask has it, so that a one-voxel gap
in a zone stays a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.special import ndtri

from engine.arrays import BoolArray, Float32Array, Float64Array, read_only
from engine.geometry import VolumeGeometry, VoxelBox
from engine.structures.thick_slices import depth_between_slices, refined_grid
from engine.volume import LabelMask

SURFACE_LEVEL: Final = 0.5
"""The occupancy at which the surface lies."""

SURFACE_PAD_VOXELS: Final = 4
"""Empty voxels around a mask that its surface needs."""

_SMOOTHING_VOXELS: Final = ((0.0, 0.8), (3.5, 1.4), (4.8, 1.85), (10.0, 2.6))
"""Equivalent radius (voxels) of a structure from which each standard deviation of the smoothing is used; wider
ones would show in the curvature. The widest holds wherever the voxels allow it, finer ones elsewhere. On 100
spherical cases of 5 to 15 mm radius at 1 mm voxels coverage was then off by at most 0.005 and the margin by
-0.30 to +0.13 mm, 96 of them by less than 0.2 mm (one narrow smoothing for all: 0.013 and 0.6 mm)."""

_CONTRADICTION_VOXELS: Final = 0.12
"""A smooth surface that puts a voxel center this far on the wrong side has smoothed away a spicule or a gap;
spheres seldom reach it. Real nodules are full of spicules: without them their target shrinks by 0.3 mm."""

_ROUGH_SHARE: Final = 0.01
"""A mask with more than this share of its surface contradicted by a smooth one was drawn voxel by voxel: its own
faces are its surface. Spheres have up to 0.0012, readers' nodules 0.015 to 0.13."""

_DETAIL_REACH_VOXELS: Final = 4.0
"""This far around such a voxel the finer surface, in the end the mask's own faces, holds in full; over the
same distance again it passes into the smoother one."""

_MIN_DEPTH_VOXELS: Final = 0.02
"""How far from the surface a voxel center is kept on its side."""

_DEPTH_RANGE_VOXELS: Final = 3.0
"""Depths are cut off here; half of the range of occupancy."""

_TAIL: Final = 1e-3
"""Smoothed shares nearer than this to 0 or 1 carry no information about the depth."""

_INTERPOLATION_SAG: Final = 1.0 / 6.0
"""Linear interpolation between voxel centers pulls a surface of mean curvature H inwards by H/6 voxels²."""

_THICK_SLICE_RATIO: Final = 2.5
"""Slices this much thicker than the pixels are interpolated by shape instead of smoothed across."""

_SHAPE_RANGE_MM: Final = 8.0
"""Depths between thick slices are cut off here; half of the range of occupancy."""

_MIN_DEPTH_THICK: Final = 0.002
"""As ``_MIN_DEPTH_VOXELS``, as a share of ``_SHAPE_RANGE_MM``."""


@dataclass(frozen=True, eq=False)
class StructureSurface:
    """The sub-voxel surface of a mask, computed once and resampled onto any grid.

    Parameters
    ----------
    mask : LabelMask
        Not empty.
    """

    mask: LabelMask

    @cached_property
    def crop(self) -> LabelMask:
        """The part of the mask's grid that the surface needs."""
        return self.mask.tight(SURFACE_PAD_VOXELS)

    @property
    def box(self) -> VoxelBox:
        """Box of the marked voxels on the mask's own grid."""
        return self.mask.bounding_box()

    @cached_property
    def _field(self) -> Occupancy:
        return occupancy(self.crop)

    @cached_property
    def occupancy(self) -> Float32Array:
        """Occupancy on :attr:`geometry`."""
        return self._field.values

    @property
    def geometry(self) -> VolumeGeometry:
        """Grid of the occupancy: that of :attr:`crop`, thick slices filled in."""
        return self._field.geometry

    @cached_property
    def corners_lps_mm(self) -> Float64Array:
        """Outer corners of the box of marked voxels, (8, 3) LPS mm; past thick slices, the next ones."""
        box = self.box.within(self.mask.geometry.box_of(self.crop.geometry))
        ends = np.array(list(np.ndindex(2, 2, 2)), dtype=float)
        past = np.full(3, 0.5)
        axis = _thick_axis(self.mask.geometry)
        if axis is not None:
            past[axis] = 1.0
        first = np.array(box.start_zyx) - past
        return self.crop.geometry.to_lps(first + ends * (np.array(box.shape_zyx) - 1 + 2 * past))


@dataclass(frozen=True, eq=False)
class Occupancy:
    """Share of space inside a structure; the 0.5 level is its sub-voxel surface. Interpolate it linearly.

    Parameters
    ----------
    values : ndarray of float32, (z, y, x)
        In [0, 1]; at least 0.5 at a mask's voxel centers exactly where it is true.
    geometry : VolumeGeometry
    """

    values: Float32Array
    geometry: VolumeGeometry


def occupancy(mask: LabelMask) -> Occupancy:
    """Occupancy field of a mask.

    Parameters
    ----------
    mask : LabelMask
        Not empty.

    Returns
    -------
    Occupancy
        On the mask's own grid; thick slices are filled in.

    Notes
    -----
    Thin slices: the smoothest surface that the voxels allow. A Gaussian of standard deviation s turns a
    half-space at depth d into the normal distribution function of d/s, so its inverse gives the depth; a
    surface of mean curvature H comes out s²H too deep, which the depths of wider Gaussians cancel
    (Richardson extrapolation in s²). Thick slices: the same within each slice, and what
    :mod:`engine.structures.thick_slices` makes of the sections between them.
    """
    axis = _thick_axis(mask.geometry)
    if axis is not None:
        return _of_thick_slices(mask, axis)
    depth = _smoothest_depth(mask.voxels)
    return Occupancy(_on_their_side(depth / _DEPTH_RANGE_VOXELS, mask.voxels), mask.geometry)


def _on_their_side(
    relative_depth: Float32Array, marked: BoolArray, least: float = _MIN_DEPTH_VOXELS / _DEPTH_RANGE_VOXELS
) -> Float32Array:
    """Occupancy from depths as shares of their range, every voxel center kept on the mask's side."""
    decision = np.clip(np.where(marked, relative_depth, -relative_depth), least, 1.0)
    return read_only((SURFACE_LEVEL * (1.0 + np.where(marked, decision, -decision))).astype(np.float32))


def _thick_axis(geometry: VolumeGeometry) -> int | None:
    """The axis along which slices lie so far apart that they are filled in by shape."""
    spacing = geometry.spacing_zyx_mm
    return int(np.argmax(spacing)) if max(spacing) / min(spacing) >= _THICK_SLICE_RATIO else None


def _of_thick_slices(mask: LabelMask, axis: int) -> Occupancy:
    spacing = mask.geometry.spacing_zyx_mm
    rows, columns = (s for a, s in enumerate(spacing) if a != axis)
    marked = np.ascontiguousarray(np.moveaxis(mask.voxels, axis, 0))
    outlines = np.zeros(marked.shape, dtype=np.float32)
    for k in np.flatnonzero(marked.any(axis=(1, 2))):
        outlines[k] = _on_their_side(_smoothest_depth(marked[k]) / _DEPTH_RANGE_VOXELS, marked[k])
    fine, steps = refined_grid(mask.geometry, axis)
    depth = depth_between_slices(outlines, marked, spacing[axis], (rows, columns), steps)
    values = SURFACE_LEVEL * (1.0 + np.clip(depth / _SHAPE_RANGE_MM, -1.0, 1.0))
    values[::steps] = _on_their_side(depth[::steps] / _SHAPE_RANGE_MM, marked, _MIN_DEPTH_THICK)
    return Occupancy(read_only(np.ascontiguousarray(np.moveaxis(values, 0, axis), dtype=np.float32)), fine)


def _smoothest_depth(voxels: BoolArray) -> Float32Array:
    """Signed depth in voxels, positive inside: smooth where the voxels agree, the mask's faces elsewhere."""
    faces = depth = np.where(voxels, 0.5, -0.5).astype(np.float32)
    marked = np.count_nonzero(voxels)
    radius = np.cbrt(0.75 / np.pi * marked) if voxels.ndim == 3 else np.sqrt(marked / np.pi)
    for sigma in (width for min_radius, width in _SMOOTHING_VOXELS if radius >= min_radius):
        smooth = _depth_by_smoothing(voxels, sigma)
        contradicted = np.where(voxels, smooth, -smooth) < -_CONTRADICTION_VOXELS
        if np.count_nonzero(contradicted) > _ROUGH_SHARE * np.count_nonzero(np.abs(smooth) < 1.0):
            return faces
        if contradicted.any():
            relative_distance = ndimage.distance_transform_edt(~contradicted) / _DETAIL_REACH_VOXELS
            share = np.clip(relative_distance - 1.0, 0.0, 1.0).astype(np.float32)
            smooth = share * smooth + (1.0 - share) * depth
        depth = smooth
    return depth


def _depth_by_smoothing(voxels: BoolArray, sigma: float) -> Float32Array:
    """Depth below the surface, voxels, free of curvature bias to second order."""
    marked = voxels.astype(np.float32)

    def depth(width: float) -> Float32Array:
        share = ndimage.gaussian_filter(marked, width, mode="nearest")
        return np.asarray(width * ndtri(np.clip(share, _TAIL, 1.0 - _TAIL)), dtype=np.float32)

    narrow, wide, widest = (depth(sigma * np.sqrt(k)) for k in (1.0, 2.0, 3.0))
    sag = _INTERPOLATION_SAG / sigma**2
    return np.asarray(3.0 * (narrow - wide) + widest + sag * (narrow - wide), dtype=np.float32)
