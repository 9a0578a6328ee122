"""Resampling on the CPU: one output row at a time.

Coordinates run along the row in registers. Where no displacement bends it, the part of a row
whose samples all lie inside is found first and sampled without a test per voxel; where the row
also runs along x of the input, the input rows around it are blended once and shared by all of it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.kernels.arguments import DoubleArray, FloatArray, Index3
from engine.kernels.cpu.spline import cubic_weights, mirrored, prefiltered
from engine.kernels.cpu.threads import over

SPLINE_HALO = 16
"""Voxels around the sampled part that the prefilter needs: its pole decays to 1e-9 there."""

NO_DISPLACEMENT = np.zeros((0, 0, 0, 3), dtype=np.float32)


def resample(
    voxels: npt.NDArray[Any],
    index_map: DoubleArray,
    shape: Index3,
    displacement: FloatArray | None,
    displacement_map: DoubleArray,
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Sample ``voxels``; order 3 prefilters only the part of the input that is sampled."""
    out = np.empty(shape, dtype=voxels.dtype)
    field = (NO_DISPLACEMENT if displacement is None else displacement).view()
    source, first = voxels.view(), (0, 0, 0)
    if order == 3:
        source, first = _spline_of_sampled_part(voxels, index_map, shape, field)
        if source.size == 0:
            out.fill(fill)
            return out
    source.flags.writeable = field.flags.writeable = False
    loop = {0: _nearest_slices, 1: _linear_slices, 3: _cubic_slices}[order]
    size, start = np.array(voxels.shape), np.array(first)
    rounding = out.dtype.kind != "f"
    work = shape[1] * shape[2] * (8 if order == 3 else 2)
    over(shape[0], work, loop, source, size, start, index_map, field, displacement_map, fill, rounding, out)
    return out


def _spline_of_sampled_part(
    voxels: npt.NDArray[Any], index_map: DoubleArray, shape: Index3, field: FloatArray
) -> tuple[FloatArray, Index3]:
    """B-spline coefficients of the part of the input that samples can reach, and its start."""
    corners = np.array(
        [[(n - 1) * bit for n, bit in zip(shape, bits, strict=True)] for bits in np.ndindex(2, 2, 2)]
    )
    mapped = corners @ index_map[:, :3].T + index_map[:, 3]
    low, high = mapped.min(axis=0), mapped.max(axis=0)
    if field.size:
        low, high = low + field.min(axis=(0, 1, 2)), high + field.max(axis=(0, 1, 2))
    size = np.array(voxels.shape)
    start = np.clip(np.floor(low) - SPLINE_HALO, 0, size).astype(np.int64)
    stop = np.clip(np.ceil(high) + SPLINE_HALO + 1, start, size).astype(np.int64)
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return prefiltered(voxels[part]), (int(start[0]), int(start[1]), int(start[2]))


@njit(nogil=True, cache=True)
def _span(base: float, step: float, low: float, high: float, first: int, last: int) -> tuple[int, int]:
    """Part of ``first..last`` (exclusive) where ``low <= base + step * x < high``; it is one run."""
    if step == 0.0:
        return (first, last) if low <= base < high else (first, first)
    a, b = (low - base) / step, (high - base) / step
    # one more at both ends, then the very expression that is sampled decides
    first = max(first, min(last, int(max(min(a, b), -1e9)) - 2))
    last = min(last, max(first, int(min(max(a, b), 1e9)) + 3))
    while first < last and not low <= base + step * first < high:
        first += 1
    while first < last and not low <= base + step * (last - 1) < high:
        last -= 1
    return first, last


@njit(nogil=True, cache=True)
def _span_inside(base: DoubleArray, m: DoubleArray, size: npt.NDArray[np.int64], row: int) -> tuple[int, int]:
    """Output x range of an undisplaced row whose samples lie within the voxels' outer faces."""
    first, last = 0, row
    for axis in range(3):
        first, last = _span(base[axis], m[axis, 2], -0.5, size[axis] - 0.5, first, last)
    return first, last


@njit(nogil=True, cache=True)
def _span_between_centers(
    base: DoubleArray, m: DoubleArray, size: npt.NDArray[np.int64], first: int, last: int
) -> tuple[int, int]:
    """Part of the range whose samples have a voxel center on both sides along every axis."""
    for axis in range(3):
        first, last = _span(base[axis], m[axis, 2], 0.0, size[axis] - 1.0, first, last)
    return first, last


