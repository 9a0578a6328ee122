"""The service that a command starts for itself: what happens before the clock of an answer starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.kernels.backend import KernelBackend, is_compiled
from service.commands.own_service import ChosenService, connected
from service.credentials import Access
from service.server import running_server
from tests.support.stub_engine import StubPipeline, settings_for


def test_kernels_are_loaded_before_the_service_takes_anything() -> None:
    told: list[str] = []
    with connected(ChosenService(None, Access()), lambda _settings: StubPipeline(), told.append) as client:
        assert told == ["loading the kernels"]
        assert client.is_serving()


def test_a_running_service_has_loaded_them(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        running_server(settings_for(tmp_path), StubPipeline()) as server,
        connected(
            ChosenService(f"127.0.0.1:{server.port}", Access()), lambda _settings: StubPipeline(), told.append
        ) as client,
    ):
        assert client.is_serving()
    assert told == []


def test_nothing_is_compiled_in_an_empty_cache(tmp_path: Path) -> None:
    asked = "from engine.kernels.backend import *; print(is_compiled(KernelBackend.CPU))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True, env=environment
    )
    assert said.stdout == "False\n"


@pytest.mark.parametrize("kernels", [KernelBackend.CPU, KernelBackend.REFERENCE])
def test_what_has_run_is_compiled(kernels: KernelBackend) -> None:
    from engine.selftest.phantom import warm_up

    warm_up(KernelBackend.CPU)
    assert is_compiled(kernels)
