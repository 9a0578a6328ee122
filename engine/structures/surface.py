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
import numpy.typing as npt
from scipy import ndimage
from scipy.special import ndtri

from engine.arrays import Float64Array, read_only
from engine.geometry import VoxelBox
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
"""In-slice signed distances are cut off here before they are interpolated."""

_MIN_DEPTH_THICK: Final = 0.04
"""As ``_MIN_DEPTH_VOXELS``, as a share of ``_SHAPE_RANGE_MM``."""

_CAP_EXCESS_MM: Final = 0.5
"""Past its last marked slice a structure ends a little before half a slice distance: with 5 mm slices this
leaves coverage of spheres unbiased (at most 0.02 off) and the minimal margin about 1 mm too small."""


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
    def occupancy(self) -> npt.NDArray[np.float32]:
        """Occupancy on the grid of :attr:`crop`."""
        return read_only(occupancy(self.crop))

    @cached_property
    def corners_lps_mm(self) -> Float64Array:
        """Outer corners of the box of marked voxels, (8, 3) LPS mm."""
        box = self.box.within(self.mask.geometry.box_of(self.crop.geometry))
        ends = np.array(list(np.ndindex(2, 2, 2)), dtype=float)
        return self.crop.geometry.to_lps(np.array(box.start_zyx) - 0.5 + ends * np.array(box.shape_zyx))


def occupancy(mask: LabelMask) -> npt.NDArray[np.float32]:
    """Occupancy field of a mask on its own grid; its 0.5 level is the sub-voxel surface.

    Parameters
    ----------
    mask : LabelMask
        Not empty.

    Returns
    -------
    ndarray of float32, (z, y, x)
        In [0, 1]; at least 0.5 exactly where ``mask.voxels`` is true. Interpolate it linearly.

    Notes
    -----
    Thin slices: the smoothest surface that the voxels allow. A Gaussian of standard deviation s turns a
    half-space at depth d into the normal distribution function of d/s, so its inverse gives the depth; a
    surface of mean curvature H comes out s²H too deep, which the depths of wider Gaussians cancel
    (Richardson extrapolation in s²). Thick slices: shape-based interpolation between the in-slice signed
    distances (Raya and Udupa, IEEE Trans Med Imaging 9:32-42, 1990).
    """
    spacing = mask.geometry.spacing_zyx_mm
    ratio = max(spacing) / min(spacing)
    thick = ratio >= _THICK_SLICE_RATIO
    if thick:
        depth = _interpolated_shape(mask) / _SHAPE_RANGE_MM
        min_depth = _MIN_DEPTH_THICK
    else:
        depth = _smoothest_depth(mask.voxels) / _DEPTH_RANGE_VOXELS
        min_depth = _MIN_DEPTH_VOXELS / _DEPTH_RANGE_VOXELS
    decision = np.clip(np.where(mask.voxels, depth, -depth), min_depth, 1.0)
    return (SURFACE_LEVEL * (1.0 + np.where(mask.voxels, decision, -decision))).astype(np.float32)


def _smoothest_depth(voxels: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Signed depth in voxels, positive inside: smooth where the voxels agree, the mask's faces elsewhere."""
    faces = depth = np.where(voxels, 0.5, -0.5).astype(np.float32)
    radius = (0.75 / np.pi * np.count_nonzero(voxels)) ** (1.0 / 3.0)
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


def _depth_by_smoothing(voxels: npt.NDArray[np.bool_], sigma: float) -> npt.NDArray[np.float32]:
    """Depth below the surface, voxels, free of curvature bias to second order."""
    marked = voxels.astype(np.float32)

    def depth(width: float) -> npt.NDArray[np.float32]:
        share = ndimage.gaussian_filter(marked, width, mode="nearest")
        return np.asarray(width * ndtri(np.clip(share, _TAIL, 1.0 - _TAIL)), dtype=np.float32)

    narrow, wide, widest = (depth(sigma * np.sqrt(k)) for k in (1.0, 2.0, 3.0))
    sag = _INTERPOLATION_SAG / sigma**2
    return np.asarray(3.0 * (narrow - wide) + widest + sag * (narrow - wide), dtype=np.float32)


def _interpolated_shape(mask: LabelMask) -> npt.NDArray[np.float32]:
    """In-slice signed distance, mm; the slices past the last marked ones get what closes the shape."""
    spacing = mask.geometry.spacing_zyx_mm
    axis = int(np.argmax(spacing))
    slices = np.moveaxis(mask.voxels, axis, 0)
    pixel_mm = [s for a, s in enumerate(spacing) if a != axis]
    depth = np.full(slices.shape, -_SHAPE_RANGE_MM, dtype=np.float32)
    marked = [k for k in range(len(slices)) if slices[k].any()]
    for k in marked:
        depth[k] = np.clip(_depth_in_slice(slices[k], pixel_mm), -_SHAPE_RANGE_MM, _SHAPE_RANGE_MM)
    for k in marked:
        for neighbor in (k - 1, k + 1):
            if 0 <= neighbor < len(slices) and not slices[neighbor].any():
                depth[neighbor] = np.maximum(depth[neighbor], -np.abs(depth[k]) - _CAP_EXCESS_MM)
    return np.moveaxis(depth, 0, axis)


def _depth_in_slice(marked: npt.NDArray[np.bool_], pixel_mm: list[float]) -> npt.NDArray[np.float32]:
    """In-slice distance to the outline, positive inside; the outline runs half a pixel off the centers."""
    half_pixel = 0.5 * float(np.mean(pixel_mm))
    if marked.all():
        return np.full(marked.shape, _SHAPE_RANGE_MM, dtype=np.float32)
    inside = ndimage.distance_transform_edt(marked, sampling=pixel_mm) - half_pixel
    outside = ndimage.distance_transform_edt(~marked, sampling=pixel_mm) - half_pixel
    return np.where(marked, inside, -outside).astype(np.float32)
