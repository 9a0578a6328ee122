"""CPU twin of :mod:`engine.kernels.pose_draws`: draws spread over the cores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.kernels.arguments import DoubleArray, FloatArray, IntArray
from engine.kernels.cpu import threads


def evaluate(
    field: FloatArray,
    points: DoubleArray,
    values: DoubleArray,
    surface: DoubleArray,
    maps: DoubleArray,
    value_limits: DoubleArray,
    field_limits: DoubleArray,
) -> tuple[IntArray, IntArray, DoubleArray]:
    """Evaluate every draw; points and field stay in cache while the draws change."""
    draws = len(maps)
    included = np.zeros(draws, dtype=np.int64)
    covered = np.zeros(draws, dtype=np.int64)
    greatest = np.empty(draws, dtype=np.float64)
    threads.over(
        draws,
        len(points) + len(surface),
        _evaluate,
        field, points, values, surface, maps, value_limits, field_limits, included, covered, greatest,
    )  # fmt: skip
    return included, covered, greatest


@njit(cache=True, nogil=True)
def _sample(field: Any, m: Any, z0: float, y0: float, x0: float) -> float:
    nz, ny, nx = field.shape
    z = min(max(m[0, 0] * z0 + m[0, 1] * y0 + m[0, 2] * x0 + m[0, 3], 0.0), nz - 1.0)
    y = min(max(m[1, 0] * z0 + m[1, 1] * y0 + m[1, 2] * x0 + m[1, 3], 0.0), ny - 1.0)
    x = min(max(m[2, 0] * z0 + m[2, 1] * y0 + m[2, 2] * x0 + m[2, 3], 0.0), nx - 1.0)
    k, j, i = int(z), int(y), int(x)
    fz, fy, fx = z - k, y - j, x - i
    k1, j1, i1 = min(k + 1, nz - 1), min(j + 1, ny - 1), min(i + 1, nx - 1)
    low = (field[k, j, i] * (1 - fx) + field[k, j, i1] * fx) * (1 - fy) + (
        field[k, j1, i] * (1 - fx) + field[k, j1, i1] * fx
    ) * fy
    high = (field[k1, j, i] * (1 - fx) + field[k1, j, i1] * fx) * (1 - fy) + (
        field[k1, j1, i] * (1 - fx) + field[k1, j1, i1] * fx
    ) * fy
    return float(low * (1 - fz) + high * fz)


@njit(cache=True, nogil=True)
def _evaluate(
    first: int,
    last: int,
    field: Any,
    points: Any,
    values: Any,
    surface: Any,
    maps: Any,
    value_limits: Any,
    field_limits: Any,
    included: Any,
    covered: Any,
    greatest: Any,
) -> None:
    for d in range(first, last):
        m = maps[d]
        inside = 0
        hit = 0
        for p in range(points.shape[0]):
            if values[p] < value_limits[d]:
                inside += 1
                if _sample(field, m, points[p, 0], points[p, 1], points[p, 2]) <= field_limits[d]:
                    hit += 1
        largest = -np.inf
        for p in range(surface.shape[0]):
            largest = max(largest, _sample(field, m, surface[p, 0], surface[p, 1], surface[p, 2]))
        included[d] = inside
        covered[d] = hit
        greatest[d] = largest
