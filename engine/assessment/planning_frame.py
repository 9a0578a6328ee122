"""Coverage of the tissue that was there before: the zone taken back to the planning CT, its contraction undone.

An ablation draws in the tissue that it kills. What the zone shows afterwards is then smaller than what was killed, and
the margin beside a tumor of its old size too small. This second figure stands beside the plain one and never calls an
ablation complete.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engine.arrays import Float32Array, Float64Array
from engine.assessment.measuring import local_sds_mm, slices_of, uniform_sds_mm
from engine.assessment.planning import ScanPair
from engine.coverage.grid import MEASUREMENT_SPACING_MM, MeasurementField, sample
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.coverage.ratio import measure_coverage
from engine.findings import PlanningFrameFinding
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.registration.alignment import DeformableRegistration
from engine.registration.control_grid import positions
from engine.registration.judging.contraction import ZoneContraction, measure_contraction
from engine.structures.surface import StructureSurface
from engine.structures.zone import ZoneContour

_REACH_MM: Final = 12.0
"""Around the tumor, as in the plain measurement; a margin beyond it is given as this."""

_DRAWS: Final = 300
"""Percentiles good to 1.3 points: this is the second figure."""

_SURE_CONTRACTION: Final = 0.04
"""Less is found where nothing was drawn in."""

_WAY_BACK_MM: Final = 4.0
"""The zone's way back is as smooth as the deformation's nodes."""


def measure_planning_frame(
    pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration
) -> PlanningFrameFinding:
    """Measure coverage and margin of the zone taken back to the planning CT.

    Parameters
    ----------
    pair : ScanPair
    contour : ZoneContour
    alignment : DeformableRegistration

    Returns
    -------
    PlanningFrameFinding
        Without numbers where no zone lies in what was registered, or the tumor is too small for this grid.
    """
    kernels, margin_mm = pair.settings.kernels, pair.settings.target_margin_mm
    contraction = measure_contraction(alignment.deformation, alignment.comparison, kernels=kernels)
    if contraction is None:
        return PlanningFrameFinding()
    field = _field_before(pair.prepared.tumor_surface, contour.zone_surface, contraction, kernels)
    if field.tumor_surface_index.size == 0:  # a tumor thinner than this grid, of thick slices
        return PlanningFrameFinding()
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm, target_margin_mm=margin_mm)
    rotation = alignment.planning_from_verification.rotation
    before_normal, before_mm = slices_of(pair.prepared.planning.geometry)
    after_normal, after_mm = slices_of(pair.verification.geometry)
    tumor_sd_mm, zone_sd_mm = uniform_sds_mm(pair, contour)
    tumor_local_mm, zone_local_mm = local_sds_mm(pair, contour)
    interval = coverage_interval(
        field,
        PoseUncertainty(
            rotation @ alignment.translation_covariance_mm2 @ rotation.T, alignment.rotation_sd_deg
        ),
        planning_slice=(before_normal, before_mm),
        verification_slice=(rotation @ after_normal, after_mm),
        tumor_contour_sd_mm=tumor_sd_mm,
        zone_contour_sd_mm=float(np.hypot(zone_sd_mm, contraction.surface_sd_mm)),
        tumor_local_sd=tumor_local_mm,
        zone_local_sd=zone_local_mm,
        draws=min(pair.settings.draws, _DRAWS),
        seed=pair.settings.seed,
        target_margin_mm=margin_mm,
    )
    low_mm, high_mm = interval.minimal_mm_90
    return PlanningFrameFinding(
        tcr=whole.tcr,
        tcr_interval_90=interval.tcr_90,
        minimal_mm=min(whole.minimal_mm, _REACH_MM),
        minimal_interval_90_mm=(min(low_mm, _REACH_MM), min(high_mm, _REACH_MM)),
        contraction=contraction.shortening,
    )


def widened_by_contraction(interval: CoverageInterval, before: PlanningFrameFinding) -> CoverageInterval:
    """The plain interval, in lung too, up to what the zone before its contraction gives.

    The chance of completeness stays.
    """
    tcr_90, minimal_mm_90 = before.tcr_interval_90, before.minimal_interval_90_mm
    if tcr_90 is None or minimal_mm_90 is None or (before.contraction or 0.0) < _SURE_CONTRACTION:
        return interval
    in_lung = None if interval.in_lung is None else widened_by_contraction(interval.in_lung, before)
    return replace(
        interval,
        tcr_90=(interval.tcr_90[0], max(interval.tcr_90[1], tcr_90[1])),
        minimal_mm_90=(interval.minimal_mm_90[0], max(interval.minimal_mm_90[1], minimal_mm_90[1])),
        in_lung=in_lung,
    )


def _field_before(
    tumor: StructureSurface, zone: StructureSurface, contraction: ZoneContraction, kernels: KernelBackend
) -> MeasurementField:
    """Tumor and zone on one grid of the planning frame, all of it lung."""
    corners = tumor.corners_lps_mm
    grid = tumor.mask.geometry.around(
        corners.min(axis=0) - _REACH_MM, corners.max(axis=0) + _REACH_MM, MEASUREMENT_SPACING_MM
    )
    return MeasurementField(
        grid,
        sample(tumor.occupancy, tumor.geometry, grid, RigidTransform.identity(), kernels),
        _zone_before(zone, contraction, grid, kernels),
        None,
        np.ones(grid.shape_zyx, dtype=np.bool_),
        kernels,
    )


def _zone_before(
    zone: StructureSurface, contraction: ZoneContraction, grid: VolumeGeometry, kernels: KernelBackend
) -> Float32Array:
    """Occupancy of the zone where its tissue lay in the planning CT."""
    box = grid.corners_lps_mm()
    lattice = grid.around(box.min(axis=0), box.max(axis=0), _WAY_BACK_MM)
    places = positions(lattice).reshape(-1, 3)
    fixed_from_moving = contraction.deformation.moving_from_fixed.inverse
    to_zone = zone.geometry.index_from_lps
    beyond_rigid: Float64Array = contraction.to_fixed(places) - fixed_from_moving.apply(places)
    return np.asarray(
        resample(
            np.ascontiguousarray(zone.occupancy, dtype=np.float32),
            to_zone @ fixed_from_moving.matrix @ grid.affine_lps_mm,
            grid.shape_zyx,
            displacement=(beyond_rigid @ to_zone[:3, :3].T).astype(np.float32).reshape(*lattice.shape_zyx, 3),
            displacement_map=lattice.index_from_lps @ grid.affine_lps_mm,
            order=1,
            kernels=kernels,
        )
    )
