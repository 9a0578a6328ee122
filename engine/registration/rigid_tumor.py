"""A displacement field that moves the tumor rigidly."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm
from engine.kernels.resampling import resample
from engine.registration.deformation import Deformation, field_of
from engine.registration.field import DisplacementField
from engine.volume import LabelMask

_RIGID_HALO_MM: Final = 3.0
"""The motion is rigid up to this far from the tumor: more than a voxel of any grid here."""

_BLEND_MM: Final = 12.0
"""Over this distance it passes to the deformation of the surroundings."""


def field_with_rigid_tumor(
    deformation: Deformation,
    grid: VolumeGeometry,
    planning_from_verification: RigidTransform,
    tumor: LabelMask,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> DisplacementField:
    """The field of a deformation, but rigid in and just around the tumor: its volume does not change.

    Parameters
    ----------
    deformation : Deformation
    grid : VolumeGeometry
    planning_from_verification : RigidTransform
        Motion of the tumor.
    tumor : LabelMask
        In the moving frame.
    kernels : KernelBackend

    Returns
    -------
    DisplacementField
    """
    free = field_of(deformation, grid, kernels=kernels)
    marked = resample(
        tumor.voxels.astype(np.float32),
        tumor.geometry.index_from_lps @ planning_from_verification.matrix @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        kernels=kernels,
    )
    distance = distance_mm(marked > 0.0, grid.spacing_zyx_mm, kernels=kernels)
    near = np.argwhere(distance < _RIGID_HALO_MM + _BLEND_MM)
    index = tuple(near.T)
    way = np.clip((distance[index] - _RIGID_HALO_MM) / _BLEND_MM, 0.0, 1.0)
    share = (1.0 - way * way * (3.0 - 2.0 * way))[:, None]
    points = grid.to_lps(near.astype(float))
    rigid = planning_from_verification.apply(points) - points
    blended = free.displacement_lps_mm.copy()
    blended[index] = (share * rigid + (1.0 - share) * blended[index]).astype(np.float32)
    return replace(free, displacement_lps_mm=blended)
