"""A connection to one service: its calls, their typed errors, and patience while the service is full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeVar

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.errors import CapacityError, ColdspotError, ServiceUnavailableError
from service.client.sending import Outgoing, parts_of
from service.credentials import Access, is_on_this_machine, read_key_pair, read_pem, read_tokens
from service.wire.authorization import AUTHORIZATION, BEARER
from service.wire.status import came_from_service, error_from_call
from service.wire.upload import METHOD, encoded

_CALL_DEADLINE_S: Final = 10.0
_UPLOAD_DEADLINE_S: Final = 600.0

_NO_PROXY: Final = ("grpc.enable_http_proxy", 0)
"""Where ``http_proxy`` is set, gRPC asks that proxy even for this machine's own address: the call fails, or goes
through another machine."""

Answer = TypeVar("Answer")


class Connection:
    """A channel to one service.

    Parameters
    ----------
    target : str
        ``host:port``.
    access : Access
        TLS and token.
    patience_s : float
        How long to keep trying when the service is full, waiting as it asks to.

    Attributes
    ----------
    service : ColdspotServiceStub
        The generated stub; calls made through it raise gRPC's own errors.

    Raises
    ------
    InvalidRequestError
        If a certificate, a key or the token cannot be used.
    """

    def __init__(self, target: str, access: Access, patience_s: float) -> None:
        self._target, self._tls = target, access.tls_ca is not None
        self._channel = _open_channel(target, access)
        self._patience_s = patience_s
        make_stub: Callable[[grpc.Channel], Any] = service_pb2_grpc.ColdspotServiceStub
        self.service = make_stub(self._channel)
        self._send_series = self._channel.stream_unary(
            METHOD, encoded, service_pb2.UploadSeriesResponse.FromString
        )
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def call(self, method: str, request: Any) -> Any:
        """Make a short call and return its answer."""
        with self._typed_errors():
            return getattr(self.service, method)(request, timeout=_CALL_DEADLINE_S)

    def upload(
        self, outgoing: Outgoing, header: service_pb2.UploadHeader
    ) -> service_pb2.UploadSeriesResponse:
        """Send one series and return its acknowledgement."""
        answers: Iterator[service_pb2.UploadSeriesResponse] = self.patiently(
            lambda: iter([self._send_series(parts_of(header, outgoing), timeout=_UPLOAD_DEADLINE_S)])
        )
        return next(answers)

    def download(self, request: service_pb2.FetchArtifactRequest) -> Iterator[bytes]:
        """Yield the chunks of one file."""
        with self._typed_errors():
            for part in self.service.FetchArtifact(request, timeout=_UPLOAD_DEADLINE_S):
                yield part.chunk

    def is_serving(self) -> bool:
        """Whether the standard health check says SERVING."""
        with self._typed_errors():
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_DEADLINE_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def patiently(self, call: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """Yield the answers of a call; while the service is full, wait as long as it asks and call again."""
        give_up_at = time.monotonic() + self._patience_s
        while True:
            try:
                with self._typed_errors():
                    yield from call()
            except CapacityError as full:
                if time.monotonic() + full.retry_after_s > give_up_at:
                    raise
                time.sleep(full.retry_after_s)
            else:
                return

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        """Raise the error of a failed call as the class that the service raised."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._typed(error) from None

    def _typed(self, error: grpc.RpcError) -> ColdspotError:
        typed = error_from_call(error)
        if not isinstance(typed, ServiceUnavailableError) or came_from_service(error):
            return typed
        return ServiceUnavailableError(
            f"{self._target} cannot be reached: {_likely_cause(str(typed), tls=self._tls)}"
        )


_CAUSES: Final = (
    (
        "Hostname Verification",
        "its certificate is made out for another name; name that with --tls-server-name",
    ),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate does not come from the authority that --tls-ca names"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS; leave --tls-ca out"),
    ("Connection refused", "nothing listens there; is the service running, and is this its port?"),
    ("address lookup failed", "its name is unknown; check the host"),
)
"""What gRPC says when no connection comes about, for it says so in words alone, and what that means."""

_ENDED: Final = ("Socket closed", "reset by peer")


def _likely_cause(details: str, *, tls: bool) -> str:
    """Return in words why no connection came about."""
    if any(word in details for word in _ENDED):
        asked_for = "a client certificate (--tls-certificate, --tls-key)" if tls else "TLS (--tls-ca)"
        return f"it ended the connection; does it ask for {asked_for}?"
    return next((cause for word, cause in _CAUSES if word in details), details)


def _open_channel(target: str, access: Access) -> grpc.Channel:
    access.require_usable_with(target)
    options: list[tuple[str, str | int]] = [_NO_PROXY] if is_on_this_machine(target) else []
    if access.tls_ca is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        key, certificate = None, None
        if access.tls_certificate is not None and access.tls_key is not None:
            key, certificate = read_key_pair(
                access.tls_certificate, access.tls_key, ("--tls-certificate", "--tls-key")
            )
        credentials = grpc.ssl_channel_credentials(read_pem(access.tls_ca, "--tls-ca"), key, certificate)
        if access.tls_server_name:
            options.append(("grpc.ssl_target_name_override", access.tls_server_name))
        channel = grpc.secure_channel(target, credentials, options=options)
    if access.token_file is None:
        return channel
    return grpc.intercept_channel(channel, _Token(read_tokens(access.token_file, "--token-file")[0]))


class _CallDetails(NamedTuple):
    """What an interceptor hands on of a call; the names are gRPC's."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str]]
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Token(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor
):
    """Adds a token to every call of a channel."""

    def __init__(self, token: str) -> None:
        self._authorization = (AUTHORIZATION, f"{BEARER}{token}")

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._authorization]
        return continuation(
            _CallDetails(
                details.method,
                details.timeout,
                metadata,
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
            request,
        )

    intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _intercept