@njit(nogil=True, cache=True)
def _row_start(m: DoubleArray, z: int, y: int, base: DoubleArray) -> None:
    for axis in range(3):
        base[axis] = (m[axis, 0] * z + m[axis, 1] * y) + m[axis, 3]


@njit(nogil=True, cache=True)
def _coordinates(
    m: DoubleArray, z: int, y: int, field: FloatArray, fm: DoubleArray, base: DoubleArray, at: DoubleArray
) -> None:
    """Input index of every voxel of an output row, (3, x)."""
    _row_start(m, z, y, base)
    for axis in range(3):
        for x in range(at.shape[1]):
            at[axis, x] = base[axis] + m[axis, 2] * x
    if field.size:
        _row_start(fm, z, y, base)
        _add_displacement(field, fm, base, at)


@njit(nogil=True, cache=True)
def _clamped(p: float, size: int) -> tuple[int, int, float]:
    """Lower and upper neighbor of a position held inside the centers, and the upper one's weight."""
    p = min(max(p, 0.0), size - 1.0)
    low = int(p)
    return low, min(low + 1, size - 1), p - low


@njit(nogil=True, cache=True)
def _add_displacement(field: FloatArray, fm: DoubleArray, base: DoubleArray, at: DoubleArray) -> None:
    width = field.shape[2]
    along_x = fm[0, 2] == 0.0 and fm[1, 2] == 0.0
    line = np.empty((width, 3), dtype=np.float64)
    if along_x:
        _blend_displacement(field, base[0], base[1], 0, width, line)
    for x in range(at.shape[1]):
        x0, x1, w = _clamped(base[2] + fm[2, 2] * x, width)
        if not along_x:
            _blend_displacement(field, base[0] + fm[0, 2] * x, base[1] + fm[1, 2] * x, x0, x1 + 1, line)
        for axis in range(3):
            at[axis, x] += line[x0, axis] * (1.0 - w) + line[x1, axis] * w


@njit(nogil=True, cache=True)
def _blend_displacement(
    field: FloatArray, z: float, y: float, first: int, last: int, line: DoubleArray
) -> None:
    """Displacements first..last along x of the field at a fractional (z, y)."""
    z0, z1, wz = _clamped(z, field.shape[0])
    y0, y1, wy = _clamped(y, field.shape[1])
    for x in range(first, last):
        for axis in range(3):
            low = field[z0, y0, x, axis] * (1.0 - wy) + field[z0, y1, x, axis] * wy
            high = field[z1, y0, x, axis] * (1.0 - wy) + field[z1, y1, x, axis] * wy
            line[x, axis] = low * (1.0 - wz) + high * wz


@njit(nogil=True, cache=True)
def _is_inside(at: DoubleArray, x: int, size: npt.NDArray[np.int64]) -> bool:
    return bool(
        -0.5 <= at[0, x] < size[0] - 0.5
        and -0.5 <= at[1, x] < size[1] - 0.5
        and -0.5 <= at[2, x] < size[2] - 0.5
    )


@njit(nogil=True, cache=True)
def _store_row(row: FloatArray, rounding: bool, out: npt.NDArray[Any], z: int, y: int) -> None:
    if not rounding:
        for x in range(row.size):
            out[z, y, x] = row[x]
        return
    for x in range(row.size):  # half away from zero, saturating at int16
        value = min(max(row[x], np.float32(-32768.0)), np.float32(32767.0))
        out[z, y, x] = np.int32(value + math.copysign(np.float32(0.5), value))


@njit(nogil=True, cache=True)
def _nearest_slices(
    z_first: int,
    z_last: int,
    voxels: npt.NDArray[Any],
    size: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],  # noqa: ARG001 - one signature for all orders
    m: DoubleArray,
    field: FloatArray,
    fm: DoubleArray,
    fill: float,
    rounding: bool,  # noqa: ARG001 - likewise
    out: npt.NDArray[Any],
) -> None:
    _, height, width = out.shape
    base, at = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    for z in range(z_first, z_last):
        for y in range(height):
            _coordinates(m, z, y, field, fm, base, at)
            for x in range(width):
                out[z, y, x] = fill
                if _is_inside(at, x, size):
                    # inside, so adding a half leaves nothing below zero to truncate
                    iz, iy, ix = int(at[0, x] + 0.5), int(at[1, x] + 0.5), int(at[2, x] + 0.5)
                    out[z, y, x] = voxels[min(iz, size[0] - 1), min(iy, size[1] - 1), min(ix, size[2] - 1)]


