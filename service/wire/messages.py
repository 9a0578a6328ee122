"""Engine results to messages, and messages to engine inputs. Nothing is decided here.

One thing is enforced, whatever the results were made from: a preliminary answer carries ranges only and
never says complete, and a refused one carries no number at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final, Literal

from coldspot.v1 import assessment_pb2, geometry_pb2, service_pb2

from engine.assessment.wording import contour_source, core_source
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.findings import ContourKind, ContourOrigin
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.risk.clinical_inputs import ClinicalInputs

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PreparedPlanning
    from engine.findings import (
        AlignmentFinding,
        ColdSpot,
        CoverageFinding,
        LesionFinding,
        MarginFinding,
        RegistrationQuality,
    )
    from engine.model_identity import ModelIdentity
    from engine.radiomics.radscore import Radscore
    from engine.refusal import Refusal
    from service.jobs.worker import StageNews


def geometry(message: geometry_pb2.VolumeGeometry) -> VolumeGeometry:
    """Return the grid a message describes.

    Raises
    ------
    InvalidGeometryError
    """
    shape, spacing, axes = message.shape_zyx, message.spacing_zyx_mm, message.directions_zyx_lps
    if len(shape) != 3 or len(spacing) != 3 or len(axes) != 9:
        raise InvalidGeometryError(
            "a geometry needs three sizes, three spacings and nine direction components (z, y, x axis)"
        )
    return VolumeGeometry(
        shape_zyx=(shape[0], shape[1], shape[2]),
        spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
        directions_zyx_lps=(_vector(axes[0:3]), _vector(axes[3:6]), _vector(axes[6:9])),
        origin_lps_mm=point(message.origin_lps_mm),
        frame_of_reference_uid=message.frame_of_reference_uid,
    )


def box(message: service_pb2.VoxelContent, grid: VolumeGeometry) -> VoxelBox:
    """Return the part of ``grid`` that the bytes of a mask fill.

    Raises
    ------
    InvalidRequestError
        If it does not lie in the grid.
    """
    if not message.HasField("box"):
        return VoxelBox.whole(grid.shape_zyx)
    start, stop = message.box.start_zyx, message.box.stop_zyx
    inside = len(start) == len(stop) == 3 and all(
        first < last <= size for first, last, size in zip(start, stop, grid.shape_zyx, strict=True)
    )
    if not inside:
        raise InvalidRequestError(
            f"the box of a mask needs start before stop within {grid.shape_zyx}", "header.voxels.box"
        )
    return VoxelBox.between(start, stop)


def geometry_message(grid: VolumeGeometry) -> geometry_pb2.VolumeGeometry:
    """Return a grid as a message."""
    return geometry_pb2.VolumeGeometry(
        shape_zyx=grid.shape_zyx,
        spacing_zyx_mm=grid.spacing_zyx_mm,
        directions_zyx_lps=[component for axis in grid.directions_zyx_lps for component in axis],
        origin_lps_mm=_point_message(grid.origin_lps_mm),
        frame_of_reference_uid=grid.frame_of_reference_uid,
    )


def point(message: geometry_pb2.Point) -> Vector3:
    """Return a position, LPS mm."""
    return (message.x, message.y, message.z)


def _point_message(position_lps_mm: Vector3 | None) -> geometry_pb2.Point | None:
    """Return a position, LPS mm, as a message."""
    if position_lps_mm is None:
        return None
    x, y, z = (float(value) for value in position_lps_mm)
    return geometry_pb2.Point(x=x, y=y, z=z)


def _interval_message(interval: tuple[float, float] | None) -> geometry_pb2.Interval | None:
    """Return a closed range as a message."""
    return (
        None if interval is None else geometry_pb2.Interval(low=float(interval[0]), high=float(interval[1]))
    )


def clinical_inputs(request: service_pb2.OpenCaseRequest) -> ClinicalInputs:
    """Return the clinical inputs a case was opened with."""
    sexes: dict[int, Literal["f", "m"]] = {service_pb2.SEX_FEMALE: "f", service_pb2.SEX_MALE: "m"}
    return ClinicalInputs(
        sex=sexes.get(request.sex),
        fibrinogen_g_per_l=request.fibrinogen_g_per_l if request.HasField("fibrinogen_g_per_l") else None,
    )


def stage_event(news: StageNews) -> service_pb2.StageEvent:
    """Return a stage's beginning or end as a message."""
    ended = news.duration_s is not None
    return service_pb2.StageEvent(
        stage=news.stage.value,
        state=service_pb2.STAGE_STATE_FINISHED if ended else service_pb2.STAGE_STATE_STARTED,
        duration_s=news.duration_s,
    )


