"""One assessment, from stored series to a stored report."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.risk.clinical_inputs import ClinicalInputs
from engine.stages import Stage, StageClock
from service.cases.requests import AssessRequest
from service.cases.stored_form import decode_request
from service.jobs.worker import Job, JobListener
from service.logging import get_logger
from service.record.provenance import provenance_of
from service.record.report import AssessmentReport, assessment_report

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from service.cases.selection import PlanningSide, VerificationSide
    from service.cases.store import CaseStore
    from service.cases.volumes import Arrival, VolumeShelf
    from service.jobs.preparation import Preparation
    from service.metrics import Metrics
    from service.pipeline.protocol import Pipeline
    from service.record.artifacts import ArtifactShelf

AssessJob = Job[AssessmentReport]

_log = get_logger()


@dataclass(frozen=True)
class AssessmentWork:
    """Measures verification CTs, one job at a time."""

    store: CaseStore
    volumes: VolumeShelf
    preparation: Preparation
    pipeline: Pipeline
    artifacts: ArtifactShelf
    metrics: Metrics
    clinical_mode: bool = False

    def run(self, job: AssessJob, request: AssessRequest, verification_side: VerificationSide) -> None:
        """Emit a preliminary and a final report; the final one is stored before it is emitted."""
        self.metrics.began(time.monotonic() - job.submitted_at)
        listener = JobListener(job, self.metrics.stage_ended)
        case_id = request.case_id
        planning_side = self.preparation.prepared_side(case_id)
        prepared, timings_s = self.preparation.ensure_prepared(
            case_id, planning_side, listener, allow_demo_models=request.allow_demo_models
        )

        clock = StageClock(listener)
        with clock.stage(Stage.READ_VERIFICATION):
            verification, arrival = self.volumes.ct(verification_side.verification)
            zone, core = (
                None if record is None else self.volumes.mask(record, verification)
                for record in (verification_side.zone, verification_side.core)
            )
        assessment = self.pipeline.assess(
            prepared,
            verification,
            zone,
            core=core,
            clinical=self._clinical_inputs(case_id),
            include_risk_if_complete=request.include_risk_if_complete,
            allow_demo_models=request.allow_demo_models,
            time_left_s=job.time_left_s,
            on_preliminary=lambda preliminary: self._emit_preliminary(job, preliminary),
            listener=listener,
        )
        assessment_id = str(uuid.uuid4())
        provenance = provenance_of(
            assessment,
            self.pipeline.describe(),
            planning_side,
            verification_side,
            (prepared.planning.acquisition, verification.acquisition),
            case_id=case_id,
            assessment_id=assessment_id,
        )
        report = assessment_report(
            assessment,
            _reading_included({**timings_s, **clock.timings_s}, arrival),
            provenance,
            clinical_mode=self.clinical_mode,
        )
        with clock.stage(Stage.RECORD):
            report = report.with_latency(
                self._since_last_input(_series_ids(planning_side, verification_side))
            )
            self.store.add_assessment(case_id, assessment_id, report.to_bytes())
        make_artifacts = self.artifacts.promise(assessment, provenance.sheet_facts)
        self._count_final(job, report, case_id, assessment_id)
        job.emit(report)
        make_artifacts()

    def _since_last_input(self, series_ids: tuple[str, ...]) -> float | None:
        """Return the seconds since the last byte of the last input; None if all came before the service started.

        A reader may have contoured the zone for minutes after the verification CT came: that is not counted.
        """
        last_byte_at = self.volumes.last_byte_of(series_ids)
        return None if last_byte_at is None else time.monotonic() - last_byte_at

    def _clinical_inputs(self, case_id: str) -> ClinicalInputs:
        opened = decode_request(self.store.request_of(case_id))
        return ClinicalInputs(sex=opened.sex, fibrinogen_g_per_l=opened.fibrinogen_g_per_l)

    def _emit_preliminary(self, job: AssessJob, assessment: AblationAssessment) -> None:
        self.metrics.answered("preliminary", time.monotonic() - job.submitted_at)
        job.emit(assessment_report(assessment, clinical_mode=self.clinical_mode))

    def _count_final(
        self, job: AssessJob, report: AssessmentReport, case_id: str, assessment_id: str
    ) -> None:
        outcome = "measured" if report.refusal_code is None else "refused"
        self.metrics.answered("final", time.monotonic() - job.submitted_at, report.latency_s)
        self.metrics.assessment_ended(outcome)
        if report.refusal_code is not None:
            self.metrics.refused(report.refusal_code)
        _log.info(
            "assessed",
            case_id=case_id,
            assessment_id=assessment_id,
            outcome=outcome,
            latency_s=report.latency_s,
        )


def _reading_included(timings_s: dict[str, float], arrival: Arrival) -> dict[str, float]:
    """Add the decoding of a verification CT to the stage that reads it, where it was decoded on arrival."""
    if not arrival.decoded_on_arrival:
        return timings_s
    reading = Stage.READ_VERIFICATION.value
    return {**timings_s, reading: timings_s[reading] + arrival.decode_s}


def _series_ids(planning_side: PlanningSide, verification_side: VerificationSide) -> tuple[str, ...]:
    """Return the ids of all inputs that an answer needs."""
    records = (
        planning_side.planning,
        planning_side.tumor,
        verification_side.verification,
        verification_side.zone,
        verification_side.core,
    )
    return tuple(record.series_id for record in records if record is not None)
