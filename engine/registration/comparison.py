"""Both scans made comparable: regions at two resolutions, and the voxels that count."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array, read_only
from engine.geometry import RigidTransform, VolumeGeometry, VoxelBox
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm
from engine.kernels.resampling import resample
from engine.registration.region import ComparisonRegion, SourceRegion, comparison_region, source_region
from engine.registration.template import (
    PATTERN_HALF_WIDTH_MM,
    PATTERN_SPACING_MM,
    Pattern,
    lung_of,
    pattern_of,
)
from engine.volume import CtVolume, LabelMask

FINEST_GRID_MM: Final = 1.5
MOST_VOXELS: Final = 3_000_000
"""A whole chest is compared on a grid that keeps to this."""

BLURRING_SLICE_MM: Final = 3.0
"""Slices farther apart blur the table axis enough to pull contours along it."""

REACH_MM: Final = 50.0
"""Surroundings of the tumor that are registered: its own radius more than this, to every side."""

LEAST_HALF_WIDTH_MM: Final = 65.0
_MOVING_ROOM_MM: Final = 16.0
"""How far a bending lung may take the border of the region."""

BORDER_MM: Final = 3.0
COARSE_BORDER_MM: Final = 5.0
"""What lies outside the moving CT must not be matched to what lies at its edge. Without this border places
beyond the edge were pulled into it, by up to 6 mm."""

ZONE_HALO_MM: Final = 4.0
"""Tissue this near to the zone is edema, hemorrhage or drawn-in lung: no evidence of the tumor's place."""

LEAST_LUNG_SHARE: Final = 0.1

METAL_HU: Final = 1800
METAL_HALO_MM: Final = 3.0
"""No bone is this dense; a needle is, and is not there in the other scan."""


TUMOR_POINTS: Final = 300
"""Points of the tumor at which its motion is predicted."""


@dataclass(frozen=True, eq=False)
class PlanningSide:
    """The moving CT with its tumor, and what can be made of it before the other scan arrives.

    Parameters
    ----------
    ct : CtVolume
    tumor_center_lps_mm : ndarray, (3,)
    tumor_radius_mm : float
    tumor_points_lps_mm : ndarray, (N, 3)
        Throughout the tumor.
    """

    ct: CtVolume
    tumor_center_lps_mm: Float64Array
    tumor_radius_mm: float
    tumor_points_lps_mm: Float64Array
    _prepared: dict[float, SourceRegion] = field(default_factory=dict, repr=False)
    _patterns: dict[float, Pattern] = field(default_factory=dict, repr=False)

    @property
    def half_width_mm(self) -> float:
        """Half width of the region that is registered."""
        return max(LEAST_HALF_WIDTH_MM, self.tumor_radius_mm + REACH_MM)

    def source(self, match_mm: float) -> SourceRegion:
        """The surroundings of the tumor, ready for comparison; kept for the next call."""
        if match_mm not in self._prepared:
            half = self.half_width_mm + _MOVING_ROOM_MM
            self._prepared[match_mm] = source_region(
                self.ct,
                self.tumor_center_lps_mm - half,
                self.tumor_center_lps_mm + half,
                FINEST_GRID_MM,
                match_slice_mm=match_mm,
            )
        return self._prepared[match_mm]

    def pattern(self, match_mm: float) -> Pattern:
        """What is looked for in the other scan; kept for the next call."""
        if match_mm not in self._patterns:
            half = PATTERN_HALF_WIDTH_MM + max(0.0, self.tumor_radius_mm - 15.0)
            region = comparison_region(
                self.ct, self.tumor_center_lps_mm, half, PATTERN_SPACING_MM, match_slice_mm=match_mm
            )
            self._patterns[match_mm] = pattern_of(region)
        return self._patterns[match_mm]


