"""The gRPC servicer: each method converts its request, calls the core, and converts the answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc

from engine.errors import InvalidRequestError
from service.jobs.worker import StageEvent
from service.record.report import planning_report
from service.rpc.answering import answering
from service.rpc.server_info import server_info
from service.wire.answers import case_message, cases_message, stage_message, upload_message
from service.wire.report import assessment_message, prepared_message
from service.wire.requests import assess_request, case_request, case_update, prepare_request, series_header
from service.wire.upload import chunk_of, header_of

if TYPE_CHECKING:
    from service.app import App
    from service.rpc.stall_watch import StallWatch
    from service.wire.upload import Part

_DEADLINE_TOLERANCE_S: Final = 0.05
"""A call that ends with no more than this left has ended by its deadline: clocks and rounding differ."""


class ColdspotServicer(service_pb2_grpc.ColdspotServiceServicer):
    """Answers the calls of ``coldspot.v1.ColdspotService``.

    Parameters
    ----------
    app : App
        What answers.
    stall_watch : StallWatch
        Drops uploads that stall.
    """

    def __init__(self, app: App, stall_watch: StallWatch) -> None:
        self._app, self._stall_watch = app, stall_watch
        self._answering = partial(answering, count=app.metrics.call_ended)

    def OpenCase(
        self, request: service_pb2.OpenCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.OpenCaseResponse:
        """Open a case, or find the one this request id has opened."""
        with self._answering(context, "OpenCase"):
            return service_pb2.OpenCaseResponse(case_id=self._app.cases.open(case_request(request)))

    def UpdateCase(
        self, request: service_pb2.UpdateCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.UpdateCaseResponse:
        """Correct the inputs of a case."""
        with self._answering(context, "UpdateCase"):
            self._app.cases.update(case_update(request))
            return service_pb2.UpdateCaseResponse()

    def UploadSeries(
        self, request_iterator: Iterator[Part], context: grpc.ServicerContext
    ) -> service_pb2.UploadSeriesResponse:
        """Store one series or mask."""
        with self._answering(context, "UploadSeries"):
            parts = self._stall_watch.watch(request_iterator, context.cancel)
            header = header_of(next(parts, None))
            if header is None:
                raise InvalidRequestError("an upload begins with its header", "header")
            chunks = (chunk_of(part) or b"" for part in parts)
            return upload_message(self._app.reception.receive_series(series_header(header), chunks))

    def Prepare(
        self, request: service_pb2.PrepareRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.PrepareResponse]:
        """Prepare the planning side; the stages are streamed."""
        with self._answering(context, "Prepare"):
            job = self._app.procedures.prepare(prepare_request(request), context.time_remaining())
            self._stop_with_client(job, context)
            for event in job:
                if isinstance(event, StageEvent):
                    yield service_pb2.PrepareResponse(stage=stage_message(event.stage, event.duration_s))
                else:
                    yield service_pb2.PrepareResponse(prepared=prepared_message(planning_report(event)))

    def Assess(
        self, request: service_pb2.AssessRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.AssessResponse]:
        """Measure one verification CT; stages, a preliminary and the final answer are streamed."""
        with self._answering(context, "Assess"):
            job = self._app.procedures.assess(assess_request(request), context.time_remaining())
            self._stop_with_client(job, context)
            for event in job:
                if isinstance(event, StageEvent):
                    yield service_pb2.AssessResponse(stage=stage_message(event.stage, event.duration_s))
                elif event.preliminary:
                    yield service_pb2.AssessResponse(preliminary=assessment_message(event.content))
                else:
                    yield service_pb2.AssessResponse(final=assessment_message(event.content))

    def GetCase(
        self, request: service_pb2.GetCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetCaseResponse:
        """Return what is stored for a case."""
        with self._answering(context, "GetCase"):
            return case_message(self._app.cases.summary(request.case_id))

    def ListCases(
        self, request: service_pb2.ListCasesRequest, context: grpc.ServicerContext
    ) -> service_pb2.ListCasesResponse:
        """Return a page of the stored cases."""
        with self._answering(context, "ListCases"):
            return cases_message(self._app.cases.page(request.page_size, request.page_token))

    def GetAssessment(
        self, request: service_pb2.GetAssessmentRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetAssessmentResponse:
        """Return a stored final assessment."""
        with self._answering(context, "GetAssessment"):
            report = self._app.artifacts.report(request.case_id, request.assessment_id)
            return service_pb2.GetAssessmentResponse(assessment=assessment_message(report.content))

    def FetchArtifact(
        self, request: service_pb2.FetchArtifactRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.FetchArtifactResponse]:
        """Send one file of an assessment."""
        with self._answering(context, "FetchArtifact"):
            for chunk in self._app.artifacts.read(request.case_id, request.assessment_id, request.name):
                yield service_pb2.FetchArtifactResponse(chunk=chunk)

    def DeleteCase(
        self, request: service_pb2.DeleteCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.DeleteCaseResponse:
        """Remove a case."""
        with self._answering(context, "DeleteCase"):
            self._app.cases.delete(request.case_id)
            return service_pb2.DeleteCaseResponse()

    def GetServerInfo(
        self, request: service_pb2.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetServerInfoResponse:
        """Return version, device, models and limits."""
        del request
        with self._answering(context, "GetServerInfo"):
            return server_info(self._app)

    def _stop_with_client(self, job: Any, context: grpc.ServicerContext) -> None:
        """Stop the work as soon as the call has ended, however it has."""

        def stop() -> None:
            left_s = context.time_remaining()
            self._app.procedures.cancel(
                job, by_deadline=left_s is not None and left_s <= _DEADLINE_TOLERANCE_S
            )

        if not context.add_callback(stop):
            stop()
