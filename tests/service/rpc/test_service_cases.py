"""Cases are listed in pages and corrected through the real client and service."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from coldspot.v1 import service_pb2

from engine.errors import InvalidRequestError, NotFoundError, PreconditionError
from service.cases.series import SeriesRole
from service.cases.store import CaseStore
from service.client.client import ColdspotClient
from service.server import ColdspotServer, running_server
from tests.support.stub_engine import StubPipeline, make_case, settings_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ColdspotServer]:
    with running_server(settings_for(tmp_path), StubPipeline()) as running:
        yield running


@pytest.fixture
def client(server: ColdspotServer) -> Iterator[ColdspotClient]:
    with ColdspotClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def page(client: ColdspotClient, size: int, token: str = "") -> service_pb2.ListCasesResponse:
    request = service_pb2.ListCasesRequest(page_size=size, page_token=token)
    answer: service_pb2.ListCasesResponse = client._connection.call("ListCases", request)
    return answer


def complete_case(client: ColdspotClient, seed: int = 1) -> str:
    sent = make_case(seed)
    case = client.open_case(sex="f", fibrinogen_g_per_l=3.1)
    planning = client.upload_ct(case, sent.planning, "planning")
    client.upload_mask(case, sent.tumor, "tumor", planning)
    client.prepare(case)
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    return case


def test_every_case_is_listed_once_the_newest_first(client: ColdspotClient) -> None:
    assert list(client.cases()) == []
    opened = [client.open_case() for _ in range(7)]
    for size in (1, 2, 3, 6, 7, 8, 5000):
        listed, token = [], ""
        while True:
            answer = page(client, size, token)
            assert len(answer.cases) <= size
            listed += [case.case_id for case in answer.cases]
            token = answer.next_page_token
            if not token:
                break
        assert listed == opened[::-1], size
    assert [case.case_id for case in client.cases()] == opened[::-1]


def test_cases_come_and_go_between_two_pages(client: ColdspotClient) -> None:
    opened = [client.open_case() for _ in range(6)]
    first = page(client, 2)
    for gone in (opened[3], opened[5]):
        client.delete_case(gone)
    client.open_case()
    rest = page(client, 10, first.next_page_token)
    assert [case.case_id for case in rest.cases] == [opened[2], opened[1], opened[0]]
    for token in ("x", "-1", "1.5", "9" * 40, "' OR 1=1"):
        with pytest.raises(InvalidRequestError, match="page_token"):
            page(client, 2, token)


def test_a_listed_case_says_what_it_holds(client: ColdspotClient, tmp_path: Path) -> None:
    case = complete_case(client)
    final = client.assess(case)
    client.fetch_artifact(final, "sheet.png", tmp_path)
    (listed,) = client.cases()
    assert (listed.series_count, listed.assessment_count) == (4, 1)
    stored = sum(path.stat().st_size for path in (tmp_path / "state" / "blobs").iterdir())
    assert listed.stored_bytes == stored
    assert abs(listed.opened_at.ToDatetime(tzinfo=UTC) - datetime.now(UTC)).total_seconds() < 60
    shown = client.case(case)
    assert shown.opened_at == listed.opened_at
    assert (shown.sex, shown.fibrinogen_g_per_l) == (service_pb2.SEX_FEMALE, 3.1)
    assert not shown.HasField("target_lps_mm")


def test_corrected_inputs_count_from_the_next_assessment(client: ColdspotClient) -> None:
    case = complete_case(client)
    first = client.assess(case)
    assert first.summary.endswith(" f 3.1")
    client.update_case(case, fibrinogen_g_per_l=4.2)
    assert client.assess(case).summary.endswith(" f 4.2")
    client.update_case(case, sex="m", clear=["fibrinogen_g_per_l"])
    assert client.assess(case).summary.endswith(" m None")
    assert client.case(case).prepared
    assert client.assessment(case, first.provenance.assessment_id) == first, "what was answered stays"


def test_another_target_asks_for_another_prepare(client: ColdspotClient) -> None:
    case = complete_case(client)
    client.update_case(case, target_lps_mm=(1.0, 2.0, 3.0))
    assert not client.case(case).prepared
    with pytest.raises(PreconditionError, match="call Prepare again"):
        client.assess(case)
    assert client.prepare(case).lesion.centroid_lps_mm.z == 3.0
    client.assess(case)
    client.update_case(case, target_lps_mm=(1.0, 2.0, 3.0))
    assert client.case(case).prepared, "the same target changes nothing"
    client.update_case(case, clear=["target_lps_mm"])
    assert not client.case(case).prepared


@pytest.mark.parametrize("fibrinogen", [0.0, 310.0, math.nan])
def test_a_correction_is_checked_as_an_opening_is(client: ColdspotClient, fibrinogen: float) -> None:
    case = client.open_case(fibrinogen_g_per_l=3.0)
    with pytest.raises(InvalidRequestError, match="g/L"):
        client.update_case(case, fibrinogen_g_per_l=fibrinogen)
    with pytest.raises(InvalidRequestError, match="finite LPS"):
        client.update_case(case, target_lps_mm=(0.0, math.inf, 0.0))
    for names in ([], ["request_id"], ["sex", "age"]):
        with pytest.raises(InvalidRequestError, match="name what to correct"):
            client.update_case(case, clear=names)
    assert client.case(case).fibrinogen_g_per_l == 3.0
    client.delete_case(case)
    with pytest.raises(NotFoundError):
        client.update_case(case, sex="f")


def test_the_request_that_opened_a_case_finds_it_after_a_correction(client: ColdspotClient) -> None:
    case = client.open_case(sex="f", request_id="one")
    client.update_case(case, sex="m")
    assert client.open_case(sex="f", request_id="one") == case
    assert client.case(case).sex == service_pb2.SEX_MALE


def test_corrections_survive_a_restart_and_older_stores_are_read(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case(sex="f")
        client.update_case(case, sex="m")
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        assert client.case(case).sex == service_pb2.SEX_MALE
    with closing(sqlite3.connect(settings.state_dir / "cases.sqlite")) as database:
        for column in ("inputs", "used_at"):
            database.execute(f"ALTER TABLE cases DROP COLUMN {column}")
        database.commit()
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        assert client.case(case).sex == service_pb2.SEX_FEMALE, "as version 0.1 had it"
        assert [listed.case_id for listed in client.cases()] == [case]


def test_whatever_is_given_to_a_case_counts_as_its_use(tmp_path: Path) -> None:
    with closing(CaseStore(tmp_path)) as store:
        opened = [store.open_case(name, b"{}") for name in "abc"]
        with store.blobs.writer() as writer:
            writer.write(b"voxels")
            writer.flush()
            store.add_series(opened[0], SeriesRole.PLANNING_CT, b"", writer)
        assert [case for case, _ in store.catalog.by_last_use()] == [opened[1], opened[2], opened[0]]
        store.update_request(opened[1], b"{}", outdates_prepared=False)
        assert [case for case, _ in store.catalog.by_last_use()] == [opened[2], opened[0], opened[1]]
