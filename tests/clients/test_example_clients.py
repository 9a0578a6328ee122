"""The example clients do a whole procedure with TLS and a client certificate, on the mock and the real service."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.pipeline.engine import EnginePipeline
from service.pipeline.mock import MOCK, MockAnswer, MockPipeline
from service.pipeline.protocol import Pipeline
from service.server import ColdspotServer, running_server
from tests.support.processes.certificates import Authority, Pair, needs_openssl
from tests.support.stub_engine import settings_for

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "clients" / "node"
LANGUAGES = ("python", "node")

CARELESS = """
import sys
import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc
stub = service_pb2_grpc.ColdspotServiceStub(grpc.insecure_channel(sys.argv[1]))
stub.OpenCase(service_pb2.OpenCaseRequest(request_id="always the same"))
"""

pytestmark = needs_openssl


@dataclass(frozen=True)
class Certificates:
    authority: Authority
    service: Pair
    client: Pair


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    service = authority.issue("service", "DNS:localhost,IP:127.0.0.1", "serverAuth")
    return Certificates(authority, service, authority.issue("client", usage="clientAuth"))


@contextmanager
def serving(folder: Path, certificates: Certificates, pipeline: Pipeline) -> Iterator[ColdspotServer]:
    settings = settings_for(
        folder,
        tls_certificate=certificates.service.certificate,
        tls_key=certificates.service.key,
        tls_client_ca=certificates.authority.certificate,
        self_test=False,
    )
    with running_server(settings, pipeline) as server:
        yield server


def command(language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(ROOT / "clients" / "python" / "procedure.py")]
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules").is_dir():
        pytest.skip("Node or its packages are not installed (npm ci in clients/node)")
    return [node, str(NODE / "procedure.mjs")]


def run(
    language: str, server: ColdspotServer, folder: Path, certificates: Certificates | None
) -> subprocess.CompletedProcess[str]:
    arguments = [*command(language), f"localhost:{server.port}", "--out", str(folder / "sheet.png")]
    if certificates is not None:
        arguments += ["--ca", str(certificates.authority.certificate)]
        arguments += ["--certificate", str(certificates.client.certificate)]
        arguments += ["--key", str(certificates.client.key)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "proto" / "gen")}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_mock_service(language: str, tmp_path: Path, certificates: Certificates) -> None:
    answers = (MockAnswer.BUSY, MockAnswer.MISS, MockAnswer.REFUSAL, MockAnswer.ERROR)
    with serving(tmp_path, certificates, MockPipeline(answers)) as server:
        missed = run(language, server, tmp_path, certificates)
        assert missed.returncode == 0, missed.stderr
        assert "the service is full; again in 0.5 s" in missed.stdout
        for told in ("mock answers", MOCK, "PRELIMINARY", "TCR 0.7", "not a medical device"):
            assert told in missed.stdout
        assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
        refused = run(language, server, tmp_path, certificates)
        assert (refused.returncode, "NO NUMBER" in refused.stdout) == (0, True)
        failed = run(language, server, tmp_path, certificates)
        assert failed.returncode == 1
        assert "failed (SERVICE_ERROR)" in failed.stderr
        unknown = run(language, server, tmp_path, None)
        assert unknown.returncode == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_real_service(language: str, tmp_path: Path, certificates: Certificates) -> None:
    settings = settings_for(tmp_path)
    with serving(tmp_path, certificates, EnginePipeline(settings)) as server:
        measured = run(language, server, tmp_path, certificates)
    assert measured.returncode == 0, measured.stderr
    assert MOCK not in measured.stdout
    # A tumor of 7 mm with its margin of 5 mm in a zone of 11 mm, 2 mm beside it.
    assert "minimal margin 2." in measured.stdout or "minimal margin 1." in measured.stdout
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("language", LANGUAGES)
def test_they_conform(language: str, tmp_path: Path) -> None:
    port = str(free_port())
    client = [*command(language), f"127.0.0.1:{port}", "--out", str(tmp_path / "sheet.png")]
    checked = conformance(port, client)
    assert checked.returncode == 0, checked.stdout


def test_a_careless_client_does_not(tmp_path: Path) -> None:
    port = str(free_port())
    careless = tmp_path / "careless.py"
    careless.write_text(CARELESS, encoding="utf-8")
    checked = conformance(port, [sys.executable, str(careless), f"127.0.0.1:{port}"])
    assert checked.returncode == 1
    for point in (
        "FAIL     every call has a deadline",
        "FAIL     every case is deleted",
        "NOT SEEN sheet.png",
    ):
        assert point in checked.stdout


def conformance(port: str, client: list[str]) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(ROOT / "clients" / "conformance.py"), "--port", port, "--", *client]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "proto" / "gen")))
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=200, check=False, env=environment
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
