"""Headers of NRRD: ``.nrrd`` with its voxels, ``.nhdr`` beside them (teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, UnreadableFileError
from engine.files.file_names import require_regular, shown_name
from engine.files.image_header import ImageHeader, numbers, orientation_not_stated, whole_numbers
from engine.files.stated_grid import StatedAxes, grid_of, require_same_spacing, require_size, require_spacing
from engine.files.stored_bytes import Compression, StoredBytes
from engine.input_warning import InputWarning

_MAX_HEADER_BYTES: Final = 1 << 20

_STORED_TYPES: Final = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": (
        *("longlong", "long long", "long long int", "signed long long", "signed long long int"),
        *("int64", "int64_t"),
    ),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TYPE_OF_WORD: Final = {word: kind for kind, words in _STORED_TYPES.items() for word in words}

_COMPRESSIONS: Final = {
    "raw": Compression.NONE,
    "gz": Compression.GZIP,
    "gzip": Compression.GZIP,
    "bz2": Compression.BZIP2,
    "bzip2": Compression.BZIP2,
}

_LPS_OF_SPACE: Final = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Sign with which each coordinate of a named space goes into LPS."""

_SPACES_WITHOUT_SIDE: Final = frozenset({"scanner-xyz", "3d-right-handed"})
"""Right-handed spaces that do not say how the patient lies in them; ITK takes them for LPS."""

_VECTOR: Final = re.compile(r"none|\(([^()]*)\)", re.IGNORECASE)
_KINDS_IN_SPACE: Final = frozenset({"domain", "space", "none", "???"})
_QUOTED: Final = re.compile(r'"([^"]*)"')
_MILLIMETERS: Final = frozenset({"", "mm", "millimeter", "millimeters", "???"})
_ALIASES: Final = {
    "centers": "centerings",
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
}
_PLACED_WITHOUT_SPACE: Final = ("axis mins", "axis maxs", "axismins", "axismaxs")


@dataclass(frozen=True)
class _Text:
    """The fields of a header (names in lower case), and where it ends."""

    name: str
    fields: Mapping[str, str]
    byte_count: int

    def words(self, field: str) -> list[str]:
        """The words of a field that every NRRD has."""
        if field not in self.fields:
            raise UnreadableFileError(f"{self.name} has no {field!r}, which every NRRD has; export it again")
        return self.fields[field].split()

    def whole(self, field: str, default: str | None = None) -> int:
        """One whole number."""
        words = self.words(field) if default is None else self.fields.get(field, default).split()
        values = whole_numbers(words, field, self.name)
        if len(values) != 1:
            raise UnreadableFileError(f"{field} of {self.name} is not one number; export it again")
        return values[0]


def read_nrrd(path: Path) -> ImageHeader:
    """Read the header of a volume.

    Parameters
    ----------
    path : Path
        ``.nrrd`` or ``.nhdr``.

    Returns
    -------
    ImageHeader

    Raises
    ------
    UnreadableFileError
        If it is no NRRD, damaged, or stored in a way that cannot be checked (as text, in many files).
    InvalidGeometryError, GantryTiltError
        If it is no volume of one number a voxel, states no voxel size, or contradicts itself.
    """
    text = _read_text(path)
    sizes = whole_numbers(text.words("sizes"), "sizes", text.name)
    if text.whole("dimension") != len(sizes) or min(sizes, default=0) < 1:
        raise InvalidGeometryError(
            f"{text.name} gives {len(sizes)} sizes ({sizes}) for {text.whole('dimension')} dimensions; export it again"
        )
    _require_one_space(text)
    steps = _steps(text, len(sizes))
    in_space = _axes_in_space(sizes, steps, text)
    shape_xyz = [sizes[axis] for axis in in_space]
    require_size(shape_xyz, text.name)
    if steps is None:
        axes, warnings = _without_directions(text, shape_xyz)
    else:
        axes, warnings = _with_directions(text, [steps[axis] for axis in in_space], shape_xyz)
    stored_type = _stored_type(text)
    stored = _stored(path, text, math.prod(sizes) * stored_type.itemsize)
    return ImageHeader(grid_of(axes, shape_xyz, text.name), stored, stored_type, warnings=warnings)


