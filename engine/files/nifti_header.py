"""Headers of NIfTI-1 and NIfTI-2, in one file (``n+1``, ``n+2``) or beside their voxels (``ni1``, ``ni2``).

A NIfTI may state its grid three times: voxel sizes
in ``pixdim``, a rotation in the qform, an affine in the sform. All that it states have to agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, NotCtError, UnreadableFileError
from engine.files.file_names import require_regular, shown_name
from engine.files.image_header import UNSCALED, ImageHeader, ValueScale, orientation_not_stated
from engine.files.nifti_fields import NIFTI_HEADER_BYTES, nifti_fields, voxel_type
from engine.files.stated_grid import (
    StatedAxes,
    grid_of,
    require_axes,
    require_same_place,
    require_same_spacing,
    require_size,
    require_spacing,
)
from engine.files.stored_bytes import StoredBytes, leading_bytes
from engine.input_warning import InputWarning

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_PAIRED_SUFFIXES: Final = {".hdr": ".img", ".hdr.gz": ".img.gz", ".img": ".hdr", ".img.gz": ".hdr.gz"}

_LAST_CODE: Final = 5
"""``qform_code`` and ``sform_code`` run from 0 (not stated) to 5 (another template)."""

_MILLIMETERS: Final = frozenset({0, 2})
"""``xyzt_units``: unknown, which all writers of CT use for millimeters, and millimeters."""

_RAS_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])

_QUATERNION_ROUNDING: Final = 3e-7
"""What float32 and the nearest rotation of nifti1_io.c (1e-7) leave open of a quaternion's first component, squared."""


@dataclass(frozen=True)
class NiftiHeader:
    """A NIfTI header whose parts were checked one by one, and the file of its voxels.

    Parameters
    ----------
    name : str
        Of the file, for messages.
    shape : tuple of int
        Sizes along all axes that the header counts, the fastest first.
    fields : numpy.void
        The header as it is in the file.
    stored_type : numpy.dtype
    stored : StoredBytes
    """

    name: str
    shape: tuple[int, ...]
    fields: Any
    stored_type: np.dtype[Any]
    stored: StoredBytes

    @property
    def shape_xyz(self) -> tuple[int, ...]:
        """Sizes along the axes in space."""
        return self.shape[:3]

    @property
    def intent_code(self) -> int:
        """What the values are (nifti1.h, NIFTI_INTENT)."""
        return int(self.fields["intent_code"])


def read_nifti_image(path: Path) -> ImageHeader:
    """Read the header of a volume.

    Parameters
    ----------
    path : Path
        Any of ``NIFTI_SUFFIXES``; either file of a pair.

    Returns
    -------
    ImageHeader

    Raises
    ------
    UnreadableFileError
        If it is no NIfTI (Analyze 7.5 included, which has no orientation), or damaged.
    InvalidGeometryError, GantryTiltError
        If it is no volume of one real number a voxel, states no voxel size, or states its grid twice and differently.
    NotCtError
        If its scale gives no values.
    """
    header = read_nifti(path)
    if math.prod(header.shape) != math.prod(header.shape_xyz):
        raise InvalidGeometryError(
            f"{header.name} has {' × '.join(map(str, header.shape))} voxels, not one value in three dimensions; "
            "send a single volume"
        )
    axes, warnings = stated_axes(header)
    grid = grid_of(axes, header.shape_xyz, header.name)
    return ImageHeader(grid, header.stored, header.stored_type, _scale(header), warnings)