def prepared_message(prepared: PreparedPlanning) -> service_pb2.Prepared:
    """Return what Prepare found."""
    return service_pb2.Prepared(
        lesion=_lesion(prepared.lesion),
        warnings=prepared.warnings,
        timings_s=prepared.timings_s,
        refusal=_refusal(prepared.refusal),
    )


def assessment_message(found: AblationAssessment) -> assessment_pb2.Assessment:
    """Return an assessment without its provenance and latency, which only the service knows."""
    phase = (
        assessment_pb2.ASSESSMENT_PHASE_PRELIMINARY
        if found.preliminary
        else assessment_pb2.ASSESSMENT_PHASE_FINAL
    )
    message = assessment_pb2.Assessment(
        phase=phase,
        summary=found.summary,
        coverage=_coverage(found.coverage),
        margin=_margin(found.margin),
        uncovered=[_uncovered(spot) for spot in found.uncovered],
        alignment=_alignment(found.alignment),
        lesion=_lesion(found.lesion),
        risk=_risk(found),
        timings_s=found.timings_s,
        warnings=found.warnings,
        refusal=_refusal(found.refusal),
    )
    if found.preliminary or found.refusal is not None:
        _withhold(message)
    if found.refusal is not None:
        for field in ("tcr_interval_90", "probability_complete", "zone_contour_sd_mm"):
            message.coverage.ClearField(field)
        message.margin.ClearField("minimal_interval_90_mm")
        for field in ("planning_from_verification", "similarity", "residual_mm", "pose_sd_mm", "quality"):
            message.alignment.ClearField(field)
    return message


def _withhold(message: assessment_pb2.Assessment) -> None:
    """Leave no number but ranges."""
    for field in ("tcr", "complete", "lung_clipped"):
        message.coverage.ClearField(field)
    message.coverage.core.ClearField("tcr")
    for field in ("minimal_mm", "shares", "lung_clipped", "core"):
        message.margin.ClearField(field)
    message.ClearField("uncovered")
    message.ClearField("risk")


def _coverage(found: CoverageFinding) -> assessment_pb2.Coverage:
    return assessment_pb2.Coverage(
        tcr=found.tcr,
        tcr_interval_90=_interval_message(found.tcr_interval_90),
        complete=found.complete,
        probability_complete=found.probability_complete,
        lung_clipped=assessment_pb2.LungClippedCoverage(
            tcr=found.lung_clipped_tcr, not_assessable_share=found.not_assessable_share
        ),
        core=assessment_pb2.CoreCoverage(
            tcr=found.core_tcr, source=core_source(found.core_origin), origin=_origin(found.core_origin)
        ),
        target_volume_ml=found.target_volume_ml,
        zone_volume_ml=found.zone_volume_ml,
        target_margin_mm=found.target_margin_mm,
        zone_source=contour_source(found.zone_origin),
        zone_contour_sd_mm=found.zone_contour_sd_mm,
        zone_origin=_origin(found.zone_origin),
    )


_CONTOUR_KINDS: Final = {
    ContourKind.NONE: assessment_pb2.CONTOUR_KIND_NONE,
    ContourKind.SUPPLIED: assessment_pb2.CONTOUR_KIND_SUPPLIED,
    ContourKind.SEGMENTED: assessment_pb2.CONTOUR_KIND_SEGMENTED,
    ContourKind.THRESHOLDED: assessment_pb2.CONTOUR_KIND_THRESHOLDED,
}


def _origin(origin: ContourOrigin) -> assessment_pb2.ContourOrigin:
    return assessment_pb2.ContourOrigin(kind=_CONTOUR_KINDS[origin.kind], model=_model(origin.model))


def _model(identity: ModelIdentity | None) -> assessment_pb2.ModelIdentity | None:
    return None if identity is None else assessment_pb2.ModelIdentity(**asdict(identity))


def _margin(found: MarginFinding) -> assessment_pb2.Margin:
    shares = None
    if found.shares is not None:
        below_0, to_5, to_10, beyond = found.shares
        shares = assessment_pb2.MarginShares(
            below_0_mm=below_0, from_0_to_5_mm=to_5, from_5_to_10_mm=to_10, at_least_10_mm=beyond
        )
    return assessment_pb2.Margin(
        minimal_mm=found.minimal_mm,
        minimal_interval_90_mm=_interval_message(found.minimal_interval_90_mm),
        shares=shares,
        lung_clipped=assessment_pb2.LungClippedMargin(minimal_mm=found.lung_clipped_minimal_mm),
        core=assessment_pb2.CoreMargin(minimal_mm=found.core_minimal_mm),
    )