def planning_side(planning: CtVolume, tumor: LabelMask) -> PlanningSide:
    """What the registration needs of the planning CT alone.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask
        On the grid of ``planning``.

    Returns
    -------
    PlanningSide
    """
    marked = np.argwhere(tumor.voxels)
    places = tumor.geometry.to_lps(marked.astype(float))
    center = places.mean(axis=0)
    return PlanningSide(
        planning,
        center,
        float(np.linalg.norm(places - center, axis=1).max()),
        places[:: max(1, len(places) // TUMOR_POINTS)],
    )


@dataclass(frozen=True, eq=False)
class _Resolution:
    """Both scans on one grid distance.

    Parameters
    ----------
    fixed : ComparisonRegion
    moving : SourceRegion
    evidence, lung_evidence : ndarray of bool, (z, y, x)
        Voxels that count, and those of them in lung: chest wall and diaphragm slide along it, so that they
        may say nothing of what happens inside. Both kept read-only.
    """

    fixed: ComparisonRegion
    moving: SourceRegion
    evidence: BoolArray
    lung_evidence: BoolArray

    def __post_init__(self) -> None:
        read_only(self.evidence)
        read_only(self.lung_evidence)

    def in_lung(self) -> _Resolution:
        """The same with lung alone as evidence."""
        return replace(self, evidence=self.lung_evidence)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Both scans at a coarse and a fine grid distance, roughly aligned.

    Parameters
    ----------
    coarse, fine : _Resolution
    moving_from_fixed : RigidTransform
        The alignment from which both are compared.
    zone_distance_mm : ndarray of float32 or None, (z, y, x)
        Distance to the ablation zone on the fine grid.
    """

    coarse: _Resolution
    fine: _Resolution
    moving_from_fixed: RigidTransform
    zone_distance_mm: Float32Array | None

    @property
    def has_lung(self) -> bool:
        """Whether lung is enough of the evidence to stand alone."""
        at = self.coarse
        return bool(np.count_nonzero(at.lung_evidence) >= LEAST_LUNG_SHARE * np.count_nonzero(at.evidence))

    def without_wall(self) -> Comparison:
        """Lung alone as evidence, where that is enough; else all."""
        return self.in_lung() if self.has_lung else self

    def in_lung(self) -> Comparison:
        """The same with lung alone as evidence."""
        return replace(self, coarse=self.coarse.in_lung(), fine=self.fine.in_lung())

    @property
    def void_radius_mm(self) -> float:
        """Radius of a sphere as large as the zone with its halo; 0 without a zone."""
        if self.zone_distance_mm is None:
            return 0.0
        voxel = float(np.prod(self.fine.fixed.geometry.spacing_zyx_mm))
        hidden = float(np.count_nonzero(self.zone_distance_mm <= ZONE_HALO_MM)) * voxel
        return float((3.0 * hidden / (4.0 * np.pi)) ** (1.0 / 3.0))


def compare_lesion(
    planning: PlanningSide,
    fixed: CtVolume,
    zone: LabelMask | None,
    moving_from_fixed: RigidTransform,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Comparison:
    """Lay out the surroundings of the tumor in both scans.

    Parameters
    ----------
    planning : PlanningSide
    fixed : CtVolume
    zone : LabelMask, optional
        Ablation zone on the grid of ``fixed``.
    moving_from_fixed : RigidTransform
        A translation.
    kernels : KernelBackend

    Returns
    -------
    Comparison
    """
    match_mm = match_slice_mm(planning.ct, fixed)
    center = moving_from_fixed.inverse.apply(planning.tumor_center_lps_mm)
    half = planning.half_width_mm
    corners = fixed.geometry.corners_lps_mm()
    low = np.maximum(corners.min(axis=0), center - half)
    high = np.minimum(corners.max(axis=0), center + half)
    with ThreadPoolExecutor(1) as pool:
        source = pool.submit(planning.source, match_mm)
        return _compare(
            fixed, source.result, zone, moving_from_fixed, low, high, FINEST_GRID_MM, match_mm, kernels
        )


def compare_whole(
    moving: CtVolume,
    fixed: CtVolume,
    zone: LabelMask | None,
    moving_from_fixed: RigidTransform,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Comparison:
    """Lay out two whole scans; the grid is as fine as their size allows.

    Parameters
    ----------
    moving, fixed : CtVolume
    zone, moving_from_fixed, kernels
        As in :func:`compare_lesion`.

    Returns
    -------
    Comparison
    """
    corners = fixed.geometry.corners_lps_mm()
    low, high = corners.min(axis=0), corners.max(axis=0)
    in_plane = max(*fixed.geometry.spacing_zyx_mm[1:], *moving.geometry.spacing_zyx_mm[1:])
    grid_mm = max(FINEST_GRID_MM, 0.6 * in_plane, float(np.prod(high - low) / MOST_VOXELS) ** (1.0 / 3.0))
    theirs = moving.geometry.corners_lps_mm()
    match_mm = match_slice_mm(moving, fixed) if grid_mm < BLURRING_SLICE_MM else 0.0
    source = source_region(moving, theirs.min(axis=0), theirs.max(axis=0), grid_mm, match_slice_mm=match_mm)
    return _compare(fixed, lambda: source, zone, moving_from_fixed, low, high, grid_mm, match_mm, kernels)


def match_slice_mm(moving: CtVolume, fixed: CtVolume) -> float:
    """The thicker slice distance, where it is thick enough to matter; else 0."""
    thicker = max(moving.geometry.spacing_zyx_mm[0], fixed.geometry.spacing_zyx_mm[0])
    return thicker if thicker > BLURRING_SLICE_MM else 0.0


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


def _compare(
    fixed: CtVolume,
    moving: Callable[[], SourceRegion],
    zone: LabelMask | None,
    moving_from_fixed: RigidTransform,
    low: Float64Array,
    high: Float64Array,
    grid_mm: float,
    match_mm: float,
    kernels: KernelBackend,
) -> Comparison:
    region = comparison_region(
        fixed, 0.5 * (low + high), 0.5 * (high - low), grid_mm, match_slice_mm=match_mm, kernels=kernels
    )
    distance = None if zone is None else distance_from(zone, region.geometry, kernels)
    evidence = region.inside & ~_metal(fixed, region.geometry)
    if distance is not None:
        evidence &= distance > ZONE_HALO_MM
    thinned = (slice(None, None, 2),) * 3
    source = moving()
    coarser = region.coarser()
    coarse_evidence = np.ascontiguousarray(evidence[thinned])
    lung = lung_of(coarser)
    fine_lung = np.repeat(np.repeat(np.repeat(lung, 2, axis=0), 2, axis=1), 2, axis=2)
    nz, ny, nx = evidence.shape
    return Comparison(
        coarse=_Resolution(
            coarser,
            source.without_border(COARSE_BORDER_MM).thinned(2.0 * grid_mm),
            coarse_evidence,
            coarse_evidence & lung,
        ),
        fine=_Resolution(
            region, source.without_border(BORDER_MM), evidence, evidence & fine_lung[:nz, :ny, :nx]
        ),
        moving_from_fixed=moving_from_fixed,
        zone_distance_mm=distance,
    )


def _metal(ct: CtVolume, grid: VolumeGeometry) -> BoolArray:
    """Voxels of ``grid`` at or near metal."""
    near = np.zeros(grid.shape_zyx, dtype=np.bool_)
    corners = ct.geometry.to_index(grid.corners_lps_mm())
    low = np.clip(np.floor(corners.min(axis=0)) - 1, 0, ct.geometry.shape_zyx).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, 0, ct.geometry.shape_zyx).astype(int)
    places = np.argwhere(ct.voxels_hu[VoxelBox.between(low, high).slices] >= METAL_HU)
    if len(places) == 0:
        return near
    index = np.round(grid.to_index(ct.geometry.to_lps((places + low).astype(float)))).astype(int)
    index = index[((index >= 0) & (index < np.array(grid.shape_zyx))).all(axis=1)]
    near[tuple(index.T)] = True
    steps = max(1, round(METAL_HALO_MM / grid.spacing_zyx_mm[0]))
    return np.asarray(ndimage.binary_dilation(near, iterations=steps), dtype=np.bool_) if len(index) else near
