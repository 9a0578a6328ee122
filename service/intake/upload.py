"""Receiving one series: header first, then its bytes, checked while they arrive.

Everything that can be known from the header is refused before a byte of content is read.
"""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coldspot.v1 import service_pb2

from engine.errors import CapacityError, ChecksumError, InvalidRequestError
from service.cases.blobs import aligned_buffer
from service.cases.selection import CT_ROLES, MASK_NAMES
from service.wire import messages as convert
from service.wire.upload import chunk_of

if TYPE_CHECKING:
    from pathlib import Path

    from service.cases.blobs import BlobWriter
    from service.settings import Settings
    from service.wire.upload import Part

LARGEST_CHUNK: Final = 1 << 20
_SHA256_BYTES: Final = 32
_RETRY_WHEN_DISK_IS_FULL_S: Final = 60.0

PIECE_BYTES: Final = 4 << 20
"""Hashed and written at once, beside what arrives."""


@dataclass(frozen=True)
class Received:
    """The bytes of an upload, and when the last of them came (monotonic clock)."""

    content: memoryview
    last_byte_at: float


def check_header(header: service_pb2.UploadHeader, settings: Settings) -> None:
    """Refuse an upload that its header alone already rules out.

    Raises
    ------
    InvalidRequestError
        If a field is left out, out of its range or contradicts another.
    InvalidGeometryError
        If the geometry describes no volume.
    """
    if header.role not in CT_ROLES and header.role not in MASK_NAMES:
        raise InvalidRequestError("the header must say what the series is (role)", "header.role")
    if len(header.sha256) != _SHA256_BYTES:
        raise InvalidRequestError("sha256 must be the 32 bytes of the digest of the content", "header.sha256")
    if not 0 < header.total_bytes <= settings.max_series_bytes:
        raise InvalidRequestError(
            f"total_bytes is {header.total_bytes}; this service takes 1 to {settings.max_series_bytes}",
            "header.total_bytes",
        )
    if header.reference_series_id and header.role in CT_ROLES:
        raise InvalidRequestError("only a mask has a reference CT", "header.reference_series_id")
    content = header.WhichOneof("content")
    if content == "voxels":
        _check_voxels(header, settings)
    elif content == "dicom":
        _check_instances(header, settings)
    else:
        raise InvalidRequestError("the header must describe its content: voxels or dicom", "header.content")


def _check_voxels(header: service_pb2.UploadHeader, settings: Settings) -> None:
    geometry = convert.geometry(header.voxels.geometry)
    voxels = math.prod(geometry.shape_zyx)
    if voxels > settings.max_voxels:
        raise InvalidRequestError(
            f"{voxels} voxels are more than the {settings.max_voxels} this service takes; crop the series",
            "header.voxels.geometry.shape_zyx",
        )
    if header.role in CT_ROLES and header.voxels.HasField("box"):
        raise InvalidRequestError("only a mask can fill a box of its grid", "header.voxels.box")
    sent = math.prod(convert.box(header.voxels, geometry).shape_zyx)
    itemsize = 2 if header.role in CT_ROLES else 1
    if header.total_bytes != sent * itemsize:
        raise InvalidRequestError(
            f"{sent} voxels of {itemsize} byte(s) are {sent * itemsize} bytes, "
            f"total_bytes says {header.total_bytes}",
            "header.total_bytes",
        )


def _check_instances(header: service_pb2.UploadHeader, settings: Settings) -> None:
    lengths = header.dicom.instance_bytes
    field = "header.dicom.instance_bytes"
    if not 0 < len(lengths) <= settings.max_instances:
        raise InvalidRequestError(
            f"{len(lengths)} instances; this service takes 1 to {settings.max_instances} in a series", field
        )
    if header.role in MASK_NAMES and len(lengths) != 1:
        raise InvalidRequestError("a mask is one DICOM SEG or RTSTRUCT instance", field)
    if min(lengths) == 0 or sum(lengths) != header.total_bytes:
        raise InvalidRequestError(
            f"the lengths of the instances must be positive and add up to total_bytes ({header.total_bytes})",
            field,
        )


def check_disk(folder: Path, header: service_pb2.UploadHeader, settings: Settings) -> None:
    """Refuse an upload for which there is no room.

    Raises
    ------
    CapacityError
    """
    if shutil.disk_usage(folder).free < header.total_bytes + settings.min_free_bytes:
        raise _disk_is_full()


def receive(
    parts: Iterator[Part], header: service_pb2.UploadHeader, writer: BlobWriter, disk: Executor
) -> Received:
    """Write the announced bytes as they arrive and return them.

    Parameters
    ----------
    parts : iterator
        What follows the header.
    header : UploadHeader
        Checked.
    writer : BlobWriter
        Gets the bytes; not flushed yet when this returns.
    disk : Executor
        One thread, which hashes and writes beside what arrives.

    Raises
    ------
    InvalidRequestError
        If a part is not a chunk, or a chunk is empty or too long.
    ChecksumError
        If more, fewer or other bytes arrive than were announced.
    CapacityError
        If the disk is full.
    """
    content = aligned_buffer(header.total_bytes)
    received, given, written, last_byte_at = 0, 0, _done(), time.monotonic()
    for part in parts:
        chunk = chunk_of(part)
        if chunk is None or not 0 < len(chunk) <= LARGEST_CHUNK:
            raise InvalidRequestError(f"after the header come chunks of 1 to {LARGEST_CHUNK} bytes", "chunk")
        if received + len(chunk) > header.total_bytes:
            raise ChecksumError(f"more bytes than the {header.total_bytes} announced; check total_bytes")
        content[received : received + len(chunk)] = chunk
        received += len(chunk)
        last_byte_at = time.monotonic()
        if received - given >= PIECE_BYTES or received == header.total_bytes:
            _require_written(written)  # of the piece before: a full disk is told at once
            written = disk.submit(writer.write, content[given:received])
            given = received
    if received != header.total_bytes:
        raise ChecksumError(f"{received} of {header.total_bytes} bytes arrived; send the series again")
    _require_written(written)
    if writer.sha256 != header.sha256.hex():
        raise ChecksumError("the bytes that arrived are not those announced (SHA-256); send the series again")
    return Received(content.toreadonly(), last_byte_at)


def _require_written(piece: Future[None]) -> None:
    """Wait for a piece; what has been given up to the disk is bounded by it, and so is the wait."""
    with full_disk_is_no_room():
        piece.result()


def _done() -> Future[None]:
    nothing: Future[None] = Future()
    nothing.set_result(None)
    return nothing


@contextmanager
def full_disk_is_no_room() -> Iterator[None]:
    """Turn "no space left on device" into a typed error."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _disk_is_full() from error
        raise


def _disk_is_full() -> CapacityError:
    return CapacityError(
        "the disk of the service is full; delete cases that are no longer needed", _RETRY_WHEN_DISK_IS_FULL_S
    )
