"""A registration's own judge: what it leaves, whether it can be undone, and what has changed."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array, read_only
from engine.findings import RegistrationQuality
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.kernels.self_similarity import CODE_BITS, self_similarity_codes
from engine.registration.comparison import ScanComparison
from engine.registration.deformation import Deformation, Level, deform, local_statistics
from engine.registration.evidence import ZONE_HALO_MM
from engine.registration.judging.axis_scale import axis_scale_error
from engine.registration.judging.pleural_air import find_pleural_air
from engine.registration.judging.remaining_motion import RemainingMotion, remaining_motion
from engine.registration.region import ComparisonRegion, SourceRegion

_NEAR_MM: Final = 35.0
"""The surroundings of the zone that are judged."""

_BEYOND_PULL_MM: Final = 14.0
"""Farther from the zone than this nothing is drawn in by it: what shrinks or swells there is breathing."""

_CONTRAST_HU: Final = 60.0
_MATCHED_CORRELATION: Final = 0.35
"""Where there is structure, less than this correlation of the aligned scans is no match."""

_POINT_STEP: Final = 4
_MIN_VOXELS: Final = 8.0


def judge(
    comparison: ScanComparison,
    deformation: Deformation,
    coarse: Deformation,
    levels: tuple[Level, ...],
    *,
    sliding_mm: float = 0.0,
    breathing_step_mm: float | None = None,
    of_all_tissue: Deformation | None = None,
    of_lung: RemainingMotion | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> RegistrationQuality:
    """Judge a deformation.

    Parameters
    ----------
    comparison : ScanComparison
    deformation, coarse : Deformation
        The deformation and the coarse one that it began with.
    levels : sequence of Level
        By which ``coarse`` was found; the way back is found by the same.
    sliding_mm, breathing_step_mm : float
        Written into the result unchanged.
    of_all_tissue : Deformation, optional
        The one that rests on chest wall and diaphragm, too, where ``deformation`` does not.
    of_lung : RemainingMotion, optional
        With lung alone as evidence, where ``deformation`` rests on more: at the pleura two motions meet.
    kernels : KernelBackend

    Returns
    -------
    RegistrationQuality
    """
    warped, level = deformation.warped, comparison.level_of(deformation)
    zone_distance = _zone_distance_mm(comparison, level.fixed.geometry)
    near = _near_zone(zone_distance, level.fixed.geometry)
    counted = level.evidence & np.isfinite(warped) & near
    outside = near if zone_distance is None else near & (zone_distance > ZONE_HALO_MM)
    jacobian = jacobian_of_nodes(deformation)
    remaining = remaining_motion(deformation, kernels=kernels)
    everywhere = deformation if of_all_tissue is None else of_all_tissue
    node_distance = _at_nodes(comparison, deformation.lattice)
    around = node_distance <= _NEAR_MM
    if not around.any():  # a zone far from the lesion
        around = np.ones_like(around)
    air = find_pleural_air(level.fixed, warped, zone_distance, kernels=kernels)
    return RegistrationQuality(
        similarity=correlation(level.fixed.hu, warped, counted),
        residual_mm=remaining.rms_mm(around),
        descriptor_residual=_descriptor_residual(level.fixed.hu, warped, counted, kernels),
        inverse_consistency_mm=_inverse_consistency_mm(comparison, coarse, levels, kernels),
        min_jacobian=float(jacobian[around].min()),
        max_jacobian=float(jacobian[around].max()),
        folding_share=float((jacobian[around] <= 0.0).mean()),
        evidence_share=float(np.count_nonzero(counted)) / max(1.0, float(np.count_nonzero(outside))),
        mismatched_share=_mismatched_share(deformation, comparison),
        sliding_mm=sliding_mm,
        new_air_ml=air.volume_ml,
        new_air_lps_mm=air.place_lps_mm,
        contraction=0.0 if comparison.zone_distance_mm is None else _contraction(jacobian, node_distance),
        axis_scale_error=axis_scale_error(everywhere, comparison),
        breathing_step_mm=breathing_step_mm,
        largest_residual_mm=remaining.largest_mm(around) if of_lung is None else of_lung.largest_mm(around),
    )


def correlation(fixed: Float32Array, warped: Float32Array, where: BoolArray) -> float:
    """Normalised correlation of two images over ``where``; 0 where either is constant."""
    if np.count_nonzero(where) < 2:
        return 0.0
    a, b = fixed[where].astype(np.float64), warped[where].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else 0.0


def jacobian_of_nodes(deformation: Deformation) -> Float64Array:
    """Determinant of the deformation's derivative at every node, (z, y, x)."""
    derivative = np.empty((*deformation.lattice.shape_zyx, 3, 3))
    spacing = deformation.lattice.spacing_zyx_mm
    for axis in range(3):
        if deformation.lattice.shape_zyx[axis] > 1:
            derivative[..., axis] = np.gradient(deformation.nodes_mm, spacing[axis], axis=axis)
        else:
            derivative[..., axis] = 0.0
    return np.asarray(np.linalg.det(derivative + np.eye(3)))


