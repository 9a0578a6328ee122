"""What a JPEG family codestream says of itself, before a decoder is trusted with it."""

from __future__ import annotations

import struct

JPEG_START, JPEG_END, JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
JPEG_LOSSLESS_FRAME, JPEG_LS_FRAME = b"\xff\xc3", b"\xff\xf7"
JPEG_2000_START, JPEG_2000_SIZE, JPEG_2000_CODING_STYLE = b"\xff\x4f", b"\xff\x51", b"\xff\x52"
_REVERSIBLE_WAVELET = 1
_COMPONENT_SIZE_AT = 36


def coded_shape(codestream: bytes) -> tuple[int, int] | None:
    """Rows and columns that a codestream holds; ``None`` if it does not say or is of no known kind.

    Sources: ISO/IEC 10918-1 B.2.2 (frame header), 14495-1 C.2.2, 15444-1 A.5.1 (image and tile size).
    """
    size = _segment(codestream, JPEG_2000_START, JPEG_2000_SIZE)
    if len(size) >= 18:
        right, bottom, left, top = struct.unpack_from(">4I", size, 2)
        return bottom - top, right - left
    for marker in (JPEG_LOSSLESS_FRAME, JPEG_LS_FRAME):
        frame = _segment(codestream, JPEG_START, marker)
        if len(frame) >= 5:
            rows, columns = struct.unpack_from(">2H", frame, 1)
            return rows, columns
    return None


def coded_bits(codestream: bytes) -> int | None:
    """Bits of a sample in a codestream; ``None`` if it does not say or is of no known kind.

    Sources: ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2 (P of the frame header), 15444-1 A.5.1 (Ssiz of the first component,
    whose highest bit is the sign).
    """
    size = _segment(codestream, JPEG_2000_START, JPEG_2000_SIZE)
    if len(size) > _COMPONENT_SIZE_AT:
        return (size[_COMPONENT_SIZE_AT] & 0x7F) + 1
    for marker in (JPEG_LOSSLESS_FRAME, JPEG_LS_FRAME):
        frame = _segment(codestream, JPEG_START, marker)
        if frame:
            return frame[0]
    return None


def has_reversible_wavelet(codestream: bytes) -> bool:
    """The transformation of the COD marker segment (ISO/IEC 15444-1 A.6.1): 1 is the 5-3 reversible one."""
    segment = _segment(codestream, JPEG_2000_START, JPEG_2000_CODING_STYLE)
    return len(segment) > 9 and segment[9] == _REVERSIBLE_WAVELET


def is_error_free_jpeg_ls(codestream: bytes) -> bool:
    """NEAR of the first scan header (ISO/IEC 14495-1 C.2.3) is zero."""
    segment = _segment(codestream, JPEG_START, JPEG_SCAN)
    near_at = 1 + 2 * segment[0] if segment else 0
    return 0 < near_at < len(segment) and segment[near_at] == 0


def has_jpeg_end(codestream: bytes) -> bool:
    """Whether the end of image marker closes the codestream, but for padding."""
    return codestream.rstrip(b"\0").endswith(JPEG_END)


def _segment(codestream: bytes, start: bytes, marker: bytes) -> bytes:
    """The parameters of the first marker segment of one kind, empty where there is none."""
    if not codestream.startswith(start):
        return b""
    offset = len(start)
    while offset + 4 <= len(codestream):
        length = int.from_bytes(codestream[offset + 2 : offset + 4], "big")
        if codestream[offset : offset + 2] == marker:
            return codestream[offset + 4 : offset + 2 + length]
        if codestream[offset : offset + 1] != b"\xff" or length < 2:
            break
        offset += 2 + length
    return b""
