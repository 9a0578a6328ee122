"""The surroundings of a place in a CT, windowed and thinned for comparison."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array, Int16Array, read_only
from engine.geometry import VolumeGeometry, VoxelBox
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.volume import CtVolume

WINDOW_HU: Final = (-1000.0, 200.0)
"""Lung and soft tissue; metal, bone and table do not steer the alignment."""

_SLICE_PROFILE_SHARE: Final = 0.3
"""A slice of thickness t blurs like a Gaussian of standard deviation 0.3 t."""

_BLUR_SHARE: Final = 0.53
"""Standard deviation of the blur before sampling, as a share of the spacing: 0.4 to 0.67 served equally well."""

_PADDING_MM: Final = 8.0
"""Voxels this far around a region are read with it: blurring and interpolation need them."""


@dataclass(frozen=True, eq=False)
class ComparisonRegion:
    """Windowed HU on an isotropic LPS grid, and where they are known.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
        Kept read-only.
    inside : ndarray of bool, (z, y, x)
        Within the field of view.
    geometry : VolumeGeometry
    """

    hu: Float32Array
    inside: BoolArray
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        read_only(self.hu)

    def coarser(self) -> ComparisonRegion:
        """The same region at twice the spacing, averaged."""
        blurred = self.hu
        for axis in range(3):
            blurred = ndimage.convolve1d(blurred, np.array([0.25, 0.5, 0.25]), axis=axis, mode="nearest")
        every = (slice(None, None, 2),) * 3
        hu = np.ascontiguousarray(blurred[every])
        dz, dy, dx = self.geometry.spacing_zyx_mm
        geometry = replace(
            self.geometry,
            shape_zyx=(hu.shape[0], hu.shape[1], hu.shape[2]),
            spacing_zyx_mm=(2.0 * dz, 2.0 * dy, 2.0 * dx),
        )
        return ComparisonRegion(hu, np.ascontiguousarray(self.inside[every]), geometry)


@dataclass(frozen=True, eq=False)
class SourceRegion:
    """Windowed HU around a place on the CT's own axes, blurred for sampling at a spacing; all of it is known.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
        Kept read-only.
    geometry : VolumeGeometry
    """

    hu: Float32Array
    geometry: VolumeGeometry

    def __post_init__(self) -> None:
        read_only(self.hu)

    def thinned(self, spacing_mm: float) -> SourceRegion:
        """The same region with voxels averaged to about a spacing."""
        factors = [max(1, int(spacing_mm / s + 0.05)) for s in self.geometry.spacing_zyx_mm]
        return SourceRegion(*_averaged(self.hu, self.geometry, factors))

    def without_border(self, border_mm: float) -> SourceRegion:
        """Leave out a border; at least two voxels remain along every axis."""
        size = np.array(self.geometry.shape_zyx)
        off = np.minimum(np.round(border_mm / np.array(self.geometry.spacing_zyx_mm)), (size - 2) // 2)
        off = np.maximum(off, 0).astype(int)
        box = VoxelBox.between(off, size - off)
        return SourceRegion(np.ascontiguousarray(self.hu[box.slices]), self.geometry.crop(box))


def source_region(
    ct: CtVolume,
    low_lps_mm: Float64Array,
    high_lps_mm: Float64Array,
    spacing_mm: float,
    *,
    match_slice_mm: float = 0.0,
) -> SourceRegion:
    """Cut a box out of a CT, window it, and blur it for sampling at ``spacing_mm``.

    Parameters
    ----------
    ct : CtVolume
    low_lps_mm, high_lps_mm : ndarray, (3,)
        Opposite corners of the box.
    spacing_mm : float
    match_slice_mm : float
        Slice distance of the CT to compare with; a thinner one is blurred to its profile along the
        slice normal. Without this, thick slices pull every contour along the table axis.

    Returns
    -------
    SourceRegion
        The box with ``_PADDING_MM`` around it, as far as the CT reaches.
    """
    cut, geometry = _crop_around(ct, low_lps_mm, high_lps_mm)
    hu = np.clip(cut.astype(np.float32), *WINDOW_HU)
    own_mm = geometry.spacing_zyx_mm
    along_slices = own_mm[0] < match_slice_mm
    factors = [max(1, int(spacing_mm / (2.0 * s) + 0.05)) for s in own_mm]
    hu, geometry = _averaged(hu, geometry, [1, *factors[1:]] if along_slices else factors)
    own = np.array(geometry.spacing_zyx_mm)
    sigma_mm = np.where(own < spacing_mm, _BLUR_SHARE * spacing_mm, 0.0)
    if along_slices:
        sigma_mm[0] = _SLICE_PROFILE_SHARE * np.sqrt(match_slice_mm**2 - own_mm[0] ** 2)
    hu = ndimage.gaussian_filter(hu, sigma_mm / own, mode="nearest", truncate=2.5)
    return SourceRegion(np.ascontiguousarray(hu, dtype=np.float32), geometry)


def comparison_region(
    ct: CtVolume,
    center_lps_mm: Float64Array,
    half_width_mm: Float64Array | float,
    spacing_mm: float,
    *,
    match_slice_mm: float = 0.0,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ComparisonRegion:
    """Cut, window and resample the surroundings of a point.

    Parameters
    ----------
    ct : CtVolume
    center_lps_mm : ndarray, (3,)
    half_width_mm : float or ndarray, (3,)
    spacing_mm : float
    match_slice_mm : float
        As in :func:`source_region`.

    Returns
    -------
    ComparisonRegion
    """
    half = np.broadcast_to(np.asarray(half_width_mm, dtype=float), (3,))
    low, high = np.asarray(center_lps_mm - half), np.asarray(center_lps_mm + half)
    grid = ct.geometry.around(low, high, spacing_mm)
    source = source_region(ct, low, high, spacing_mm, match_slice_mm=match_slice_mm)
    hu = resample(
        source.hu,
        source.geometry.index_from_lps @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        fill=np.nan,
        kernels=kernels,
    )
    # Half a voxel beyond the outermost voxel centers nothing is known either: filled with air it would be evidence.
    known = np.isfinite(hu)
    return ComparisonRegion(np.where(known, hu, np.float32(WINDOW_HU[0])), known, grid)


def _averaged(
    hu: Float32Array, geometry: VolumeGeometry, factors: list[int]
) -> tuple[Float32Array, VolumeGeometry]:
    """Means of blocks of voxels; a last block that is not full is left out."""
    for axis, factor in enumerate(factors):
        count = hu.shape[axis] // factor
        if factor == 1 or count < 2:
            continue
        full = np.moveaxis(np.moveaxis(hu, axis, 0)[: count * factor], 0, axis)
        parts = [
            full[tuple(slice(i, None, factor) if k == axis else slice(None) for k in range(3))]
            for i in range(factor)
        ]
        hu = np.asarray(sum(parts[1:], parts[0].copy()) / np.float32(factor), dtype=np.float32)
        middle = np.zeros(3)
        middle[axis] = 0.5 * (factor - 1)
        x, y, z = (float(v) for v in geometry.to_lps(middle))
        spacing = list(geometry.spacing_zyx_mm)
        spacing[axis] *= factor
        geometry = replace(
            geometry,
            shape_zyx=(hu.shape[0], hu.shape[1], hu.shape[2]),
            spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
            origin_lps_mm=(x, y, z),
        )
    return hu, geometry


def _crop_around(
    ct: CtVolume, low_lps_mm: Float64Array, high_lps_mm: Float64Array
) -> tuple[Int16Array, VolumeGeometry]:
    """The part of the CT that a box touches, padded for blurring: its HU and its grid."""
    ends = np.array(list(np.ndindex(2, 2, 2)), dtype=bool)
    corners = ct.geometry.to_index(np.where(ends, high_lps_mm, low_lps_mm))
    padding = _PADDING_MM / np.array(ct.geometry.spacing_zyx_mm)
    last = np.array(ct.geometry.shape_zyx) - 1
    low = np.clip(np.floor(corners.min(axis=0) - padding), 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0) + padding), 0, last).astype(int) + 1
    box = VoxelBox.between(low, high)
    return ct.voxels_hu[box.slices], ct.geometry.crop(box)
