"""What is measured once tumor and zone lie on one grid: coverage, margin, cold spots and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.assessment.parts import part_warnings
from engine.assessment.planning import ScanPair
from engine.coverage.cold_spots import find_cold_spots
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE, Confirmation, find_coverage
from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import (
    LOCAL_SHARE,
    UNIFORM_SHARE,
    CoverageInterval,
    PoseUncertainty,
    coverage_interval,
)
from engine.coverage.pleura import pleural_tolerance_mm
from engine.coverage.ratio import measure_coverage, uncovered_in_lung, uncovered_outside_lung
from engine.findings import ColdSpot, CoverageFinding, MarginFinding
from engine.geometry import VolumeGeometry
from engine.refusal import RefusalCode, RefusedError
from engine.registration.alignment import Alignment, DeformableRegistration, RigidAlignment
from engine.structures.surface import StructureSurface
from engine.structures.zone import ZoneContour


@dataclass(frozen=True, eq=False)
class Measurement:
    """Coverage of the target by the zone, on the measurement grid.

    Parameters
    ----------
    grid : MeasurementField
    coverage : CoverageFinding
    margin : MarginFinding
        Both without their intervals.
    uncovered : ndarray of bool, (z, y, x)
        Uncovered target in lung, on the grid.
    uncovered_outside : ndarray of bool, (z, y, x)
        Uncovered target that cannot be assessed: outside the lung or at its edge.
    cold_spots : tuple of ColdSpot
        The connected parts of both.
    warnings : tuple of str
    """

    grid: MeasurementField
    coverage: CoverageFinding
    margin: MarginFinding
    uncovered: BoolArray
    uncovered_outside: BoolArray
    cold_spots: tuple[ColdSpot, ...]
    warnings: tuple[str, ...]


def measure(pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration) -> Measurement:
    """Measure coverage, margin and cold spots.

    Raises
    ------
    InvalidRequestError
        Tumor and zone span more than any ablation.
    RefusedError
        The target is cut by the field of view, or a segmented zone lies outside it altogether.
    """
    margin_mm = pair.settings.target_margin_mm
    grid = build_measurement_field(
        pair.prepared.tumor_surface,
        contour.zone_surface,
        contour.core_surface,
        pair.prepared.lung,
        alignment.planning_from_verification,
        pleural_tolerance_mm=_pleural_tolerance_mm(pair, contour, alignment),
        kernels=pair.settings.kernels,
    )
    _require_target_in_view(grid, pair.verification.geometry, margin_mm)
    coverage, margin = find_coverage(
        grid,
        target_margin_mm=margin_mm,
        zone_volume_ml=contour.zone.volume_ml,
        zone_origin=contour.origin,
        core_origin=contour.core_origin,
    )
    _require_covered_target(coverage, contour)
    coverage = replace(
        coverage,
        zone_contour_sd_mm=zone_contour_sd_mm(pair, contour),
        zone_changed_share=contour.changed_share,
        zone_parts=contour.parts,
    )
    in_lung, outside = uncovered_in_lung(grid, margin_mm), uncovered_outside_lung(grid, margin_mm)
    cold_spots = find_cold_spots(grid, in_lung, outside)
    warnings = _apart_warning(grid)
    if margin.minimal_mm is not None:
        warnings += part_warnings(grid, margin.minimal_mm, margin_mm)
    return Measurement(grid, coverage, margin, in_lung, outside, cold_spots, warnings)


def _pleural_tolerance_mm(pair: ScanPair, contour: ZoneContour, alignment: Alignment) -> float:
    return pleural_tolerance_mm(
        PoseUncertainty(alignment.translation_covariance_mm2, alignment.rotation_sd_deg).sd_mm,
        zone_contour_sd_mm(pair, contour),
        (max(pair.prepared.planning.geometry.spacing_zyx_mm), max(pair.verification.geometry.spacing_zyx_mm)),
    )


def zone_contour_sd_mm(pair: ScanPair, contour: ZoneContour) -> float:
    """Of the model that drew the zone; of a reader where it was supplied."""
    return pair.settings.contour_sd_mm if contour.contour_sd_mm is None else contour.contour_sd_mm


def uniform_sds_mm(pair: ScanPair, contour: ZoneContour) -> tuple[float, float]:
    """By which the contours of tumor and zone may be off, each as a whole: a share of a reader's."""
    return _shares_mm(pair, contour, of_model=1.0, of_reader=UNIFORM_SHARE)


def local_sds_mm(pair: ScanPair, contour: ZoneContour) -> tuple[float, float]:
    """By which they may be off in places: the rest of a reader's; a model's is counted as one of the whole."""
    return _shares_mm(pair, contour, of_model=0.0, of_reader=LOCAL_SHARE)


def _shares_mm(
    pair: ScanPair, contour: ZoneContour, *, of_model: float, of_reader: float
) -> tuple[float, float]:
    lesion = pair.prepared.lesion
    drawn = (
        (lesion.origin, lesion.contour_sd_mm or pair.settings.contour_sd_mm),
        (contour.origin, zone_contour_sd_mm(pair, contour)),
    )
    tumor, zone = (sd_mm * (of_reader if origin.model is None else of_model) for origin, sd_mm in drawn)
    return tumor, zone