@njit(nogil=True, cache=True)
def _linear_slices(
    z_first: int,
    z_last: int,
    voxels: npt.NDArray[Any],
    size: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],  # noqa: ARG001 - one signature for all orders
    m: DoubleArray,
    field: FloatArray,
    fm: DoubleArray,
    fill: float,
    rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    _, height, width = out.shape
    base, at = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    row, line = np.empty(width, dtype=np.float32), np.empty(voxels.shape[2], dtype=np.float32)
    along_x = m[0, 2] == 0.0 and m[1, 2] == 0.0 and abs(m[2, 2]) <= 4.0
    for z in range(z_first, z_last):
        for y in range(height):
            row[:] = fill
            if field.size:
                _coordinates(m, z, y, field, fm, base, at)
                for x in range(width):
                    if _is_inside(at, x, size):
                        row[x] = _linear_clamped(voxels, at[0, x], at[1, x], at[2, x])
            else:
                _row_start(m, z, y, base)
                first, last = _span_inside(base, m, size, width)
                if along_x:
                    _linear_along_x(voxels, base, m[2, 2], first, last, line, row)
                else:
                    a, b = _span_between_centers(base, m, size, first, last)
                    _linear_border(voxels, base, m, first, a, row)
                    _linear_between(voxels, base, m, a, b, row)
                    _linear_border(voxels, base, m, b, last, row)
            _store_row(row, rounding, out, z, y)


@njit(nogil=True, cache=True)
def _linear_along_x(
    voxels: npt.NDArray[Any],
    base: DoubleArray,
    step: float,
    first: int,
    last: int,
    line: FloatArray,
    row: FloatArray,
) -> None:
    """Blend the four input rows around the output row once, then interpolate along x."""
    if first >= last:
        return
    width = voxels.shape[2]
    z0, z1, wz = _clamped(base[0], voxels.shape[0])
    y0, y1, wy = _clamped(base[1], voxels.shape[1])
    a, b = base[2] + step * first, base[2] + step * (last - 1)
    low, high = _clamped(min(a, b), width)[0], _clamped(max(a, b), width)[1] + 1
    w00, w01 = np.float32((1 - wz) * (1 - wy)), np.float32((1 - wz) * wy)
    w10, w11 = np.float32(wz * (1 - wy)), np.float32(wz * wy)
    for x in range(low, high):
        line[x] = (voxels[z0, y0, x] * w00 + voxels[z0, y1, x] * w01) + (
            voxels[z1, y0, x] * w10 + voxels[z1, y1, x] * w11
        )
    for x in range(first, last):
        x0, x1, w = _clamped(base[2] + step * x, width)
        row[x] = line[x0] + np.float32(w) * (line[x1] - line[x0])


@njit(nogil=True, cache=True)
def _linear_border(
    voxels: npt.NDArray[Any], base: DoubleArray, m: DoubleArray, first: int, last: int, row: FloatArray
) -> None:
    for x in range(first, last):
        row[x] = _linear_clamped(voxels, base[0] + m[0, 2] * x, base[1] + m[1, 2] * x, base[2] + m[2, 2] * x)


@njit(nogil=True, cache=True)
def _linear_clamped(voxels: npt.NDArray[Any], pz: float, py: float, px: float) -> float:
    z0, z1, wz = _clamped(pz, voxels.shape[0])
    y0, y1, wy = _clamped(py, voxels.shape[1])
    x0, x1, wx = _clamped(px, voxels.shape[2])
    v00 = voxels[z0, y0, x0] * (1.0 - wx) + voxels[z0, y0, x1] * wx
    v01 = voxels[z0, y1, x0] * (1.0 - wx) + voxels[z0, y1, x1] * wx
    v10 = voxels[z1, y0, x0] * (1.0 - wx) + voxels[z1, y0, x1] * wx
    v11 = voxels[z1, y1, x0] * (1.0 - wx) + voxels[z1, y1, x1] * wx
    return float((v00 * (1.0 - wy) + v01 * wy) * (1.0 - wz) + (v10 * (1.0 - wy) + v11 * wy) * wz)