def _read_text(path: Path) -> _Text:
    """``field: value`` lines up to the first empty one; key/value pairs and comments are none of them."""
    require_regular(path)
    name = shown_name(path)
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.readline(64).startswith(b"NRRD000"):
            raise UnreadableFileError(f"{name} is no NRRD file; export it again")
        while line := file.readline(_MAX_HEADER_BYTES).rstrip(b"\r\n"):
            if file.tell() > _MAX_HEADER_BYTES:
                raise UnreadableFileError(
                    f"{name} is no NRRD file, or its header is damaged; export it again"
                )
            written = os.fsdecode(line)
            field, separator, value = written.partition(": ")
            if written.startswith("#") or (":=" in written and (not separator or ":=" in field)):
                continue
            if not separator:
                raise UnreadableFileError(
                    f"{name} has a header line without a field; it is damaged, export it again"
                )
            key = _ALIASES.get(field.strip().lower(), field.strip().lower())
            if fields.setdefault(key, value.strip()) != value.strip():
                raise InvalidGeometryError(f"{name} states {key!r} twice and differently; export it again")
            if key == "data file" and value.strip().upper().startswith("LIST"):
                break
        return _Text(name, fields, file.tell())


def _require_one_space(text: _Text) -> None:
    """Refuse a space that is no patient's, and lengths that are no millimeters."""
    space = text.fields.get("space", "").lower()
    if space and space not in _LPS_OF_SPACE and space not in _SPACES_WITHOUT_SIDE:
        raise InvalidGeometryError(
            f"the space of {text.name} is {space}, which gives no place in the patient; export it in "
            "left-posterior-superior"
        )
    if text.whole("space dimension", "3") != 3:
        raise InvalidGeometryError(
            f"{text.name} lies in a space of other than 3 dimensions; send a single volume"
        )
    for field in ("space units", "units"):
        units = _QUOTED.findall(text.fields.get(field, ""))
        strange = [unit for unit in units if unit.strip().lower() not in _MILLIMETERS]
        if strange:
            raise InvalidGeometryError(
                f"{text.name} states its lengths in {', '.join(strange)} ({field}), which programs read differently; "
                "export it in mm"
            )
    for field in _PLACED_WITHOUT_SPACE:
        if not _is_open(text.fields.get(field, "").split()):
            raise InvalidGeometryError(
                f"{text.name} states its place by {field!r}, without directions; export it with a space origin"
            )


def _steps(text: _Text, dimension: int) -> list[Float64Array | None] | None:
    """The step along each axis in the header's space (None for an axis that is not in it); None where no field says."""
    if "space directions" not in text.fields:
        return None
    written = text.fields["space directions"]
    matches = list(_VECTOR.finditer(written))
    if len(matches) != dimension or _VECTOR.sub("", written).strip():
        raise InvalidGeometryError(
            f"space directions of {text.name} are {written[:80]}, not one for each of {dimension} axes; export it again"
        )
    vectors = [match.group(1) for match in matches]
    return [
        None
        if vector is None or _is_open(vector.split(","))
        else np.array(numbers(vector.split(","), 3, "a space direction", text.name))
        for vector in vectors
    ]


def _is_open(words: Sequence[str]) -> bool:
    """Whether a list of numbers is there in form alone: NRRD writes NaN for what is not known."""
    return all(word.strip().lower().lstrip("+-") == "nan" for word in words)


def _axes_in_space(
    sizes: Sequence[int], steps: Sequence[Float64Array | None] | None, text: _Text
) -> list[int]:
    """The three axes of the volume; others may be there with one entry, as lists of segments have."""
    if len(sizes) == 3:
        kinds = text.fields.get("kinds", "").lower().split()
        if not set(kinds) <= _KINDS_IN_SPACE:
            raise InvalidGeometryError(
                f"{text.name} has axes of kinds {kinds}, not three in space; send a volume"
            )
        if steps is not None and any(step is None for step in steps):
            raise InvalidGeometryError(
                f"{text.name} has an axis without direction and voxel size (space directions "
                f"{text.fields['space directions'][:80]}); export it again with all three"
            )
        return [0, 1, 2]
    in_space = [axis for axis, step in enumerate(steps or ()) if step is not None]
    others = [size for axis, size in enumerate(sizes) if axis not in in_space]
    if len(in_space) != 3 or set(others) != {1}:
        raise InvalidGeometryError(
            f"{text.name} has {' × '.join(map(str, sizes))} values, of which {len(in_space)} axes lie in space: not "
            "one value in three dimensions; send a single volume"
        )
    return in_space


