"""Running the public commands, and nothing else of Coldspot: what is recorded holds whatever the code looks like.

The console scripts are those beside the running Python, or those in the folder that ``COLDSPOT_BIN`` names. No
other ``COLDSPOT_…`` variable reaches them, so that a developer's own settings cannot move a figure.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

ROOT: Final = Path(__file__).parents[2]
BIN_VARIABLE: Final = "COLDSPOT_BIN"
DATA_VARIABLE: Final = "COLDSPOT_DATA"

PINNED: Final = {"COLDSPOT_SEGMENTATION_BACKEND": "onnxruntime", "ORT_DISABLE_TELEMETRY": "1"}
"""``auto`` would take whatever is fastest at the moment; ONNX Runtime is always installed."""

BACKEND: Final = PINNED["COLDSPOT_SEGMENTATION_BACKEND"]

COMMAND_LIMIT_S: Final = 900
START_LIMIT_S: Final = 900
"""A first start compiles every kernel: a minute, and several on a busy machine."""

STOP_LIMIT_S: Final = 60


class CommandFailedError(RuntimeError):
    """A command ended in a way that leaves nothing to record."""


@dataclass(frozen=True)
class Answer:
    """What a command said.

    Attributes
    ----------
    exit_code : int
    printed : dict
        The one JSON object on stdout.
    """

    exit_code: int
    printed: dict[str, Any]


def bin_folder() -> Path:
    """Where the console scripts lie."""
    return Path(os.environ.get(BIN_VARIABLE) or Path(sys.executable).parent)


def data_folder() -> Path | None:
    """Where the real CTs lie, if there are any."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given) if given else None


def environment() -> dict[str, str]:
    """The environment of a command: the caller's, without settings of Coldspot but the pinned ones."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLDSPOT_")}
    return {**kept, **PINNED}


def ask(*command: object) -> Answer:
    """Run a command that prints one JSON object.

    Parameters
    ----------
    command : object
        Name of the console script and its arguments.

    Raises
    ------
    CommandFailedError
        If it prints no JSON object, or an error in place of an answer.
    """
    script, *arguments = map(str, command)
    done = subprocess.run(
        [str(bin_folder() / script), *arguments],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_LIMIT_S,
    )
    try:
        printed = json.loads(done.stdout)
    except ValueError:
        printed = None
    if not isinstance(printed, dict) or "error" in printed:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise CommandFailedError(f"{script} {' '.join(arguments)}: exit code {done.returncode}: {said}")
    return Answer(done.returncode, printed)


class Workplace:
    """A folder for the files of the commands, and one service that is started when it is first asked for."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._server: str | None = None
        self._models: Path | None = None
        self.folder = Path()

    def __enter__(self) -> Self:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="coldspot-golden-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def server(self) -> str:
        """``host:port`` of the service."""
        if self._server is None:
            self._server = self._open.enter_context(running_service(self.folder))
        return self._server

    @property
    def models(self) -> Path:
        """The folder of the bundles that ship; the command itself says where it is."""
        if self._models is None:
            self._models = Path(ask("coldspot", "info", "--json").printed["models_dir"])
        return self._models

    def bundle(self, model: str) -> Path:
        """Return the folder of the only version of a bundle."""
        (folder,) = (child for child in (self.models / model).iterdir() if child.is_dir())
        return folder

    def fresh(self, name: str) -> Path:
        """Return a folder's name that nobody has used yet."""
        return Path(tempfile.mkdtemp(prefix=name.replace("/", "-") + "-", dir=self.folder)) / "out"


@contextmanager
def running_service(folder: Path) -> Iterator[str]:
    """Run ``coldspot serve`` on a free port of loopback, with a state folder of its own.

    Raises
    ------
    CommandFailedError
        If it does not become ready.
    """
    address = f"127.0.0.1:{free_port()}"
    log = folder / "serve.log"
    serve = [str(bin_folder() / "coldspot"), "serve", "--port", address.rpartition(":")[2]]
    serve += ["--metrics-port", "0", "--state-dir", str(folder / "state")]
    with log.open("wb") as said:
        service = subprocess.Popen(serve, cwd=ROOT, env=environment(), stdout=said, stderr=said)
    try:
        wait_until_ready(service, address, log)
        yield address
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(service: subprocess.Popen[bytes], address: str, log: Path) -> None:
    """Return once ``coldspot healthcheck`` says that the service measures."""
    check = [str(bin_folder() / "coldspot"), "healthcheck", "--server", address]
    latest = time.monotonic() + START_LIMIT_S
    while time.monotonic() < latest and service.poll() is None:
        if subprocess.run(check, env=environment(), capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.3)
    raise CommandFailedError(f"the service does not become ready: {log.read_text(errors='replace')[-2000:]}")