@njit(nogil=True, cache=True)
def _linear_between(
    voxels: npt.NDArray[Any], base: DoubleArray, m: DoubleArray, first: int, last: int, row: FloatArray
) -> None:
    """Sample where a voxel lies on both sides along every axis: no test, one flat index."""
    flat = voxels.reshape(-1)
    width = np.uint64(voxels.shape[2])
    plane = np.uint64(voxels.shape[1] * voxels.shape[2])
    one = np.uint64(1)
    for x in range(first, last):
        pz, py, px = base[0] + m[0, 2] * x, base[1] + m[1, 2] * x, base[2] + m[2, 2] * x
        iz, iy, ix = int(pz), int(py), int(px)
        wz, wy, wx = np.float32(pz - iz), np.float32(py - iy), np.float32(px - ix)
        k = np.uint64(iz) * plane + np.uint64(iy) * width + np.uint64(ix)
        a, b = np.float32(flat[k]), np.float32(flat[k + width])
        c, d = np.float32(flat[k + plane]), np.float32(flat[k + plane + width])
        a += wx * (np.float32(flat[k + one]) - a)
        b += wx * (np.float32(flat[k + width + one]) - b)
        c += wx * (np.float32(flat[k + plane + one]) - c)
        d += wx * (np.float32(flat[k + plane + width + one]) - d)
        a += wy * (b - a)
        c += wy * (d - c)
        row[x] = a + wz * (c - a)


@njit(nogil=True, cache=True)
def _cubic_slices(
    z_first: int,
    z_last: int,
    spline: FloatArray,
    size: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    m: DoubleArray,
    field: FloatArray,
    fm: DoubleArray,
    fill: float,
    rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    """Cubic samples of coefficients that begin at ``start`` of an input of ``size``."""
    _, height, width = out.shape
    base, at = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    row, line = np.empty(width, dtype=np.float32), np.empty(spline.shape[2], dtype=np.float32)
    weights, taps = np.empty((3, 4), dtype=np.float32), np.empty((3, 4), dtype=np.int64)
    along_x = field.size == 0 and m[0, 2] == 0.0 and m[1, 2] == 0.0
    for z in range(z_first, z_last):
        for y in range(height):
            _coordinates(m, z, y, field, fm, base, at)
            row[:] = fill
            if along_x and _is_inside_zy(at, size):
                _blend_cubic(spline, size, start, at, weights, taps, line)
            for x in range(width):
                if not _is_inside(at, x, size):
                    continue
                _taps(at, x, 2, size, start, weights, taps)
                if along_x:
                    value = np.float32(0.0)
                    for k in range(4):
                        value += weights[2, k] * line[taps[2, k]]
                    row[x] = value
                else:
                    _taps(at, x, 0, size, start, weights, taps)
                    _taps(at, x, 1, size, start, weights, taps)
                    row[x] = _cubic(spline, weights, taps)
            _store_row(row, rounding, out, z, y)


@njit(nogil=True, cache=True)
def _is_inside_zy(at: DoubleArray, size: npt.NDArray[np.int64]) -> bool:
    return bool(-0.5 <= at[0, 0] < size[0] - 0.5 and -0.5 <= at[1, 0] < size[1] - 0.5)


@njit(nogil=True, cache=True)
def _taps(
    at: DoubleArray,
    x: int,
    axis: int,
    size: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    weights: FloatArray,
    taps: npt.NDArray[np.int64],
) -> None:
    """Find the four coefficients along one axis that a sample needs, and their weights."""
    low = math.floor(at[axis, x])
    w0, w1, w2, w3 = cubic_weights(at[axis, x] - low)
    weights[axis, 0], weights[axis, 1], weights[axis, 2], weights[axis, 3] = w0, w1, w2, w3
    for k in range(4):
        taps[axis, k] = mirrored(low - 1 + k, size[axis]) - start[axis]


@njit(nogil=True, cache=True)
def _blend_cubic(
    spline: FloatArray,
    size: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    at: DoubleArray,
    weights: FloatArray,
    taps: npt.NDArray[np.int64],
    line: FloatArray,
) -> None:
    """Blend the sixteen rows of coefficients around an output row that runs along x."""
    _taps(at, 0, 0, size, start, weights, taps)
    _taps(at, 0, 1, size, start, weights, taps)
    line[:] = 0.0
    for j in range(4):
        for k in range(4):
            weight, z, y = weights[0, j] * weights[1, k], taps[0, j], taps[1, k]
            for x in range(line.size):
                line[x] += weight * spline[z, y, x]


@njit(nogil=True, cache=True)
def _cubic(spline: FloatArray, weights: FloatArray, taps: npt.NDArray[np.int64]) -> np.float32:
    value = np.float32(0.0)
    for j in range(4):
        for k in range(4):
            z, y = taps[0, j], taps[1, k]
            along = np.float32(0.0)
            for i in range(4):
                along += weights[2, i] * spline[z, y, taps[2, i]]
            value += weights[0, j] * weights[1, k] * along
    return value
