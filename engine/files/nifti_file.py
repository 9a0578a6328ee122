"""What a NIfTI reader passes over in silence: a file that ends early, and voxels that are not numbers.

ITK fills what a cut-off file lacks with zeros and turns NaN into zero, which as HU is water.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.errors import InvalidGeometryError, NotCtError, UnreadableFileError

_HEADER_BYTES = 540
CHUNK_BYTES = 1 << 22
_GZIP_MAGIC = b"\x1f\x8b"
_FLOAT_TYPES = {16: "f4", 64: "f8"}
"""NIfTI-1 ``datatype`` codes of floating point voxels."""


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a file are."""

    offset: int
    byte_count: int
    float_type: np.dtype[np.floating] | None


def require_intact(path: Path) -> None:
    """Refuse a NIfTI file that lacks voxels or has some that are not finite.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``, NIfTI-1 or NIfTI-2.

    Raises
    ------
    UnreadableFileError
        If it is not a NIfTI file, or shorter than its header says.
    NotCtError
        If voxels are NaN or infinite.
    """
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == _GZIP_MAGIC
        with gzip.open(path) if is_compressed else path.open("rb") as stream:
            layout = _layout(stream.read(_HEADER_BYTES), path.name)
            if (
                layout.float_type is None
                and _stored_size(path, is_compressed) == layout.offset + layout.byte_count
            ):
                return
            stream.seek(layout.offset)
            _require_voxels(stream, layout, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFileError(f"{path.name} is damaged or cut off ({error}); export it again") from error


def _layout(header: bytes, name: str) -> _Layout:
    """Read the header (nifti1.h, nifti2.h); its size field tells version and byte order."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header)[0] if len(header) >= 348 else 0
        if size == 348:
            dimensions = struct.unpack_from(f"{order}8h", header, 40)
            code, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
            break
        if size == _HEADER_BYTES and len(header) == _HEADER_BYTES:
            code, bits = struct.unpack_from(f"{order}2h", header, 12)
            dimensions = struct.unpack_from(f"{order}8q", header, 16)
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
            break
    else:
        raise UnreadableFileError(f"{name} is not a NIfTI file, or its header is cut off; export it again")
    count = dimensions[0]
    if not 1 <= count <= 7 or min(dimensions[1 : count + 1]) < 1 or bits < 1 or offset < 0:
        raise InvalidGeometryError(f"{name} declares {dimensions[1:4]} voxels; export it again")
    voxels = 1
    for size in dimensions[1 : count + 1]:
        voxels *= int(size)
    float_type = _FLOAT_TYPES.get(code)
    return _Layout(offset, voxels * bits // 8, np.dtype(f"{order}{float_type}") if float_type else None)


def _stored_size(path: Path, is_compressed: bool) -> int:
    """Size of the file before compression; gzip keeps it (modulo 2**32) in its last four bytes."""
    if not is_compressed:
        return path.stat().st_size
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(4), "little")


def _require_voxels(stream: BinaryIO | gzip.GzipFile, layout: _Layout, name: str) -> None:
    """Read all voxels once, in chunks."""
    left = layout.byte_count
    while left:
        chunk: bytes = stream.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise UnreadableFileError(f"{name} ends {left} bytes early (cut off in transfer?); send it again")
        left -= len(chunk)
        if layout.float_type is not None:
            whole = len(chunk) - len(chunk) % layout.float_type.itemsize
            if not np.isfinite(np.frombuffer(chunk[:whole], layout.float_type)).all():
                raise NotCtError(
                    f"{name} has voxels that are not finite numbers; export it in Hounsfield units"
                )
