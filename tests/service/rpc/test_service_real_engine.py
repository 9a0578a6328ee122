"""The real engine behind the real service: many clients, kills, and the same answers as in process."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from coldspot.v1 import assessment_pb2

from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import CapacityError, ColdspotError
from engine.phantoms import PhantomProcedure, make_procedure
from engine.phantoms.ablation import AblationKind
from service.client.client import ColdspotClient

pytestmark = pytest.mark.acceptance

KINDS: tuple[AblationKind, ...] = ("complete", "miss", "under", "half")
CLIENTS = 8
KILLS = 20


@pytest.fixture(scope="module")
def phantoms() -> list[PhantomProcedure]:
    return [
        make_procedure(seed, kind=kind, size_mm=76.0, tumor_volume_ml=1.0) for seed, kind in enumerate(KINDS)
    ]


@pytest.fixture(scope="module")
def expected(phantoms: list[PhantomProcedure]) -> list[float]:
    found = []
    for phantom in phantoms:
        prepared = prepare_planning(phantom.planning, phantom.tumor)
        assessment = assess_ablation(prepared, phantom.verification, phantom.zone, core=phantom.core)
        assert assessment.coverage.tcr is not None
        found.append(assessment.coverage.tcr)
    return found


@contextmanager
def served(state: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`coldspot serve` in a process of its own."""
    environment = {
        **os.environ,
        "COLDSPOT_PORT": "0",
        "COLDSPOT_METRICS_PORT": "0",
        "COLDSPOT_STATE_DIR": str(state),
        **settings,
    }
    log = state.with_suffix(f".{uuid4()}.log")
    command = [str(Path(sys.executable).parent / "coldspot"), "serve"]
    with log.open("w", encoding="utf-8") as out:
        running = subprocess.Popen(command, env=environment, stdout=out, stderr=out, text=True)
    try:
        yield running, _address(running, log)
    finally:
        running.kill()
        running.wait()


def _address(running: subprocess.Popen[str], log: Path) -> str:
    give_up_at = time.monotonic() + 90
    while time.monotonic() < give_up_at:
        said = log.read_text(encoding="utf-8")
        assert running.poll() is None, said
        found = re.search(r'"serving".*?"port": (\d+)|"port": (\d+).*?"serving"', said)
        if found:
            return f"127.0.0.1:{found.group(1) or found.group(2)}"
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def run_case(client: ColdspotClient, phantom: PhantomProcedure) -> assessment_pb2.Assessment:
    case = client.open_case(request_id=str(uuid4()))
    planning = client.upload_ct(case, phantom.planning, "planning")
    client.upload_mask(case, phantom.tumor, "tumor", planning)
    verification = client.upload_ct(case, phantom.verification, "verification")
    client.upload_mask(case, phantom.zone, "zone", verification)
    client.upload_mask(case, phantom.core, "core", verification)
    client.prepare(case)
    return client.assess(case)


def test_eight_clients_get_their_own_answers(
    tmp_path: Path, phantoms: list[PhantomProcedure], expected: list[float]
) -> None:
    with served(tmp_path / "state", COLDSPOT_MAX_ADMITTED="3") as (_, address):

        def call(number: int) -> float:
            with ColdspotClient(address, patience_s=240.0) as client:
                return run_case(client, phantoms[number % len(phantoms)]).coverage.tcr

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(call, range(CLIENTS)))
    assert answers == [pytest.approx(expected[n % len(expected)], abs=1e-9) for n in range(CLIENTS)]


def test_clients_over_the_bound_are_told_when_to_come_back(
    tmp_path: Path, phantoms: list[PhantomProcedure]
) -> None:
    with served(tmp_path / "state", COLDSPOT_MAX_ADMITTED="1") as (_, address):

        def call(number: int) -> CapacityError | None:
            try:
                with ColdspotClient(address) as client:
                    run_case(client, phantoms[number % len(phantoms)])
            except CapacityError as full:
                return full
            return None

        with ThreadPoolExecutor(CLIENTS) as pool:
            refused = [answer for answer in pool.map(call, range(CLIENTS)) if answer is not None]
    assert refused
    assert all(full.retry_after_s > 0 for full in refused)


def test_twenty_kills_lose_nothing_acknowledged(tmp_path: Path, phantoms: list[PhantomProcedure]) -> None:
    chance = random.Random(3)  # noqa: S311 - moments, not secrets
    acknowledged: list[assessment_pb2.Assessment] = []
    state = tmp_path / "state"

    def work(address: str) -> None:
        number = chance.randrange(len(phantoms))
        try:
            with ColdspotClient(address) as client:
                while True:
                    acknowledged.append(run_case(client, phantoms[number]))
        except ColdspotError:
            return

    for _ in range(KILLS):
        with served(state, COLDSPOT_SELF_TEST="false") as (running, address):
            with ColdspotClient(address) as client:
                for stored in acknowledged:
                    provenance = stored.provenance
                    assert client.assessment(provenance.case_id, provenance.assessment_id) == stored
            workers = [threading.Thread(target=work, args=(address,)) for _ in range(2)]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.2, 6.0))
            running.kill()
            for worker in workers:
                worker.join(60)
                assert not worker.is_alive()
    assert acknowledged
