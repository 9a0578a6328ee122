"""Life of the service: start, warm up, test itself, serve, drain, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine import __version__
from engine.errors import ColdspotError, ServiceUnavailableError
from service.app import App, build_app
from service.logging import get_logger
from service.rpc.server import Interceptors, RpcServer

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings

_log = get_logger()


class ColdspotServer:
    """One running service.

    Parameters
    ----------
    settings : Settings
    pipeline : Pipeline
    interceptors : Interceptors
        What else sees the calls.

    Attributes
    ----------
    port : int
        The port it listens on.
    metrics_port : int or None

    Raises
    ------
    InvalidRequestError
        If a certificate, a key or the tokens that the settings name cannot be used.
    ServiceUnavailableError
        If the port or the state directory is taken.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline, interceptors: Interceptors = ()) -> None:
        self.settings = settings
        self.app: App = build_app(settings, pipeline)
        self._to_be_stopped = threading.Lock()
        self._stop_metrics: Callable[[], None] = _nothing
        self.metrics_port: int | None = None
        try:
            self._rpc = RpcServer(self.app, interceptors)
        except ColdspotError:
            self.app.close(0.0)
            raise
        self.port = self._rpc.port

    def start(self) -> None:
        """Answer calls, warm up, test the pipeline, and only then say SERVING.

        Raises
        ------
        SelfTestError
            If the pipeline measured its phantom wrongly; nothing is served then.
        """
        if self.settings.metrics_port is not None:
            try:
                self.metrics_port, self._stop_metrics = self.app.metrics.serve(
                    self.settings.metrics_host, self.settings.metrics_port
                )
            except OSError as error:
                raise ServiceUnavailableError(
                    f"the metrics port {self.settings.metrics_port} is taken; choose another metrics_port"
                ) from error
        self._rpc.start()
        self.app.open()
        self._rpc.announce_serving()
        self.app.metrics.set_ready(ready=True)
        _log.info("serving", version=__version__, port=self.port)

    def stop(self) -> None:
        """Admit nothing more, let running work finish within the grace, then close; once."""
        if not self._to_be_stopped.acquire(blocking=False):
            return
        self._rpc.announce_shutdown()
        self.app.metrics.set_ready(ready=False)
        self.app.admission.close(ServiceUnavailableError("the service is shutting down"))
        self._rpc.stop(self.settings.drain_grace_s)
        self.app.close(self.settings.drain_grace_s)
        self._rpc.close()
        self._stop_metrics()
        _log.info("stopped")


@contextmanager
def running_server(
    settings: Settings, pipeline: Pipeline, interceptors: Interceptors = ()
) -> Iterator[ColdspotServer]:
    """Run a service for the body of a ``with`` statement."""
    server = ColdspotServer(settings, pipeline, interceptors)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def serve(settings: Settings, pipeline: Pipeline, announce: Callable[[ColdspotServer], None]) -> None:
    """Run a service until SIGTERM or SIGINT; ``announce`` is called once it serves.

    Raises
    ------
    ColdspotError
        If it cannot start.
    """
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    with running_server(settings, pipeline) as server:
        announce(server)
        stop_requested.wait()
        _log.info("draining")


def _nothing() -> None:
    return None
