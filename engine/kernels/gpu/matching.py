"""GPU twin of :mod:`engine.kernels.matching`: a thread per voxel, then a thread per node and sum.

Nodes gather from the voxels around them: no atomics, so a sum is the same in every run.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, float64

from engine.arrays import Float32Array, Float64Array, read_only
from engine.kernels.arguments import node_shape
from engine.kernels.gpu.device import (
    download,
    empty,
    greater,
    lesser,
    over_items,
    over_voxels,
    result,
    upload,
)

MOMENT_FACTORS = read_only(np.array([(0, 0), (0, 1), (0, 2), (1, 1), (2, 2), (1, 2)]))
"""Terms whose products are summed: known or not, fixed, warped."""

EQUATION_FACTORS = read_only(
    np.array([(0, 3), (0, 4), (0, 5), (1, 4), (1, 5), (2, 5), (0, 6), (1, 6), (2, 6)])
)
"""Terms: weighted gradient along z, y, x; gradient along z, y, x; difference."""


def local_moments(
    fixed: Float32Array, warped: Float32Array, evidence: npt.NDArray[np.bool_], cell: float
) -> Float64Array:
    """Sum both images around every node."""
    terms = empty((3, *fixed.shape), np.float64)
    _moment_terms[over_voxels(fixed.shape)](
        upload(fixed), upload(warped), upload(evidence.view(np.uint8)), terms
    )
    return _gathered(terms, MOMENT_FACTORS, cell)


def match_equations(
    fixed: Float32Array,
    warped: Float32Array,
    evidence: npt.NDArray[np.bool_],
    model: Float64Array,
    model_cell: float,
    cell: float,
    spacing_mm: float,
    outlier_ratio: float,
) -> tuple[Float64Array, Float64Array]:
    """Sum tensor and force around every node."""
    terms = empty((7, *fixed.shape), np.float64)
    _equation_terms[over_voxels(fixed.shape)](
        upload(fixed),
        upload(warped),
        upload(evidence.view(np.uint8)),
        upload(model),
        model_cell,
        0.25 / spacing_mm,
        outlier_ratio,
        terms,
    )
    sums = _gathered(terms, EQUATION_FACTORS, cell)
    return np.ascontiguousarray(sums[..., :6]), np.ascontiguousarray(sums[..., 6:])


def _gathered(terms: Any, factors: npt.NDArray[np.int64], cell: float) -> Float64Array:
    _, depth, height, width = terms.shape
    sums = result((*node_shape((depth, height, width), cell), len(factors)), np.float64)
    _gather[over_items(sums.size)](terms, upload(factors), cell, sums)
    return download(sums)[0]


@cuda.jit
def _moment_terms(fixed: Any, warped: Any, evidence: Any, terms: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= fixed.shape[2] or y >= fixed.shape[1] or z >= fixed.shape[0]:
        return
    f, w = float64(fixed[z, y, x]), float64(warped[z, y, x])
    known = evidence[z, y, x] != 0 and abs(f) + abs(w) < math.inf
    terms[0, z, y, x] = 1.0 if known else 0.0
    terms[1, z, y, x] = f if known else 0.0
    terms[2, z, y, x] = w if known else 0.0


@cuda.jit(device=True)
def _read_off(model: Any, c: Any, z: Any, y: Any, x: Any) -> Any:
    """One number of the model between its nodes."""
    k, j, i = int(z), int(y), int(x)
    value = 0.0
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                wz = z - k if dz else 1.0 - (z - k)
                wy = y - j if dy else 1.0 - (y - j)
                wx = x - i if dx else 1.0 - (x - i)
                value += wz * wy * wx * model[k + dz, j + dy, i + dx, c]
    return value


@cuda.jit
def _equation_terms(
    fixed: Any, warped: Any, evidence: Any, model: Any, model_cell: Any, slope: Any, ratio: Any, terms: Any
) -> None:
    x, y, z = cuda.grid(3)
    depth, height, width = fixed.shape
    if x >= width or y >= height or z >= depth:
        return
    for c in range(7):
        terms[c, z, y, x] = 0.0
    is_inner = 0 < z < depth - 1 and 0 < y < height - 1 and 0 < x < width - 1
    if not is_inner or evidence[z, y, x] == 0:
        return
    v, u, t = z / model_cell, y / model_cell, x / model_cell
    gain = _read_off(model, 2, v, u, t)
    gz = slope * (
        (fixed[z + 1, y, x] - fixed[z - 1, y, x]) + gain * (warped[z + 1, y, x] - warped[z - 1, y, x])
    )
    gy = slope * (
        (fixed[z, y + 1, x] - fixed[z, y - 1, x]) + gain * (warped[z, y + 1, x] - warped[z, y - 1, x])
    )
    gx = slope * (
        (fixed[z, y, x + 1] - fixed[z, y, x - 1]) + gain * (warped[z, y, x + 1] - warped[z, y, x - 1])
    )
    d = (fixed[z, y, x] - _read_off(model, 0, v, u, t)) - gain * (
        warped[z, y, x] - _read_off(model, 1, v, u, t)
    )
    weight = 1.0 / (_read_off(model, 3, v, u, t) + d * d / (ratio * ratio))
    if weight * (abs(gz) + abs(gy) + abs(gx)) + abs(d) < math.inf:  # all around is known
        terms[0, z, y, x], terms[1, z, y, x], terms[2, z, y, x] = weight * gz, weight * gy, weight * gx
        terms[3, z, y, x], terms[4, z, y, x], terms[5, z, y, x] = gz, gy, gx
        terms[6, z, y, x] = d


@cuda.jit
def _gather(terms: Any, factors: Any, cell: Any, sums: Any) -> None:
    item = cuda.grid(1)
    if item >= sums.size:
        return
    c, node = item % sums.shape[3], item // sums.shape[3]
    i, j, k = (
        node % sums.shape[2],
        node // sums.shape[2] % sums.shape[1],
        node // (sums.shape[2] * sums.shape[1]),
    )
    a, b = terms[factors[c, 0]], terms[factors[c, 1]]
    cell_range = int(cell) + 1
    z0, y0, x0 = int(k * cell), int(j * cell), int(i * cell)
    total = 0.0
    for z in range(greater(z0 - cell_range, 0), lesser(z0 + cell_range + 1, a.shape[0])):
        hz = 1.0 - abs(z / cell - k)
        if hz <= 0.0:
            continue
        for y in range(greater(y0 - cell_range, 0), lesser(y0 + cell_range + 1, a.shape[1])):
            hy = 1.0 - abs(y / cell - j)
            if hy <= 0.0:
                continue
            row = 0.0
            for x in range(greater(x0 - cell_range, 0), lesser(x0 + cell_range + 1, a.shape[2])):
                hx = 1.0 - abs(x / cell - i)
                if hx > 0.0:
                    row += hx * a[z, y, x] * b[z, y, x]
            total += hz * hy * row
    sums[k, j, i, c] = total