def _local_correlation(deformation: Deformation) -> tuple[Float64Array, Float64Array]:
    """Correlation of the aligned scans around every model node, and the weight of those with structure."""
    moments = deformation.moments
    _, _, f_variance, w_variance, covariance = local_statistics(moments)
    structured = (np.maximum(f_variance, w_variance) > _CONTRAST_HU**2) & (moments[..., 0] > _MIN_VOXELS)
    correlated = covariance / np.sqrt(np.maximum(f_variance * w_variance, 1e-9))
    return np.clip(correlated, -1.0, 1.0), np.where(structured, moments[..., 0], 0.0)


def _contraction(jacobian: Float64Array, zone_distance_mm: Float64Array) -> float:
    """Mean shortening of the zone with its halo, less what breathing does farther out.

    Around a shrinking ball tissue moves by the inverse square of the distance and keeps its volume: only what
    passes the surface shows, and by the divergence theorem that is the mean over what it encloses.
    """
    in_halo = zone_distance_mm <= ZONE_HALO_MM
    outside_halo = (zone_distance_mm > _BEYOND_PULL_MM) & (zone_distance_mm <= _NEAR_MM)
    if not (in_halo.any() and outside_halo.any()):
        return 0.0
    stretch = np.cbrt(jacobian)
    return float(stretch[in_halo].mean() - stretch[outside_halo].mean())


def _zone_distance_mm(comparison: ScanComparison, grid: VolumeGeometry) -> Float32Array | None:
    """Distance to the zone on the fine grid or on every second voxel of it; None without a zone."""
    fine = comparison.zone_distance_mm
    return fine if fine is None or fine.shape == grid.shape_zyx else fine[::2, ::2, ::2]


def _near_zone(zone_distance_mm: Float32Array | None, grid: VolumeGeometry) -> BoolArray:
    """The surroundings that are judged; without a zone everything."""
    if zone_distance_mm is None:
        return np.ones(grid.shape_zyx, dtype=np.bool_)
    return zone_distance_mm <= _NEAR_MM


def _at_nodes(comparison: ScanComparison, lattice: VolumeGeometry) -> Float64Array:
    """Distance to the zone at nodes; 0 without a zone, so that all count."""
    if comparison.zone_distance_mm is None:
        return np.zeros(lattice.shape_zyx)
    to_grid = comparison.fine.fixed.geometry.index_from_lps @ lattice.affine_lps_mm
    finite = np.minimum(comparison.zone_distance_mm, np.float32(1e4))
    return np.asarray(resample(finite, to_grid, lattice.shape_zyx, order=1, fill=1e4), dtype=np.float64)


def _descriptor_residual(
    fixed: Float32Array,
    warped: Float32Array,
    counted: BoolArray,
    kernels: KernelBackend,
) -> float:
    if not counted.any():
        return 1.0
    of_fixed = self_similarity_codes(fixed, kernels=kernels)
    of_warped = self_similarity_codes(np.where(np.isfinite(warped), warped, fixed), kernels=kernels)
    return float(np.bitwise_count(of_fixed[counted] ^ of_warped[counted]).mean()) / CODE_BITS


def _inverse_consistency_mm(
    comparison: ScanComparison, coarse: Deformation, levels: tuple[Level, ...], kernels: KernelBackend
) -> float:
    """Go there by the coarse deformation and back by one that was found the other way round."""
    level = comparison.without_wall().coarse
    grid = level.fixed.geometry
    # The moving CT in the fixed frame, as far as the rigid start tells.
    to_moving = level.moving.geometry.index_from_lps @ comparison.moving_from_fixed.matrix
    hu = resample(
        level.moving.hu, to_moving @ grid.affine_lps_mm, grid.shape_zyx, order=1, fill=np.nan, kernels=kernels
    )
    known = np.isfinite(hu)
    # Where the zone hides tissue there, it is left out here, as far as the start tells; its halo is wide enough.
    evidence = read_only(known & level.evidence)
    fixed = ComparisonRegion(np.where(known, hu, np.float32(-1000.0)), known, grid)
    back = deform(
        fixed,
        SourceRegion(level.fixed.hu, grid),
        evidence,
        RigidTransform.identity(),
        levels,
        kernels=kernels,
    )
    lattice = np.zeros(grid.shape_zyx, dtype=np.bool_)
    lattice[::_POINT_STEP, ::_POINT_STEP, ::_POINT_STEP] = True
    near = _near_zone(_zone_distance_mm(comparison, grid), grid)
    points = grid.to_lps(np.argwhere(lattice & level.evidence & near).astype(float))
    if len(points) == 0:
        return 0.0
    moved = points + coarse.displacement_mm(points)
    seen = grid.contains(moved)
    if not seen.any():
        return 0.0
    returned = back.to_moving(moved[seen])
    return float(np.sqrt(((returned - points[seen]) ** 2).sum(axis=-1).mean()))


def _mismatched_share(deformation: Deformation, comparison: ScanComparison) -> float:
    """Share of structured places near the lesion whose aligned scans do not correlate."""
    correlated, weight = _local_correlation(deformation)
    weight = np.where(_at_nodes(comparison, deformation.model_lattice) <= _NEAR_MM, weight, 0.0)
    total = float(weight.sum())
    return float(weight[correlated < _MATCHED_CORRELATION].sum()) / total if total > 0 else 0.0
