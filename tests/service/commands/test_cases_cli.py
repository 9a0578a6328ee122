"""``coldspot cases`` against a running service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import service.commands.cli
from service.client.client import ColdspotClient
from service.logging import silence_logging
from service.server import ColdspotServer, running_server
from tests.support.stub_engine import StubPipeline, make_case, settings_for


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ColdspotServer]:
    silence_logging()
    monkeypatch.setenv("COLUMNS", "200")
    with running_server(settings_for(tmp_path), StubPipeline()) as running:
        yield running


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service.commands.cli.app, ["cases", *arguments])


def test_list_show_and_delete(server: ColdspotServer, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{server.port}"
    with ColdspotClient(address) as client:
        cases = [client.open_case(sex="f", fibrinogen_g_per_l=3.1) for _ in range(3)]
        client.upload_ct(cases[0], make_case(seed=1).planning, "planning")

    listed = run("list", "--server", address, "--json")
    assert listed.exit_code == 0, listed.output
    told = json.loads(listed.stdout)["cases"]
    assert [case["case_id"] for case in told] == cases[::-1]
    assert (told[-1]["series_count"], told[-1]["stored_bytes"]) == (1, 4 * 6 * 8 * 2)
    monkeypatch.setenv("COLDSPOT_PORT", str(server.port))
    readable = run("list").stdout
    assert "3 cases" in readable
    assert all(case in readable for case in cases)

    shown = json.loads(run("show", cases[0], "--json").stdout)
    assert shown["sex"] == "female"
    assert shown["series"][0]["role"] == "planning_ct"
    assert len(shown["series"][0]["sha256"]) == 64
    readable = run("show", cases[0]).stdout
    assert "planning ct" in readable
    assert "female" in readable

    assert json.loads(run("delete", *cases[:2], "--json").stdout) == {"deleted": cases[:2]}
    assert [case["case_id"] for case in json.loads(run("list", "--json").stdout)["cases"]] == [cases[2]]
    gone = run("delete", cases[0], "--json")
    assert gone.exit_code == 2
    assert json.loads(gone.stdout)["error"]["code"] == "not_found"
    assert run("delete", cases[2]).stdout == f"deleted: {cases[2]}\n"
    assert run("show", "no-id").exit_code == 2
    assert run("delete").exit_code == 2


def test_nobody_answers() -> None:
    for command in (["list"], ["show", "x"], ["delete", "x"]):
        assert run(*command, "--server", "127.0.0.1:1").exit_code == 6
