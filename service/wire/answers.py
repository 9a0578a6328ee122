"""Converts the answers of the service's core into messages."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from coldspot.v1 import service_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from engine.stages import Stage
from service.cases.requests import CasePage, CaseSummary
from service.cases.series import ReceivedSeries, SeriesRole
from service.wire.geometry import point_message

_ROLES: Final[dict[SeriesRole, service_pb2.SeriesRole]] = {
    SeriesRole.PLANNING_CT: service_pb2.SERIES_ROLE_PLANNING_CT,
    SeriesRole.VERIFICATION_CT: service_pb2.SERIES_ROLE_VERIFICATION_CT,
    SeriesRole.TUMOR_MASK: service_pb2.SERIES_ROLE_TUMOR_MASK,
    SeriesRole.ABLATION_ZONE_MASK: service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK,
    SeriesRole.ABLATION_CORE_MASK: service_pb2.SERIES_ROLE_ABLATION_CORE_MASK,
}


_SEXES: Final[dict[str | None, service_pb2.Sex]] = {
    None: service_pb2.SEX_UNSPECIFIED,
    "f": service_pb2.SEX_FEMALE,
    "m": service_pb2.SEX_MALE,
}


def stage_message(stage: Stage, duration_s: float | None) -> service_pb2.StageEvent:
    """Return the event that a stage has started or, if its duration is given, that it has finished."""
    ended = duration_s is not None
    return service_pb2.StageEvent(
        stage=stage.value,
        state=service_pb2.STAGE_STATE_FINISHED if ended else service_pb2.STAGE_STATE_STARTED,
        duration_s=duration_s,
    )


def upload_message(received: ReceivedSeries) -> service_pb2.UploadSeriesResponse:
    """Return the acknowledgement of a stored series."""
    return service_pb2.UploadSeriesResponse(
        series_id=received.series_id,
        role=_ROLES[received.role],
        stored_bytes=received.stored_bytes,
        warnings=received.warnings,
    )


def case_message(case: CaseSummary) -> service_pb2.GetCaseResponse:
    """Return what is stored for a case."""
    return service_pb2.GetCaseResponse(
        case_id=case.case_id,
        opened_at=_timestamp(case.opened_at),
        sex=_SEXES[case.inputs.sex],
        fibrinogen_g_per_l=case.inputs.fibrinogen_g_per_l,
        target_lps_mm=point_message(case.inputs.target_lps_mm),
        series=[
            service_pb2.StoredSeries(
                series_id=record.series_id,
                role=_ROLES[record.role],
                stored_bytes=record.stored_bytes,
                sha256=bytes.fromhex(record.sha256),
            )
            for record in case.series
        ],
        assessment_ids=case.assessment_ids,
        prepared=case.prepared,
    )


def cases_message(page: CasePage) -> service_pb2.ListCasesResponse:
    """Return a page of the stored cases."""
    return service_pb2.ListCasesResponse(
        cases=[
            service_pb2.CaseOverview(
                case_id=case.case_id,
                opened_at=_timestamp(case.opened_at),
                series_count=case.series_count,
                assessment_count=case.assessment_count,
                stored_bytes=case.stored_bytes,
            )
            for case in page.cases
        ],
        next_page_token=page.next_token,
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
