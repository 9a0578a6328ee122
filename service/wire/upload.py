"""The messages of an upload on the wire, without copying every byte three times.

A chunk is nearly all of a message: in front of it stand its field's tag and its length. What has exactly this form
is taken and made here; every other message goes through protobuf, so that nothing else is accepted or refused.

Source: Protocol Buffers, "Encoding" (https://protobuf.dev/programming-guides/encoding/).
"""

from __future__ import annotations

from typing import Final

from coldspot.v1 import service_pb2

Part = service_pb2.UploadSeriesRequest | memoryview
"""A message; a memoryview is the bytes of its chunk."""

METHOD: Final = "/" + service_pb2.DESCRIPTOR.services_by_name["ColdspotService"].full_name + "/UploadSeries"

_LENGTH_DELIMITED: Final = 2
_CHUNK: Final = service_pb2.UploadSeriesRequest.DESCRIPTOR.fields_by_name["chunk"].number
_TAG: Final = bytes([_CHUNK << 3 | _LENGTH_DELIMITED])
_CONTINUED: Final = 0x80
_MAX_LENGTH_BYTES: Final = 5
"""Bytes of a length below 2 GiB, the most that gRPC and protobuf take."""


def encoded(part: Part) -> bytes:
    """Return the bytes of a part as they are sent."""
    if isinstance(part, memoryview):
        return b"".join((_TAG, _varint(part.nbytes), part))
    return part.SerializeToString()


def decoded(message: bytes) -> Part:
    """Return the header or the chunk that an upload message holds.

    Raises
    ------
    google.protobuf.message.DecodeError
        If it is not an upload message.
    """
    if message[:1] == _TAG:
        length = 0
        for place, digit in enumerate(message[1 : 1 + _MAX_LENGTH_BYTES]):
            length |= (digit & ~_CONTINUED) << 7 * place
            if not digit & _CONTINUED:
                if length == len(message) - place - 2:
                    return memoryview(message)[place + 2 :]
                break
    return service_pb2.UploadSeriesRequest.FromString(message)


def chunk_of(part: Part) -> bytes | memoryview | None:
    """Return the bytes of a part that is a chunk; otherwise None."""
    if isinstance(part, memoryview):
        return part
    return part.chunk if part.WhichOneof("part") == "chunk" else None


def header_of(part: Part | None) -> service_pb2.UploadHeader | None:
    """Return the header of a part that is one; otherwise None."""
    if isinstance(part, service_pb2.UploadSeriesRequest) and part.WhichOneof("part") == "header":
        return part.header
    return None


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number >= _CONTINUED:
        digits.append(number & ~_CONTINUED & 0xFF | _CONTINUED)
        number >>= 7
    return bytes([*digits, number])
