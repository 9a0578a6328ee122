"""Protocol Buffers messages, field by field, without a schema: enough to read an ONNX model and change nodes.

Source: the Protocol Buffers encoding guide.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONTINUED: Final = 0x80


class Field(NamedTuple):
    """One field of a message: ``value`` of a varint, ``content`` of what has a length, ``raw`` as it stands."""

    number: int
    value: int
    content: memoryview
    raw: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of a message.

    Raises
    ------
    IndexError
        Where it is cut short or of an unknown wire type.
    """
    position = 0
    while position < len(message):
        begin = position
        key, position = _read_varint(message, position)
        number, wire_type = key >> 3, key & 7
        value, content = 0, message[:0]
        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
        elif wire_type == _BYTES:
            size, position = _read_varint(message, position)
            content, position = message[position : position + size], position + size
        elif wire_type in {_FIXED32, _FIXED64}:
            content = message[position : position + (4 if wire_type == _FIXED32 else 8)]
            position += 4 if wire_type == _FIXED32 else 8
        else:
            raise IndexError
        if position > len(message) or number == 0:
            raise IndexError
        yield Field(number, value, content, message[begin:position])


def text(content: memoryview) -> str:
    """A string; ValueError if it is none."""
    return bytes(content).decode()


def bytes_field(number: int, content: bytes) -> bytes:
    """A field of a string, of bytes or of a message."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def text_field(number: int, content: str) -> bytes:
    """A field of a string."""
    return bytes_field(number, content.encode())


def integer_field(number: int, value: int) -> bytes:
    """A field of an integer; a negative one takes ten bytes."""
    return _varint(number << 3 | _VARINT) + _varint(value & (1 << 64) - 1)


def float_field(number: int, value: float) -> bytes:
    """A field of a single-precision number."""
    return _varint(number << 3 | _FIXED32) + struct.pack("<f", value)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """A base-128 number of at most ten bytes, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _CONTINUED:
            return value, position
    raise IndexError


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= _CONTINUED:
        written.append(value & 0x7F | _CONTINUED)
        value >>= 7
    written.append(value)
    return bytes(written)
