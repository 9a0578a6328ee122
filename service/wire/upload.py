"""The messages of an upload on the wire, without copying every byte three times.

A chunk is nearly all of a message: in front of it stand its field's tag and its length. What has exactly this form
is taken and made here; every other message goes through protobuf, so that nothing else is accepted or refused.

Source: Protocol Buffers, "Encoding" (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc
from coldspot.v1 import service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

Part = service_pb2.UploadSeriesRequest | memoryview
"""A message; a memoryview is the bytes of its chunk."""

METHOD: Final = "/" + service_pb2.DESCRIPTOR.services_by_name["ColdspotService"].full_name + "/UploadSeries"

_LENGTH_DELIMITED: Final = 2
_CHUNK: Final = service_pb2.UploadSeriesRequest.DESCRIPTOR.fields_by_name["chunk"].number
_TAG: Final = bytes([_CHUNK << 3 | _LENGTH_DELIMITED])
_MORE: Final = 0x80
_LONGEST_LENGTH: Final = 5
"""Bytes of a length below 2 GiB, the most that gRPC and protobuf take."""


def encoded(part: Part) -> bytes:
    """Return a part as it goes over the wire."""
    if isinstance(part, memoryview):
        return b"".join((_TAG, _varint(part.nbytes), part))
    return part.SerializeToString()


def decoded(message: bytes) -> Part:
    """Return the part that a message holds.

    Raises
    ------
    google.protobuf.message.DecodeError
        If it is no message of an upload.
    """
    if message[:1] == _TAG:
        length = 0
        for place, digit in enumerate(message[1 : 1 + _LONGEST_LENGTH]):
            length |= (digit & ~_MORE) << 7 * place
            if not digit & _MORE:
                if length == len(message) - place - 2:
                    return memoryview(message)[place + 2 :]
                break
    return service_pb2.UploadSeriesRequest.FromString(message)


def chunk_of(part: Part) -> bytes | memoryview | None:
    """Return the bytes of a chunk; None if the part is something else."""
    if isinstance(part, memoryview):
        return part
    return part.chunk if part.WhichOneof("part") == "chunk" else None


def header_of(part: Part | None) -> service_pb2.UploadHeader | None:
    """Return the header that a part is; None if it is something else."""
    if isinstance(part, service_pb2.UploadSeriesRequest) and part.WhichOneof("part") == "header":
        return part.header
    return None


class QuickUploads(grpc.ServerInterceptor):  # type: ignore[misc] # gRPC comes without types
    """Makes a server read the messages of uploads by :func:`decoded`."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Replace how the requests of one method are read."""
        handler = continuation(handler_call_details)
        if handler is None or handler_call_details.method != METHOD:
            return handler
        return grpc.stream_unary_rpc_method_handler(
            handler.stream_unary,
            request_deserializer=decoded,
            response_serializer=handler.response_serializer,
        )


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= _MORE:
        digits.append(number & ~_MORE & 0xFF | _MORE)
        number >>= 7
    return bytes([*digits, number])
