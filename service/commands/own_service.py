"""The service that a command talks to: a running one, or one on loopback that is started for this command."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from engine.command_line import TERMINATED
from engine.errors import CapacityError
from service.client.client import ColdspotClient
from service.credentials import Access

if TYPE_CHECKING:
    from engine.progress import TextProgress
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


@dataclass(frozen=True)
class ChosenService:
    """The service that a command talks to.

    Parameters
    ----------
    address : str or None
        Of a running service; None starts one for this command.
    access : Access
        How the running service is reached.
    keep_case : bool
        Whether a case that the command opens there stays.
    """

    address: str | None
    access: Access
    keep_case: bool = False


@contextmanager
def connected(
    chosen: ChosenService, make_pipeline: Callable[[Settings], Pipeline], progress: TextProgress
) -> Iterator[ColdspotClient]:
    """Yield a client of the chosen service, which is started on loopback for this call if none is named.

    One that is started here loads its kernels first, or compiles them, so that this is not part of an answer's latency.
    """
    from service.settings import read_settings, require_known_variables

    if chosen.address:
        require_known_variables()
        with ColdspotClient(chosen.address, chosen.access) as client:
            yield client
        return
    from service.logging import silence_logging
    from service.server import running_server

    silence_logging()
    with _terminable(), _room_named(), TemporaryDirectory(prefix="coldspot-") as folder:
        settings = read_settings(
            host="127.0.0.1",
            port=0,
            metrics_port=None,
            state_dir=Path(folder),
            self_test=False,
            tls_certificate=None,
            tls_key=None,
            tls_client_ca=None,
            access_tokens_file=None,
            retention_days=None,
            max_state_share=None,
        )
        pipeline = make_pipeline(settings)
        with _ended_at_once(Path(folder)):
            pipeline.load_kernels(progress)
        with (
            running_server(settings, pipeline) as server,
            ColdspotClient(f"127.0.0.1:{server.port}") as client,
        ):
            yield client


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as an exception does, so that no scan stays in a temporary folder.

    A handler can be set in the main thread alone; elsewhere, as in tests, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second one must not interrupt the tidying up
        raise SystemExit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _ended_at_once(folder: Path) -> Iterator[None]:
    """Let SIGTERM end the process where it is, while code is compiled and no scan is stored yet.

    The compiler calls back into Python by C code, which drops an exception that a handler raises there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> NoReturn:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _room_named() -> Iterator[None]:
    """Say of a full disk which one it is: nobody has stored a case there that could be deleted."""
    try:
        yield
    except CapacityError as full:
        raise CapacityError(
            f"there is no room in {gettempdir()} for the service of this command; set TMPDIR to a folder on a larger "
            "disk, or name a running service with --server",
            full.retry_after_s,
        ) from full