def read_nifti(path: Path) -> NiftiHeader:
    """Read a header of any number of dimensions, before what it says of place is looked at.

    Raises
    ------
    UnreadableFileError, InvalidGeometryError
        As for :func:`read_nifti_image`.
    """
    header_path, voxel_path = _pair(path)
    content, compression = leading_bytes(header_path, NIFTI_HEADER_BYTES)
    name, is_pair = shown_name(path), header_path != voxel_path
    fields, order = nifti_fields(content, name, is_pair=is_pair)
    shape = _shape(fields["dim"], name)
    stored_type = voxel_type(fields, order, name)
    if is_pair:
        compression = leading_bytes(voxel_path, 1)[1]
    stored = StoredBytes(
        voxel_path,
        compression,
        math.prod(shape) * stored_type.itemsize,
        leading=_offset(fields, name, is_pair=is_pair),
    )
    return NiftiHeader(name, shape, fields, stored_type, stored)


def stated_axes(header: NiftiHeader) -> tuple[StatedAxes, tuple[InputWarning, ...]]:
    """Where a header puts its voxels, once all that it states was found to agree.

    Raises
    ------
    InvalidGeometryError, GantryTiltError
    """
    fields, name, shape = header.fields, header.name, header.shape_xyz
    require_size(shape, name)
    _require_millimeters(int(fields["xyzt_units"]), name)
    spacing = [float(value) for value in fields["pixdim"][1:4]]
    require_spacing(spacing, "pixdim", name)
    sform = _sform(fields) if _is_stated(fields, "sform_code", name) else None
    qform = _qform(fields, spacing, name) if _is_stated(fields, "qform_code", name) else None
    for axes in (sform, qform):
        if axes is not None:
            require_axes(axes, name)
            require_same_spacing(spacing, axes.spacing_mm, ("pixdim", axes.source), (shape, name))
    if sform is not None and qform is not None:
        require_same_place(sform, qform, shape, name, _rotation_error(fields))
    chosen = sform or qform
    if chosen is None:
        # Place and side as ITK and its users take them, so that masks made of such a CT lie on it.
        as_stored = StatedAxes("pixdim", np.diag(spacing), np.zeros(3))
        return as_stored, (orientation_not_stated(name, ["qform_code and sform_code are 0"]),)
    # Both voxel sizes agree; pixdim has the one that was not computed.
    directions = chosen.steps_lps_mm / np.array(chosen.spacing_mm)[:, np.newaxis]
    steps = np.asarray(directions * np.array(spacing)[:, np.newaxis])
    return StatedAxes(chosen.source, steps, chosen.origin_lps_mm), ()


def _pair(path: Path) -> tuple[Path, Path]:
    """The files of the header and of the voxels; one and the same for ``.nii``."""
    lower = path.name.lower()
    suffix = next(
        s for s in sorted(_PAIRED_SUFFIXES | {".nii": "", ".nii.gz": ""}, key=len)[::-1] if lower.endswith(s)
    )
    if suffix not in _PAIRED_SUFFIXES:
        return path, path
    other = _PAIRED_SUFFIXES[suffix]
    stem, written = path.name[: -len(suffix)], path.name[-len(suffix) :]
    beside = path.with_name(stem + (other.upper() if written.isupper() else other))
    require_regular(path)
    if not beside.exists():
        raise UnreadableFileError(
            f"{shown_name(path)} is one of two files, and {shown_name(beside)} is not beside it; send both"
        )
    return (path, beside) if suffix.startswith(".hdr") else (beside, path)


def _shape(dim: Sequence[int], name: str) -> tuple[int, ...]:
    count = int(dim[0])
    sizes = tuple(int(size) for size in dim[1 : count + 1])
    if not 1 <= count <= 7 or min(sizes) < 1:
        raise InvalidGeometryError(
            f"{name} declares {' × '.join(str(int(size)) for size in dim[1:4])} voxels in {count} dimensions; "
            "export it again"
        )
    beyond = [int(size) for size in dim[count + 1 :]]
    if max(beyond, default=0) > 1:
        raise InvalidGeometryError(
            f"dim of {name} counts {count} dimensions and gives sizes for more ({beyond}); export it again"
        )
    require_size((*sizes, 1, 1)[:3], name)
    return sizes