def _uncovered(spot: ColdSpot) -> assessment_pb2.UncoveredRegion:
    return assessment_pb2.UncoveredRegion(
        rank=spot.rank,
        volume_ml=spot.volume_ml,
        centroid_lps_mm=_point_message(spot.centroid_lps_mm),
        deepest_lps_mm=_point_message(spot.deepest_lps_mm),
        deepest_mm=spot.deepest_mm,
        direction=spot.direction,
        distance_to_pleura_mm=spot.distance_to_pleura_mm,
    )


def _alignment(found: AlignmentFinding) -> assessment_pb2.Alignment:
    pose = found.planning_from_verification
    return assessment_pb2.Alignment(
        method=found.method,
        planning_from_verification=None if pose is None else pose.matrix.ravel().tolist(),
        similarity=found.similarity,
        residual_mm=found.residual_mm,
        pose_sd_mm=found.pose_sd_mm,
        planning_frame_of_reference_uid=found.planning_frame_of_reference_uid,
        verification_frame_of_reference_uid=found.verification_frame_of_reference_uid,
        quality=_quality(found.quality),
    )


def _quality(found: RegistrationQuality | None) -> assessment_pb2.RegistrationQuality | None:
    """The fields have the names of the finding's; what is no number is left out."""
    if found is None:
        return None
    measured = {name: value for name, value in asdict(found).items() if math.isfinite(value)}
    return assessment_pb2.RegistrationQuality(**measured)


def _lesion(found: LesionFinding) -> assessment_pb2.LesionFinding:
    return assessment_pb2.LesionFinding(
        volume_ml=found.volume_ml,
        centroid_lps_mm=_point_message(found.centroid_lps_mm),
        verification_centroid_lps_mm=_point_message(found.verification_centroid_lps_mm),
        source=contour_source(found.origin),
        longest_diameter_mm=found.longest_diameter_mm,
        contour_sd_mm=found.contour_sd_mm,
        origin=_origin(found.origin),
    )


def _risk(found: AblationAssessment) -> assessment_pb2.Risk | None:
    risk = found.risk
    if risk is None:
        return None
    return assessment_pb2.Risk(
        months=risk.months,
        probability=risk.probability,
        band_90=[geometry_pb2.Interval(low=low, high=high) for low, high in risk.band_90],
        model=risk.model,
        statements=risk.statements,
        flags=risk.flags,
        probability_if_complete=risk.probability_if_complete,
        radscore=_radscore(found.radscore),
    )


def _radscore(found: Radscore | None) -> assessment_pb2.Radscore | None:
    if found is None:
        return None
    features = [
        assessment_pb2.SignatureFeature(
            name=one.name,
            value=one.value,
            contribution=one.contribution,
            within_reference=one.within_reference,
        )
        for one in found.contributions
    ]
    return assessment_pb2.Radscore(value=found.value, features=features)


def _refusal(refusal: Refusal | None) -> assessment_pb2.Refusal | None:
    if refusal is None:
        return None
    candidates = [
        assessment_pb2.LesionCandidate(volume_ml=one.volume_ml, place_lps_mm=_point_message(one.place_lps_mm))
        for one in refusal.candidates
    ]
    return assessment_pb2.Refusal(code=refusal.code.value, reason=refusal.reason, candidates=candidates)


def _vector(components: Sequence[float]) -> Vector3:
    return (components[0], components[1], components[2])


def target_point(request: service_pb2.OpenCaseRequest | service_pb2.PrepareRequest) -> Vector3 | None:
    """Return the navigation system's point in the tumor, LPS mm in the planning CT.

    Raises
    ------
    InvalidRequestError
    """
    if not request.HasField("target_lps_mm"):
        return None
    target = point(request.target_lps_mm)
    if not all(abs(value) < 1e4 for value in target):
        raise InvalidRequestError("the target must be a finite LPS position in mm", "target_lps_mm")
    return target


def check_open_request(request: service_pb2.OpenCaseRequest) -> None:
    """Refuse clinical inputs that cannot be true.

    Raises
    ------
    InvalidRequestError
    """
    if request.HasField("fibrinogen_g_per_l") and not 0 < request.fibrinogen_g_per_l < 50:
        raise InvalidRequestError(
            "fibrinogen must be above 0 and below 50 g/L (not mg/dL); leave it out where unknown",
            "fibrinogen_g_per_l",
        )
    if request.sex not in service_pb2.Sex.values():
        raise InvalidRequestError("sex is none of the known values; leave it out where unknown", "sex")
    target_point(request)
