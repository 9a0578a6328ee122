"""``kill -9`` at random moments: what was acknowledged is there afterwards, half a thing never is."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from coldspot.v1 import assessment_pb2

from engine.errors import ColdspotError
from service.client.client import ColdspotClient
from tests.support.stub_engine import make_case

STUB = Path(__file__).parents[2] / "support" / "processes" / "stub_service.py"
SHAPE = (24, 160, 160)
"""1.2 MB a CT: uploads take long enough to be hit in the middle."""


@dataclass
class Ledger:
    """Everything the service has acknowledged."""

    cases: dict[str, str] = field(default_factory=dict)
    series: list[tuple[str, str]] = field(default_factory=list)
    assessments: list[assessment_pb2.Assessment] = field(default_factory=list)


@contextmanager
def service(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A service in a process of its own, killed at the end."""
    port_file = folder / f"port-{uuid4()}"
    command = [sys.executable, str(STUB), str(folder), str(port_file), "0.01"]
    with (folder / "service.log").open("ab") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        give_up_at = time.monotonic() + 60
        while not port_file.exists():
            assert running.poll() is None, (folder / "service.log").read_text(encoding="utf-8")
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        yield running, f"127.0.0.1:{port_file.read_text(encoding='ascii')}"
    finally:
        running.kill()
        running.wait()


def work(address: str, ledger: Ledger, seed: int, stop: threading.Event) -> None:
    """Open cases, upload and assess until the service is gone; write down what it acknowledged."""
    with ColdspotClient(address) as client:
        try:
            while not stop.is_set():
                seed += 1
                sent, request_id = make_case(seed, SHAPE), str(uuid4())
                case = client.open_case(request_id=request_id)
                ledger.cases[request_id] = case
                planning = client.upload_ct(case, sent.planning, "planning")
                ledger.series.append((case, planning.series_id))
                tumor = client.upload_mask(case, sent.tumor, "tumor", planning)
                ledger.series.append((case, tumor.series_id))
                verification = client.upload_ct(case, sent.verification, "verification")
                ledger.series.append((case, verification.series_id))
                zone = client.upload_mask(case, sent.zone, "zone", verification)
                ledger.series.append((case, zone.series_id))
                ledger.assessments.append(client.assess(case))
        except ColdspotError:
            return


def check(client: ColdspotClient, folder: Path, ledger: Ledger) -> None:
    for request_id, case in ledger.cases.items():
        assert client.open_case(request_id=request_id) == case
    stored = {case: client.case(case) for case in ledger.cases.values()}
    for case, series_id in ledger.series:
        assert series_id in {series.series_id for series in stored[case].series}
    for assessment in ledger.assessments:
        provenance = assessment.provenance
        assert client.assessment(provenance.case_id, provenance.assessment_id) == assessment
    named = {series.sha256.hex() for case in stored.values() for series in case.series}
    blobs = {path.name: path for path in (folder / "state" / "blobs").iterdir()}
    assert named <= set(blobs)
    for name, path in blobs.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name, "half a blob"
    assert not list((folder / "state" / "unfinished").iterdir())


def kill_and_check(folder: Path, kills: int, seed: int) -> Ledger:
    chance, ledger = random.Random(seed), Ledger()  # noqa: S311 - moments, not secrets
    for round_number in range(kills):
        stop = threading.Event()
        with service(folder) as (running, address):
            with ColdspotClient(address) as client:
                check(client, folder, ledger)
            workers = [
                threading.Thread(target=work, args=(address, ledger, 1000 * (2 * round_number + n), stop))
                for n in range(2)
            ]
            for worker in workers:
                worker.start()
            time.sleep(chance.uniform(0.05, 0.9))
            running.kill()
            stop.set()
            for worker in workers:
                worker.join(30)
                assert not worker.is_alive()
    with service(folder) as (_, address), ColdspotClient(address) as client:
        check(client, folder, ledger)
        if ledger.assessments:
            again = client.assess(ledger.assessments[0].provenance.case_id)
            assert again.summary == ledger.assessments[0].summary
    return ledger


def test_three_kills(tmp_path: Path) -> None:
    ledger = kill_and_check(tmp_path, kills=3, seed=1)
    assert ledger.series


@pytest.mark.acceptance
def test_twenty_kills(tmp_path: Path) -> None:
    ledger = kill_and_check(tmp_path, kills=20, seed=2)
    assert len(ledger.series) > 20
    assert ledger.assessments
