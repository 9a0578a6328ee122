"""Cubic resampling on the CPU where every axis of the output runs along that axis of the input.

The spline then is a product of three, and each axis is prefiltered and sampled by itself: y and x of
one slice after the other, then z of one row after the other. The coefficients of the whole never exist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Float32Array, Float64Array, Int64Array
from engine.kernels.arguments import Index3
from engine.kernels.cpu.spline import (
    COLUMNS,
    cubic_weights,
    filter_columns,
    load_columns,
    load_rows,
    mirrored,
)
from engine.kernels.cpu.threads import over


class _AxisSamples(NamedTuple):
    """Samples along one axis: the run of outputs inside, their four coefficients and weights."""

    first: int
    last: int
    taps: Int64Array
    weights: Float32Array


def is_separable(index_map: Float64Array) -> bool:
    """Whether a map scales and shifts every axis by itself."""
    return bool(np.count_nonzero(index_map[:, :3] - np.diag(index_map.diagonal())) == 0)


def resample_separable(
    part: npt.NDArray[Any], start: Index3, size: Index3, index_map: Float64Array, out: npt.NDArray[Any]
) -> None:
    """Fill the samples of ``out`` that lie inside an input of ``size``, of which ``part`` begins at ``start``."""
    along_z, along_y, along_x = (
        _axis_samples(index_map[axis, axis], index_map[axis, 3], out.shape[axis], size[axis], start[axis])
        for axis in range(3)
    )
    inside = out[along_z.first : along_z.last, along_y.first : along_y.last, along_x.first : along_x.last]
    if inside.size == 0:
        return
    source = part.view()
    source.flags.writeable = False
    _, height, width = inside.shape
    half = np.empty((len(part), height, width), dtype=np.float32)
    samples = along_y.taps, along_y.weights, along_x.taps, along_x.weights
    over(len(part), 8 * part[0].size, _resample_slices, source, *samples, half)
    rounding = out.dtype.kind != "f"
    over(
        height,
        8 * len(part) * width,
        _resample_along_z,
        half,
        along_z.taps,
        along_z.weights,
        rounding,
        inside,
    )


def _axis_samples(scale: float, shift: float, count: int, size: int, start: int) -> _AxisSamples:
    """Samples of one axis that lie within the outer faces of ``size`` voxels, a single run."""
    position = shift + scale * np.arange(count)
    inside = np.flatnonzero((position >= -0.5) & (position < size - 0.5))
    first, last = (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)
    taps, weights = np.empty((last - first, 4), dtype=np.int64), np.empty((last - first, 4), dtype=np.float32)
    _fill_samples(position[first:last], size, start, taps, weights)
    return _AxisSamples(first, last, taps, weights)


@njit(nogil=True, cache=True)
def _fill_samples(
    position: Float64Array, size: int, start: int, taps: Int64Array, weights: Float32Array
) -> None:
    for i in range(position.size):
        low = int(np.floor(position[i]))
        w0, w1, w2, w3 = cubic_weights(position[i] - low)
        weights[i, 0], weights[i, 1], weights[i, 2], weights[i, 3] = w0, w1, w2, w3
        for k in range(4):
            taps[i, k] = mirrored(low - 1 + k, size) - start


@njit(nogil=True, cache=True)
def _blend(block: Float32Array, taps: Int64Array, weights: Float32Array, i: int, row: Float32Array) -> None:
    """Sample ``i`` of all columns of a block."""
    a, b, c, d = block[taps[i, 0]], block[taps[i, 1]], block[taps[i, 2]], block[taps[i, 3]]
    wa, wb, wc, wd = weights[i, 0], weights[i, 1], weights[i, 2], weights[i, 3]
    for x in range(COLUMNS):
        row[x] = (wa * a[x] + wb * b[x]) + (wc * c[x] + wd * d[x])


@njit(nogil=True, cache=True)
def _resample_slices(
    first: int,
    last: int,
    source: npt.NDArray[Any],
    y_taps: Int64Array,
    y_weights: Float32Array,
    x_taps: Int64Array,
    x_weights: Float32Array,
    half: Float32Array,
) -> None:
    """Prefilter and sample each slice along y, then along x."""
    _, height, width = half.shape
    along_y = np.empty((source.shape[1], COLUMNS), dtype=np.float32)
    along_x = np.empty((source.shape[2], COLUMNS), dtype=np.float32)
    plane = np.empty((height, source.shape[2]), dtype=np.float32)
    row, tile = np.empty(COLUMNS, dtype=np.float32), np.empty((width, COLUMNS), dtype=np.float32)
    for z in range(first, last):
        for x in range(0, source.shape[2], COLUMNS):
            load_columns(source[z], x, along_y)
            filter_columns(along_y)
            used = min(COLUMNS, source.shape[2] - x)
            for i in range(height):
                _blend(along_y, y_taps, y_weights, i, row)
                plane[i, x : x + used] = row[:used]
        for y in range(0, height, COLUMNS):
            load_rows(plane, y, along_x)
            filter_columns(along_x)
            for i in range(width):
                _blend(along_x, x_taps, x_weights, i, tile[i])
            for j in range(min(COLUMNS, height - y)):
                for x in range(width):
                    half[z, y + j, x] = tile[x, j]


@njit(nogil=True, cache=True)
def _resample_along_z(
    first: int,
    last: int,
    half: Float32Array,
    taps: Int64Array,
    weights: Float32Array,
    rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    """Prefilter and sample along z, and store."""
    depth, _, width = half.shape
    block, row = np.empty((depth, COLUMNS), dtype=np.float32), np.empty(COLUMNS, dtype=np.float32)
    low, high, a_half = np.float32(-32768.0), np.float32(32767.0), np.float32(0.5)
    for y in range(first, last):
        for x in range(0, width, COLUMNS):
            load_columns(half[:, y], x, block)
            filter_columns(block)
            used = min(COLUMNS, width - x)
            for z in range(taps.shape[0]):
                _blend(block, taps, weights, z, row)
                if rounding:  # half away from zero, saturating at int16
                    for i in range(used):
                        value = min(max(row[i], low), high)
                        out[z, y, x + i] = np.int32(value + (a_half if value >= 0 else -a_half))
                else:
                    out[z, y, x : x + used] = row[:used]
