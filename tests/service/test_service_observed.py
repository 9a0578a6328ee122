"""Metrics and logs: everything that is promised, nothing of a patient."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import structlog
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import generate_latest

from engine.errors import ColdspotError
from engine.volume import CtVolume, LabelMask
from service.client.client import ColdspotClient
from service.logging import ALLOWED_KEYS, configure_logging, error_trace, get_logger
from service.rpc.server import SERVICE_NAME
from service.server import running_server
from tests.support.stub_engine import PATIENT, REFUSED_HU, StubPipeline, make_case, settings_for

NAMES = (
    'coldspot_stage_duration_seconds_bucket{le="0.005",stage="coverage"}',
    'coldspot_stage_duration_seconds_count{stage="decode_upload"}',
    'coldspot_assessment_duration_seconds_count{phase="preliminary"}',
    'coldspot_assessment_duration_seconds_count{phase="final"}',
    "coldspot_trigger_wait_seconds_count",
    'coldspot_assessments_total{outcome="measured"}',
    "coldspot_queue_depth",
    "coldspot_upload_bytes_total",
    'coldspot_backend_info{inference_backend="none",kernels="stub"}',
    'coldspot_model_info{model="demo",',
    'coldspot_calls_total{method="Assess",status="OK"} 1.0',
    "coldspot_build_info{version=",
    "coldspot_ready 1.0",
    "coldspot_free_disk_bytes",
    "process_resident_memory_bytes",
    "python_info",
)


@pytest.fixture(autouse=True)
def _fresh_logging() -> None:
    structlog.reset_defaults()


def assess_once(port: int) -> str:
    with ColdspotClient(f"127.0.0.1:{port}") as client:
        sent, case = make_case(seed=1), client.open_case()
        planning = client.upload_ct(case, sent.planning, "planning")
        client.upload_mask(case, sent.tumor, "tumor", planning)
        verification = client.upload_ct(case, sent.verification, "verification")
        client.upload_mask(case, sent.zone, "zone", verification)
        client.assess(case)
        return case


def test_metrics_over_http(tmp_path: Path) -> None:
    with running_server(settings_for(tmp_path, metrics_port=0), StubPipeline()) as server:
        case = assess_once(server.port)
        url = f"http://127.0.0.1:{server.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as response:
            exposition = response.read().decode()
    for name in NAMES:
        assert name in exposition
    assert case not in exposition
    uploaded = next(
        line for line in exposition.splitlines() if line.startswith("coldspot_upload_bytes_total")
    )
    assert float(uploaded.split()[1]) >= 2 * 4 * 6 * 8 * 2


def test_failed_calls_and_refusals_are_counted_by_their_code(tmp_path: Path) -> None:
    with running_server(settings_for(tmp_path), StubPipeline()) as server:
        with ColdspotClient(f"127.0.0.1:{server.port}") as client:
            with pytest.raises(ColdspotError):
                client.assess("no-such-case")
            case = client.open_case()
            sent = make_case(seed=2)
            client.upload_mask(case, sent.tumor, "tumor", client.upload_ct(case, sent.planning, "planning"))
            voxels = sent.verification.voxels_hu.copy()
            voxels[0, 0, 0] = REFUSED_HU
            verification = client.upload_ct(
                case, CtVolume(voxels, sent.verification.geometry), "verification"
            )
            client.upload_mask(case, sent.zone, "zone", verification)
            assert client.assess(case).HasField("refusal")
        exposition = generate_latest(server.app.metrics.registry).decode()
    assert 'coldspot_calls_total{method="Assess",status="OK"} 1.0' in exposition
    assert 'coldspot_refusals_total{code="no_zone"} 1.0' in exposition
    failed = [
        line for line in exposition.splitlines() if line.startswith('coldspot_calls_total{method="Assess"')
    ]
    assert len(failed) == 2
    assert "coldspot_errors_total{code=" in exposition


def test_readiness_ends_with_the_service(tmp_path: Path) -> None:
    with running_server(settings_for(tmp_path), StubPipeline()) as server:
        registry = server.app.metrics.registry
        assert registry.get_sample_value("coldspot_ready") == 1.0
    assert registry.get_sample_value("coldspot_ready") == 0.0


def test_logs_are_json_without_a_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with running_server(settings_for(tmp_path), StubPipeline()) as server:
        case = assess_once(server.port)
        with ColdspotClient(f"127.0.0.1:{server.port}") as client:
            sent = make_case(seed=1)
            empty = LabelMask(np.zeros_like(sent.tumor.voxels), sent.tumor.geometry, PATIENT)
            planning = client.upload_ct(case, sent.planning, "planning")
            with pytest.raises(ColdspotError):
                client.upload_mask(case, empty, "tumor", planning)
    written = capfd.readouterr()
    assert written.out == ""
    lines = [json.loads(line) for line in written.err.splitlines()]
    assert {"serving", "assessed", "refused_call", "stopped"} <= {line["event"] for line in lines}
    assert PATIENT not in written.err
    assert all(set(line) <= ALLOWED_KEYS for line in lines)
    refused = next(line for line in lines if line["event"] == "refused_call")
    assert refused["code"] == "empty_mask"


def test_other_keys_are_withheld(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    get_logger().info("something", case_id="1", patient_name=PATIENT, path="/data/x")
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["withheld"] == 2
    assert PATIENT not in line


def test_an_exception_is_logged_without_its_message(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    with pytest.raises(ValueError, match=PATIENT[:7]) as caught:
        int(PATIENT)
    get_logger().error("failed", **error_trace(caught.value))
    (line,) = capfd.readouterr().err.splitlines()
    assert PATIENT not in line
    assert "test_service_observed.py" in line


def test_reflection_names_the_service(tmp_path: Path) -> None:
    with (
        running_server(settings_for(tmp_path), StubPipeline()) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert SERVICE_NAME in {service.name for service in answer.list_services_response.service}


def test_info(tmp_path: Path) -> None:
    with (
        running_server(settings_for(tmp_path), StubPipeline()) as server,
        ColdspotClient(f"127.0.0.1:{server.port}") as client,
    ):
        told = client.info()
    assert told.models == ["demo 1"]
    assert told.max_admitted == 8
    assert "not a medical device" in told.disclaimer
