"""Headers of MetaImage: ``.mha`` with its voxels, ``.mhd`` beside them.

Fields are those of MetaIO's documentation (itk.org/Wiki/MetaIO); ITK reads the rows of ``TransformMatrix`` as the LPS
directions of the file's axes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, UnreadableFileError
from engine.files.file_names import require_regular, shown_name
from engine.files.image_header import ImageHeader, numbers, orientation_not_stated, whole_numbers
from engine.files.stated_grid import (
    STATEMENT_TOLERANCE,
    StatedAxes,
    grid_of,
    require_same_spacing,
    require_size,
    require_spacing,
)
from engine.files.stored_bytes import Compression, StoredBytes
from engine.input_warning import InputWarning

_MAX_HEADER_BYTES: Final = 1 << 16
_LAST_FIELD: Final = "ElementDataFile"

_STORED_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}

_MATRIX_NAMES: Final = ("TransformMatrix", "Rotation", "Orientation")
_ORIGIN_NAMES: Final = ("Offset", "Origin", "Position")
_BYTE_ORDER_NAMES: Final = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")

_TOWARDS_LPS: Final = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
"""Axis and sign of the LPS direction that a letter of ``AnatomicalOrientation`` names."""

_CONTRADICTS_BELOW: Final = 0.3
"""Cosine between an axis and the anatomical direction said to be nearest; the nearest of three has at least 0.577."""


@dataclass(frozen=True)
class _Text:
    """The fields of a header, and where it ends."""

    name: str
    fields: Mapping[str, str]
    byte_count: int

    def one_of(self, keys: tuple[str, ...]) -> tuple[str, str] | None:
        """Name and text of the field that goes by several names; None where it is not there.

        Raises
        ------
        InvalidGeometryError
            If it is there under two names and differs.
        """
        found = [(key, self.fields[key]) for key in keys if key in self.fields]
        if len({text.split() == found[0][1].split() for _, text in found}) > 1:
            raise InvalidGeometryError(
                f"{self.name} states {' and '.join(key for key, _ in found)} differently; export it again"
            )
        return found[0] if found else None

    def is_true(self, key: str, *, default: bool) -> bool:
        """A switch, as MetaIO reads it: ``True``, ``true`` or 1."""
        text = self.fields.get(key)
        if text is None:
            return default
        if text.lower() not in {"true", "false", "t", "f", "0", "1"}:
            raise UnreadableFileError(f"{key} of {self.name} is {text!r}, not True or False; export it again")
        return text.lower() in {"true", "t", "1"}


def read_metaimage(path: Path) -> ImageHeader:
    """Read the header of a volume.

    Parameters
    ----------
    path : Path
        ``.mha`` or ``.mhd``.

    Returns
    -------
    ImageHeader

    Raises
    ------
    UnreadableFileError
        If it is no MetaImage, damaged, or stored in a way that cannot be checked (as text, in many files).
    InvalidGeometryError, GantryTiltError
        If it is no volume of one number a voxel, states no voxel size, or contradicts itself.
    """
    text = _read_text(path)
    if text.fields.get("ObjectType", "Image") != "Image":
        raise UnreadableFileError(
            f"{text.name} holds {text.fields['ObjectType']}, not an image; send a volume"
        )
    count = whole_numbers(_field(text, "NDims").split(), "NDims", text.name)
    sizes = whole_numbers(_field(text, "DimSize").split(), "DimSize", text.name)
    if len(count) != 1 or len(sizes) != count[0]:
        raise InvalidGeometryError(f"{text.name} gives {len(sizes)} sizes for NDims {count}; export it again")
    channels = whole_numbers(
        [text.fields.get("ElementNumberOfChannels", "1")], "ElementNumberOfChannels", text.name
    )
    if channels != [1] or (len(sizes) > 3 and set(sizes[3:]) != {1}):
        raise InvalidGeometryError(
            f"{text.name} has {' × '.join(map(str, sizes))} voxels of {channels[0]} values, not one value in three "
            "dimensions; send a single volume"
        )
    require_size(sizes[:3], text.name)
    axes, warnings = _axes(text, sizes)
    stored_type = _stored_type(text)
    stored = _stored(path, text, math.prod(sizes) * stored_type.itemsize)
    return ImageHeader(grid_of(axes, sizes[:3], text.name), stored, stored_type, warnings=warnings)


def _read_text(path: Path) -> _Text:
    """``Key = Value`` lines up to the one that says where the voxels are."""
    require_regular(path)
    name = shown_name(path)
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while _LAST_FIELD not in fields:
            line = file.readline(_MAX_HEADER_BYTES)
            if not line or file.tell() > _MAX_HEADER_BYTES:
                raise UnreadableFileError(
                    f"{name} is no MetaImage file, or its header is cut off; export it again"
                )
            if not line.strip():
                continue
            # As names on disk: what is not UTF-8 names a file all the same.
            key, separator, value = (part.strip() for part in os.fsdecode(line).partition("="))
            if not separator:
                raise UnreadableFileError(
                    f"{name} is no MetaImage file, or its header is damaged; export it again"
                )
            if fields.setdefault(key, value) != value:
                raise InvalidGeometryError(f"{name} states {key} twice and differently; export it again")
        return _Text(name, fields, file.tell())


def _field(text: _Text, key: str) -> str:
    if key not in text.fields:
        raise UnreadableFileError(f"{text.name} has no {key}, which every MetaImage has; export it again")
    return text.fields[key]


def _axes(text: _Text, sizes: list[int]) -> tuple[StatedAxes, tuple[InputWarning, ...]]:
    """Voxel size, directions and place; only the last two may be left open, with a warning."""
    _require_millimeters(text)
    count = len(sizes)
    if "ElementSpacing" not in text.fields:
        raise InvalidGeometryError(
            f"{text.name} states no voxel size (ElementSpacing); export it again with it"
        )
    spacing = numbers(text.fields["ElementSpacing"].split(), count, "ElementSpacing", text.name)[:3]
    require_spacing(spacing, "ElementSpacing", text.name)
    if "ElementSize" in text.fields:
        size = numbers(text.fields["ElementSize"].split(), count, "ElementSize", text.name)[:3]
        require_same_spacing(spacing, size, ("ElementSpacing", "ElementSize"), (sizes[:3], text.name))
    missing = []
    directions: Float64Array = np.eye(3)
    if (matrix := text.one_of(_MATRIX_NAMES)) is None:
        missing.append("no TransformMatrix")
    else:
        directions = _directions(matrix[1], count, matrix[0], text.name)
        _require_same_anatomy(directions, text)
    place = [0.0, 0.0, 0.0]
    if (origin := text.one_of(_ORIGIN_NAMES)) is None:
        missing.append("no Offset")
    else:
        place = numbers(origin[1].split(), count, origin[0], text.name)[:3]
    warnings = (orientation_not_stated(text.name, missing),) if missing else ()
    source = matrix[0] if matrix else "ElementSpacing"
    return StatedAxes(source, directions * np.array(spacing)[:, np.newaxis], np.array(place)), warnings


def _directions(written: str, count: int, source: str, name: str) -> Float64Array:
    matrix = np.array(numbers(written.split(), count * count, source, name)).reshape(count, count)
    if count > 3 and (matrix[:3, 3:].any() or matrix[3:, :3].any()):
        raise InvalidGeometryError(
            f"{source} of {name} mixes space with a further axis; send a single volume"
        )
    directions = matrix[:3, :3]
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > STATEMENT_TOLERANCE:
        raise InvalidGeometryError(
            f"{source} of {name} scales its axes by {lengths.min():.4g} to {lengths.max():.4g}, so that its voxel "
            "size is stated twice and differently; export it again"
        )
    # Unit vectors exactly, so that the voxel size is the stated one; what is exact already stays as it is.
    return np.asarray(
        np.where((lengths == 1)[:, np.newaxis], directions, directions / lengths[:, np.newaxis])
    )


def _require_same_anatomy(directions: Float64Array, text: _Text) -> None:
    """Compare ``AnatomicalOrientation`` with the matrix.

    MetaIO's documentation names the directions in which the axes run, ITK writes those that they come from; either
    reading may agree.
    """
    letters = text.fields.get("AnatomicalOrientation", "").upper()[:3]
    if not letters or set(letters) == {"?"}:
        return
    if len(letters) != 3 or not set(letters) <= set(_TOWARDS_LPS):
        raise InvalidGeometryError(
            f"AnatomicalOrientation of {text.name} is {letters}, which names no directions; export it again"
        )
    towards = [_TOWARDS_LPS[letter] for letter in letters]
    cosines = [sign * step[axis] for step, (axis, sign) in zip(directions, towards, strict=True)]
    if min(cosines) < _CONTRADICTS_BELOW and max(cosines) > -_CONTRADICTS_BELOW:
        raise InvalidGeometryError(
            f"{text.name} states its orientation twice and differently: AnatomicalOrientation {letters} does not fit "
            "its TransformMatrix; export it again"
        )


def _require_millimeters(text: _Text) -> None:
    units = text.fields.get("DistanceUnits", "mm")
    if units not in {"mm", "?"}:
        raise InvalidGeometryError(
            f"{text.name} states its lengths in {units} (DistanceUnits), which programs read differently; "
            "export it in mm"
        )


def _stored_type(text: _Text) -> np.dtype[Any]:
    written = _field(text, "ElementType")
    if written not in _STORED_TYPES:
        raise InvalidGeometryError(
            f"{text.name} has voxels of type {written}, not of one number; export a CT or a mask"
        )
    scale = [text.fields.get(f"ElementToIntensityFunction{part}") for part in ("Slope", "Offset")]
    for value, neutral, part in zip(scale, (1.0, 0.0), ("Slope", "Offset"), strict=True):
        key = f"ElementToIntensityFunction{part}"
        if value is not None and numbers(value.split(), 1, key, text.name) != [neutral]:
            raise UnreadableFileError(
                f"{text.name} asks for {key} {value}, which programs read differently; export it in Hounsfield units"
            )
    order = text.one_of(_BYTE_ORDER_NAMES)
    is_big = text.is_true(order[0], default=False) if order else False
    return np.dtype((">" if is_big else "<") + _STORED_TYPES[written])


def _stored(path: Path, text: _Text, byte_count: int) -> StoredBytes:
    if not text.is_true("BinaryData", default=True):
        raise UnreadableFileError(
            f"{text.name} keeps its voxels as text, in which damage does not show; export it as binary"
        )
    is_compressed = text.is_true("CompressedData", default=False)
    skipped = whole_numbers([text.fields.get("HeaderSize", "0")], "HeaderSize", text.name)[0]
    where = text.fields[_LAST_FIELD]
    if where.startswith("LIST") or "%" in where or not where:
        raise UnreadableFileError(f"{text.name} keeps its voxels in several files; save it as one .mha")
    if skipped < 0 or (skipped and is_compressed):
        raise UnreadableFileError(
            f"{text.name} has a HeaderSize of {skipped}, with which the length of its voxels cannot be checked; "
            "save it as one .mha"
        )
    is_local = where.upper() == "LOCAL"
    stated = text.fields.get("CompressedDataSize") if is_compressed else None
    return StoredBytes(
        path if is_local else path.parent / where,
        Compression.ZLIB if is_compressed else Compression.NONE,
        byte_count,
        start=text.byte_count if is_local else skipped,
        stored_count=whole_numbers([stated], "CompressedDataSize", text.name)[0] if stated else None,
    )
