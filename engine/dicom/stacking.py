"""From the planes of single slices to the grid of a volume, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.arrays import Float64Array
from engine.errors import (
    DuplicateSlicePositionError,
    GantryTiltError,
    InvalidGeometryError,
    MissingSliceError,
    NonUniformSpacingError,
)
from engine.geometry import DIRECTION_TOLERANCE, Vector3, VolumeGeometry

_SAME_POSITION_MM = 0.01
"""Slices closer than this are at one position: a hundredth of the thinnest CT slice distance."""

_POSITION_TOLERANCE_MM = 0.1
"""Slices may be this far (or a tenth of their distance) from a regular grid: headers round to 0.1 mm."""

_NEGLIGIBLE_DRIFT_MM = 0.05
"""In-plane drift across the stack that is header rounding and leaves the slice normal as the axis."""

_TILT_TOLERANCE_DEGREES = math.degrees(DIRECTION_TOLERANCE)
MAX_VOXELS = 2**30
_NAMED_PLACES = 3


@dataclass(frozen=True)
class SlicePlane:
    """Where one slice lies (PS3.3 C.7.6.2).

    Parameters
    ----------
    name : str
        The file or frame, for messages.
    position_lps_mm : tuple of float
        Center of the first pixel, mm.
    orientation : tuple of six floats
        LPS direction of increasing column index, then of increasing row index.
    spacing_yx_mm : tuple of two floats
        Distance between rows, then between columns, mm.
    shape_yx : tuple of two ints
    """

    name: str
    position_lps_mm: Vector3
    orientation: tuple[float, ...]
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]


def slice_axes(orientation: Sequence[float], where: str) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Orthonormal (normal, column, row) directions in LPS, rounding of the header removed.

    Raises
    ------
    InvalidGeometryError
        If the two directions are not orthogonal unit vectors.
    """
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if max(abs(length - 1) for length in lengths) > 10 * DIRECTION_TOLERANCE:
        raise InvalidGeometryError(
            f"ImageOrientationPatient of {where} is not a pair of unit vectors; export it again"
        )
    along_row = along_row / lengths[0]
    if abs(along_row @ along_column) > DIRECTION_TOLERANCE:
        raise InvalidGeometryError(f"rows and columns of {where} are not orthogonal; export it again")
    along_column = along_column - (along_column @ along_row) * along_row
    along_column = along_column / np.linalg.norm(along_column)
    return np.cross(along_row, along_column), along_column, along_row


def stack(planes: Sequence[SlicePlane], frame_of_reference_uid: str = "") -> tuple[list[int], VolumeGeometry]:
    """Order slices along their normal and derive the grid from their positions.

    The spacing between slices comes from the positions, never from a thickness. All planes are
    taken to share orientation, spacing and shape with the first.

    Parameters
    ----------
    planes : sequence of SlicePlane
    frame_of_reference_uid : str

    Returns
    -------
    order : list of int
        Index into ``planes`` of each slice of the volume.
    geometry : VolumeGeometry

    Raises
    ------
    InvalidGeometryError, DuplicateSlicePositionError, MissingSliceError, NonUniformSpacingError,
    GantryTiltError
    """
    first = planes[0]
    if len(planes) < 2:
        raise InvalidGeometryError(
            f"{first.name} is the only slice; a volume needs at least two, send the whole series"
        )
    normal, along_column, along_row = slice_axes(first.orientation, first.name)
    _require_size(first, len(planes))
    positions = np.array([p.position_lps_mm for p in planes], dtype=np.float64)
    along_normal = positions @ normal
    order = [int(i) for i in np.argsort(along_normal, kind="stable")]
    names, sorted_mm = [planes[i].name for i in order], along_normal[order]
    _require_distinct(sorted_mm, names)
    tilt_degrees, axis = _stack_axis(positions[order], normal)
    _require_uniform(sorted_mm, names, tilt_degrees)
    _require_upright(positions[order], names, normal, tilt_degrees)
    span = positions[order[-1]] - positions[order[0]]
    geometry = VolumeGeometry(
        shape_zyx=(len(planes), *first.shape_yx),
        spacing_zyx_mm=(round(float(span @ axis) / (len(planes) - 1), 9), *first.spacing_yx_mm),
        directions_zyx_lps=(_vector(axis), _vector(along_column), _vector(along_row)),
        origin_lps_mm=_vector(positions[order[0]]),
        frame_of_reference_uid=frame_of_reference_uid,
    )
    return order, geometry


