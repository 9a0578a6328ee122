"""The latency of an answer counts from the last byte of the last input that it needs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from service.client.client import ColdspotClient
from service.server import running_server
from tests.support.stub_engine import StubPipeline, make_case, settings_for

LONG_S = 1000.0
"""Longer than a test can take: what came so long ago is told from what came just now, without timing anything."""


@pytest.mark.parametrize("last", ["planning", "tumor", "verification", "zone", "core"])
def test_a_readers_contouring_is_not_counted(last: str, tmp_path: Path) -> None:
    sent = make_case(seed=3)
    with (
        running_server(settings_for(tmp_path), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case()
        series = {"planning": client.upload_ct(case, sent.planning, "planning")}
        series["verification"] = client.upload_ct(case, sent.verification, "verification")
        for name, mask, ct in (
            ("tumor", sent.tumor, "planning"),
            ("zone", sent.zone, "verification"),
            ("core", sent.zone, "verification"),
        ):
            series[name] = client.upload_mask(case, mask, name, series[ct])
        now = time.monotonic()
        for name, stored in series.items():
            server.app.reception.volumes.arrived(stored.series_id, now - LONG_S * (1 if name == last else 2))
        assert LONG_S < client.assess(case).latency_s < 2 * LONG_S


def test_an_input_that_the_answer_does_not_need_is_not_counted(tmp_path: Path) -> None:
    sent = make_case(seed=4)
    with (
        running_server(settings_for(tmp_path), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case()
        planning = client.upload_ct(case, sent.planning, "planning")
        client.upload_mask(case, sent.tumor, "tumor", planning)
        first = client.upload_ct(case, sent.verification, "verification")
        client.upload_mask(case, sent.zone, "zone", first)
        for stored in client.case(case).series:
            server.app.reception.volumes.arrived(stored.series_id, time.monotonic() - LONG_S)
        client.upload_ct(case, make_case(seed=6).verification, "verification")
        assert client.assess(case, verification=first).latency_s > LONG_S


def test_after_a_restart_only_what_came_since_counts(tmp_path: Path) -> None:
    sent, settings = make_case(seed=5), settings_for(tmp_path)
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        case = client.open_case()
        client.upload_mask(case, sent.tumor, "tumor", client.upload_ct(case, sent.planning, "planning"))
    with (
        running_server(settings, StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        verification = client.upload_ct(case, sent.verification, "verification")
        client.upload_mask(case, sent.zone, "zone", verification)
        assert client.assess(case).HasField("latency_s")
