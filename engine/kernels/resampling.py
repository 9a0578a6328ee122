"""Resampling of a volume through an affine index map and a displacement, in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.arguments import MAX_VOXELS, Index3, require_affine, require_volume
from engine.kernels.backend import KernelBackend, select

_DTYPES_BY_ORDER = {
    0: (np.float32, np.int16, np.uint8, np.bool_),
    1: (np.float32, np.int16),
    3: (np.float32, np.int16),
}


class _ResamplingTwin(Protocol):
    """What every backend's ``resampling`` module offers."""

    def resample(
        self,
        voxels: npt.NDArray[Any],
        index_map: Float64Array,
        shape: Index3,
        displacement: Float32Array | None,
        displacement_map: Float64Array,
        order: int,
        fill: float,
    ) -> npt.NDArray[Any]: ...


def resample(
    voxels: npt.NDArray[Any],
    index_map: npt.ArrayLike,
    output_shape_zyx: Sequence[int],
    *,
    displacement: Float32Array | None = None,
    displacement_map: npt.ArrayLike | None = None,
    order: int = 1,
    fill: float = 0,
    kernels: KernelBackend = KernelBackend.CPU,
) -> npt.NDArray[Any]:
    """Sample a volume at mapped positions: ``input index = index_map(o) + displacement(o)``.

    Parameters
    ----------
    voxels : ndarray of float32, int16, uint8 or bool, (z, y, x)
        Not changed; uint8 and bool (labels and masks) only with order 0.
    index_map : array_like, (3, 4) or (4, 4)
        Affine from output (z, y, x) index to input (z, y, x) index.
    output_shape_zyx : sequence of int
    displacement : ndarray of float32, (z, y, x, 3), optional
        Added to the mapped index, in input voxels along (z, y, x). Sampled linearly at
        ``displacement_map(o)``; beyond its outermost samples the nearest holds.
    displacement_map : array_like, (3, 4) or (4, 4), optional
        Affine from output index to index in ``displacement``; required with it.
    order : {0, 1, 3}
        Nearest voxel (a tie goes to the higher index), trilinear, or interpolating cubic
        B-spline (exact prefilter, mirrored about the outermost voxel centers).
    fill : number
        Value where the sample lies outside the outer faces of the voxels: an index below -0.5,
        or at or above n - 0.5. Between a face and its voxel's center, orders 0 and 1 hold the
        border voxel's value and order 3 mirrors.
    kernels : KernelBackend

    Returns
    -------
    ndarray of the type of ``voxels``, of ``output_shape_zyx``
        int16 is rounded half away from zero and saturates.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    Cubic B-spline: Unser, IEEE Signal Process. Mag. 16(6) (1999); Thevenaz et al., IEEE TMI 19 (2000).
    """
    if order not in _DTYPES_BY_ORDER:
        raise InvalidRequestError(f"interpolation order {order} must be 0 (nearest), 1 (linear) or 3 (cubic)")
    voxels = require_volume(voxels, f"voxels of order {order}", *_DTYPES_BY_ORDER[order])
    matrix = require_affine(index_map, "index_map")
    shape = _require_shape(output_shape_zyx)
    field, field_map = _require_displacement(displacement, displacement_map)
    _require_fill(fill, voxels.dtype)
    is_mask = voxels.dtype == np.bool_
    source = voxels.view(np.uint8) if is_mask else voxels
    twin: _ResamplingTwin = select(kernels, "resampling")
    out = twin.resample(source, matrix, shape, field, field_map, order, float(fill))
    return out.view(np.bool_) if is_mask else out


def _require_shape(shape_zyx: Sequence[int]) -> Index3:
    shape = tuple(int(n) for n in shape_zyx)
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise InvalidGeometryError(
            f"output shape {shape} must be three positive sizes of at most {MAX_VOXELS} voxels"
        )
    return shape


def _require_displacement(
    displacement: Float32Array | None, displacement_map: npt.ArrayLike | None
) -> tuple[Float32Array | None, Float64Array]:
    if (displacement is None) != (displacement_map is None):
        raise InvalidRequestError("displacement and displacement_map belong together; pass both or neither")
    if displacement is None or displacement_map is None:
        return None, np.eye(3, 4)
    if displacement.ndim != 4 or displacement.shape[3] != 3 or displacement.size == 0:
        raise InvalidGeometryError(f"displacement must be (z, y, x, 3), not {displacement.shape}")
    if displacement.dtype != np.float32 or not np.isfinite(displacement).all():
        raise InvalidRequestError(
            f"displacement must be finite float32 (is {displacement.dtype}); check the registration"
        )
    return np.ascontiguousarray(displacement), require_affine(displacement_map, "displacement_map")


def _require_fill(fill: float, dtype: np.dtype[Any]) -> None:
    """Refuse a fill that the type of the voxels cannot hold."""
    if dtype == np.float32:
        return
    low, high = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (math.isfinite(fill) and fill == int(fill) and low <= fill <= high):
        raise InvalidRequestError(
            f"fill {fill} is not a {dtype} value; choose an integer from {low} to {high}"
        )