def _with_directions(
    text: _Text, steps: Sequence[Float64Array | None], shape_xyz: Sequence[int]
) -> tuple[StatedAxes, tuple[InputWarning, ...]]:
    space = text.fields.get("space", "").lower()
    to_lps = np.array(_LPS_OF_SPACE.get(space, (1.0, 1.0, 1.0)))
    missing = [] if space in _LPS_OF_SPACE else [f"space is {space or 'not named'}"]
    origin = [0.0, 0.0, 0.0]
    written = text.fields.get("space origin", "")
    if _is_open(written.strip("()").split(",")) or not written:
        missing.append("no space origin")
    else:
        origin = numbers(written.strip().strip("()").split(","), 3, "space origin", text.name)
    axes = StatedAxes(
        "space directions",
        np.array([step for step in steps if step is not None]) * to_lps,
        np.array(origin) * to_lps,
    )
    if not _is_open(text.fields.get("spacings", "").split()):
        spacing = numbers(text.words("spacings"), len(shape_xyz), "spacings", text.name)
        sources = ("spacings", "space directions")
        require_same_spacing(spacing, axes.spacing_mm, sources, (shape_xyz, text.name))
    return axes, (orientation_not_stated(text.name, missing),) if missing else ()


def _without_directions(text: _Text, shape_xyz: Sequence[int]) -> tuple[StatedAxes, tuple[InputWarning, ...]]:
    """Voxel sizes alone: what is measured within the volume is right, where it lies is open."""
    if "spacings" not in text.fields:
        raise InvalidGeometryError(
            f"{text.name} states no voxel size (space directions or spacings); export it again with it"
        )
    spacing = numbers(text.words("spacings"), len(shape_xyz), "spacings", text.name)
    require_spacing(spacing, "spacings", text.name)
    warning = orientation_not_stated(text.name, ["no space directions"])
    return StatedAxes("spacings", np.diag(spacing), np.zeros(3)), (warning,)


def _stored_type(text: _Text) -> np.dtype[Any]:
    written = " ".join(text.words("type")).lower()
    if written not in _TYPE_OF_WORD:
        raise InvalidGeometryError(
            f"{text.name} has voxels of type {written}, not of one number; export a CT or a mask"
        )
    stored_type = np.dtype(_TYPE_OF_WORD[written])
    if stored_type.itemsize == 1:
        return stored_type
    endian = text.fields.get("endian", "").lower()
    if endian not in {"little", "big"}:
        raise UnreadableFileError(f"{text.name} does not state its byte order (endian); export it again")
    return stored_type.newbyteorder("<" if endian == "little" else ">")


def _stored(path: Path, text: _Text, byte_count: int) -> StoredBytes:
    encoding = " ".join(text.words("encoding")).lower()
    if encoding not in _COMPRESSIONS:
        raise UnreadableFileError(
            f"{text.name} keeps its voxels as {encoding}, in which damage does not show; save it as raw or gzip"
        )
    compression = _COMPRESSIONS[encoding]
    where = text.fields.get("data file")
    if where is not None and (where.upper().startswith("LIST") or "%" in where or not where):
        raise UnreadableFileError(f"{text.name} keeps its voxels in several files; save it as one .nrrd")
    skipped = text.whole("byte skip", "0")
    if text.whole("line skip", "0") != 0 or skipped < 0:
        raise UnreadableFileError(
            f"{text.name} skips lines, or counts from the end of its data file, so that the number of its voxels "
            "cannot be checked; save it as one .nrrd"
        )
    start = text.byte_count if where is None else 0
    return StoredBytes(
        path if where is None else path.parent / where, compression, byte_count, start=start, leading=skipped
    )
