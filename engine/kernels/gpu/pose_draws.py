"""GPU twin of :mod:`engine.kernels.pose_draws`: one block for each draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda

from engine.arrays import Float32Array, Float64Array, Int64Array
from engine.kernels.gpu.device import (
    LINE_BLOCK,
    begun_with,
    download,
    greater,
    is_simulated,
    lesser,
    stream,
    upload,
)


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
    """Evaluate every draw; a block's threads stride over the points and add up by atomics."""
    draws = len(maps)
    included, covered = (begun_with(np.zeros(draws, dtype=np.int64)) for _ in range(2))
    max_on_surface = begun_with(np.full(draws, -np.inf))
    block = 2 if is_simulated() else LINE_BLOCK
    tables = [
        upload(table)
        for table in (field, points, values, surface, maps, value_limits, field_limits, modes, weights)
    ]
    _evaluate[draws, block, stream()](*tables, included, covered, max_on_surface)
    inside, hit, largest = download(included, covered, max_on_surface)
    return inside, hit, largest


@cuda.jit(device=True)
def _sample(field: Any, m: Any, z0: float, y0: float, x0: float) -> float:
    nz, ny, nx = field.shape
    z = lesser(greater(m[0, 0] * z0 + m[0, 1] * y0 + m[0, 2] * x0 + m[0, 3], 0.0), nz - 1.0)
    y = lesser(greater(m[1, 0] * z0 + m[1, 1] * y0 + m[1, 2] * x0 + m[1, 3], 0.0), ny - 1.0)
    x = lesser(greater(m[2, 0] * z0 + m[2, 1] * y0 + m[2, 2] * x0 + m[2, 3], 0.0), nx - 1.0)
    k, j, i = int(z), int(y), int(x)
    fz, fy, fx = z - k, y - j, x - i
    k1, j1, i1 = lesser(k + 1, nz - 1), lesser(j + 1, ny - 1), lesser(i + 1, nx - 1)
    low = (field[k, j, i] * (1 - fx) + field[k, j, i1] * fx) * (1 - fy) + (
        field[k, j1, i] * (1 - fx) + field[k, j1, i1] * fx
    ) * fy
    high = (field[k1, j, i] * (1 - fx) + field[k1, j, i1] * fx) * (1 - fy) + (
        field[k1, j1, i] * (1 - fx) + field[k1, j1, i1] * fx
    ) * fy
    return low * (1 - fz) + high * fz  # type: ignore[no-any-return]  # float() would cost a call in the kernel


@cuda.jit
def _evaluate(
    field: Any,
    points: Any,
    values: Any,
    surface: Any,
    maps: Any,
    value_limits: Any,
    field_limits: Any,
    modes: Any,
    weights: Any,
    included: Any,
    covered: Any,
    max_on_surface: Any,
) -> None:
    d = cuda.blockIdx.x
    m = maps[d]
    inside = 0
    hit = 0
    largest = -np.inf
    for p in range(cuda.threadIdx.x, points.shape[0], cuda.blockDim.x):
        if values[p] < value_limits[d]:
            inside += 1
            if _sample(field, m, points[p, 0], points[p, 1], points[p, 2]) <= field_limits[d]:
                hit += 1
    for p in range(cuda.threadIdx.x, surface.shape[0], cuda.blockDim.x):
        offset = 0.0
        for k in range(modes.shape[1]):
            offset += modes[p, k] * weights[d, k]
        largest = greater(largest, _sample(field, m, surface[p, 0], surface[p, 1], surface[p, 2]) + offset)
    cuda.atomic.add(included, d, inside)
    cuda.atomic.add(covered, d, hit)
    cuda.atomic.max(max_on_surface, d, largest)
