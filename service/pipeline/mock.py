"""Canned answers, for trying out a client: ``coldspot serve --mock``.

Uploads, cases, jobs, records and artifacts are those of the real service. Only what is measured is not: every answer is
one of the self-test's spheres, whatever was sent, and says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.assessment.outcome import AblationAssessment
from engine.assessment.wording import refused_summary
from engine.errors import CapacityError, InvalidRequestError, ServiceError
from engine.findings import NO_CONTOUR, AlignmentFinding, AlignmentMethod, CoverageFinding
from engine.kernels.backend import KernelBackend
from engine.refusal import Refusal, RefusalCode
from engine.risk.absence import NO_MODEL, REFUSED
from engine.selftest.phantom import MeasuredSpheres, measure_spheres
from engine.stages import Stage, StageClock
from service.pipeline.image_reader import EngineImageReader
from service.pipeline.protocol import PipelineDescription

if TYPE_CHECKING:
    from engine.assessment.planning import PlanningOutcome
    from engine.geometry import Vector3
    from engine.progress import TextProgress
    from engine.risk.clinical_inputs import ClinicalInputs
    from engine.stages import StageListener
    from engine.volume import CtVolume, LabelMask
    from service.pipeline.sheet.facts import SheetFacts

MOCK: Final = "MOCK ANSWER: a canned phantom, not measured on what was sent"

_COMPLETE_RADIUS_MM: Final = 18.0
_BUSY_S: Final = 0.5


class MockAnswer(StrEnum):
    """How a call of Assess can end."""

    MISS = "miss"
    COMPLETE = "complete"
    REFUSAL = "refusal"
    BUSY = "busy"
    """RESOURCE_EXHAUSTED with RetryInfo; the next call gets the next answer."""
    ERROR = "error"
    """INTERNAL, as after a defect."""


def mock_answers(words: str) -> tuple[MockAnswer, ...]:
    """Return the answers that are named, separated by commas.

    Raises
    ------
    InvalidRequestError
    """
    try:
        return tuple(MockAnswer(word.strip()) for word in words.split(","))
    except ValueError:
        raise InvalidRequestError(
            f"mock answers are {', '.join(MockAnswer)}, separated by commas, not {words!r}", "mock_answers"
        ) from None


class MockPipeline(EngineImageReader):
    """The service's :class:`service.pipeline.protocol.Pipeline` with canned answers.

    Parameters
    ----------
    answers : sequence of MockAnswer
        Given in turn, one to each Assess, and again from the first.
    """

    def __init__(self, answers: Sequence[MockAnswer] = tuple(MockAnswer)) -> None:
        self._answers: Iterator[MockAnswer] = itertools.cycle(answers)

    def describe(self) -> PipelineDescription:
        """Return that nothing computes."""
        return PipelineDescription("none", "none", mock=True)

    def load_kernels(self, progress: TextProgress) -> None:
        """Measure the spheres that are the answers."""
        progress("measuring the phantoms of the mock answers")
        self.warm_up()

    def warm_up(self) -> None:
        """Measure the spheres that are the answers."""
        for answer in (MockAnswer.MISS, MockAnswer.COMPLETE):
            _spheres(answer)

    def self_test(self) -> None:
        """Pass: nothing is going to be measured."""

    def prepare(
        self,
        planning: CtVolume,
        tumor: LabelMask | None,
        *,
        target_lps_mm: Vector3 | None,
        allow_demo_models: bool,
        listener: StageListener,
    ) -> PlanningOutcome:
        """Return the spheres' planning side, as if it were that of the CT that was sent."""
        del tumor, target_lps_mm, allow_demo_models
        clock = StageClock(listener)
        _pass_through(clock, (Stage.LOCATE_LESION, Stage.SEGMENT_LUNG, Stage.REGISTRATION_FEATURES))
        prepared = _spheres(MockAnswer.MISS).prepared
        return replace(prepared, planning=planning, warnings=(MOCK,), timings_s=clock.timings_s)

    def assess(
        self,
        prepared: PlanningOutcome,
        verification: CtVolume,
        zone: LabelMask | None,
        *,
        core: LabelMask | None,
        clinical: ClinicalInputs,
        include_risk_if_complete: bool,
        allow_demo_models: bool,
        time_left_s: float | None,
        on_preliminary: Callable[[AblationAssessment], None],
        listener: StageListener,
    ) -> AblationAssessment:
        """Return the next of the canned answers.

        Raises
        ------
        CapacityError, ServiceError
            Where it is their turn.
        """
        del (
            prepared,
            verification,
            zone,
            core,
            clinical,
            include_risk_if_complete,
            allow_demo_models,
            time_left_s,
        )
        answer = next(self._answers)
        if answer is MockAnswer.BUSY:
            raise CapacityError(f"{MOCK}: the service plays full; try again", _BUSY_S)
        if answer is MockAnswer.ERROR:
            raise ServiceError(f"{MOCK}: the service plays an internal error")
        clock = StageClock(listener)
        _pass_through(clock, (Stage.LOCATE_ZONE, Stage.COARSE_ALIGNMENT, Stage.PRELIMINARY))
        spheres = _spheres(answer)
        on_preliminary(_as_mock(spheres.preliminary, clock))
        _pass_through(clock, (Stage.REGISTRATION, Stage.COVERAGE, Stage.INTERVAL, Stage.RISK))
        if answer is MockAnswer.REFUSAL:
            return _as_mock(_refused(spheres.final), clock)
        return _as_mock(spheres.final, clock)

    def write_artifacts(self, assessment: AblationAssessment, facts: SheetFacts, folder: Path) -> None:
        """Write masks, margin map and sheet of the spheres into ``folder``."""
        from service.pipeline.artifact_files import write_artifacts  # noqa: PLC0415 - matplotlib

        write_artifacts(assessment, replace(facts, caution=MOCK.upper()), folder)


def _spheres(answer: MockAnswer) -> MeasuredSpheres:
    if answer is MockAnswer.COMPLETE:
        return measure_spheres(KernelBackend.CPU, _COMPLETE_RADIUS_MM)
    return measure_spheres(KernelBackend.CPU)


def _refused(assessment: AblationAssessment) -> AblationAssessment:
    refusal = Refusal(RefusalCode.NO_ZONE, "this answer plays a refusal; show its reason to the operator.")
    return replace(
        assessment,
        summary=refused_summary(refusal),
        coverage=CoverageFinding(zone_origin=NO_CONTOUR),
        uncovered=(),
        alignment=AlignmentFinding(AlignmentMethod.NONE),
        refusal=refusal,
        risk_absence=REFUSED,
        maps=None,
        zone=None,
    )


def _as_mock(assessment: AblationAssessment, clock: StageClock) -> AblationAssessment:
    return replace(
        assessment,
        summary=f"{MOCK}. {assessment.summary}",
        warnings=(MOCK, *assessment.warnings),
        timings_s=dict(clock.timings_s),
        risk_absence=assessment.risk_absence or NO_MODEL,
    )


def _pass_through(clock: StageClock, stages: Sequence[Stage]) -> None:
    """Begin and end stages, so that a client sees their events."""
    for stage in stages:
        with clock.stage(stage):
            pass