def preliminary_interval(pair: ScanPair, contour: ZoneContour, alignment: RigidAlignment) -> CoverageInterval:
    """Ranges of coverage and margin for the preliminary answer, in which nothing is clipped to the lung."""
    grid = build_measurement_field(
        pair.prepared.tumor_surface,
        contour.zone_surface,
        None,
        None,
        alignment.planning_from_verification,
        kernels=pair.settings.kernels,
    )
    return measure_interval(pair, contour, alignment, grid)


def measure_interval(
    pair: ScanPair, contour: ZoneContour, alignment: Alignment, grid: MeasurementField
) -> CoverageInterval:
    """How sure coverage and margin are, given the alignment's uncertainty, both contours and both scans' slices."""
    settings = pair.settings
    rotation = alignment.planning_from_verification.inverse.rotation
    before_normal, before_mm = slices_of(pair.prepared.planning.geometry)
    after_normal, after_mm = slices_of(pair.verification.geometry)
    tumor_sd_mm, zone_sd_mm = uniform_sds_mm(pair, contour)
    tumor_local_mm, zone_local_mm = local_sds_mm(pair, contour)
    return coverage_interval(
        grid,
        PoseUncertainty(alignment.translation_covariance_mm2, alignment.rotation_sd_deg),
        planning_slice=(rotation @ before_normal, before_mm),
        verification_slice=(after_normal, after_mm),
        tumor_contour_sd_mm=tumor_sd_mm,
        zone_contour_sd_mm=zone_sd_mm,
        tumor_local_sd=tumor_local_mm,
        zone_local_sd=zone_local_mm,
        draws=settings.draws,
        seed=settings.seed,
        target_margin_mm=settings.target_margin_mm,
    )


def slices_of(grid: VolumeGeometry) -> tuple[Float64Array, float]:
    """Normal (LPS) and distance, mm, of a scan's slices: of the axis with the widest spacing."""
    axis = int(np.argmax(grid.spacing_zyx_mm))
    return np.array(grid.directions_zyx_lps[axis]), grid.spacing_zyx_mm[axis]


def confirm_complete(
    pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration, interval: CoverageInterval
) -> Confirmation:
    """Whether complete coverage holds on the contours that err to the safe side as well.

    With supplied contours there are none. Where a model drew one, they are measured if the probability is high enough
    to call anything complete.
    """
    if pair.prepared.lesion.origin.model is None and contour.origin.model is None:
        return Confirmation()
    in_lung = 0.0 if interval.in_lung is None else interval.in_lung.probability_complete
    if max(interval.probability_complete, in_lung) < MIN_PROBABILITY_COMPLETE:
        return Confirmation(whole=False, in_lung=False)
    return _cautiously_covered(pair, contour, alignment)


def _cautiously_covered(
    pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration
) -> Confirmation:
    """Whether the cautious zone covers the cautious tumor; contours without a cautious one count as drawn."""
    tumor, zone = pair.prepared.tumor_surface, contour.zone_surface
    if pair.prepared.cautious_tumor is not None:
        tumor = StructureSurface(pair.prepared.cautious_tumor)
    if contour.cautious is not None:
        if not contour.cautious.voxels.any():
            return Confirmation(whole=False, in_lung=False)
        zone = StructureSurface(contour.cautious)
    grid = build_measurement_field(
        tumor,
        zone,
        None,
        pair.prepared.lung,
        alignment.planning_from_verification,
        pleural_tolerance_mm=_pleural_tolerance_mm(pair, contour, alignment),
        kernels=pair.settings.kernels,
    )
    whole, in_lung = measure_coverage(
        grid, grid.zone, grid.distance_to_zone_mm, target_margin_mm=pair.settings.target_margin_mm
    )
    return Confirmation(whole=whole.complete, in_lung=in_lung.complete)


def _require_target_in_view(grid: MeasurementField, verification: VolumeGeometry, margin_mm: float) -> None:
    if verification.contains(grid.geometry.corners_lps_mm()).all():
        return  # the whole grid is in view: a box lies in a box where its corners do
    target = np.argwhere(grid.distance_to_tumor_mm < margin_mm).astype(float)
    if not verification.contains(grid.geometry.to_lps(target)).all():
        raise RefusedError(
            RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
            f"the tumor with its {margin_mm:g} mm margin reaches beyond the "
            "verification CT; scan or reconstruct a larger field of view",
        )


def _require_covered_target(coverage: CoverageFinding, contour: ZoneContour) -> None:
    if coverage.tcr == 0.0 and contour.origin.model is not None:
        raise RefusedError(
            RefusalCode.NO_ZONE,
            "the ablation zone that was segmented lies outside the target altogether: it may be of another lesion, "
            "or the model may have missed the one of this lesion; send the contoured zone",
        )


def _apart_warning(grid: MeasurementField) -> tuple[str, ...]:
    if (grid.tumor & grid.zone).any():
        return ()
    return ("the ablation zone does not touch the tumor at all; check that zone and tumor are of one lesion",)
