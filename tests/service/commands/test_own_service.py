"""The service that a command starts for itself: what happens before the clock of an answer starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.kernels.backend import KernelBackend, is_compiled
from service.commands.cli import app
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


COMPILING = """
import ctypes, os, signal
import service.commands.cli as cli
from tests.support.stub_engine import StubPipeline

def compile_in_c(_progress):
    ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM) or sum(range(1000)))()

stub = StubPipeline()
stub.load_kernels = compile_in_c
cli.make_pipeline = lambda _settings: stub
cli.main()
"""


def test_sigterm_ends_a_command_that_compiles(tmp_path: Path) -> None:
    for name in ("planning.nii", "verification.nii"):
        (tmp_path / name).touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    sent = [
        "--planning",
        str(tmp_path / "planning.nii"),
        "--verification",
        str(tmp_path / "verification.nii"),
    ]
    ended = subprocess.run(
        [sys.executable, "-c", COMPILING, "assess", *sent],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 128 + signal.SIGTERM
    assert list(temporary.glob("coldspot-*")) == []


@pytest.mark.parametrize("missing", ["planning", "verification", "tumor", "zone", "core"])
def test_a_missing_input_is_told_before_a_service_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def never(_settings: object) -> StubPipeline:
        raise AssertionError("a service was started")

    monkeypatch.setattr("service.commands.cli.make_pipeline", never)
    options: list[str] = []
    for role in ("planning", "verification", "tumor", "zone", "core"):
        path = tmp_path / f"{role}.nii"
        if role != missing:
            path.touch()
        options += [f"--{role}", str(path)]
    result = CliRunner().invoke(app, ["assess", *options])
    assert result.exit_code == 2
    assert f"{missing}.nii does not exist; check the path" in result.stderr.replace("\n", "")
