"""A CT on the grid of the CT that it was registered to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.hounsfield import AIR_HU
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.registration.field import DisplacementField
from engine.volume import CtVolume


def warp(
    moving: CtVolume,
    fixed: CtVolume,
    field: DisplacementField,
    kernels: KernelBackend = KernelBackend.CPU,
) -> CtVolume:
    """Resample the moving CT on the grid of the fixed CT.

    Parameters
    ----------
    moving, fixed : CtVolume
    field : DisplacementField
        A point p of the fixed CT lies at p plus the displacement there in the moving CT.
    kernels : KernelBackend

    Returns
    -------
    CtVolume
        Trilinear; air (-1024 HU) where the moving CT does not reach.

    Raises
    ------
    BackendError
    """
    to_moving = moving.geometry.index_from_lps
    displacement = field.displacement_lps_mm.astype(np.float64) @ to_moving[:3, :3].T
    voxels_hu = resample(
        moving.voxels_hu,
        to_moving @ fixed.geometry.affine_lps_mm,
        fixed.geometry.shape_zyx,
        displacement=displacement.astype(np.float32),
        displacement_map=field.geometry.index_from_lps @ fixed.geometry.affine_lps_mm,
        order=1,
        fill=AIR_HU,
        kernels=kernels,
    )
    return CtVolume(voxels_hu, fixed.geometry, replace(moving.acquisition, warnings=()))
