"""Both scans made comparable: regions at two resolutions, and the voxels that count."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array, read_only
from engine.geometry import RigidTransform, Vector3
from engine.kernels.backend import KernelBackend
from engine.registration.deformation import Deformation
from engine.registration.evidence import ZONE_HALO_MM, distance_from, near_metal
from engine.registration.planning_features import (
    BLURRING_SLICE_MM,
    MIN_GRID_SPACING_MM,
    PlanningFeatures,
    match_slice_mm,
)
from engine.registration.region import ComparisonRegion, SourceRegion, comparison_region, source_region
from engine.registration.search.template import lung_of
from engine.volume import CtVolume, LabelMask

_MAX_VOXELS: Final = 3_000_000
"""A whole chest is compared on a grid that keeps to this."""

BORDER_MM: Final = 3.0
COARSE_BORDER_MM: Final = 5.0
"""What lies outside the moving CT must not be matched to what lies at its edge. Without this border places
beyond the edge were pulled into it, by up to 6 mm."""

_MIN_LUNG_SHARE: Final = 0.1
_SAME_DIRECTION: Final = 1e-3


@dataclass(frozen=True, eq=False)
class _ComparisonLevel:
    """Both scans at one resolution.

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

    def in_lung(self) -> _ComparisonLevel:
        """The same with lung alone as evidence."""
        return replace(self, evidence=self.lung_evidence)


@dataclass(frozen=True, eq=False)
class ScanComparison:
    """Both scans at a coarse and a fine resolution, roughly aligned.

    Parameters
    ----------
    coarse, fine : _ComparisonLevel
    moving_from_fixed : RigidTransform
        The alignment from which both are compared.
    zone_distance_mm : ndarray of float32 or None, (z, y, x)
        Distance to the ablation zone on the fine grid.
    fixed_directions_zyx_lps : tuple of three unit vectors
        The voxel axes of the fixed CT itself; the grids compared here lie along LPS.
    """

    coarse: _ComparisonLevel
    fine: _ComparisonLevel
    moving_from_fixed: RigidTransform
    zone_distance_mm: Float32Array | None
    fixed_directions_zyx_lps: tuple[Vector3, Vector3, Vector3]

    @property
    def has_lung(self) -> bool:
        """Whether lung is enough of the evidence to stand alone."""
        lung, everything = self.coarse.lung_evidence, self.coarse.evidence
        return bool(np.count_nonzero(lung) >= _MIN_LUNG_SHARE * np.count_nonzero(everything))

    def level_of(self, deformation: Deformation) -> _ComparisonLevel:
        """The resolution at which a deformation was found."""
        return self.fine if deformation.warped.shape == self.fine.evidence.shape else self.coarse

    def axes_in_fixed(self) -> list[Float64Array]:
        """Slice normal, column and row direction of each scan, (3, 3) in rows, fixed frame; once where they agree."""
        of_fixed = np.array(self.fixed_directions_zyx_lps)
        of_moving = np.array(self.fine.moving.geometry.directions_zyx_lps) @ self.moving_from_fixed.rotation
        agree = np.allclose(np.abs((of_fixed * of_moving).sum(axis=1)), 1.0, atol=_SAME_DIRECTION)
        return [of_fixed] if agree else [of_fixed, of_moving]

    def without_wall(self) -> ScanComparison:
        """Lung alone as evidence, where that is enough; else all."""
        return self.in_lung() if self.has_lung else self

    def in_lung(self) -> ScanComparison:
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
    planning: PlanningFeatures,
    fixed: CtVolume,
    zone: LabelMask | None,
    moving_from_fixed: RigidTransform,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ScanComparison:
    """Lay out the surroundings of the tumor in both scans.

    Parameters
    ----------
    planning : PlanningFeatures
    fixed : CtVolume
    zone : LabelMask, optional
        Ablation zone on the grid of ``fixed``.
    moving_from_fixed : RigidTransform
        A translation.
    kernels : KernelBackend

    Returns
    -------
    ScanComparison
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
            fixed, source.result, zone, moving_from_fixed, low, high, MIN_GRID_SPACING_MM, match_mm, kernels
        )


def compare_whole(
    moving: CtVolume,
    fixed: CtVolume,
    zone: LabelMask | None,
    moving_from_fixed: RigidTransform,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ScanComparison:
    """Lay out two whole scans; the grid is as fine as their size allows.

    Parameters
    ----------
    moving, fixed : CtVolume
    zone, moving_from_fixed, kernels
        As in :func:`compare_lesion`.

    Returns
    -------
    ScanComparison
    """
    corners = fixed.geometry.corners_lps_mm()
    low, high = corners.min(axis=0), corners.max(axis=0)
    in_plane = max(*fixed.geometry.spacing_zyx_mm[1:], *moving.geometry.spacing_zyx_mm[1:])
    grid_mm = max(
        MIN_GRID_SPACING_MM, 0.6 * in_plane, float(np.prod(high - low) / _MAX_VOXELS) ** (1.0 / 3.0)
    )
    moving_corners = moving.geometry.corners_lps_mm()
    match_mm = match_slice_mm(moving, fixed) if grid_mm < BLURRING_SLICE_MM else 0.0
    source = source_region(
        moving, moving_corners.min(axis=0), moving_corners.max(axis=0), grid_mm, match_slice_mm=match_mm
    )
    return _compare(fixed, lambda: source, zone, moving_from_fixed, low, high, grid_mm, match_mm, kernels)


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
) -> ScanComparison:
    region = comparison_region(
        fixed, 0.5 * (low + high), 0.5 * (high - low), grid_mm, match_slice_mm=match_mm, kernels=kernels
    )
    distance = None if zone is None else distance_from(zone, region.geometry, kernels)
    evidence = region.inside & ~near_metal(fixed, region.geometry)
    if distance is not None:
        evidence &= distance > ZONE_HALO_MM
    thinned = (slice(None, None, 2),) * 3
    source = moving()
    coarser = region.coarser()
    coarse_evidence = np.ascontiguousarray(evidence[thinned])
    lung = lung_of(coarser)
    fine_lung = np.repeat(np.repeat(np.repeat(lung, 2, axis=0), 2, axis=1), 2, axis=2)
    nz, ny, nx = evidence.shape
    return ScanComparison(
        coarse=_ComparisonLevel(
            coarser,
            source.without_border(COARSE_BORDER_MM).thinned(2.0 * grid_mm),
            coarse_evidence,
            coarse_evidence & lung,
        ),
        fine=_ComparisonLevel(
            region, source.without_border(BORDER_MM), evidence, evidence & fine_lung[:nz, :ny, :nx]
        ),
        moving_from_fixed=moving_from_fixed,
        zone_distance_mm=distance,
        fixed_directions_zyx_lps=fixed.geometry.directions_zyx_lps,
    )
