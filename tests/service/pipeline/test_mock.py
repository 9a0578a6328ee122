"""The mock service: the real one around canned answers that say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from coldspot.v1 import assessment_pb2
from typer.testing import CliRunner

import service.commands.cli
from engine.errors import CapacityError, EmptyMaskError, InvalidRequestError, ServiceError
from engine.volume import LabelMask
from service.artifact_names import ARTIFACT_NAMES
from service.client.client import ColdspotClient
from service.pipeline.mock import MOCK, MockAnswer, MockPipeline, mock_answers
from service.server import ColdspotServer, running_server
from tests.support.stub_engine import StubCase, make_case, settings_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ColdspotServer]:
    with running_server(settings_for(tmp_path_factory.mktemp("mock")), MockPipeline()) as running:
        yield running


@pytest.fixture
def client(server: ColdspotServer) -> Iterator[ColdspotClient]:
    server.app.pipeline.__init__()  # type: ignore[misc]  # from the first answer again
    with ColdspotClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def send(client: ColdspotClient, sent: StubCase) -> str:
    case = client.open_case()
    client.upload_mask(case, sent.tumor, "tumor", client.upload_ct(case, sent.planning, "planning"))
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    return case


def test_answers_come_in_turn_and_say_what_they_are(client: ColdspotClient, tmp_path: Path) -> None:
    case = send(client, make_case(seed=1))
    assert client.info().mock
    assert list(client.prepare(case).warnings) == [MOCK]
    preliminaries: list[assessment_pb2.Assessment] = []
    stages: list[str] = []
    miss = client.assess(
        case, on_preliminary=preliminaries.append, on_stage=lambda event: stages.append(event.stage)
    )
    complete, refused = client.assess(case), client.assess(case)
    assert "registration" in stages
    assert (miss.coverage.complete, complete.coverage.complete) == (False, True)
    assert refused.HasField("refusal")
    assert not refused.coverage.HasField("tcr")
    for answer in (*preliminaries, miss, complete, refused):
        assert answer.summary.startswith(MOCK)
        assert answer.warnings[0] == MOCK
        assert "not a medical device" in answer.summary
    assert "mock" in miss.provenance.software
    with pytest.raises(CapacityError) as full:
        client.assess(case)
    assert full.value.retry_after_s > 0
    with pytest.raises(ServiceError):
        client.assess(case)
    again = client.assess(case)
    assert again.coverage == miss.coverage
    for name in sorted(ARTIFACT_NAMES):
        assert client.fetch_artifact(again, name, tmp_path).stat().st_size > 0


def test_masks_are_checked_as_by_the_real_service(client: ColdspotClient) -> None:
    sent, case = make_case(seed=2), client.open_case()
    planning = client.upload_ct(case, sent.planning, "planning")
    empty = LabelMask(np.zeros_like(sent.tumor.voxels), sent.tumor.geometry)
    with pytest.raises(EmptyMaskError):
        client.upload_mask(case, empty, "tumor", planning)


def test_named_answers() -> None:
    assert mock_answers("refusal, miss") == (MockAnswer.REFUSAL, MockAnswer.MISS)
    with pytest.raises(InvalidRequestError, match="miss, complete, refusal"):
        mock_answers("perfect")


def test_canned_answers_are_named_for_a_mock_alone() -> None:
    result = CliRunner().invoke(service.commands.cli.app, ["serve", "--mock-answers", "miss"])
    assert result.exit_code == 2
    assert "--mock-answers is for --mock" in result.stderr
