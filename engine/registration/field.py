"""A displacement field on a grid of the fixed frame, and what can be read off it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.arrays import Float32Array, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm
from engine.kernels.resampling import resample
from engine.registration.control_grid import interpolation, positions
from engine.volume import LabelMask

if TYPE_CHECKING:
    from engine.registration.deformation import Deformation

_RIGID_ROOM_MM: Final = 3.0
"""The motion is rigid up to this far from the tumor: more than a voxel of any grid here."""

_BLEND_MM: Final = 12.0
"""Over this distance it passes to the deformation of the surroundings."""


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Where each place of the fixed CT lies in the moving CT: ``p + displacement(p)``.

    Parameters
    ----------
    displacement_lps_mm : ndarray of float32, (z, y, x, 3)
        Components along LPS x, y, z.
    geometry : VolumeGeometry
        Axis-aligned grid in the frame of the fixed CT.
    """

    displacement_lps_mm: Float32Array
    geometry: VolumeGeometry

    def at(self, points_lps_mm: Float64Array) -> Float64Array:
        """Displacement at any places, linearly interpolated; beyond the grid the nearest holds.

        Parameters
        ----------
        points_lps_mm : ndarray, (..., 3)

        Returns
        -------
        ndarray, (..., 3)
        """
        places = points_lps_mm.reshape(-1, 3)
        return interpolation(self.geometry, places).at(self.displacement_lps_mm).reshape(points_lps_mm.shape)

    def jacobian_determinant(self) -> Float64Array:
        """Determinant of the derivative of ``p + displacement(p)`` at every voxel; not positive where it folds."""
        spacing = self.geometry.spacing_zyx_mm
        derivative = np.empty((*self.geometry.shape_zyx, 3, 3))
        for column, axis in enumerate((2, 1, 0)):
            derivative[..., column] = np.gradient(self.displacement_lps_mm, spacing[axis], axis=axis)
        derivative += np.eye(3)
        return np.asarray(np.linalg.det(derivative))


def field_of(
    found: Deformation, grid: VolumeGeometry, *, kernels: KernelBackend = KernelBackend.CPU
) -> DisplacementField:
    """The displacement of a deformation at every voxel of a grid.

    Parameters
    ----------
    found : Deformation
    grid : VolumeGeometry
        In the fixed frame.
    kernels : KernelBackend

    Returns
    -------
    DisplacementField
    """
    to_nodes = found.lattice.index_from_lps @ grid.affine_lps_mm
    u = np.stack(
        [
            resample(
                np.ascontiguousarray(found.nodes_mm[..., k], dtype=np.float32),
                to_nodes,
                grid.shape_zyx,
                order=1,
                kernels=kernels,
            )
            for k in (2, 1, 0)
        ],
        axis=-1,
    )
    # moving_from_fixed (p + u) - p, without the positions of all voxels where it is a translation
    linear, offset = found.moving_from_fixed.rotation, found.moving_from_fixed.translation_mm
    moved = u @ linear.T.astype(np.float32) + offset.astype(np.float32)
    if not np.array_equal(linear, np.eye(3)):
        moved += (positions(grid) @ (linear - np.eye(3)).T).astype(np.float32)
    return DisplacementField(np.ascontiguousarray(moved, dtype=np.float32), grid)


def field_with_rigid_tumor(
    found: Deformation,
    grid: VolumeGeometry,
    planning_from_verification: RigidTransform,
    tumor: LabelMask,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> DisplacementField:
    """As :func:`field_of`, but rigid in and just around the tumor: its volume does not change.

    Parameters
    ----------
    found : Deformation
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
    free = field_of(found, grid, kernels=kernels)
    marked = resample(
        tumor.voxels.astype(np.float32),
        tumor.geometry.index_from_lps @ planning_from_verification.matrix @ grid.affine_lps_mm,
        grid.shape_zyx,
        order=1,
        kernels=kernels,
    )
    distance = distance_mm(marked > 0.0, grid.spacing_zyx_mm, kernels=kernels)
    near = np.argwhere(distance < _RIGID_ROOM_MM + _BLEND_MM)
    at = tuple(near.T)
    way = np.clip((distance[at] - _RIGID_ROOM_MM) / _BLEND_MM, 0.0, 1.0)
    share = (1.0 - way * way * (3.0 - 2.0 * way))[:, None]
    points = grid.to_lps(near.astype(float))
    rigid = planning_from_verification.apply(points) - points
    blended = free.displacement_lps_mm.copy()
    blended[at] = (share * rigid + (1.0 - share) * blended[at]).astype(np.float32)
    return replace(free, displacement_lps_mm=blended)
