"""The fine grid on which everything is counted: tumor, zone, core and lung, and their distances.

It lies in the verification frame, where the needle is. The tumor is warped first and grown after, so that
the margin stays isotropic there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array, Int16Array, read_only
from engine.errors import InvalidRequestError
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm, signed_distance_mm, surface_points_mm
from engine.kernels.resampling import resample
from engine.structures.surface import SURFACE_LEVEL, StructureSurface
from engine.volume import CtVolume, LabelMask

MEASUREMENT_SPACING_MM: Final = 0.5
"""Centers 1 mm apart put coverage off by 0.02 to 0.03; half a millimeter, with sub-voxel surfaces, does not."""

MIN_PLEURAL_TOLERANCE_MM: Final = 1.0
"""Zone, lung and tumor contours each end within about a voxel of the pleura; what lies closer to it than
this cannot be told from it and is left out of the lung-clipped figures (never out of the plain ones)."""

_MAX_SLOPE: Final = 3.0
"""Of the distance to missed lung, beside what cannot be assessed."""

_PADDING_MM: Final = 12.0
"""Padding around the warped tumor: the widest margin band and 2 mm."""

_MAX_VOXELS: Final = 40_000_000
"""A cube of 17 cm: a mask beyond it is not an ablation zone, and would take gigabytes."""


@dataclass(frozen=True, eq=False)
class MeasurementField:
    """Structures and distances on one isotropic grid in the verification frame.

    Parameters
    ----------
    geometry : VolumeGeometry
    tumor_occupancy, zone_occupancy : ndarray of float32, (z, y, x)
    core_occupancy : ndarray of float32, optional
    lung : ndarray of bool, (z, y, x)
        Planning lung, warped, united with the tumor; true also where the planning CT does not reach.
    kernels : KernelBackend
    pleural_tolerance_mm : float
        What lies closer to the pleura cannot be told from it.
    """

    geometry: VolumeGeometry
    tumor_occupancy: Float32Array
    zone_occupancy: Float32Array
    core_occupancy: Float32Array | None
    lung: BoolArray
    kernels: KernelBackend
    pleural_tolerance_mm: float = MIN_PLEURAL_TOLERANCE_MM

    @property
    def tumor(self) -> BoolArray:
        """Voxels of the warped tumor."""
        return self.tumor_occupancy >= SURFACE_LEVEL

    @cached_property
    def zone(self) -> BoolArray:
        """Voxels of the ablation zone."""
        return read_only(self.zone_occupancy >= SURFACE_LEVEL)

    @cached_property
    def core(self) -> BoolArray | None:
        """Voxels of the zone's dense core, where there is one."""
        return None if self.core_occupancy is None else read_only(self.core_occupancy >= SURFACE_LEVEL)

    @cached_property
    def distance_to_pleura_mm(self) -> Float32Array:
        """Distance to the nearest voxel outside the lung; infinite where the grid holds none."""
        return distance_mm(~self.lung, self.geometry.spacing_zyx_mm, kernels=self.kernels)

    @cached_property
    def assessable(self) -> BoolArray:
        """Lung and tumor, less what lies within ``pleural_tolerance_mm`` of the pleura."""
        return read_only(self.distance_to_pleura_mm > self.pleural_tolerance_mm)

    @cached_property
    def distance_to_tumor_mm(self) -> Float32Array:
        """Signed distance to the tumor's surface, negative inside the tumor."""
        return self._distance(self.tumor_occupancy)

    @cached_property
    def distance_to_zone_mm(self) -> Float32Array:
        """Signed distance to the zone's surface, negative inside the zone."""
        return self._distance(self.zone_occupancy)

    @cached_property
    def distance_to_missed_lung_mm(self) -> Float32Array:
        """Minus the distance to the nearest uncovered place that can be assessed; at such a place, that to the zone.

        Signed as the distance to the zone, and equal to it where all is lung; what cannot be assessed counts as
        covered here. Next to it the value rises by ``_MAX_SLOPE`` a millimeter at most: a draw that moves a point by a
        little changes it by a little.
        """
        covered = np.where(self.assessable, self.zone_occupancy, np.float32(1.0))
        distance = self._distance(covered)
        to_zone = np.minimum(_MAX_SLOPE * distance, self.distance_to_zone_mm)
        return read_only(np.where(distance > 0.0, to_zone, distance))

    @cached_property
    def distance_to_core_mm(self) -> Float32Array | None:
        """Signed distance to the core's surface, negative inside the core."""
        return None if self.core_occupancy is None else self._distance(self.core_occupancy)

    @cached_property
    def tumor_surface_index(self) -> Float64Array:
        """Fractional (z, y, x) indices of points on the tumor's surface, (N, 3)."""
        points = surface_points_mm(self.tumor_occupancy, self.geometry.spacing_zyx_mm, SURFACE_LEVEL)
        return np.asarray(points / np.array(self.geometry.spacing_zyx_mm), dtype=np.float64)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, mL."""
        return self.geometry.voxel_volume_ml

    def _distance(self, field: Float32Array) -> Float32Array:
        return signed_distance_mm(
            field, self.geometry.spacing_zyx_mm, level=SURFACE_LEVEL, kernels=self.kernels
        )


def build_measurement_field(
    tumor: StructureSurface,
    zone: StructureSurface,
    core: StructureSurface | None,
    lung: LabelMask | None,
    planning_from_verification: RigidTransform,
    *,
    pleural_tolerance_mm: float = MIN_PLEURAL_TOLERANCE_MM,
    kernels: KernelBackend = KernelBackend.CPU,
) -> MeasurementField:
    """Bring tumor and lung (planning frame) and zone and core (verification frame) onto one fine grid.

    Parameters
    ----------
    tumor : StructureSurface
        In the planning frame.
    zone, core : StructureSurface
        In the verification frame.
    lung : LabelMask, optional
        In the planning frame; may cover only the lesion region. Without it all is taken for lung.
    planning_from_verification : RigidTransform
    pleural_tolerance_mm : float
        See :class:`MeasurementField`.
    kernels : KernelBackend

    Returns
    -------
    MeasurementField

    Raises
    ------
    InvalidRequestError
        Tumor and zone together span more than any ablation (``_MAX_VOXELS``).
    """
    tumor_corners = planning_from_verification.inverse.apply(tumor.corners_lps_mm)
    zone_corners = zone.corners_lps_mm
    low = np.minimum(tumor_corners.min(axis=0) - _PADDING_MM, zone_corners.min(axis=0) - 2.0)
    high = np.maximum(tumor_corners.max(axis=0) + _PADDING_MM, zone_corners.max(axis=0) + 2.0)
    _require_extent(high - low)
    grid = zone.mask.geometry.around(low, high, MEASUREMENT_SPACING_MM)

    def resampled(surface: StructureSurface, to_source: RigidTransform) -> Float32Array:
        return sample(surface.occupancy, surface.geometry, grid, to_source, kernels)

    tumor_field = resampled(tumor, planning_from_verification)
    zone_field = resampled(zone, RigidTransform.identity())
    core_field = None if core is None else resampled(core, RigidTransform.identity())
    in_lung = np.ones(grid.shape_zyx, dtype=np.bool_)
    if lung is not None:
        # Where the planning CT does not reach, lung is assumed: a miss there must not be clipped away.
        share = lung.voxels.astype(np.float32)
        lung_field = sample(share, lung.geometry, grid, planning_from_verification, kernels, fill=1.0)
        in_lung = (lung_field >= SURFACE_LEVEL) | (tumor_field >= SURFACE_LEVEL)
    return MeasurementField(grid, tumor_field, zone_field, core_field, in_lung, kernels, pleural_tolerance_mm)


def _require_extent(extent_mm: Float64Array) -> None:
    if np.prod(extent_mm / MEASUREMENT_SPACING_MM) > _MAX_VOXELS:
        x, y, z = extent_mm
        raise InvalidRequestError(
            f"tumor and ablation zone together span {x:.0f} x {y:.0f} x {z:.0f} mm, more than any one ablation; "
            "check that both masks are of one lesion, and that the zone is not the whole lung"
        )


def sample(
    voxels: Float32Array,
    source: VolumeGeometry,
    target: VolumeGeometry,
    source_from_target: RigidTransform,
    kernels: KernelBackend,
    *,
    fill: float = 0.0,
) -> Float32Array:
    """Resample ``voxels`` on ``source`` onto ``target`` through a rigid transform."""
    index_map = source.index_from_lps @ source_from_target.matrix @ target.affine_lps_mm
    return np.asarray(
        resample(
            np.ascontiguousarray(voxels), index_map, target.shape_zyx, order=1, fill=fill, kernels=kernels
        )
    )


def region_hu(verification: CtVolume, grid: VolumeGeometry, kernels: KernelBackend) -> Int16Array:
    """The verification CT on the measurement grid, HU; -1024 beyond its field of view."""
    return np.asarray(
        resample(
            verification.voxels_hu,
            verification.geometry.index_from_lps @ grid.affine_lps_mm,
            grid.shape_zyx,
            order=1,
            fill=-1024,
            kernels=kernels,
        )
    )
