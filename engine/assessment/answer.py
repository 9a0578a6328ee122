"""The three answers of an assessment: preliminary, final, and refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine.assessment.interval_limits import interval_warnings
from engine.assessment.measuring import Measurement, zone_contour_sd_mm
from engine.assessment.outcome import AblationAssessment, ComparedScans, maps_of
from engine.assessment.planning import AssessmentSettings, PlanningOutcome, ScanPair
from engine.assessment.wording import (
    contours_to_check,
    masks_to_correct,
    preliminary_summary,
    refused_summary,
    summary,
)
from engine.assessment.zone import lesion_center_lps_mm
from engine.coverage.figures import Confirmation, with_interval
from engine.coverage.grid import region_hu
from engine.coverage.interval import CoverageInterval, PoseUncertainty
from engine.findings import (
    AlignmentFinding,
    AlignmentMethod,
    ContourOrigin,
    CoverageFinding,
    LesionFinding,
    MarginFinding,
    PlanningFrameFinding,
)
from engine.radiomics.radscore import Radscore
from engine.refusal import Refusal
from engine.registration.alignment import Alignment, DeformableRegistration
from engine.risk import absence
from engine.risk.absence import RiskAbsence
from engine.risk.model import SurvivalRisk
from engine.structures.zone import ZoneContour
from engine.volume import CtVolume


def preliminary_answer(
    pair: ScanPair,
    contour: ZoneContour,
    alignment: Alignment,
    interval: CoverageInterval,
    warnings: tuple[str, ...],
    timings_s: Mapping[str, float],
) -> AblationAssessment:
    """The answer of the rigid alignment: ranges, not for decision."""
    settings = pair.settings
    to_check = _to_check(pair, contour)
    return AblationAssessment(
        preliminary=True,
        risk_absence=absence.PRELIMINARY,
        summary=preliminary_summary(interval.tcr_90, interval.minimal_mm_90, to_check),
        coverage=CoverageFinding(
            tcr_interval_90=interval.tcr_90,
            target_margin_mm=settings.target_margin_mm,
            zone_origin=contour.origin,
            zone_contour_sd_mm=zone_contour_sd_mm(pair, contour),
        ),
        margin=MarginFinding(minimal_interval_90_mm=interval.minimal_mm_90),
        alignment=_alignment(pair, alignment),
        lesion=_lesion(pair, alignment),
        timings_s=dict(timings_s),
        warnings=_once_each(warnings),
        seed=settings.seed,
        draws=settings.draws,
        zone=contour.zone,
    )


def final_answer(
    pair: ScanPair,
    contour: ZoneContour,
    alignment: Alignment,
    measurement: Measurement,
    interval: CoverageInterval,
    confirmed: Confirmation,
    before: PlanningFrameFinding,
    *,
    radscore: Radscore | None,
    risk: SurvivalRisk | RiskAbsence,
    warnings: tuple[str, ...],
    timings_s: Mapping[str, float],
) -> AblationAssessment:
    """The answer with its numbers; ``before`` those of the planning frame; ``confirmed``: may it be complete."""
    settings, grid = pair.settings, measurement.grid
    coverage, margin = with_interval(measurement.coverage, measurement.margin, interval, confirmed)
    to_check = _to_check(pair, contour)
    return AblationAssessment(
        preliminary=False,
        summary=summary(coverage, margin, measurement.cold_spots, pair.prepared.lesion.lung_side, to_check),
        coverage=coverage,
        margin=margin,
        planning_frame=before,
        uncovered=measurement.cold_spots,
        alignment=_alignment(pair, alignment),
        lesion=_lesion(pair, alignment),
        risk=None if isinstance(risk, RiskAbsence) else risk,
        risk_absence=risk if isinstance(risk, RiskAbsence) else None,
        radscore=radscore,
        timings_s=dict(timings_s),
        warnings=_once_each(
            (
                *warnings,
                *interval_warnings(
                    pair.prepared.planning.geometry.spacing_zyx_mm,
                    pair.verification.geometry.spacing_zyx_mm,
                    coverage,
                    pair.prepared.lesion.origin,
                ),
            )
        ),
        seed=settings.seed,
        draws=settings.draws,
        maps=maps_of(
            grid,
            region_hu(pair.verification, grid.geometry, settings.kernels),
            measurement.uncovered,
            measurement.uncovered_outside,
            settings.target_margin_mm,
        ),
        zone=contour.zone,
        scans=ComparedScans(pair.prepared.planning, pair.verification, alignment.planning_from_verification),
    )


def _to_check(pair: ScanPair, contour: ZoneContour) -> str:
    """What a reader has to look at before the figures, in words; empty where there is nothing."""
    sentences = (
        masks_to_correct((pair.prepared.tumor, contour.zone, contour.core)),
        contours_to_check(pair.prepared.lesion.origin, contour.origin),
    )
    return " ".join(sentence for sentence in sentences if sentence)


def refused_answer(
    planning: PlanningOutcome,
    verification: CtVolume,
    settings: AssessmentSettings,
    refusal: Refusal,
    zone_origin: ContourOrigin,
    warnings: tuple[str, ...],
    timings_s: Mapping[str, float],
) -> AblationAssessment:
    """The answer without a number; it names the zone's origin as far as that was known by then."""
    return AblationAssessment(
        preliminary=False,
        summary=refused_summary(refusal, contours_to_check(planning.lesion.origin, zone_origin)),
        lesion=replace(planning.lesion, volume_ml=None, longest_diameter_mm=None, contour_sd_mm=None),
        coverage=CoverageFinding(target_margin_mm=settings.target_margin_mm, zone_origin=zone_origin),
        alignment=AlignmentFinding(
            AlignmentMethod.NONE,
            planning_frame_of_reference_uid=planning.planning.geometry.frame_of_reference_uid,
            verification_frame_of_reference_uid=verification.geometry.frame_of_reference_uid,
        ),
        timings_s=dict(timings_s),
        warnings=_once_each(warnings),
        refusal=refusal,
        risk_absence=absence.REFUSED,
        seed=settings.seed,
        scans=ComparedScans(planning.planning, verification),
    )


def _alignment(pair: ScanPair, alignment: Alignment) -> AlignmentFinding:
    pose = PoseUncertainty(alignment.translation_covariance_mm2, alignment.rotation_sd_deg)
    quality = alignment.quality if isinstance(alignment, DeformableRegistration) else None
    return AlignmentFinding(
        method=alignment.method,
        planning_from_verification=alignment.planning_from_verification,
        similarity=alignment.similarity,
        residual_mm=None if quality is None else quality.residual_mm,
        pose_sd_mm=pose.sd_mm,
        quality=quality,
        planning_frame_of_reference_uid=pair.prepared.planning.geometry.frame_of_reference_uid,
        verification_frame_of_reference_uid=pair.verification.geometry.frame_of_reference_uid,
    )


def _lesion(pair: ScanPair, alignment: Alignment) -> LesionFinding:
    x, y, z = (float(v) for v in lesion_center_lps_mm(alignment, pair.prepared.lesion))
    return replace(pair.prepared.lesion, verification_centroid_lps_mm=(x, y, z))


def _once_each(warnings: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(warnings))
