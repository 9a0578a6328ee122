"""The bytes of an image's voxels, inflated here and checked: no reader behind this one sees a damaged file.

What compression adds to find damage is compared (CRC-32 and length of gzip, Adler-32 of zlib, CRC-32 of bzip2), and the
number of bytes has to be what the header says, to the byte: neither an early end nor bytes left over are passed over.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from engine.arrays import UInt8Array
from engine.errors import UnreadableFileError
from engine.files.file_names import require_regular, shown_name

_GZIP_MAGIC: Final = b"\x1f\x8b"
_PART_BYTES: Final = 1 << 22
_ZLIB_OR_GZIP: Final = 47
"""``wbits`` with which zlib tells its own header from that of gzip, and checks either (zlib.h, inflateInit2)."""
_GZIP: Final = 31

_MOST_INFLATED: Final = 1032
"""Bytes to which one byte of deflate can grow (zlib.net/zlib_tech.html)."""


class Compression(Enum):
    """How the voxels' bytes are stored."""

    NONE = "uncompressed"
    GZIP = "gzip"
    ZLIB = "zlib"
    BZIP2 = "bzip2"


@dataclass(frozen=True)
class StoredBytes:
    """Where the voxels of an image are.

    Parameters
    ----------
    path : Path
        The file that holds them; the image itself, or one beside its header.
    compression : Compression
    byte_count : int
        Bytes of all voxels, uncompressed.
    start : int
        First byte in the file that belongs to them (or to their compressed form); all that follow do, too.
    leading : int
        Bytes before the first voxel, after decompression.
    stored_count : int, optional
        Bytes of the compressed form, where the header states it.
    """

    path: Path
    compression: Compression
    byte_count: int
    start: int = 0
    leading: int = 0
    stored_count: int | None = None


def read_stored(stored: StoredBytes) -> UInt8Array:
    """Read all bytes of an image's voxels.

    Returns
    -------
    ndarray of uint8, (byte_count,)
        Nobody else holds it: it may be written to.

    Raises
    ------
    UnreadableFileError
        If the file is not there, damaged, cut off, or holds more than its header says.
    """
    require_regular(stored.path)
    name = shown_name(stored.path)
    _require_stored_count(stored, name)
    try:
        content = np.empty(stored.leading + stored.byte_count, dtype=np.uint8)
        with stored.path.open("rb") as file:
            file.seek(stored.start)
            if stored.compression is Compression.NONE:
                _fill(content, _plain_parts(file), name)
            else:
                _fill(content, _inflated_parts(file, stored.compression), name)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, str(error)) from error
    except MemoryError as error:
        raise UnreadableFileError(
            f"{name} announces {stored.byte_count} bytes of voxels, more than there is memory for; check its header"
        ) from error
    return content[stored.leading :]


def leading_bytes(path: Path, count: int) -> tuple[bytes, Compression]:
    """The first bytes of a file, inflated if it is gzip (by its content: names lie), and what it is.

    Fewer bytes are returned where the file has no more.

    Raises
    ------
    UnreadableFileError
        If the file is not there, empty, or its compressed form is damaged.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            compression = Compression.GZIP if file.read(2) == _GZIP_MAGIC else Compression.NONE
            file.seek(0)
            if compression is Compression.NONE:
                return file.read(count), compression
            return zlib.decompressobj(_GZIP).decompress(file.read(_PART_BYTES), count), compression
    except (OSError, zlib.error) as error:
        raise _damaged(shown_name(path), str(error)) from error


def _damaged(name: str, reason: str) -> UnreadableFileError:
    return UnreadableFileError(f"{name} is damaged or cut off ({reason}); export or send it again")


def _require_stored_count(stored: StoredBytes, name: str) -> None:
    """Compare the size of the file, which says at once what reading it all would."""
    there = stored.path.stat().st_size - stored.start
    stated = stored.stored_count
    if stored.compression is Compression.NONE:
        stated = stored.leading + stored.byte_count
    if stated is not None and there != stated:
        raise _damaged(
            name, f"its header announces {stated} bytes of voxels as stored, {max(there, 0)} are there"
        )
    is_deflated = stored.compression in {Compression.GZIP, Compression.ZLIB}
    if is_deflated and stored.byte_count > _MOST_INFLATED * max(there, 0):
        raise _damaged(
            name, f"its {max(there, 0)} bytes cannot hold the {stored.byte_count} that its header announces"
        )


def _fill(content: UInt8Array, parts: Iterator[bytes], name: str) -> None:
    filled = 0
    for part in parts:
        if filled + len(part) > content.size:
            raise _damaged(name, f"it holds more than the {content.size} bytes that its header announces")
        content[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)
        filled += len(part)
    if filled < content.size:
        raise _damaged(name, f"it ends {content.size - filled} bytes early")


def _plain_parts(file: BinaryIO) -> Iterator[bytes]:
    while part := file.read(_PART_BYTES):
        yield part


def _inflated_parts(file: BinaryIO, compression: Compression) -> Iterator[bytes]:
    if compression is Compression.BZIP2:
        return _bzip2_parts(file)
    return _zlib_parts(file, _GZIP if compression is Compression.GZIP else _ZLIB_OR_GZIP)


def _zlib_parts(file: BinaryIO, wbits: int) -> Iterator[bytes]:
    """Inflate one stream after the other, each checked by zlib when it ends; no part is long, whatever inflates."""
    inflater = zlib.decompressobj(wbits)
    pending = b""
    while pending := pending or file.read(_PART_BYTES):
        if inflater.eof:
            if wbits != _GZIP:
                raise EOFError("bytes follow the end of the compressed voxels")
            inflater = zlib.decompressobj(wbits)  # gzip files may be strung together (RFC 1952, section 2.2)
        yield inflater.decompress(pending, _PART_BYTES)
        pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof:
        raise EOFError("the compressed voxels have no end")


def _bzip2_parts(file: BinaryIO) -> Iterator[bytes]:
    """Like :func:`_zlib_parts`; bzip2 streams may be strung together, too."""
    inflater = bz2.BZ2Decompressor()
    while pending := inflater.unused_data or file.read(_PART_BYTES):
        if inflater.eof:
            inflater = bz2.BZ2Decompressor()
        yield inflater.decompress(pending, _PART_BYTES)
        while not (inflater.eof or inflater.needs_input):
            yield inflater.decompress(b"", _PART_BYTES)
    if not inflater.eof:
        raise EOFError("the compressed voxels have no end")
