"""Which voxels count: neither the ablation zone and its halo nor metal tells where the tumor was."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array
from engine.geometry import VolumeGeometry, VoxelBox
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm
from engine.kernels.resampling import resample
from engine.volume import CtVolume, LabelMask

ZONE_HALO_MM: Final = 4.0
"""Tissue this near to the zone is edema, hemorrhage or drawn-in lung: no evidence of the tumor's place."""

METAL_HU: Final = 1800
METAL_HALO_MM: Final = 3.0
"""No bone is this dense; a needle is, and is not there in the other scan."""


def distance_from(mask: LabelMask, grid: VolumeGeometry, kernels: KernelBackend) -> Float32Array:
    """Distance from every voxel of ``grid`` to a mask, mm; infinite where the mask is not on the grid.

    Parameters
    ----------
    mask : LabelMask
    grid : VolumeGeometry
    kernels : KernelBackend

    Returns
    -------
    ndarray of float32, (z, y, x)
    """
    crop = mask.tight(4)  # the whole chest has nothing to add
    marked = resample(
        crop.voxels.astype(np.float32),
        crop.geometry.index_from_lps @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        kernels=kernels,
    )
    return distance_mm(marked > 0.25, grid.spacing_zyx_mm, kernels=kernels)


def near_metal(ct: CtVolume, grid: VolumeGeometry) -> BoolArray:
    """Voxels of ``grid`` at or near metal."""
    near = np.zeros(grid.shape_zyx, dtype=np.bool_)
    corners = ct.geometry.to_index(grid.corners_lps_mm())
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, ct.geometry.shape_zyx).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, ct.geometry.shape_zyx).astype(int)
    metal = np.argwhere(ct.voxels_hu[VoxelBox.between(low, high).slices] >= METAL_HU)
    if len(metal) == 0:
        return near
    index = np.round(grid.to_index(ct.geometry.to_lps((metal + low).astype(float)))).astype(int)
    index = index[((index >= 0) & (index < np.array(grid.shape_zyx))).all(axis=1)]
    near[tuple(index.T)] = True
    steps = max(1, round(METAL_HALO_MM / grid.spacing_zyx_mm[0]))
    return np.asarray(ndimage.binary_dilation(near, iterations=steps), dtype=np.bool_) if len(index) else near
