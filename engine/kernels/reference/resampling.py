"""Definition of resampling: all coordinates at once, SciPy's interpolation at them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.kernels.arguments import Index3


def resample(
    voxels: npt.NDArray[Any],
    index_map: Float64Array,
    shape: Index3,
    displacement: Float32Array | None,
    displacement_map: Float64Array,
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Sample ``voxels``; order 3 mirrors at the border, the others hold the border voxel."""
    position = _mapped(index_map, shape)
    if displacement is not None:
        where = _mapped(displacement_map, shape)
        for axis in range(3):
            component = displacement[..., axis].astype(np.float64)
            position[axis] += ndimage.map_coordinates(component, list(where), order=1, mode="nearest")
    size = np.array(voxels.shape).reshape(3, 1, 1, 1)
    inside = ((position >= -0.5) & (position < size - 0.5)).all(axis=0)
    if order == 0:
        nearest = np.clip(np.floor(position + 0.5), 0, size - 1).astype(np.int64)
        labels: npt.NDArray[Any] = np.where(inside, voxels[tuple(nearest)], voxels.dtype.type(fill))
        return labels
    if order == 1:
        position = np.clip(position, 0, size - 1)
    interpolation: Literal[1, 3] = 3 if order == 3 else 1
    sampled = ndimage.map_coordinates(
        voxels.astype(np.float64), list(position), order=interpolation, mode="mirror"
    )
    return _cast(np.where(inside, sampled, fill), voxels.dtype)


def _mapped(matrix: Float64Array, shape: Index3) -> Float64Array:
    """Image of every output index, (3, z, y, x), summed in the order all backends use."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.stack([(row[0] * z + row[1] * y + row[3]) + row[2] * x for row in matrix])


def _cast(values: Float64Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round half away from zero and saturate where the type is an integer."""
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    rounded = np.trunc(values + np.copysign(0.5, values))
    return np.clip(rounded, limits.min, limits.max).astype(dtype)
