"""What was there before, on the verification CT's grid: the planning CT warped onto it, and the tumor's distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array, Int16Array
from engine.errors import InvalidRequestError
from engine.geometry import RigidTransform, VolumeGeometry
from engine.hounsfield import AIR_HU
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm, signed_distance_mm
from engine.kernels.resampling import resample
from engine.manifest import PLANNING_CT_WARPED, TUMOR_DISTANCE
from engine.registration.field import DisplacementField
from engine.volume import CtVolume, LabelMask

DISTANCE_BOUND_MM: Final = 60.0
"""The tumor's distance is given as far as this, inside and outside; beyond it stays this."""

_NEAR_MM: Final = 10.0
"""Up to here the distance is that from the sub-voxel surface, beyond it from the voxels of a thinned grid."""

_THINNED_BELOW_MM: Final = 1.5

_INVERSION_STEPS: Final = 8
"""Fixed-point steps; a coarse deformation changes by less than half from place to place."""


@dataclass(frozen=True, eq=False)
class WarpedPlanning:
    """The planning CT and its tumor, where the verification CT shows them; a :data:`engine.segmentation.ChannelSource`.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask
        On the grid of ``planning``.
    planning_from_verification : RigidTransform
    displacement : DisplacementField, optional
        A point p of the verification CT lies at ``planning_from_verification (p + displacement(p))``.
    kernels : KernelBackend
    """

    planning: CtVolume
    tumor: LabelMask
    planning_from_verification: RigidTransform
    displacement: DisplacementField | None = None
    kernels: KernelBackend = KernelBackend.CPU

    def __call__(self, name: str, grid: VolumeGeometry) -> Float32Array:
        """One channel on a grid in the verification CT's frame, (z, y, x).

        Raises
        ------
        InvalidRequestError
            If the channel is not made of the planning CT.
        """
        if name == PLANNING_CT_WARPED:
            return self.hu(grid)
        if name == TUMOR_DISTANCE:
            return self.tumor_distance_mm(grid)
        raise InvalidRequestError(f"there is no channel {name}")

    def to_verification(self, points_lps_mm: Float64Array) -> Float64Array:
        """Where points of the planning CT lie in the verification CT, (N, 3) LPS mm."""
        rough = self.planning_from_verification.inverse.apply(points_lps_mm)
        if self.displacement is None:
            return rough
        found = rough
        for _ in range(_INVERSION_STEPS):
            found = rough - self.displacement.at(found)
        return found

    def hu(self, grid: VolumeGeometry) -> Float32Array:
        """The planning CT on a grid, HU; air beyond its field of view."""
        return self._warped(self.planning.voxels_hu, self.planning.geometry, grid, AIR_HU)

    def tumor_share(self, grid: VolumeGeometry) -> Float32Array:
        """Share of each voxel of a grid that is tumor, 0 to 1."""
        return self.mask_share(self.tumor.tight(4), grid)

    def mask_share(self, mask: LabelMask, grid: VolumeGeometry) -> Float32Array:
        """Share of each voxel of a grid that lies in a mask of the planning CT, 0 to 1."""
        return self._warped(mask.voxels.astype(np.float32), mask.geometry, grid, 0.0)

    def tumor_distance_mm(self, grid: VolumeGeometry) -> Float32Array:
        """Distance from the tumor's surface, negative inside, bounded by :data:`DISTANCE_BOUND_MM`."""
        share = self.tumor_share(grid)
        if share.max(initial=0.0) < 0.5:
            return np.full(grid.shape_zyx, DISTANCE_BOUND_MM, dtype=np.float32)
        near = signed_distance_mm(share, grid.spacing_zyx_mm, bound_mm=_NEAR_MM, kernels=self.kernels)
        distance = np.where(np.isfinite(near), near, _far_distance_mm(share > 0.5, grid, self.kernels))
        return np.clip(distance, -DISTANCE_BOUND_MM, DISTANCE_BOUND_MM).astype(np.float32)

    def _warped(
        self, voxels: Int16Array | Float32Array, own: VolumeGeometry, grid: VolumeGeometry, fill: float
    ) -> Float32Array:
        rigid = self.planning_from_verification
        to_own = own.index_from_lps @ rigid.matrix
        displacement, displacement_map = None, None
        if self.displacement is not None:
            moved = self.displacement.displacement_lps_mm.astype(np.float64) @ to_own[:3, :3].T
            displacement = moved.astype(np.float32)
            displacement_map = self.displacement.geometry.index_from_lps @ grid.affine_lps_mm
        warped = resample(
            voxels,
            to_own @ grid.affine_lps_mm,
            grid.shape_zyx,
            displacement=displacement,
            displacement_map=displacement_map,
            order=1,
            fill=fill,
            kernels=self.kernels,
        )
        return np.asarray(warped, dtype=np.float32)


def _far_distance_mm(inside: BoolArray, grid: VolumeGeometry, kernels: KernelBackend) -> Float32Array:
    """Distance from a surface between voxels, negative inside, on every second voxel and linear between them."""
    steps = [2 if spacing < _THINNED_BELOW_MM else 1 for spacing in grid.spacing_zyx_mm]
    thin = np.ascontiguousarray(inside[:: steps[0], :: steps[1], :: steps[2]])
    if not thin.any():
        steps, thin = [1, 1, 1], inside
    spacing = [step * mm for step, mm in zip(steps, grid.spacing_zyx_mm, strict=True)]
    half_voxel = 0.5 * float(np.mean(spacing))
    distance = np.where(
        thin,
        half_voxel - distance_mm(~thin, spacing, kernels=kernels),
        distance_mm(thin, spacing, kernels=kernels) - half_voxel,
    )
    held = np.pad(
        distance.astype(np.float32), ((0, 1),) * 3, mode="edge"
    )  # for voxels beyond the last one kept
    to_thin = np.hstack([np.diag([1.0 / step for step in steps]), np.zeros((3, 1))])
    return np.asarray(resample(held, to_thin, inside.shape, order=1, kernels=kernels), dtype=np.float32)
