"""The grid of an image as its header states it: what is not stated is not filled in, and two statements must agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import GantryTiltError, InvalidGeometryError
from engine.geometry import DIRECTION_TOLERANCE, Vector3, VolumeGeometry

STATEMENT_TOLERANCE: Final = 1e-3
"""Relative difference between two statements of one length that is rounding in headers."""

_STATEMENT_TOLERANCE_MM: Final = 0.1
"""How far two statements may place any voxel of a volume apart: a fifth of the finest CT voxel, DICOM's rounding."""

MAX_VOXELS: Final = 2**30

_AXIS_NAMES: Final = "xyz"


@dataclass(frozen=True)
class StatedAxes:
    """One statement of a header on where its voxels are.

    Parameters
    ----------
    source : str
        Which field of the header says so, for messages.
    steps_lps_mm : ndarray of float64, (3, 3)
        Row ``i`` is the step to the next voxel along the file's axis ``i`` (0 varies fastest), LPS mm.
    origin_lps_mm : ndarray of float64, (3,)
        Center of the first voxel.
    """

    source: str
    steps_lps_mm: Float64Array
    origin_lps_mm: Float64Array

    @property
    def spacing_mm(self) -> Vector3:
        """Length of each step; exact where a step has one component."""
        x, y, z = (math.hypot(*(float(v) for v in step)) for step in self.steps_lps_mm)
        return x, y, z

    def corners_lps_mm(self, shape_xyz: Sequence[int]) -> Float64Array:
        """The eight outermost voxel centers, (8, 3)."""
        last = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape_xyz) - 1)
        return np.asarray(last @ self.steps_lps_mm + self.origin_lps_mm)


def require_size(shape_xyz: Sequence[int], name: str) -> None:
    """Refuse an image that is not three-dimensional, or whose size no CT has.

    Raises
    ------
    InvalidGeometryError
    """
    if len(shape_xyz) != 3 or min(shape_xyz) < 1:
        raise InvalidGeometryError(
            f"{name} has {' × '.join(map(str, shape_xyz))} voxels, not one value in three dimensions; "
            "send a single volume"
        )
    if math.prod(shape_xyz) > MAX_VOXELS:
        raise InvalidGeometryError(f"{name} has more than {MAX_VOXELS} voxels; send a smaller volume")


def require_spacing(spacing_mm: Sequence[float], source: str, name: str) -> None:
    """Refuse a voxel size that is none.

    Raises
    ------
    InvalidGeometryError
        If one is zero, negative or not a finite number.
    """
    if not all(math.isfinite(value) and value > 0 for value in spacing_mm):
        raise InvalidGeometryError(
            f"{source} of {name} gives a voxel size of {_listed(spacing_mm)} mm; every one must be positive: "
            "export it again with its voxel size"
        )


def require_same_spacing(
    first_mm: Sequence[float],
    second_mm: Sequence[float],
    sources: tuple[str, str],
    grid: tuple[Sequence[int], str],
) -> None:
    """Refuse two voxel sizes in one header that differ.

    Parameters
    ----------
    first_mm, second_mm : sequence of three floats
    sources : tuple of two str
        Which fields say so.
    grid : tuple
        Shape along the file's axes, and the name of the file.

    Raises
    ------
    InvalidGeometryError
    """
    shape_xyz, name = grid
    for axis, first, second, size in zip(_AXIS_NAMES, first_mm, second_mm, shape_xyz, strict=True):
        difference = abs(first - second)
        over_volume_mm = difference * max(size - 1, 1)
        if difference > STATEMENT_TOLERANCE * max(first, second) or over_volume_mm > _STATEMENT_TOLERANCE_MM:
            raise InvalidGeometryError(
                f"{name} states its voxel size twice and differently: {first:.6g} mm along {axis} by {sources[0]}, "
                f"{second:.6g} mm by {sources[1]} ({over_volume_mm:.2g} mm over the volume); export it again"
            )


