"""Life of the service: start, warm up, test itself, serve, drain, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from engine import __version__
from engine.errors import ServiceUnavailableError
from service.app import App, build_app
from service.logging import get_logger
from service.wire.upload import QuickUploads

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings

SERVICE_NAME: Final = service_pb2.DESCRIPTOR.services_by_name["ColdspotService"].full_name
_SPARE_THREADS: Final = 16
"""Threads beside those of admitted calls: for health, small calls, artifacts, and for saying no."""

_log = get_logger()


class ColdspotServer:
    """One running service.

    Parameters
    ----------
    settings : Settings
    pipeline : Pipeline

    Attributes
    ----------
    port : int
        The port it listens on.
    metrics_port : int or None

    Raises
    ------
    ServiceUnavailableError
        If the port or the state directory is taken.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self.settings = settings
        self.app: App = build_app(settings, pipeline)
        self._health = health.HealthServicer()
        self._threads = ThreadPoolExecutor(settings.max_admitted + _SPARE_THREADS, thread_name_prefix="call")
        self._server = grpc.server(
            self._threads, interceptors=[QuickUploads()], options=[("grpc.so_reuseport", 0)]
        )
        add_servicer: Callable[..., None] = service_pb2_grpc.add_ColdspotServiceServicer_to_server
        add_servicer(self.app.servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._to_be_stopped = threading.Lock()
        self._stop_metrics: Callable[[], None] = _nothing
        self.metrics_port: int | None = None
        self._tell(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            self.port = self._listen()
        except RuntimeError as error:
            self.app.close(0.0)
            raise ServiceUnavailableError(
                f"cannot listen on {settings.host} port {settings.port}; is another service there?"
            ) from error

    def start(self) -> None:
        """Answer calls, warm up, test the pipeline, and only then say SERVING.

        Raises
        ------
        SelfTestError
            If the pipeline measured its phantom wrongly; the server then serves nothing.
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
        self._server.start()
        if self.settings.self_test:
            self.app.pipeline.warm_up()
            self.app.pipeline.self_test()
        self.app.admission.open()
        self._tell(health_pb2.HealthCheckResponse.SERVING)
        _log.info("serving", version=__version__, port=self.port)

    def stop(self) -> None:
        """Admit nothing more, let running work finish within the grace, then close; once."""
        if not self._to_be_stopped.acquire(blocking=False):
            return
        self._health.enter_graceful_shutdown()
        self.app.admission.close(ServiceUnavailableError("the service is shutting down"))
        self._server.stop(self.settings.drain_grace_s).wait()
        self.app.close(self.settings.drain_grace_s)
        self._threads.shutdown(wait=True)
        self._stop_metrics()
        _log.info("stopped")

    def _listen(self) -> int:
        host = self.settings.host
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        address = f"{bracketed}:{self.settings.port}"
        certificate, key = self.settings.tls_certificate, self.settings.tls_key
        if certificate is None or key is None:
            return int(self._server.add_insecure_port(address))
        authority = self.settings.tls_client_ca
        credentials = grpc.ssl_server_credentials(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=authority.read_bytes() if authority else None,
            require_client_auth=authority is not None,
        )
        return int(self._server.add_secure_port(address, credentials))

    def _tell(self, state: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SERVICE_NAME):
            self._health.set(name, state)


@contextmanager
def running_server(settings: Settings, pipeline: Pipeline) -> Iterator[ColdspotServer]:
    """Run a service for the body of a ``with`` statement."""
    server = ColdspotServer(settings, pipeline)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def serve(settings: Settings, pipeline: Pipeline, announce: Callable[[ColdspotServer], None]) -> None:
    """Run a service until SIGTERM or SIGINT; ``announce`` is told when it serves.

    Raises
    ------
    ColdspotError
        If it cannot start.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with running_server(settings, pipeline) as server:
        announce(server)
        asked.wait()
        _log.info("draining")


def _nothing() -> None:
    return None
