"""The gRPC server: Coldspot's calls, the standard health check and reflection on one port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from engine.errors import ServiceUnavailableError
from service.credentials import read_key_pair, read_pem, read_tokens
from service.rpc.answering import CallCounter
from service.rpc.quick_uploads import QuickUploads
from service.rpc.servicer import ColdspotServicer
from service.rpc.stall_watch import StallWatch
from service.rpc.token_guard import TokenGuard

if TYPE_CHECKING:
    from service.app import App
    from service.settings import Settings

SERVICE_NAME: Final = service_pb2.DESCRIPTOR.services_by_name["ColdspotService"].full_name
_SPARE_THREADS: Final = 16
"""Threads in addition to those of admitted calls: for health, small calls, artifacts, and for refusing calls."""


Interceptors = Sequence[grpc.ServerInterceptor]
"""What sees the calls besides the service itself."""


class RpcServer:
    """A gRPC server in front of an :class:`service.app.App`.

    Parameters
    ----------
    app : App
    interceptors : Interceptors
        What else sees the calls, after they were let in.

    Attributes
    ----------
    port : int
        The port it listens on.

    Raises
    ------
    InvalidRequestError
        If a certificate, a key or the tokens cannot be used.
    ServiceUnavailableError
        If the port is taken.
    """

    def __init__(self, app: App, interceptors: Interceptors = ()) -> None:
        settings = app.settings
        address, credentials = _address(settings), _credentials(settings)
        guards = _guards(settings, app.metrics.call_ended)
        self._health = health.HealthServicer()
        self._threads = ThreadPoolExecutor(settings.max_admitted + _SPARE_THREADS, thread_name_prefix="call")
        self._server = grpc.server(
            self._threads,
            interceptors=[*guards, *interceptors, QuickUploads()],
            options=[("grpc.so_reuseport", 0)],
        )
        self._stall_watch = StallWatch(settings.upload_idle_s, settings.upload_limit_s)
        add_servicer: Callable[..., None] = service_pb2_grpc.add_ColdspotServiceServicer_to_server
        add_servicer(ColdspotServicer(app, self._stall_watch), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        try:
            self.port = _listen(self._server, address, credentials)
        except RuntimeError as error:
            self._stall_watch.stop()
            raise ServiceUnavailableError(
                f"cannot listen on {settings.host} port {settings.port}; is another service there?"
            ) from error

    def start(self) -> None:
        """Answer calls; the health check says NOT_SERVING."""
        self._server.start()

    def announce_serving(self) -> None:
        """Let the health check say SERVING."""
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def announce_shutdown(self) -> None:
        """Let the health check say NOT_SERVING from now on."""
        self._health.enter_graceful_shutdown()

    def stop(self, grace_s: float) -> None:
        """Take no more calls, and wait until running ones have ended; after the grace they are cancelled."""
        self._server.stop(grace_s).wait()

    def close(self) -> None:
        """End the threads."""
        self._stall_watch.stop()
        self._threads.shutdown(wait=True)

    def _set_health(self, state: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", SERVICE_NAME):
            self._health.set(name, state)


def _guards(settings: Settings, count: CallCounter) -> list[TokenGuard]:
    """Return what asks for tokens; nothing does where the settings name none."""
    if settings.access_tokens_file is None:
        return []
    return [TokenGuard(read_tokens(settings.access_tokens_file, "access_tokens_file"), count)]


def _address(settings: Settings) -> str:
    host = settings.host
    bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{bracketed}:{settings.port}"


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return what TLS needs; None where the settings name no certificate."""
    certificate, key, authority = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None or key is None:
        return None
    return grpc.ssl_server_credentials(
        [read_key_pair(certificate, key, ("tls_certificate", "tls_key"))],
        root_certificates=None if authority is None else read_pem(authority, "tls_client_ca"),
        require_client_auth=authority is not None,
    )


def _listen(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, credentials))
