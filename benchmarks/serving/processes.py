"""Services in processes of their own, with their start-up time and memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

READY: Final = re.compile(r"coldspot serves on 127\.0\.0\.1:(\d+)")
KIB_IN_MB: Final = 1024 / 1e6


@dataclass(frozen=True)
class Running:
    """A running service.

    Parameters
    ----------
    address : str
    pid : int
    to_serving_s : float
        From the start of the process to the line that it serves.
    """

    address: str
    pid: int
    to_serving_s: float

    def memory_high_water_mb(self) -> float:
        """Peak memory of the process (VmHWM), MB."""
        return self._status_mb("VmHWM")

    def memory_mb(self) -> float:
        """Current memory of the process (VmRSS), MB."""
        return self._status_mb("VmRSS")

    def _status_mb(self, name: str) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
        if match is None:
            raise SystemExit(f"/proc/{self.pid}/status has no {name}: this is not Linux")
        return int(match.group(1)) * KIB_IN_MB


@contextmanager
def coldspot_service(state_dir: Path, **settings: str) -> Iterator[Running]:
    """``coldspot serve`` on a free port; ``settings`` are environment variables."""
    environment = {**os.environ, "COLDSPOT_STATE_DIR": str(state_dir), **settings}
    command = [str(Path(sys.executable).parent / "coldspot"), "serve", "--port", "0", "--metrics-port", "0"]
    with (state_dir.parent / f"{state_dir.name}.log").open("w", encoding="utf-8") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        with _ending(process):
            match = READY.search(_first_line(process))
            if match is None:
                raise SystemExit(f"the service did not start; see {log.name}")
            yield Running(f"127.0.0.1:{match.group(1)}", process.pid, time.perf_counter() - started)


@contextmanager
def bare_stream() -> Iterator[str]:
    """``benchmarks.serving.bare_stream``; yields its address."""
    command = [sys.executable, "-m", "benchmarks.serving.bare_stream"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        _ending(process),
    ):
        yield f"127.0.0.1:{_first_line(process).strip()}"


def _first_line(process: subprocess.Popen[str]) -> str:
    """What the process prints first, where its output is a pipe."""
    return "" if process.stdout is None else process.stdout.readline()


@contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
