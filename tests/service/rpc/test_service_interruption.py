"""Clients that go away, deadlines that pass, and a service that is told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from coldspot.v1 import service_pb2

from engine.errors import (
    ClientCancelledError,
    ColdspotError,
    DeadlineExceededError,
    SelfTestError,
    ServiceUnavailableError,
)
from engine.stages import Stage
from service.client.client import ColdspotClient
from service.jobs.worker import Job, JobListener, Worker
from service.server import ColdspotServer, running_server
from service.wire.status import error_from_call
from tests.support.stub_engine import StubPipeline, make_case, settings_for


@dataclass
class Gate:
    """Holds the stub inside its registration stage."""

    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.release()
        assert self.opened.wait(30)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def pipeline(gate: Gate) -> StubPipeline:
    return StubPipeline(gate=gate)


@pytest.fixture
def server(tmp_path: Path, pipeline: StubPipeline, gate: Gate) -> Iterator[ColdspotServer]:
    with running_server(settings_for(tmp_path), pipeline) as running:
        yield running
        gate.opened.set()


@pytest.fixture
def client(server: ColdspotServer) -> Iterator[ColdspotClient]:
    with ColdspotClient(f"127.0.0.1:{server.port}") as connected:
        yield connected


def ready_case(client: ColdspotClient, seed: int = 1) -> str:
    sent, case = make_case(seed), client.open_case()
    planning = client.upload_ct(case, sent.planning, "planning")
    client.upload_mask(case, sent.tumor, "tumor", planning)
    verification = client.upload_ct(case, sent.verification, "verification")
    client.upload_mask(case, sent.zone, "zone", verification)
    return case


def begin(client: ColdspotClient, case: str, timeout: float = 60) -> Any:
    """An Assess call that is being worked on; its events are not read yet."""
    return client._connection.service.Assess(service_pb2.AssessRequest(case_id=case), timeout=timeout)


def wait_until(true: Any) -> None:
    give_up_at = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def taken(server: ColdspotServer) -> int:
    return server.app.admission._taken.total()


def interrupted(server: ColdspotServer) -> bool:
    running = server.app.worker._running
    return running is not None and running._interruption is not None


def outcomes(server: ColdspotServer, outcome: str) -> float:
    value = server.app.metrics.registry.get_sample_value("coldspot_assessments_total", {"outcome": outcome})
    return value or 0.0


def test_a_gone_client_stops_work_between_stages(
    server: ColdspotServer, client: ColdspotClient, pipeline: StubPipeline, gate: Gate
) -> None:
    case = ready_case(client)
    call = begin(client, case)
    assert gate.reached.acquire(timeout=10)
    call.cancel()
    wait_until(lambda: interrupted(server))
    gate.opened.set()
    wait_until(lambda: outcomes(server, "cancelled") == 1)
    assert pipeline.stages_run[-1] == Stage.REGISTRATION, "the stage after the one it was in must not run"
    assert not client.case(case).assessment_ids
    wait_until(lambda: taken(server) == 0)


def test_a_deadline_stops_work_between_stages(
    server: ColdspotServer, client: ColdspotClient, pipeline: StubPipeline, gate: Gate
) -> None:
    case = ready_case(client)
    with pytest.raises(DeadlineExceededError):
        client.assess(case, deadline_s=0.3)
    wait_until(lambda: interrupted(server))
    gate.opened.set()
    wait_until(lambda: outcomes(server, "deadline_exceeded") == 1)
    assert pipeline.stages_run[-1] == Stage.REGISTRATION
    assert not client.case(case).assessment_ids
    wait_until(lambda: taken(server) == 0)


def test_the_work_knows_how_much_time_is_left(
    client: ColdspotClient, pipeline: StubPipeline, gate: Gate
) -> None:
    gate.opened.set()
    case = ready_case(client)
    client.assess(case, deadline_s=45.0)
    (left_s,) = pipeline.times_left_s
    assert left_s is not None
    assert 0.0 < left_s < 46.0, "gRPC rounds a timeout up on its way"
    list(client._connection.service.Assess(service_pb2.AssessRequest(case_id=case)))
    endless_s = pipeline.times_left_s[-1]
    assert endless_s is None or endless_s > 1e6


def test_work_in_line_is_dropped_when_its_client_goes(
    server: ColdspotServer, client: ColdspotClient, pipeline: StubPipeline, gate: Gate
) -> None:
    first, second = ready_case(client, 1), ready_case(client, 2)
    running = begin(client, first)
    assert gate.reached.acquire(timeout=10)
    waiting = begin(client, second)
    wait_until(lambda: server.app.worker.depth == 1)
    waiting.cancel()
    wait_until(lambda: server.app.worker.depth == 0)
    wait_until(lambda: taken(server) == 1)
    gate.opened.set()
    assert [event for event in running if event.HasField("final")]
    assert pipeline.stages_run.count(Stage.COARSE_ALIGNMENT) == 1


def test_draining_finishes_what_runs_and_takes_no_more(
    server: ColdspotServer, client: ColdspotClient, gate: Gate
) -> None:
    case = ready_case(client)
    running = begin(client, case)
    assert gate.reached.acquire(timeout=10)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    with pytest.raises(ColdspotError) as caught:
        wait_until(lambda: client.prepare(case) is None)
    assert isinstance(caught.value, ServiceUnavailableError)
    gate.opened.set()
    assert [event for event in running if event.HasField("final")]
    stopping.join(10)
    assert not stopping.is_alive()


def test_after_the_grace_running_work_is_cancelled(tmp_path: Path, gate: Gate) -> None:
    settings = settings_for(tmp_path, drain_grace_s=0.1)
    server = ColdspotServer(settings, StubPipeline(gate=gate))
    server.start()
    with ColdspotClient(f"127.0.0.1:{server.port}") as client:
        running = begin(client, ready_case(client))
        assert gate.reached.acquire(timeout=10)
        threading.Timer(0.4, gate.opened.set).start()
        server.stop()
        with pytest.raises(grpc.RpcError) as caught:
            list(running)
        assert isinstance(error_from_call(caught.value), ClientCancelledError | ServiceUnavailableError)


def test_not_serving_until_warm_and_tested(tmp_path: Path) -> None:
    warming, go_on = threading.Event(), threading.Event()

    class SlowPipeline(StubPipeline):
        def warm_up(self) -> None:
            warming.set()
            assert go_on.wait(30)

    server = ColdspotServer(settings_for(tmp_path), SlowPipeline())
    starting = threading.Thread(target=server.start)
    starting.start()
    assert warming.wait(10)
    with ColdspotClient(f"127.0.0.1:{server.port}") as client:
        assert not client.is_serving()
        with pytest.raises(ServiceUnavailableError, match="warming up"):
            client.upload_ct(client.open_case(), make_case(1).planning, "planning")
        go_on.set()
        starting.join(10)
        assert client.is_serving()
    server.stop()


def test_a_failed_self_test_serves_nothing(tmp_path: Path) -> None:
    pipeline = StubPipeline(fail_self_test=SelfTestError("the phantom reads 0.9"))
    with pytest.raises(SelfTestError), running_server(settings_for(tmp_path), pipeline):
        pass
    with running_server(settings_for(tmp_path), StubPipeline()):
        pass


def test_a_taken_port_is_told(server: ColdspotServer, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, state_dir=tmp_path / "other", port=server.port)
    with pytest.raises(ServiceUnavailableError, match="cannot listen"):
        ColdspotServer(settings, StubPipeline())


def test_a_job_ends_once() -> None:
    ends: list[BaseException | None] = []
    job: Job[str] = Job(lambda running: running.emit("done"), on_end=ends.append)
    job.run()
    job.end(ClientCancelledError("too late"))
    assert list(job) == ["done"]
    assert ends == [None]


def test_a_listener_checks_before_every_stage() -> None:
    job: Job[str] = Job(lambda _: None, time_left_s=0.0)
    listener = JobListener(job)
    with pytest.raises(DeadlineExceededError):
        listener.stage_started(Stage.COVERAGE)


def test_a_stopped_worker_takes_nothing() -> None:
    worker = Worker()
    worker.stop(1.0)
    with pytest.raises(ServiceUnavailableError):
        worker.submit(Job(lambda _: None))
