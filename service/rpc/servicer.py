"""The gRPC face: one method for each call; convert, call, convert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc
from coldspot.v1 import assessment_pb2, service_pb2, service_pb2_grpc

from engine import DISCLAIMER, __version__
from service.jobs.worker import StageNews
from service.record.provenance import backend_in_words
from service.rpc.answering import answering
from service.wire import messages as convert

if TYPE_CHECKING:
    from service.intake.reception import Reception
    from service.jobs.procedures import Procedures
    from service.pipeline.protocol import Pipeline
    from service.record.artifacts import ArtifactShelf
    from service.rpc.cases import Cases
    from service.rpc.stall_watch import StallWatch
    from service.settings import Settings
    from service.wire.upload import Part

_DEADLINE_TOLERANCE_S: Final = 0.05
"""A call that ends with no more than this left has ended by its deadline: clocks and rounding differ."""


class ColdspotServicer(service_pb2_grpc.ColdspotServiceServicer):
    """Answers the calls of ``coldspot.v1.ColdspotService``.

    Parameters
    ----------
    settings, cases, reception, procedures, artifacts, pipeline, stall_watch
        The parts; made in :mod:`service.app`.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        cases: Cases,
        reception: Reception,
        procedures: Procedures,
        artifacts: ArtifactShelf,
        pipeline: Pipeline,
        stall_watch: StallWatch,
    ) -> None:
        self._settings, self._cases, self._reception = settings, cases, reception
        self._procedures, self._artifacts = procedures, artifacts
        self._pipeline, self._stall_watch = pipeline, stall_watch

    def OpenCase(  # noqa: N802 - the names are those of the .proto
        self, request: service_pb2.OpenCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.OpenCaseResponse:
        """Open a case, or find the one this request id has opened."""
        with answering(context, "OpenCase"):
            return service_pb2.OpenCaseResponse(case_id=self._cases.open(request))

    def UploadSeries(  # noqa: N802
        self, request_iterator: Iterator[Part], context: grpc.ServicerContext
    ) -> service_pb2.UploadSeriesResponse:
        """Store one series or mask."""
        with answering(context, "UploadSeries"):
            parts = self._stall_watch.watch(request_iterator, context.cancel)
            return self._reception.receive_series(parts)

    def Prepare(  # noqa: N802
        self, request: service_pb2.PrepareRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.PrepareResponse]:
        """Prepare the planning side, telling its stages."""
        with answering(context, "Prepare"):
            job = self._procedures.prepare(request, context.time_remaining())
            self._stop_with_client(job, context)
            for news in job:
                if isinstance(news, StageNews):
                    yield service_pb2.PrepareResponse(stage=convert.stage_event(news))
                else:
                    yield service_pb2.PrepareResponse(prepared=news)

    def Assess(  # noqa: N802
        self, request: service_pb2.AssessRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.AssessResponse]:
        """Measure one verification CT, telling stages, a preliminary and the final answer."""
        with answering(context, "Assess"):
            job = self._procedures.assess(request, context.time_remaining())
            self._stop_with_client(job, context)
            for news in job:
                if isinstance(news, StageNews):
                    yield service_pb2.AssessResponse(stage=convert.stage_event(news))
                elif news.phase == assessment_pb2.ASSESSMENT_PHASE_PRELIMINARY:
                    yield service_pb2.AssessResponse(preliminary=news)
                else:
                    yield service_pb2.AssessResponse(final=news)

    def GetCase(  # noqa: N802
        self, request: service_pb2.GetCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetCaseResponse:
        """Tell what is stored of a case."""
        with answering(context, "GetCase"):
            return self._cases.summary(request.case_id)

    def GetAssessment(  # noqa: N802
        self, request: service_pb2.GetAssessmentRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetAssessmentResponse:
        """Return a stored final assessment."""
        with answering(context, "GetAssessment"):
            found = self._cases.assessment(request.case_id, request.assessment_id)
            return service_pb2.GetAssessmentResponse(assessment=found)

    def FetchArtifact(  # noqa: N802
        self, request: service_pb2.FetchArtifactRequest, context: grpc.ServicerContext
    ) -> Iterator[service_pb2.FetchArtifactResponse]:
        """Send one file of an assessment."""
        with answering(context, "FetchArtifact"):
            for chunk in self._artifacts.read(request.case_id, request.assessment_id, request.name):
                yield service_pb2.FetchArtifactResponse(chunk=chunk)

    def DeleteCase(  # noqa: N802
        self, request: service_pb2.DeleteCaseRequest, context: grpc.ServicerContext
    ) -> service_pb2.DeleteCaseResponse:
        """Remove a case."""
        with answering(context, "DeleteCase"):
            self._cases.delete(request.case_id)
            return service_pb2.DeleteCaseResponse()

    def GetServerInfo(  # noqa: N802
        self, request: service_pb2.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> service_pb2.GetServerInfoResponse:
        """Tell version, device, models and limits."""
        del request
        with answering(context, "GetServerInfo"):
            description = self._pipeline.describe()
            return service_pb2.GetServerInfoResponse(
                version=__version__,
                disclaimer=DISCLAIMER,
                kernels=description.kernels,
                inference_backend="; ".join(
                    [
                        description.inference_backend,
                        *(backend_in_words(model) for model in description.models if model.backend),
                    ]
                ),
                models=[f"{model.name} {model.version}" for model in description.models],
                max_series_bytes=self._settings.max_series_bytes,
                max_admitted=self._settings.max_admitted,
            )

    def _stop_with_client(self, job: Any, context: grpc.ServicerContext) -> None:
        """Stop the work as soon as the call has ended, however it has."""

        def stop() -> None:
            left_s = context.time_remaining()
            self._procedures.cancel(job, by_deadline=left_s is not None and left_s <= _DEADLINE_TOLERANCE_S)

        if not context.add_callback(stop):
            stop()
