"""Definition of :mod:`engine.kernels.pose_draws`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.kernels.arguments import DoubleArray, FloatArray, IntArray


def evaluate(
    field: FloatArray,
    points: DoubleArray,
    values: DoubleArray,
    surface: DoubleArray,
    maps: DoubleArray,
    value_limits: DoubleArray,
    field_limits: DoubleArray,
) -> tuple[IntArray, IntArray, DoubleArray]:
    """Sample by SciPy, one draw after the other."""
    included = np.zeros(len(maps), dtype=np.int64)
    covered = np.zeros(len(maps), dtype=np.int64)
    greatest = np.empty(len(maps), dtype=np.float64)
    for d, matrix in enumerate(maps):
        chosen = values < value_limits[d]
        included[d] = np.count_nonzero(chosen)
        covered[d] = np.count_nonzero(_sample(field, points[chosen], matrix) <= field_limits[d])
        greatest[d] = _sample(field, surface, matrix).max()
    return included, covered, greatest


def _sample(field: FloatArray, index: DoubleArray, matrix: DoubleArray) -> npt.NDArray[np.float64]:
    drawn = index @ matrix[:, :3].T + matrix[:, 3]
    return np.asarray(ndimage.map_coordinates(field.astype(np.float64), drawn.T, order=1, mode="nearest"))
