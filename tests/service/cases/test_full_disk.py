"""On a full disk a call ends with an error that says so, nothing half stored stays, and with room again all goes on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from engine.errors import CapacityError
from service.cases.blobs import BlobWriter
from service.cases.database import Database
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


def test_a_full_database_takes_back_what_it_began(tmp_path: Path) -> None:
    database = Database(tmp_path / "cases", "CREATE TABLE IF NOT EXISTS kept (content BLOB);")
    with database.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 20")
        connection.execute("INSERT INTO kept VALUES (?)", (b"first",))

    def keep_too_much() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO kept VALUES (?)", (b"second",))
            connection.execute("INSERT INTO kept VALUES (?)", (bytes(1 << 20),))

    for _ in range(3):
        with pytest.raises(CapacityError, match="full"):
            keep_too_much()
    with database.transaction() as connection:
        connection.execute("INSERT INTO kept VALUES (?)", (b"third",))
    assert database.rows("SELECT content FROM kept") == [(b"first",), (b"third",)]
    database.close()


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_an_upload_onto_a_full_disk_is_refused_and_the_next_one_taken(
    client: ColdspotClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    sent = make_case(seed=1)
    case = client.open_case()
    with monkeypatch.context() as full:
        full.setattr(BlobWriter, failing, no_space)
        with pytest.raises(CapacityError, match="disk of the service is full"):
            client.upload_ct(case, sent.planning, "planning")
    assert not client.case(case).series
    assert client.upload_ct(case, sent.planning, "planning").series_id
    assert len(list(tmp_path.joinpath("state").rglob("*.part"))) == 0


def test_an_answer_that_cannot_be_stored_is_no_answer(
    client: ColdspotClient, server: ColdspotServer, tmp_path: Path
) -> None:
    sent = make_case(seed=2)
    case = client.open_case(request_id=str(uuid4()))
    planning = client.upload_ct(case, sent.planning, "planning")
    client.upload_mask(case, sent.tumor, "tumor", planning)
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    client.prepare(case)
    database = server.app.store._database
    database.rows("PRAGMA max_page_count = 1")  # as many as it has

    def assess_until_full() -> None:
        for _ in range(200):
            client.assess(case)

    with pytest.raises(CapacityError, match="disk of the service is full"):
        assess_until_full()
    stored = len(client.case(case).assessment_ids)
    database.rows("PRAGMA max_page_count = 100000")
    assert client.assess(case).coverage.HasField("tcr")
    assert len(client.case(case).assessment_ids) == stored + 1
