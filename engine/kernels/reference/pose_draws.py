"""Definition of :mod:`engine.kernels.pose_draws`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array, Int64Array


def evaluate(
    field: Float32Array,
    points: Float64Array,
    values: Float64Array,
    surface: Float64Array,
    maps: Float64Array,
    value_limits: Float64Array,
    field_limits: Float64Array,
    modes: Float64Array,
    weights: Float64Array,
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Sample by SciPy, one draw after the other."""
    included = np.zeros(len(maps), dtype=np.int64)
    covered = np.zeros(len(maps), dtype=np.int64)
    max_on_surface = np.empty(len(maps), dtype=np.float64)
    for d, matrix in enumerate(maps):
        chosen = values < value_limits[d]
        included[d] = np.count_nonzero(chosen)
        covered[d] = np.count_nonzero(_sample(field, points[chosen], matrix) <= field_limits[d])
        max_on_surface[d] = (_sample(field, surface, matrix) + modes @ weights[d]).max()
    return included, covered, max_on_surface


def _sample(field: Float32Array, index: Float64Array, matrix: Float64Array) -> npt.NDArray[np.float64]:
    drawn = index @ matrix[:, :3].T + matrix[:, 3]
    return np.asarray(ndimage.map_coordinates(field.astype(np.float64), drawn.T, order=1, mode="nearest"))
