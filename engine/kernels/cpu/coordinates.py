"""Where the samples of one output row lie in the input, and which of them lie inside."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.arrays import Float32Array, Float64Array, Int64Array


@njit(nogil=True, cache=True)
def _span(base: float, step: float, low: float, high: float, first: int, last: int) -> tuple[int, int]:
    """Part of ``first..last`` (exclusive) where ``low <= base + step * x < high``; it is one run."""
    if step == 0.0:
        return (first, last) if low <= base < high else (first, first)
    a, b = (low - base) / step, (high - base) / step
    # widened at both ends; then the expression that is sampled decides, to the last bit
    first = max(first, min(last, int(max(min(a, b), -1e9)) - 2))
    last = min(last, max(first, int(min(max(a, b), 1e9)) + 3))
    while first < last and not low <= base + step * first < high:
        first += 1
    while first < last and not low <= base + step * (last - 1) < high:
        last -= 1
    return first, last


@njit(nogil=True, cache=True)
def span_inside(base: Float64Array, m: Float64Array, size: Int64Array, row: int) -> tuple[int, int]:
    """Output x range of an undisplaced row whose samples lie within the voxels' outer faces."""
    first, last = 0, row
    for axis in range(3):
        first, last = _span(base[axis], m[axis, 2], -0.5, size[axis] - 0.5, first, last)
    return first, last


@njit(nogil=True, cache=True)
def span_between_centers(
    base: Float64Array, m: Float64Array, size: Int64Array, first: int, last: int
) -> tuple[int, int]:
    """Part of the range whose samples have a voxel center on both sides along every axis."""
    for axis in range(3):
        first, last = _span(base[axis], m[axis, 2], 0.0, size[axis] - 1.0, first, last)
    return first, last


@njit(nogil=True, cache=True)
def row_start(m: Float64Array, z: int, y: int, base: Float64Array) -> None:
    """Image of the first voxel of an output row."""
    for axis in range(3):
        base[axis] = (m[axis, 0] * z + m[axis, 1] * y) + m[axis, 3]


@njit(nogil=True, cache=True)
def coordinates(
    m: Float64Array,
    z: int,
    y: int,
    field: Float32Array,
    fm: Float64Array,
    base: Float64Array,
    position: Float64Array,
) -> None:
    """Input index of every voxel of an output row, (3, x)."""
    row_start(m, z, y, base)
    for axis in range(3):
        for x in range(position.shape[1]):
            position[axis, x] = base[axis] + m[axis, 2] * x
    if field.size:
        row_start(fm, z, y, base)
        _add_displacement(field, fm, base, position)


@njit(nogil=True, cache=True)
def clamped(p: float, size: int) -> tuple[int, int, float]:
    """Lower and upper neighbor of a position held inside the centers, and the upper one's weight."""
    p = min(max(p, 0.0), size - 1.0)
    low = int(p)
    return low, min(low + 1, size - 1), p - low


@njit(nogil=True, cache=True)
def _add_displacement(
    field: Float32Array, fm: Float64Array, base: Float64Array, position: Float64Array
) -> None:
    width = field.shape[2]
    along_x = fm[0, 2] == 0.0 and fm[1, 2] == 0.0
    line = np.empty((width, 3), dtype=np.float64)
    if along_x:
        _blend_displacement(field, base[0], base[1], 0, width, line)
    for x in range(position.shape[1]):
        x0, x1, w = clamped(base[2] + fm[2, 2] * x, width)
        if not along_x:
            _blend_displacement(field, base[0] + fm[0, 2] * x, base[1] + fm[1, 2] * x, x0, x1 + 1, line)
        for axis in range(3):
            position[axis, x] += line[x0, axis] * (1.0 - w) + line[x1, axis] * w


@njit(nogil=True, cache=True)
def _blend_displacement(
    field: Float32Array, z: float, y: float, first: int, last: int, line: Float64Array
) -> None:
    """Displacements first..last along x of the field at a fractional (z, y)."""
    z0, z1, wz = clamped(z, field.shape[0])
    y0, y1, wy = clamped(y, field.shape[1])
    for x in range(first, last):
        for axis in range(3):
            low = field[z0, y0, x, axis] * (1.0 - wy) + field[z0, y1, x, axis] * wy
            high = field[z1, y0, x, axis] * (1.0 - wy) + field[z1, y1, x, axis] * wy
            line[x, axis] = low * (1.0 - wz) + high * wz


@njit(nogil=True, cache=True)
def is_inside(position: Float64Array, x: int, size: Int64Array) -> bool:
    """Whether a sample lies within the outer faces of the input's voxels."""
    return bool(
        -0.5 <= position[0, x] < size[0] - 0.5
        and -0.5 <= position[1, x] < size[1] - 0.5
        and -0.5 <= position[2, x] < size[2] - 0.5
    )


@njit(nogil=True, cache=True)
def _is_inside_zy(position: Float64Array, size: Int64Array) -> bool:
    """Whether a row along x of the input runs within its faces along z and y."""
    return bool(-0.5 <= position[0, 0] < size[0] - 0.5 and -0.5 <= position[1, 0] < size[1] - 0.5)