def _offset(fields: Any, name: str, *, is_pair: bool) -> int:
    offset = float(fields["vox_offset"])
    least = 0 if is_pair else int(fields["sizeof_hdr"]) + 4
    if not (math.isfinite(offset) and offset.is_integer() and least <= offset < 2**31):
        raise UnreadableFileError(
            f"vox_offset of {name} is {offset:g}, where no voxels can be; export it again"
        )
    return int(offset)


def _scale(header: NiftiHeader) -> ValueScale:
    """``scl_slope`` 0 means: not scaled (nifti1.h); an intercept beside it would be lost without a word."""
    slope, intercept = float(header.fields["scl_slope"]), float(header.fields["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)) or (slope == 0 and intercept != 0):
        raise NotCtError(
            f"{header.name} scales its values by scl_slope {slope:g} and scl_inter {intercept:g}, which gives none; "
            "export it again"
        )
    return UNSCALED if slope == 0 else ValueScale(slope, intercept)


def _require_millimeters(units: int, name: str) -> None:
    if units & 7 not in _MILLIMETERS:
        words = {1: "meters", 3: "micrometers"}.get(units & 7, f"an unknown unit ({units & 7})")
        raise InvalidGeometryError(
            f"{name} states its lengths in {words} (xyzt_units), and programs differ in how they read that; "
            "export it in millimeters"
        )


def _is_stated(fields: Any, keyword: str, name: str) -> bool:
    code = int(fields[keyword])
    if not 0 <= code <= _LAST_CODE:
        raise InvalidGeometryError(f"{keyword} of {name} is {code}, which no NIfTI has; export it again")
    return code > 0


def _sform(fields: Any) -> StatedAxes:
    affine = fields["srow"].astype(np.float64)
    return StatedAxes("the sform", affine[:, :3].T * _RAS_TO_LPS, affine[:, 3] * _RAS_TO_LPS)


def _qform(fields: Any, spacing: Sequence[float], name: str) -> StatedAxes:
    """Rotation of a unit quaternion, then ``qfac`` on the third axis (nifti1.h, method 2)."""
    b, c, d = (float(value) for value in fields["quatern"])
    qfac = float(fields["pixdim"][0])
    squared = b * b + c * c + d * d
    if not math.isfinite(squared) or squared > 1 + 10 * _QUATERNION_ROUNDING:
        raise InvalidGeometryError(f"the quaternion of {name} is no rotation; export it again")
    if qfac not in {-1.0, 0.0, 1.0}:
        raise InvalidGeometryError(
            f"pixdim[0] of {name} is {qfac:g}, which does not say if its axes are right-handed (1) or not (-1); "
            "export it again"
        )
    a = math.sqrt(max(0.0, 1.0 - squared))
    length = math.sqrt(a * a + squared)
    a, b, c, d = a / length, b / length, c / length, d / length
    rotation: Float64Array = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    steps = rotation * np.array([spacing[0], spacing[1], spacing[2] * (-1.0 if qfac < 0 else 1.0)])
    return StatedAxes("the qform", steps.T * _RAS_TO_LPS, fields["qoffset"].astype(np.float64) * _RAS_TO_LPS)


def _rotation_error(fields: Any) -> float:
    """Angle, in radians, that the stored quaternion leaves open.

    Its first component is ``a = sqrt(1 - b² - c² - d²)``: near a half turn, where ``a`` is small, the rounding of the
    others moves it by much more than themselves, and so does a reader that takes a small ``a`` for zero.
    """
    b, c, d = (float(value) for value in fields["quatern"])
    a_squared = max(0.0, 1.0 - (b * b + c * c + d * d))
    a = math.sqrt(a_squared)
    low, high = (
        math.sqrt(max(0.0, a_squared - _QUATERNION_ROUNDING)),
        math.sqrt(a_squared + _QUATERNION_ROUNDING),
    )
    # A unit quaternion turned by an angle moves by half of it.
    return 2.0 * max(a - low, high - a)
