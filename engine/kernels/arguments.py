"""Checks that the kernel facades make once, before any twin runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError

Vector3: TypeAlias = tuple[float, float, float]
Index3: TypeAlias = tuple[int, int, int]
Region: TypeAlias = tuple[slice, slice, slice]

MAX_VOXELS = 2**31 - 1
"""Labels and GPU counters are 32 bit."""


def require_volume(array: Any, name: str, *dtypes: type[np.generic]) -> npt.NDArray[Any]:
    """Return ``array`` C-contiguous if it is a non-empty 3D array of one of ``dtypes``.

    Raises
    ------
    InvalidGeometryError
        If it is not a 3D array, is empty, or has more than ``MAX_VOXELS`` voxels.
    InvalidRequestError
        If its type is not one of ``dtypes``.
    """
    if not isinstance(array, np.ndarray) or array.ndim != 3:
        shape = getattr(array, "shape", type(array).__name__)
        raise InvalidGeometryError(f"{name} must be a (z, y, x) array, not {shape}; pass one volume")
    if not 0 < array.size <= MAX_VOXELS:
        raise InvalidGeometryError(
            f"{name} of shape {array.shape} must have 1 to {MAX_VOXELS} voxels; crop it to its region"
        )
    if array.dtype not in [np.dtype(d) for d in dtypes]:
        allowed = " or ".join(np.dtype(d).name for d in dtypes)
        raise InvalidRequestError(f"{name} must be {allowed}, not {array.dtype}; convert it first")
    return np.ascontiguousarray(array)


def require_spacing(spacing_zyx_mm: Sequence[float]) -> Vector3:
    """Return three finite positive spacings in mm.

    Raises
    ------
    InvalidGeometryError
    """
    values = tuple(float(v) for v in spacing_zyx_mm)
    if len(values) != 3 or not all(math.isfinite(v) and v > 0 for v in values):
        raise InvalidGeometryError(
            f"spacing {values} mm must be three finite positive numbers; check the header"
        )
    return values


def require_bound(bound_mm: float | None) -> float:
    """Return the bound in mm, ``inf`` for none.

    Raises
    ------
    InvalidRequestError
    """
    if bound_mm is None:
        return math.inf
    if not bound_mm > 0:
        raise InvalidRequestError(f"distance bound {bound_mm} mm must be positive; leave it out for none")
    return float(bound_mm)


def require_region(region: Region | None, shape_zyx: Sequence[int]) -> tuple[Index3, Index3]:
    """Return start and stop (exclusive) of a region inside ``shape_zyx``, all of it for none.

    Raises
    ------
    InvalidRequestError
        If the region is empty, has a step, or leaves the volume.
    """
    slices = (slice(None),) * 3 if region is None else region
    if len(slices) != 3 or any(s.step not in (None, 1) for s in slices):
        raise InvalidRequestError(f"region {region} must be three slices without a step")
    starts = [0 if s.start is None else int(s.start) for s in slices]
    stops = [int(n) if s.stop is None else int(s.stop) for s, n in zip(slices, shape_zyx, strict=True)]
    if any(not 0 <= a < b <= n for a, b, n in zip(starts, stops, shape_zyx, strict=True)):
        raise InvalidRequestError(
            f"region {starts} to {stops} must be non-empty and lie in a volume of {tuple(shape_zyx)}"
        )
    return (starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2])


def require_affine(matrix: npt.ArrayLike, name: str) -> Float64Array:
    """Return a finite affine as (3, 4) float64 from a (3, 4) or homogeneous (4, 4) one.

    Raises
    ------
    InvalidGeometryError
    """
    m = np.array(matrix, dtype=np.float64)
    if m.shape not in ((3, 4), (4, 4)) or not np.isfinite(m).all():
        raise InvalidGeometryError(f"{name} must be a finite 3x4 or 4x4 affine, not shape {m.shape}")
    if m.shape == (4, 4) and not np.array_equal(m[3], (0.0, 0.0, 0.0, 1.0)):
        raise InvalidGeometryError(f"{name} is projective (last row {m[3]}), it must be affine")
    return np.ascontiguousarray(m[:3])


def node_shape(shape_zyx: Index3, cell: float) -> Index3:
    """Size of a node lattice with ``cell`` voxels between nodes that spans a grid; node 0 is voxel 0."""
    nz, ny, nx = (int((n - 1) / cell) + 2 for n in shape_zyx)
    return nz, ny, nx
