"""A second, minimal transport to the service: calls in this process, without gRPC and without its messages.

It shows how little a transport has to do: turn what it receives into a header and bytes, call the core, read events.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from engine.assessment.planning import PlanningOutcome
from engine.stages import Stage
from engine.volume import CtVolume, LabelMask
from service.app import App
from service.cases.requests import AssessRequest, CaseRequest, PrepareRequest
from service.cases.series import ReceivedSeries, SeriesHeader, SeriesRole, VoxelContent
from service.jobs.worker import StageEvent
from service.record.report import AssessmentReport
from tests.support.stub_engine import StubCase

CHUNK_BYTES = 1000


@dataclass
class Assessed:
    """What one assessment has told."""

    stages: list[Stage] = field(default_factory=list)
    preliminary: list[AssessmentReport] = field(default_factory=list)
    final: AssessmentReport | None = None


@dataclass(frozen=True)
class InProcessTransport:
    """Calls on an open service."""

    app: App

    def open_case(self, request: CaseRequest) -> str:
        return self.app.cases.open(request)

    def give_ct(self, case_id: str, ct: CtVolume, role: SeriesRole) -> ReceivedSeries:
        return self._give(case_id, role, ct.voxels_hu.astype("<i2").tobytes(), VoxelContent(ct.geometry))

    def give_mask(
        self, case_id: str, mask: LabelMask, role: SeriesRole, drawn_on: ReceivedSeries
    ) -> ReceivedSeries:
        content = mask.voxels.astype(np.uint8).tobytes()
        return self._give(case_id, role, content, VoxelContent(mask.geometry), drawn_on.series_id)

    def prepare(self, case_id: str) -> PlanningOutcome:
        events = list(self.app.procedures.prepare(PrepareRequest(case_id), time_left_s=None))
        (prepared,) = (event for event in events if not isinstance(event, StageEvent))
        return prepared

    def assess(self, case_id: str) -> Assessed:
        assessed = Assessed()
        for event in self.app.procedures.assess(AssessRequest(case_id), time_left_s=None):
            if isinstance(event, StageEvent):
                assessed.stages.append(event.stage)
            elif event.preliminary:
                assessed.preliminary.append(event)
            else:
                assessed.final = event
        return assessed

    def artifact(self, case_id: str, assessment_id: str, name: str) -> bytes:
        return b"".join(self.app.artifacts.read(case_id, assessment_id, name))

    def _give(
        self, case_id: str, role: SeriesRole, content: bytes, described: VoxelContent, drawn_on: str = ""
    ) -> ReceivedSeries:
        header = SeriesHeader(case_id, role, len(content), sha256(content).hexdigest(), described, drawn_on)
        return self.app.reception.receive_series(header, _chunks(content))


def _chunks(content: bytes) -> Iterator[memoryview]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield memoryview(content)[start : start + CHUNK_BYTES]


def give_case(transport: InProcessTransport, sent: StubCase) -> str:
    """Open a case and give it everything that a procedure sends."""
    case = transport.open_case(CaseRequest(str(uuid.uuid4())))
    planning = transport.give_ct(case, sent.planning, SeriesRole.PLANNING_CT)
    transport.give_mask(case, sent.tumor, SeriesRole.TUMOR_MASK, planning)
    verification = transport.give_ct(case, sent.verification, SeriesRole.VERIFICATION_CT)
    transport.give_mask(case, sent.zone, SeriesRole.ABLATION_ZONE_MASK, verification)
    return case
