"""What is measured once tumor and zone lie on one grid: coverage, margin, cold spots and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.arrays import BoolArray
from engine.assessment.planning import ScanPair
from engine.coverage.cold_spots import find_cold_spots
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE, find_coverage
from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.coverage.ratio import measure_coverage, uncovered_in_lung
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
    cold_spots : tuple of ColdSpot
        Its connected parts.
    warnings : tuple of str
    """

    grid: MeasurementField
    coverage: CoverageFinding
    margin: MarginFinding
    uncovered: BoolArray
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
    coverage = replace(coverage, zone_contour_sd_mm=contour.contour_sd_mm)
    uncovered = uncovered_in_lung(grid, margin_mm)
    cold_spots = find_cold_spots(grid, uncovered)
    return Measurement(grid, coverage, margin, uncovered, cold_spots, _apart_warning(grid))


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
    before, after = pair.prepared.planning.geometry, pair.verification.geometry
    return coverage_interval(
        grid,
        PoseUncertainty(alignment.translation_covariance_mm2, alignment.rotation_sd_deg),
        planning_slice=(rotation @ np.array(before.directions_zyx_lps[0]), before.spacing_zyx_mm[0]),
        verification_slice=(np.array(after.directions_zyx_lps[0]), after.spacing_zyx_mm[0]),
        tumor_contour_sd_mm=pair.prepared.lesion.contour_sd_mm,
        zone_contour_sd_mm=contour.contour_sd_mm,
        draws=settings.draws,
        seed=settings.seed,
        target_margin_mm=settings.target_margin_mm,
    )


def may_be_called_complete(
    pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration, probability_complete: float
) -> bool:
    """Whether a TCR of 1 is sure enough to be called complete.

    With supplied contours it is. Where a model drew one, the probability has to be high, and the contours have to cover
    each other on the side on which the model's error does no harm, too.
    """
    if pair.prepared.lesion.origin.model is None and contour.origin.model is None:
        return True
    return probability_complete >= MIN_PROBABILITY_COMPLETE and _cautiously_covered(pair, contour, alignment)


def _cautiously_covered(pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration) -> bool:
    """Whether the cautious zone covers the cautious tumor; contours without a cautious one count as drawn."""
    tumor, zone = pair.prepared.tumor_surface, contour.zone_surface
    if pair.prepared.cautious_tumor is not None:
        tumor = StructureSurface(pair.prepared.cautious_tumor)
    if contour.cautious is not None:
        if not contour.cautious.voxels.any():
            return False
        zone = StructureSurface(contour.cautious)
    grid = build_measurement_field(
        tumor,
        zone,
        None,
        pair.prepared.lung,
        alignment.planning_from_verification,
        kernels=pair.settings.kernels,
    )
    whole, _ = measure_coverage(
        grid, grid.zone, grid.distance_to_zone_mm, target_margin_mm=pair.settings.target_margin_mm
    )
    return whole.complete


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