def require_same_place(
    first: StatedAxes, second: StatedAxes, shape_xyz: Sequence[int], name: str, rotation_error: float = 0.0
) -> None:
    """Refuse two statements in one header that place its voxels differently.

    Parameters
    ----------
    first, second : StatedAxes
    shape_xyz : sequence of three ints
    name : str
        Of the file, for messages.
    rotation_error : float
        Angle, in radians, that a statement's own form of storage leaves open.

    Raises
    ------
    InvalidGeometryError
    """
    require_same_spacing(
        first.spacing_mm, second.spacing_mm, (first.source, second.source), (shape_xyz, name)
    )
    corners = first.corners_lps_mm(shape_xyz)
    apart_mm = float(np.linalg.norm(corners - second.corners_lps_mm(shape_xyz), axis=1).max())
    open_mm = rotation_error * float(np.linalg.norm(corners - corners[0], axis=1).max())
    turned = float(np.linalg.norm(_directions(first) - _directions(second), axis=1).max())
    if apart_mm > _STATEMENT_TOLERANCE_MM + open_mm or turned > STATEMENT_TOLERANCE + rotation_error:
        raise InvalidGeometryError(
            f"{name} states its place twice and differently: {first.source} and {second.source} put voxels up to "
            f"{apart_mm:.3g} mm apart; export it again"
        )


def grid_of(axes: StatedAxes, shape_xyz: Sequence[int], name: str) -> VolumeGeometry:
    """The grid of a volume from one statement.

    Parameters
    ----------
    axes : StatedAxes
    shape_xyz : sequence of three ints
    name : str
        Of the file, for messages.

    Returns
    -------
    VolumeGeometry
        Array axes are the file's from slowest to fastest.

    Raises
    ------
    GantryTiltError
        If slices are not stacked along their normal.
    InvalidGeometryError
        If something is not finite, zero, or the axes are sheared otherwise.
    """
    require_size(shape_xyz, name)
    require_axes(axes, name)
    x, y, z = (_vector(direction) for direction in _directions(axes))
    dx, dy, dz = axes.spacing_mm
    nx, ny, nz = shape_xyz
    return VolumeGeometry((nz, ny, nx), (dz, dy, dx), (z, y, x), _vector(axes.origin_lps_mm))


def require_axes(axes: StatedAxes, name: str) -> None:
    """Refuse axes that span no grid, as :func:`grid_of` does."""
    if not (np.isfinite(axes.steps_lps_mm).all() and np.isfinite(axes.origin_lps_mm).all()):
        raise InvalidGeometryError(
            f"{axes.source} of {name} has numbers that are not finite; export it again with its place"
        )
    require_spacing(axes.spacing_mm, axes.source, name)
    directions = _directions(axes)
    cosines = np.abs(np.triu(directions @ directions.T, k=1))
    if cosines.max() <= DIRECTION_TOLERANCE:
        return
    if cosines[0, 1] <= DIRECTION_TOLERANCE:
        degrees = math.degrees(math.asin(min(1.0, math.hypot(cosines[0, 2], cosines[1, 2]))))
        raise GantryTiltError(
            f"the slices of {name} are stacked at {degrees:.1f}° to their normal (gantry tilt; {axes.source}); "
            "send a reconstruction without tilt"
        )
    raise InvalidGeometryError(
        f"the axes of {name} are not orthogonal (sheared; {axes.source}); resample to an orthogonal grid"
    )


def _directions(axes: StatedAxes) -> Float64Array:
    return np.asarray(axes.steps_lps_mm / np.array(axes.spacing_mm)[:, np.newaxis])


def _vector(values: Float64Array) -> Vector3:
    x, y, z = (float(v) + 0.0 for v in values)  # + 0.0: no negative zeros
    return x, y, z


def _listed(values: Sequence[float]) -> str:
    return " × ".join(f"{value:.6g}" for value in values)