def _require_size(first: SlicePlane, count: int) -> None:
    if min(first.spacing_yx_mm) <= 0:
        raise InvalidGeometryError(
            f"PixelSpacing of {first.name} is {first.spacing_yx_mm} mm; it must be positive"
        )
    rows, columns = first.shape_yx
    if count * rows * columns > MAX_VOXELS:
        raise InvalidGeometryError(
            f"{count} slices of {rows} × {columns} pixels exceed {MAX_VOXELS} voxels; send a smaller series"
        )


def _require_distinct(sorted_mm: Float64Array, names: list[str]) -> None:
    same = np.flatnonzero(np.diff(sorted_mm) < _SAME_POSITION_MM)
    if same.size:
        places = _places(f"{names[i]} and {names[i + 1]} at {sorted_mm[i]:.2f} mm" for i in same)
        raise DuplicateSlicePositionError(
            f"{same.size} of {len(names)} slices share the position of another: {places}; "
            "send one phase or reconstruction only, and no copies of files"
        )


def _stack_axis(positions: Float64Array, normal: Float64Array) -> tuple[float, Float64Array]:
    """Degrees between the stack and its slice normal, and the direction to use as slice axis."""
    span = positions[-1] - positions[0]
    drift_mm = float(np.linalg.norm(span - (span @ normal) * normal))
    tilt_degrees = math.degrees(math.atan2(drift_mm, float(span @ normal)))
    return tilt_degrees, normal if drift_mm <= _NEGLIGIBLE_DRIFT_MM else span / np.linalg.norm(span)


def _require_uniform(sorted_mm: Float64Array, names: list[str], tilt_degrees: float) -> None:
    """Compare every slice with its place on a regular grid."""
    gaps = np.diff(sorted_mm)
    regular = np.linspace(sorted_mm[0], sorted_mm[-1], len(names))
    typical = float(np.quantile(gaps, 0.5, method="lower"))
    if np.abs(sorted_mm - regular).max() <= min(_POSITION_TOLERANCE_MM, 0.1 * typical):
        return
    also = f"; it is also tilted by {tilt_degrees:.1f}°" if tilt_degrees > _TILT_TOLERANCE_DEGREES else ""
    steps = np.rint(gaps / typical)
    if steps.min() >= 1 and np.abs(gaps - steps * typical).max() <= 0.1 * typical and steps.max() > 1:
        places = _places(
            f"{int(steps[i]) - 1} between {names[i]} at {sorted_mm[i]:.2f} mm and "
            f"{names[i + 1]} at {sorted_mm[i + 1]:.2f} mm"
            for i in np.flatnonzero(steps > 1)
        )
        missing = int((steps - 1).sum())
        raise MissingSliceError(
            f"{missing} slice{'s' * (missing > 1)} missing from a series with one every {typical:.3g} mm: "
            f"{places}{also}; send the whole series"
        )
    low, high = int(gaps.argmin()), int(gaps.argmax())
    raise NonUniformSpacingError(
        f"slice distances run from {gaps[low]:.3g} mm (after {names[low]}) to {gaps[high]:.3g} mm "
        f"(after {names[high]}, at {sorted_mm[high]:.2f} mm){also}; send a reconstruction with one distance"
    )


def _require_upright(
    positions: Float64Array, names: list[str], normal: Float64Array, tilt_degrees: float
) -> None:
    if tilt_degrees > _TILT_TOLERANCE_DEGREES:
        raise GantryTiltError(
            f"the slices are stacked at {tilt_degrees:.1f}° to their normal (gantry tilt), {names[0]} to "
            f"{names[-1]}; send a reconstruction without tilt"
        )
    line = np.linspace(positions[0], positions[-1], len(positions))
    deviation_mm = np.linalg.norm((offset := positions - line) - np.outer(offset @ normal, normal), axis=1)
    farthest = int(deviation_mm.argmax())
    if deviation_mm[farthest] > _POSITION_TOLERANCE_MM:
        raise InvalidGeometryError(
            f"{names[farthest]} lies {deviation_mm[farthest]:.2f} mm beside the others; send one reconstruction"
        )


def _places(texts: Iterable[str]) -> str:
    """The first few places, and how many more there are."""
    every = list(texts)
    more = len(every) - _NAMED_PLACES
    return "; ".join(every[:_NAMED_PLACES]) + (f"; and {more} more" if more > 0 else "")


def _vector(values: Float64Array) -> Vector3:
    x, y, z = (float(v) + 0.0 for v in values)
    return x, y, z
