"""Receiving one series: header first, then its bytes, checked while they arrive.

Everything that can be known from the header is refused before a byte of content is read.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import ChecksumError, InvalidRequestError
from service.cases.blobs import aligned_buffer
from service.cases.disk import disk_full_as_capacity_error, disk_is_full
from service.cases.series import DicomContent, SeriesHeader, SeriesRole, VoxelContent

if TYPE_CHECKING:
    from pathlib import Path

    from service.cases.blobs import BlobWriter
    from service.settings import Settings

MAX_CHUNK_BYTES: Final = 1 << 20
_SHA256_DIGITS: Final = 64

PIECE_BYTES: Final = 4 << 20
"""Size of a piece: it is hashed and written as a whole, while the next bytes arrive."""


@dataclass(frozen=True)
class Received:
    """The bytes of an upload, and when the last of them came (time.monotonic)."""

    content: memoryview
    last_byte_at: float


def check_header(header: SeriesHeader, settings: Settings) -> None:
    """Refuse an upload whose header alone shows that it cannot be accepted.

    Raises
    ------
    InvalidRequestError
        If a field is missing, is out of its range or contradicts another.
    InvalidGeometryError
        If the geometry describes no volume.
    """
    if len(header.sha256) != _SHA256_DIGITS:
        raise InvalidRequestError("sha256 must be the 32 bytes of the digest of the content", "header.sha256")
    if not 0 < header.total_bytes <= settings.max_series_bytes:
        raise InvalidRequestError(
            f"total_bytes is {header.total_bytes}; this service takes 1 to {settings.max_series_bytes}",
            "header.total_bytes",
        )
    if header.reference_series_id and header.role.is_ct:
        raise InvalidRequestError("only a mask has a reference CT", "header.reference_series_id")
    if isinstance(header.content, VoxelContent):
        _check_voxels(header.role, header.content, header.total_bytes, settings)
    else:
        _check_instances(header.role, header.content, header.total_bytes, settings)


def _check_voxels(role: SeriesRole, content: VoxelContent, total_bytes: int, settings: Settings) -> None:
    voxels = math.prod(content.geometry.shape_zyx)
    if voxels > settings.max_voxels:
        raise InvalidRequestError(
            f"{voxels} voxels are more than the {settings.max_voxels} this service takes; crop the series",
            "header.voxels.geometry.shape_zyx",
        )
    if role.is_ct and content.box is not None:
        raise InvalidRequestError("only a mask can fill a box of its grid", "header.voxels.box")
    sent, itemsize = math.prod(content.filled.shape_zyx), 2 if role.is_ct else 1
    if total_bytes != sent * itemsize:
        raise InvalidRequestError(
            f"{sent} voxels of {itemsize} byte(s) are {sent * itemsize} bytes, total_bytes says {total_bytes}",
            "header.total_bytes",
        )


def _check_instances(role: SeriesRole, content: DicomContent, total_bytes: int, settings: Settings) -> None:
    lengths = content.instance_bytes
    field = "header.dicom.instance_bytes"
    if not 0 < len(lengths) <= settings.max_instances:
        raise InvalidRequestError(
            f"{len(lengths)} instances; this service takes 1 to {settings.max_instances} in a series", field
        )
    if not role.is_ct and len(lengths) != 1:
        raise InvalidRequestError("a mask is one DICOM SEG or RTSTRUCT instance", field)
    if min(lengths) == 0 or sum(lengths) != total_bytes:
        raise InvalidRequestError(
            f"the lengths of the instances must be positive and add up to total_bytes ({total_bytes})",
            field,
        )


def check_disk(folder: Path, header: SeriesHeader, settings: Settings) -> None:
    """Refuse an upload for which there is no room.

    Raises
    ------
    CapacityError
    """
    if shutil.disk_usage(folder).free < header.total_bytes + settings.min_free_bytes:
        raise disk_is_full()


def receive(
    chunks: Iterator[bytes | memoryview], header: SeriesHeader, writer: BlobWriter, disk: Executor
) -> Received:
    """Write the announced bytes as they arrive; return them, and when the last one came.

    Parameters
    ----------
    chunks : iterator
        The messages after the header; an empty chunk stands for a message that was not a chunk.
    header : SeriesHeader
        A header that :func:`check_header` has accepted.
    writer : BlobWriter
        Receives the bytes; not flushed yet when this returns.
    disk : Executor
        One thread, which hashes and writes while the next chunks arrive.

    Raises
    ------
    InvalidRequestError
        If a chunk is empty or too long.
    ChecksumError
        If more, fewer or other bytes arrive than were announced.
    CapacityError
        If the disk is full.
    """
    content = aligned_buffer(header.total_bytes)
    received, submitted, piece, last_byte_at = 0, 0, _nothing_to_write(), time.monotonic()
    for chunk in chunks:
        if not 0 < len(chunk) <= MAX_CHUNK_BYTES:
            raise InvalidRequestError(
                f"after the header come chunks of 1 to {MAX_CHUNK_BYTES} bytes", "chunk"
            )
        if received + len(chunk) > header.total_bytes:
            raise ChecksumError(f"more bytes than the {header.total_bytes} announced; check total_bytes")
        content[received : received + len(chunk)] = chunk
        received += len(chunk)
        last_byte_at = time.monotonic()
        if received - submitted >= PIECE_BYTES or received == header.total_bytes:
            _wait_until_written(piece)  # the piece before this one: a full disk is noticed at once
            piece = disk.submit(writer.write, content[submitted:received])
            submitted = received
    if received != header.total_bytes:
        raise ChecksumError(f"{received} of {header.total_bytes} bytes arrived; send the series again")
    _wait_until_written(piece)
    if writer.sha256 != header.sha256:
        raise ChecksumError("the bytes that arrived are not those announced (SHA-256); send the series again")
    return Received(content.toreadonly(), last_byte_at)


def _wait_until_written(piece: Future[None]) -> None:
    """Wait until a piece is written: at most one piece waits for the disk at any time."""
    with disk_full_as_capacity_error():
        piece.result()


def _nothing_to_write() -> Future[None]:
    nothing: Future[None] = Future()
    nothing.set_result(None)
    return nothing
