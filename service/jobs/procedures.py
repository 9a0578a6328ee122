"""Prepare and Assess: jobs for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from engine.errors import (
    ClientCancelledError,
    ColdspotError,
    DeadlineExceededError,
    InputError,
    InterruptedAssessmentError,
    StateError,
)
from service.cases.selection import verification_side
from service.jobs.worker import Job, JobListener, Worker
from service.logging import error_trace, get_logger

if TYPE_CHECKING:
    from engine.assessment.planning import PlanningOutcome
    from service.admission import Admission
    from service.cases.requests import AssessRequest, PrepareRequest
    from service.cases.store import CaseStore
    from service.jobs.assessment import AssessJob, AssessmentWork
    from service.jobs.preparation import Preparation
    from service.metrics import Metrics

    PrepareJob = Job[PlanningOutcome]

_Event = TypeVar("_Event")

_log = get_logger()


class Procedures:
    """Prepare and Assess as jobs in the queue of the one worker that owns the device.

    Parameters
    ----------
    store, preparation, assessment_work, admission, worker, metrics
        Parts of the service, made in :mod:`service.app`.
    """

    def __init__(
        self,
        *,
        store: CaseStore,
        preparation: Preparation,
        assessment_work: AssessmentWork,
        admission: Admission,
        worker: Worker,
        metrics: Metrics,
    ) -> None:
        self._store, self._preparation, self._assessment_work = store, preparation, assessment_work
        self._admission, self._worker, self._metrics = admission, worker, metrics

    def prepare(self, request: PrepareRequest, time_left_s: float | None) -> PrepareJob:
        """Queue the preparation of a planning CT and return its job, whose one event is the prepared planning side.

        Raises
        ------
        ColdspotError
            If the request does not fit what is stored, or the service is full or closed.
        """
        side = self._preparation.requested_side(request)

        def work(job: PrepareJob) -> None:
            listener = JobListener(job, self._metrics.stage_ended)
            job.emit(
                self._preparation.prepare(
                    request.case_id, side, listener, allow_demo_models=request.allow_demo_models
                )
            )

        slot = self._admission.admit(request.case_id)
        return self._submitted(Job(work, time_left_s, lambda _: slot.release()))

    def assess(self, request: AssessRequest, time_left_s: float | None) -> AssessJob:
        """Queue the assessment of a verification CT and return its job, whose events are the reports.

        Raises
        ------
        ColdspotError
            If the request does not fit what is stored, or the service is full or closed.
        """
        side = verification_side(
            self._store.series(request.case_id),
            request.verification_series_id,
            request.zone_series_id,
            request.core_series_id,
        )
        slot = self._admission.admit(request.case_id)

        def end(error: BaseException | None) -> None:
            slot.release()
            if error is not None:
                self._metrics.assessment_ended(_outcome_of(error))

        return self._submitted(
            Job(lambda job: self._assessment_work.run(job, request, side), time_left_s, end)
        )

    def cancel(self, job: PrepareJob | AssessJob, *, by_deadline: bool) -> None:
        """Stop a job that its client no longer waits for."""
        reason: InterruptedAssessmentError
        if by_deadline:
            reason = DeadlineExceededError("the deadline has passed; work was stopped between stages")
        else:
            reason = ClientCancelledError("the client has gone; work was stopped between stages")
        self._worker.cancel(job, reason)

    def _submitted(self, job: Job[_Event]) -> Job[_Event]:
        try:
            self._worker.submit(job)
        except ColdspotError as error:
            job.end(error)
            raise
        return job


def _outcome_of(error: BaseException) -> str:
    """Return the outcome under which the metrics count a failed assessment; log an error nobody foresaw."""
    if isinstance(error, ClientCancelledError):
        return "cancelled"
    if isinstance(error, DeadlineExceededError):
        return "deadline_exceeded"
    if isinstance(error, InputError | StateError):
        return "rejected"
    if not isinstance(error, ColdspotError):
        _log.error("assessment_failed", **error_trace(error))
    return "failed"
