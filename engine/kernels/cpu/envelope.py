"""Lower envelopes of parabolas along one axis, for many columns at once.

One pass of a separable squared-distance transform:
``g[i] = min over j of f[j] + ((i + shift - j) * step)**2`` for every column. Columns are taken in
blocks of neighbors along x. A block first searches outward from each row, all its columns in
step (this vectorizes, and ends as soon as no farther row can matter); a block for which that gets
long is done column by column with a stack of parabolas, linear in its length.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from engine.arrays import Float32Array, Float64Array, UInt8Array

BLOCK = 64
"""Columns in a block: 256 bytes of each row, and 512 rows still fit a core's cache."""

_SEARCH_STEPS = 8
"""Mean steps of outward search per row after which the stack of parabolas is cheaper."""

_SHORT_BOUND_STEPS = 16
"""Rows within which a bound ends every search: then no stack of parabolas is cheaper."""


@njit(nogil=True, cache=True)
def lower_envelope(
    src: Float32Array,
    src_row: int,
    dst: Float32Array,
    dst_row: int,
    shift: int,
    step: float,
    limit: float,
    root_bound: float,
) -> None:
    """Pass along axis 0 of ``src[:, src_row]`` into ``dst[:, dst_row]``, which may share memory.

    Values at or above ``limit`` count as no source. With ``root_bound`` >= 0 the result is stored
    as a distance, infinite beyond that bound.
    """
    n_in, n_out, columns = src.shape[0], dst.shape[0], src.shape[2]
    blocks = (columns + BLOCK - 1) // BLOCK
    width = ((columns + blocks - 1) // blocks + 7) // 8 * 8
    f = np.empty((n_in, width), dtype=np.float32)
    g = np.empty((n_out, width), dtype=np.float32)
    is_empty, column_min = np.empty(width, dtype=np.uint8), np.empty(width, dtype=np.float32)
    for first in range(0, columns, width):
        used = min(width, columns - first)
        low, high = _load(src, src_row, first, used, f, is_empty, column_min, np.float32(limit))
        if high <= low:
            g[:, :] = limit
        else:
            done = _search_outward(f, column_min, low, high, g, shift, step, np.float32(limit))
            if not done:
                _stack_of_parabolas(f, low, high, g, shift, step, limit, is_empty, used)
        _store(g, dst, dst_row, first, used, is_empty, np.float32(limit), np.float32(root_bound))


@njit(nogil=True, cache=True)
def _load(
    src: Float32Array,
    row: int,
    first: int,
    used: int,
    f: Float32Array,
    is_empty: UInt8Array,
    column_min: Float32Array,
    limit: np.float32,
) -> tuple[int, int]:
    """Copy a block, find the rows that hold a source and each column's minimum, and zero columns without a source."""
    n_in = f.shape[0]
    low, high = n_in, 0
    column_min[:] = 0.0
    column_min[:used] = limit
    for j in range(n_in):
        has_source = np.uint8(0)
        to, source = f[j], src[j, row, first : first + used]
        for x in range(used):
            value = source[x]
            to[x] = value
            has_source |= np.uint8(value < limit)
            column_min[x] = value if value < column_min[x] else column_min[x]  # vectorizes, as min() does not
        to[used:] = 0.0
        if has_source:
            low = min(low, j)
            high = j + 1
    is_empty[:] = 1
    for x in range(used):
        is_empty[x] = column_min[x] >= limit
        if is_empty[x]:  # a column without a source must not keep the search going
            column_min[x] = 0.0
            for j in range(n_in):
                f[j, x] = 0.0
    return low, high


@njit(nogil=True, cache=True, error_model="numpy")
def _search_outward(
    f: Float32Array,
    column_min: Float32Array,
    low: int,
    high: int,
    g: Float32Array,
    shift: int,
    step: float,
    limit: np.float32,
) -> bool:
    """Fill ``g`` by searching outward from each row; False if that takes too long."""
    n_out, width = g.shape
    budget = _SEARCH_STEPS * n_out // 8  # give up early: at most an eighth of the work is wasted
    if math.sqrt(limit) <= _SHORT_BOUND_STEPS * step:
        budget = n_out * (_SHORT_BOUND_STEPS + 2)
    for i in range(n_out):
        budget += _SEARCH_STEPS
        center = i + shift
        row = g[i]
        for x in range(width):
            row[x] = limit
        d = max(0, low - center, center - high + 1)
        last = max(center - low, high - 1 - center)
        while d <= last:
            square = np.float32((d * step) ** 2)
            if d & 1 == 0 and not _can_improve(row, column_min, square):
                break
            before, after = center - d, center + d
            if before < low:
                before = after
            elif after >= high:
                after = before
            low_row, high_row = f[before], f[after]
            for x in range(width):  # comparisons that vectorize, as min() does not
                value = (low_row[x] if low_row[x] < high_row[x] else high_row[x]) + square
                row[x] = value if value < row[x] else row[x]
            budget -= 1
            d += 1
        if budget < 0:
            return False
    return True


@njit(nogil=True, cache=True, inline="always")
def _can_improve(row: Float32Array, column_min: Float32Array, square: np.float32) -> bool:
    """Whether a row at squared distance ``square`` may still lower some column."""
    farther = np.int32(0)
    for x in range(row.size):
        farther |= np.int32(row[x] > column_min[x] + square)
    return bool(farther)


@njit(nogil=True, cache=True)
def _stack_of_parabolas(
    f: Float32Array,
    low: int,
    high: int,
    g: Float32Array,
    shift: int,
    step: float,
    limit: float,
    is_empty: UInt8Array,
    used: int,
) -> None:
    """Fill ``g`` column by column: Felzenszwalb and Huttenlocher with Maurer's division-free test."""
    position = np.empty(high - low, dtype=np.float64)
    height = np.empty(high - low, dtype=np.float64)
    for x in range(used):
        if is_empty[x]:
            continue
        top = _build_stack(f, x, low, high, step, limit, position, height)
        k = 0
        for i in range(g.shape[0]):
            here = (i + shift) * step
            value = height[k] + (here - position[k]) ** 2
            while k < top:
                following = height[k + 1] + (here - position[k + 1]) ** 2
                if following > value:
                    break
                value = following
                k += 1
            g[i, x] = min(value, limit)


@njit(nogil=True, cache=True)
def _build_stack(
    f: Float32Array,
    x: int,
    low: int,
    high: int,
    step: float,
    limit: float,
    position: Float64Array,
    height: Float64Array,
) -> int:
    """Keep the parabolas that are lowest somewhere; return the index of the last."""
    top = -1
    for j in range(low, high):
        value = np.float64(f[j, x])
        if value >= limit:
            continue
        here = j * step
        while top >= 1:
            a = position[top] - position[top - 1]
            b = here - position[top]
            if (a + b) * height[top] - b * height[top - 1] - a * value <= a * b * (a + b):
                break
            top -= 1
        top += 1
        position[top], height[top] = here, value
    return top


@njit(nogil=True, cache=True)
def _store(
    g: Float32Array,
    dst: Float32Array,
    row: int,
    first: int,
    used: int,
    is_empty: UInt8Array,
    limit: np.float32,
    root_bound: np.float32,
) -> None:
    for i in range(g.shape[0]):
        for x in range(used):
            value = limit if is_empty[x] else g[i, x]
            if root_bound >= 0:
                value = np.float32(math.sqrt(value))
                value = np.float32(np.inf) if value > root_bound else value
            dst[i, row, first + x] = value
