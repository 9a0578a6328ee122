"""A connection to one service: its calls, their typed errors, and patience while the service is full."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
from coldspot.v1 import service_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.errors import CapacityError
from service.client.sending import Outgoing, parts_of
from service.wire.status import error_from_call
from service.wire.upload import METHOD, encoded

_CALL_DEADLINE_S: Final = 10.0
_UPLOAD_DEADLINE_S: Final = 600.0

Answer = TypeVar("Answer")


class Connection:
    """A channel to one service.

    Parameters
    ----------
    target : str
        ``host:port``.
    credentials : grpc.ChannelCredentials, optional
        For TLS; without them the channel is plain.
    patience_s : float
        How long to keep trying when the service is full, waiting as it asks to.

    Attributes
    ----------
    service : ColdspotServiceStub
        The generated stub; calls made through it raise gRPC's own errors.
    """

    def __init__(self, target: str, credentials: grpc.ChannelCredentials | None, patience_s: float) -> None:
        if credentials is None:
            self._channel = grpc.insecure_channel(target)
        else:
            self._channel = grpc.secure_channel(target, credentials)
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
        with _typed_errors():
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
        with _typed_errors():
            for part in self.service.FetchArtifact(request, timeout=_UPLOAD_DEADLINE_S):
                yield part.chunk

    def is_serving(self) -> bool:
        """Whether the standard health check says SERVING."""
        with _typed_errors():
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_DEADLINE_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def patiently(self, call: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """Yield the answers of a call; while the service is full, wait as long as it asks and call again."""
        give_up_at = time.monotonic() + self._patience_s
        while True:
            try:
                with _typed_errors():
                    yield from call()
            except CapacityError as full:
                if time.monotonic() + full.retry_after_s > give_up_at:
                    raise
                time.sleep(full.retry_after_s)
            else:
                return


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Raise the error of a failed call as the class that the service raised."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_call(error) from None
