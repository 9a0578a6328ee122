"""Definition of the displacement search: one shifted volume per displacement, one sum over all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.kernels.arguments import BoolArray, FloatArray, IntArray, LabelArray


def costs(
    fixed: npt.NDArray[np.uint64],
    moving: npt.NDArray[np.uint64],
    weight: BoolArray,
    known: BoolArray,
    cell: int,
    radius: int,
    step: int,
    stride: int,
    unknown_bits: int,
    code_bits: int,
) -> FloatArray:
    """Differing bits over ``code_bits`` of every cell at every displacement."""
    reach, size = radius * step, 2 * radius + 1
    moving_around, known_around = np.pad(moving, reach), np.pad(known, reach)
    compared = np.zeros(fixed.shape, dtype=bool)
    compared[::stride, ::stride, ::stride] = weight[::stride, ::stride, ::stride]
    cells = tuple(-(-n // cell) for n in fixed.shape)
    found = np.empty((*cells, size, size, size), dtype=np.float32)
    for d in np.ndindex(size, size, size):
        box = tuple(slice(step * i, step * i + n) for i, n in zip(d, fixed.shape, strict=True))
        differing = np.bitwise_count(fixed ^ moving_around[box]).astype(np.int64)
        bits = np.where(known_around[box], differing, unknown_bits) * compared
        found[(..., *d)] = _sum_of_cells(bits, cell).astype(np.float32) / np.float32(code_bits)
    return found


def _sum_of_cells(values: IntArray, cell: int) -> IntArray:
    for axis in range(3):
        values = np.add.reduceat(values, range(0, values.shape[axis], cell), axis)
    return values


def cheapest(costs: FloatArray, penalties: FloatArray) -> tuple[LabelArray, int]:
    """Flat index of the first least cost plus penalties (cz, cy, cx, 3, L), and number of NaN costs."""
    z, y, x = np.moveaxis(penalties, 3, 0)
    away = (z[..., :, None, None] + y[..., None, :, None]) + x[..., None, None, :]
    total = (costs + away).reshape(*costs.shape[:3], -1)
    return np.argmin(total, axis=-1).astype(np.int32), int(np.isnan(costs).sum())
