"""Converts request messages into the types of the service's core, and refuses those that cannot be converted."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from coldspot.v1 import service_pb2

from engine.errors import InvalidRequestError
from engine.geometry import Vector3, VoxelBox
from service.cases.requests import AssessRequest, CaseRequest, CaseUpdate, PrepareRequest
from service.cases.series import DicomContent, SeriesHeader, SeriesRole, VoxelContent
from service.wire.acquisition import acquisition_of, warnings_of
from service.wire.geometry import geometry_of, position_of

_SEXES: Final[dict[int, Literal["f", "m"] | None]] = {
    service_pb2.SEX_UNSPECIFIED: None,
    service_pb2.SEX_FEMALE: "f",
    service_pb2.SEX_MALE: "m",
}
_ROLES: Final = {
    service_pb2.SERIES_ROLE_PLANNING_CT: SeriesRole.PLANNING_CT,
    service_pb2.SERIES_ROLE_VERIFICATION_CT: SeriesRole.VERIFICATION_CT,
    service_pb2.SERIES_ROLE_TUMOR_MASK: SeriesRole.TUMOR_MASK,
    service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK: SeriesRole.ABLATION_ZONE_MASK,
    service_pb2.SERIES_ROLE_ABLATION_CORE_MASK: SeriesRole.ABLATION_CORE_MASK,
}


def case_request(message: service_pb2.OpenCaseRequest) -> CaseRequest:
    """Return the case that a message asks to open.

    Raises
    ------
    InvalidRequestError
    """
    return replace(_inputs(message), request_id=message.request_id)


def _inputs(message: service_pb2.OpenCaseRequest | service_pb2.UpdateCaseRequest) -> CaseRequest:
    if message.sex not in _SEXES:
        raise InvalidRequestError("sex has an unknown value; leave it out if it is not known", "sex")
    return CaseRequest(
        request_id="",
        sex=_SEXES[message.sex],
        fibrinogen_g_per_l=message.fibrinogen_g_per_l if message.HasField("fibrinogen_g_per_l") else None,
        target_lps_mm=_target(message),
    )


def case_update(message: service_pb2.UpdateCaseRequest) -> CaseUpdate:
    """Return the correction of a case that a message asks for.

    Raises
    ------
    InvalidRequestError
    """
    return CaseUpdate(message.case_id, frozenset(message.update_mask.paths), _inputs(message))


def prepare_request(message: service_pb2.PrepareRequest) -> PrepareRequest:
    """Return the preparation that a message asks for."""
    return PrepareRequest(
        case_id=message.case_id,
        planning_series_id=message.planning_series_id,
        tumor_series_id=message.tumor_series_id,
        target_lps_mm=_target(message),
        allow_demo_models=message.allow_demo_models,
    )


def assess_request(message: service_pb2.AssessRequest) -> AssessRequest:
    """Return the assessment that a message asks for."""
    return AssessRequest(
        case_id=message.case_id,
        verification_series_id=message.verification_series_id,
        zone_series_id=message.zone_series_id,
        core_series_id=message.core_series_id,
        include_risk_if_complete=message.include_risk_if_complete,
        allow_demo_models=message.allow_demo_models,
    )


def series_header(message: service_pb2.UploadHeader) -> SeriesHeader:
    """Return the header of a series from its message.

    Raises
    ------
    InvalidRequestError
        If the role or the content is left out.
    InvalidGeometryError
        If the geometry describes no volume.
    """
    if message.role not in _ROLES:
        raise InvalidRequestError("the header must say what the series is (role)", "header.role")
    return SeriesHeader(
        case_id=message.case_id,
        role=_ROLES[message.role],
        total_bytes=message.total_bytes,
        sha256=message.sha256.hex(),
        content=_content(message),
        reference_series_id=message.reference_series_id,
    )


def _content(message: service_pb2.UploadHeader) -> VoxelContent | DicomContent:
    kind = message.WhichOneof("content")
    if kind == "dicom":
        dicom = message.dicom
        return DicomContent(
            instance_bytes=tuple(dicom.instance_bytes),
            structure=dicom.structure,
            series=dicom.series,
            warnings=warnings_of(dicom.warnings),
        )
    if kind != "voxels":
        raise InvalidRequestError("the header must describe its content: voxels or dicom", "header.content")
    voxels = message.voxels
    return VoxelContent(
        geometry=geometry_of(voxels.geometry),
        acquisition=acquisition_of(voxels),
        box=_box(voxels) if voxels.HasField("box") else None,
    )


def _box(voxels: service_pb2.VoxelContent) -> VoxelBox:
    start, stop = voxels.box.start_zyx, voxels.box.stop_zyx
    if len(start) != 3 or len(stop) != 3:
        raise InvalidRequestError("the box of a mask needs three starts and three stops", "header.voxels.box")
    return VoxelBox.between(start, stop)


def _target(
    message: service_pb2.OpenCaseRequest | service_pb2.UpdateCaseRequest | service_pb2.PrepareRequest,
) -> Vector3 | None:
    if not message.HasField("target_lps_mm"):
        return None
    return position_of(message.target_lps_mm)
