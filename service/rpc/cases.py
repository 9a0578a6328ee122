"""Opening, looking at and deleting cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldspot.v1 import assessment_pb2, service_pb2
from coldspot.v1.service_pb2 import SeriesRole

from service.cases.selection import newest_planning_number
from service.wire import messages as convert

if TYPE_CHECKING:
    from service.cases.store import CaseStore
    from service.cases.volumes import VolumeShelf
    from service.jobs.procedures import Procedures


@dataclass(frozen=True)
class Cases:
    """The cases of one appliance, on disk and in memory."""

    store: CaseStore
    volumes: VolumeShelf
    procedures: Procedures

    def open(self, request: service_pb2.OpenCaseRequest) -> str:
        """Open a case, or return the one this request id has opened."""
        convert.check_open_request(request)
        content = service_pb2.OpenCaseRequest()
        content.CopyFrom(request)
        content.ClearField("request_id")
        return self.store.open_case(request.request_id, content.SerializeToString(deterministic=True))

    def summary(self, case_id: str) -> service_pb2.GetCaseResponse:
        """Return what is stored of a case."""
        series = self.store.series(case_id)
        last = self.store.prepared(case_id)
        return service_pb2.GetCaseResponse(
            case_id=case_id,
            series=[
                service_pb2.StoredSeries(
                    series_id=record.series_id,
                    role=SeriesRole.Name(SeriesRole.ValueType(record.role)),
                    stored_bytes=record.stored_bytes,
                    sha256=bytes.fromhex(record.sha256),
                )
                for record in series
            ],
            assessment_ids=self.store.assessment_ids(case_id),
            prepared=last is not None and newest_planning_number(series) <= last.newest_number,
        )

    def assessment(self, case_id: str, assessment_id: str) -> assessment_pb2.Assessment:
        """Return a stored final assessment."""
        return assessment_pb2.Assessment.FromString(self.store.assessment(case_id, assessment_id))

    def delete(self, case_id: str) -> None:
        """Remove a case from the disk and from memory."""
        series_ids = {record.series_id for record in self.store.series(case_id)}
        self.store.delete_case(case_id)
        for series_id in series_ids:
            self.volumes.forget(series_id)
        self.procedures.forget(series_ids)
