"""A proxy in the environment is for other machines: calls to a service on this one do not go through it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.server import running_server
from tests.support.stub_engine import StubPipeline, settings_for

CALL = """
import sys
from service.client.client import ColdspotClient
with ColdspotClient(sys.argv[1]) as client:
    print(client.is_serving())
"""


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that keeps what it is asked, and refuses it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(100))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_service_on_this_machine_is_called_directly(
    tmp_path: Path, proxy: tuple[str, list[bytes]], variable: str, host: str
) -> None:
    address, asked = proxy
    with running_server(settings_for(tmp_path), StubPipeline()) as server:
        called = subprocess.run(
            [sys.executable, "-c", CALL, f"{host}:{server.port}"],
            env={**os.environ, variable: address, "no_proxy": "", "no_grpc_proxy": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    assert called.stdout == "True\n", called.stderr
    assert asked == []
