"""Prepare and Assess: jobs for the device, from stored series to stored results."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from coldspot.v1 import assessment_pb2, service_pb2

from engine.errors import (
    ClientCancelledError,
    ColdspotError,
    DeadlineExceededError,
    InputError,
    InterruptedAssessmentError,
    PreconditionError,
    StateError,
)
from engine.stages import Stage, StageClock
from service.cases.selection import (
    PLANNING_CT,
    TUMOR_MASK,
    PlanningSide,
    VerificationSide,
    named,
    newest_planning_number,
    planning_side,
    verification_side,
)
from service.cases.store import CaseStore, PreparedRecord
from service.jobs.worker import Job, JobListener, Worker
from service.logging import get_logger, where
from service.record.provenance import provenance_message
from service.wire import messages as convert

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PreparedPlanning
    from engine.geometry import Vector3
    from engine.stages import StageListener
    from service.admission import Admission
    from service.cases.volumes import Arrival, VolumeShelf
    from service.metrics import Metrics
    from service.pipeline.protocol import Pipeline
    from service.record.artifacts import ArtifactShelf

_PREPARED_KEPT: Final = 4
"""Prepared planning sides kept in memory; others are prepared again when they are needed."""

_PrepareJob = Job[service_pb2.Prepared]
_AssessJob = Job[assessment_pb2.Assessment]

_News = TypeVar("_News")

_log = get_logger()


class Procedures:
    """The work that needs the device.

    Parameters
    ----------
    store, volumes, pipeline, admission, worker, artifacts, metrics
        The parts; made in :mod:`service.app`.
    """

    def __init__(
        self,
        *,
        store: CaseStore,
        volumes: VolumeShelf,
        pipeline: Pipeline,
        admission: Admission,
        worker: Worker,
        artifacts: ArtifactShelf,
        metrics: Metrics,
    ) -> None:
        self._store, self._volumes, self._pipeline = store, volumes, pipeline
        self._admission, self._worker = admission, worker
        self._artifacts, self._metrics = artifacts, metrics
        self._lock = threading.Lock()
        self._prepared: OrderedDict[tuple[str, str, Vector3 | None], PreparedPlanning] = OrderedDict()

    def prepare(self, request: service_pb2.PrepareRequest, time_left_s: float | None) -> _PrepareJob:
        """Put the preparation of a planning CT into the line; its one event is ``Prepared``."""
        case_id = request.case_id
        series = self._store.series(case_id)
        target = convert.target_point(request) or self._target_of(case_id)
        before = planning_side(series, request.planning_series_id, request.tumor_series_id, target)

        def work(job: _PrepareJob) -> None:
            prepared = self._prepare(case_id, before, JobListener(job, self._metrics.stage_ended))
            job.emit(convert.prepared_message(prepared))

        place = self._admission.admit()
        return self._submitted(Job(work, time_left_s, lambda _: place.release()))

    def assess(self, request: service_pb2.AssessRequest, time_left_s: float | None) -> _AssessJob:
        """Put the assessment of a verification CT into the line.

        Its events are a preliminary and a final assessment; the final one is stored before it is told.
        """
        after = verification_side(
            self._store.series(request.case_id),
            request.verification_series_id,
            request.zone_series_id,
            request.core_series_id,
        )
        place = self._admission.admit()

        def end(error: BaseException | None) -> None:
            place.release()
            if error is not None:
                self._metrics.assessment_ended(_outcome_of(error))

        return self._submitted(Job(lambda job: self._assess(job, request, after), time_left_s, end))

    def cancel(self, job: _PrepareJob | _AssessJob, *, by_deadline: bool) -> None:
        """Stop work that nobody waits for any more."""
        reason: InterruptedAssessmentError
        if by_deadline:
            reason = DeadlineExceededError("the deadline has passed; work was stopped between stages")
        else:
            reason = ClientCancelledError("the client has gone; work was stopped between stages")
        self._worker.cancel(job, reason)

    def forget(self, planning_series_ids: set[str]) -> None:
        """Drop deleted planning sides from memory."""
        with self._lock:
            for key in [key for key in self._prepared if key[0] in planning_series_ids]:
                del self._prepared[key]

    def _submitted(self, job: Job[_News]) -> Job[_News]:
        try:
            self._worker.submit(job)
        except ColdspotError as error:
            job.end(error)
            raise
        return job

    def _prepare(self, case_id: str, before: PlanningSide, listener: StageListener) -> PreparedPlanning:
        """Prepare, keep the result in memory, and remember on disk what it was made from."""
        clock = StageClock(listener)
        with clock.stage(Stage.READ_PLANNING):
            planning, _ = self._volumes.ct(before.planning)
            tumor = None if before.tumor is None else self._volumes.mask(before.tumor, planning)
        prepared = self._pipeline.prepare(
            planning, tumor, target_lps_mm=before.target_lps_mm, listener=listener
        )
        prepared.timings_s.update(clock.timings_s)
        with self._lock:
            self._prepared[before.key] = prepared
            while len(self._prepared) > _PREPARED_KEPT:
                self._prepared.popitem(last=False)
        planning_id, tumor_id, target = before.key
        told = "" if target is None else " ".join(map(repr, target))
        self._store.record_prepared(
            case_id, PreparedRecord(planning_id, tumor_id, before.newest_number, told)
        )
        return prepared

    def _target_of(self, case_id: str) -> Vector3 | None:
        """The target point that a case was opened with."""
        return convert.target_point(service_pb2.OpenCaseRequest.FromString(self._store.request_of(case_id)))

    def _planning_side(self, case_id: str) -> PlanningSide:
        """Return what the last Prepare used, or, without one, what it would use."""
        case = self._store.series(case_id)
        last = self._store.prepared(case_id)
        if last is None:
            return planning_side(case, target_lps_mm=self._target_of(case_id))
        if newest_planning_number(case) > last.newest_number:
            raise PreconditionError(
                "a planning CT or tumor mask was uploaded after the last Prepare; call Prepare again"
            )
        tumor = named(case, TUMOR_MASK, last.tumor_series_id) if last.tumor_series_id else None
        planning = named(case, PLANNING_CT, last.planning_series_id)
        target = None
        if last.target:
            x, y, z = map(float, last.target.split())
            target = x, y, z
        return PlanningSide(planning, tumor, last.newest_number, target)

    def _prepared_planning(
        self, case_id: str, before: PlanningSide, listener: StageListener
    ) -> tuple[PreparedPlanning, dict[str, float]]:
        """Return the prepared planning side and what preparing it now took."""
        with self._lock:
            kept = self._prepared.get(before.key)
        if kept is not None:
            return kept, {}
        prepared = self._prepare(case_id, before, listener)
        return prepared, dict(prepared.timings_s)

    def _assess(self, job: _AssessJob, request: service_pb2.AssessRequest, after: VerificationSide) -> None:
        began = time.monotonic()
        self._metrics.began(began - job.submitted_at)
        listener = JobListener(job, self._metrics.stage_ended)
        case_id = request.case_id
        before = self._planning_side(case_id)
        prepared, timings_s = self._prepared_planning(case_id, before, listener)

        clock = StageClock(listener)
        with clock.stage(Stage.READ_VERIFICATION):
            verification, arrival = self._volumes.ct(after.verification)
            zone = None if after.zone is None else self._volumes.mask(after.zone, verification)
            core = None if after.core is None else self._volumes.mask(after.core, verification)
        opened = service_pb2.OpenCaseRequest.FromString(self._store.request_of(case_id))

        def tell_preliminary(found: AblationAssessment) -> None:
            self._metrics.answered("preliminary", time.monotonic() - job.submitted_at)
            job.emit(convert.assessment_message(found))

        found = self._pipeline.assess(
            prepared,
            verification,
            zone,
            core=core,
            clinical=convert.clinical_inputs(opened),
            include_risk_if_complete=request.include_risk_if_complete,
            time_left_s=job.time_left_s,
            on_preliminary=tell_preliminary,
            listener=listener,
        )
        message = convert.assessment_message(found)
        for name, duration_s in {**timings_s, **clock.timings_s}.items():
            message.timings_s[name] = duration_s
        if arrival.last_byte_at is not None:  # it was decoded when it arrived
            message.timings_s[Stage.READ_VERIFICATION.value] += arrival.decode_s
        assessment_id = str(uuid.uuid4())
        message.provenance.CopyFrom(
            provenance_message(
                found, self._pipeline.describe(), before, after, case_id=case_id, assessment_id=assessment_id
            )
        )
        self._record(message, arrival, clock)
        make_artifacts = self._artifacts.promise(assessment_id, found)
        self._count_final(job, message)
        job.emit(message)
        make_artifacts()

    def _record(self, message: assessment_pb2.Assessment, arrival: Arrival, clock: StageClock) -> None:
        """Store the final answer; it is durable when this returns."""
        provenance = message.provenance
        with clock.stage(Stage.RECORD):
            if arrival.last_byte_at is not None:
                message.latency_s = time.monotonic() - arrival.last_byte_at
            self._store.add_assessment(
                provenance.case_id, provenance.assessment_id, message.SerializeToString(deterministic=True)
            )

    def _count_final(self, job: _AssessJob, message: assessment_pb2.Assessment) -> None:
        latency_s = message.latency_s if message.HasField("latency_s") else None
        outcome = "refused" if message.HasField("refusal") else "measured"
        self._metrics.answered("final", time.monotonic() - job.submitted_at, latency_s)
        self._metrics.assessment_ended(outcome)
        _log.info(
            "assessed",
            case_id=message.provenance.case_id,
            assessment_id=message.provenance.assessment_id,
            outcome=outcome,
            latency_s=latency_s,
        )


def _outcome_of(error: BaseException) -> str:
    """Return how a failed assessment is counted."""
    if isinstance(error, ClientCancelledError):
        return "cancelled"
    if isinstance(error, DeadlineExceededError):
        return "deadline_exceeded"
    if isinstance(error, InputError | StateError):
        return "rejected"
    if not isinstance(error, ColdspotError):
        _log.error("assessment_failed", **where(error))
    return "failed"
