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

from engine.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from engine.kernels.arguments import Index3
from engine.kernels.cpu.coordinates import (
    clamped,
    coordinates,
    is_inside,
    row_start,
    span_between_centers,
    span_inside,
)
from engine.kernels.cpu.separable import is_separable, resample_separable
from engine.kernels.cpu.spline import cubic_weights, mirrored, prefiltered
from engine.kernels.cpu.threads import over

_SPLINE_HALO = 16
"""Voxels around the sampled part that the prefilter needs: its pole decays to 1e-9 there."""

NO_DISPLACEMENT = np.zeros((0, 0, 0, 3), dtype=np.float32)


def resample(
    voxels: npt.NDArray[Any],
    index_map: Float64Array,
    shape: Index3,
    displacement: Float32Array | None,
    displacement_map: Float64Array,
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Sample ``voxels``; order 3 prefilters only the part of the input that is sampled."""
    out = np.empty(shape, dtype=voxels.dtype)
    field = (NO_DISPLACEMENT if displacement is None else displacement).view()
    source, first = voxels.view(), (0, 0, 0)
    if order == 3:
        part, first = _sampled_part(voxels, index_map, shape, field)
        separable = displacement is None and is_separable(index_map)
        if part.size == 0 or separable:
            out.fill(fill)
        if separable and part.size:
            resample_separable(part, first, voxels.shape, index_map, out)
        if part.size == 0 or separable:
            return out
        source = prefiltered(part)
    source.flags.writeable = field.flags.writeable = False
    loop = {0: _nearest_slices, 1: _linear_slices, 3: _cubic_slices}[order]
    size, start = np.array(voxels.shape), np.array(first)
    rounding = out.dtype.kind != "f"
    work = shape[1] * shape[2] * (8 if order == 3 else 2)
    over(shape[0], work, loop, source, size, start, index_map, field, displacement_map, fill, rounding, out)
    return out


def _sampled_part(
    voxels: npt.NDArray[Any], index_map: Float64Array, shape: Index3, field: Float32Array
) -> tuple[npt.NDArray[Any], Index3]:
    """Part of the input that samples can reach, with the prefilter's halo, and its start."""
    corners = np.array(
        [[(n - 1) * bit for n, bit in zip(shape, bits, strict=True)] for bits in np.ndindex(2, 2, 2)]
    )
    mapped = corners @ index_map[:, :3].T + index_map[:, 3]
    low, high = mapped.min(axis=0), mapped.max(axis=0)
    if field.size:
        low, high = low + field.min(axis=(0, 1, 2)), high + field.max(axis=(0, 1, 2))
    size = np.array(voxels.shape)
    start = np.clip(np.floor(low) - _SPLINE_HALO, 0, size).astype(np.int64)
    stop = np.clip(np.ceil(high) + _SPLINE_HALO + 1, start, size).astype(np.int64)
    part = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return voxels[part], (int(start[0]), int(start[1]), int(start[2]))


@njit(nogil=True, cache=True)
def _store_row(row: Float32Array, rounding: bool, out: npt.NDArray[Any], z: int, y: int) -> None:
    if not rounding:
        for x in range(row.size):
            out[z, y, x] = row[x]
        return
    to = out[z, y]
    for x in range(row.size):  # half away from zero, saturating at int16
        value = min(max(row[x], np.float32(-32768.0)), np.float32(32767.0))
        to[x] = np.int32(value + math.copysign(np.float32(0.5), value))


@njit(nogil=True, cache=True)
def _nearest_slices(
    z_first: int,
    z_last: int,
    voxels: npt.NDArray[Any],
    size: Int64Array,
    _start: Int64Array,
    m: Float64Array,
    field: Float32Array,
    fm: Float64Array,
    fill: float,
    _rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    _, height, width = out.shape
    base, place = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    for z in range(z_first, z_last):
        for y in range(height):
            out[z, y, :] = fill
            if field.size:
                coordinates(m, z, y, field, fm, base, place)
                for x in range(width):
                    if is_inside(place, x, size):
                        out[z, y, x] = _nearest(voxels, place[0, x], place[1, x], place[2, x])
            else:
                row_start(m, z, y, base)
                first, last = span_inside(base, m, size, width)
                for x in range(first, last):
                    pz, py, px = base[0] + m[0, 2] * x, base[1] + m[1, 2] * x, base[2] + m[2, 2] * x
                    out[z, y, x] = _nearest(voxels, pz, py, px)


@njit(nogil=True, cache=True)
def _nearest(voxels: npt.NDArray[Any], pz: float, py: float, px: float) -> Any:
    # inside, so adding a half leaves nothing below zero to truncate
    depth, height, width = voxels.shape
    return voxels[
        min(int(pz + 0.5), depth - 1), min(int(py + 0.5), height - 1), min(int(px + 0.5), width - 1)
    ]


@njit(nogil=True, cache=True)
def _linear_slices(
    z_first: int,
    z_last: int,
    voxels: npt.NDArray[Any],
    size: Int64Array,
    _start: Int64Array,
    m: Float64Array,
    field: Float32Array,
    fm: Float64Array,
    fill: float,
    rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    _, height, width = out.shape
    base, place = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    row, line = np.empty(width, dtype=np.float32), np.empty(voxels.shape[2], dtype=np.float32)
    lower, upper = np.empty(width, dtype=np.uint32), np.empty(width, dtype=np.uint32)
    shares, sampled = np.empty(width, dtype=np.float32), (np.nan, 0, 0)
    along_x = m[0, 2] == 0.0 and m[1, 2] == 0.0 and abs(m[2, 2]) <= 4.0
    for z in range(z_first, z_last):
        for y in range(height):
            row[:] = fill
            if field.size:
                coordinates(m, z, y, field, fm, base, place)
                _linear_displaced(voxels, place, size, row)
            else:
                row_start(m, z, y, base)
                first, last = span_inside(base, m, size, width)
                if along_x:
                    if sampled != (base[2], first, last):  # else the row above had the same samples
                        _samples_along_x(base[2], m[2, 2], first, last, voxels.shape[2], lower, upper, shares)
                        sampled = (base[2], first, last)
                    _linear_along_x(voxels, base, first, last, lower, upper, shares, line, row)
                else:
                    a, b = span_between_centers(base, m, size, first, last)
                    _linear_border(voxels, base, m, first, a, row)
                    _linear_between(voxels, base, m, a, b, row)
                    _linear_border(voxels, base, m, b, last, row)
            _store_row(row, rounding, out, z, y)


@njit(nogil=True, cache=True)
def _samples_along_x(
    start: float,
    step: float,
    first: int,
    last: int,
    size: int,
    lower: Int32Array,
    upper: Int32Array,
    shares: Float32Array,
) -> None:
    """Find the neighbors along x of samples ``first..last`` of a row, and the upper one's weight."""
    for x in range(first, last):
        lower[x], upper[x], shares[x] = clamped(start + step * x, size)


@njit(nogil=True, cache=True)
def _linear_along_x(
    voxels: npt.NDArray[Any],
    base: Float64Array,
    first: int,
    last: int,
    lower: Int32Array,
    upper: Int32Array,
    shares: Float32Array,
    line: Float32Array,
    row: Float32Array,
) -> None:
    """Blend the four input rows around the output row once, then interpolate along x."""
    if first >= last:
        return
    z0, z1, wz = clamped(base[0], voxels.shape[0])
    y0, y1, wy = clamped(base[1], voxels.shape[1])
    low = min(int(lower[first]), int(lower[last - 1]))
    high = max(int(upper[first]), int(upper[last - 1])) + 1
    w00, w01 = np.float32((1 - wz) * (1 - wy)), np.float32((1 - wz) * wy)
    w10, w11 = np.float32(wz * (1 - wy)), np.float32(wz * wy)
    a, b, c, d = voxels[z0, y0], voxels[z0, y1], voxels[z1, y0], voxels[z1, y1]
    for x in range(low, high):
        line[x] = (a[x] * w00 + b[x] * w01) + (c[x] * w10 + d[x] * w11)
    for x in range(first, last):
        here = line[lower[x]]
        row[x] = here + shares[x] * (line[upper[x]] - here)


@njit(nogil=True, cache=True)
def _linear_border(
    voxels: npt.NDArray[Any], base: Float64Array, m: Float64Array, first: int, last: int, row: Float32Array
) -> None:
    for x in range(first, last):
        row[x] = _linear_clamped(voxels, base[0] + m[0, 2] * x, base[1] + m[1, 2] * x, base[2] + m[2, 2] * x)


@njit(nogil=True, cache=True)
def _linear_clamped(voxels: npt.NDArray[Any], pz: float, py: float, px: float) -> float:
    z0, z1, wz = clamped(pz, voxels.shape[0])
    y0, y1, wy = clamped(py, voxels.shape[1])
    x0, x1, wx = clamped(px, voxels.shape[2])
    v00 = voxels[z0, y0, x0] * (1.0 - wx) + voxels[z0, y0, x1] * wx
    v01 = voxels[z0, y1, x0] * (1.0 - wx) + voxels[z0, y1, x1] * wx
    v10 = voxels[z1, y0, x0] * (1.0 - wx) + voxels[z1, y0, x1] * wx
    v11 = voxels[z1, y1, x0] * (1.0 - wx) + voxels[z1, y1, x1] * wx
    return float((v00 * (1.0 - wy) + v01 * wy) * (1.0 - wz) + (v10 * (1.0 - wy) + v11 * wy) * wz)


@njit(nogil=True, cache=True)
def _linear_between(
    voxels: npt.NDArray[Any], base: Float64Array, m: Float64Array, first: int, last: int, row: Float32Array
) -> None:
    """Sample where there are voxels on both sides along every axis, so that no bounds are checked."""
    flat, width = voxels.reshape(-1), np.uint64(voxels.shape[2])
    plane = np.uint64(voxels.shape[1] * voxels.shape[2])
    for x in range(first, last):
        pz, py, px = base[0] + m[0, 2] * x, base[1] + m[1, 2] * x, base[2] + m[2, 2] * x
        row[x] = _linear_unclamped(flat, plane, width, pz, py, px)


@njit(nogil=True, cache=True, inline="always")
def _linear_unclamped(
    flat: npt.NDArray[Any], plane: np.uint64, width: np.uint64, pz: float, py: float, px: float
) -> np.float32:
    """Interpolate in float32 with one unsigned flat index, which Numba need not test for a sign."""
    one = np.uint64(1)
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
    return a + wz * (c - a)


@njit(nogil=True, cache=True)
def _linear_displaced(
    voxels: npt.NDArray[Any], place: Float64Array, size: Int64Array, row: Float32Array
) -> None:
    """Sample a row whose positions follow no line."""
    flat, width = voxels.reshape(-1), np.uint64(voxels.shape[2])
    plane = np.uint64(voxels.shape[1] * voxels.shape[2])
    last_z, last_y, last_x = size[0] - 1.0, size[1] - 1.0, size[2] - 1.0
    for x in range(row.size):
        pz, py, px = place[0, x], place[1, x], place[2, x]
        if 0.0 <= pz < last_z and 0.0 <= py < last_y and 0.0 <= px < last_x:
            row[x] = _linear_unclamped(flat, plane, width, pz, py, px)
        elif is_inside(place, x, size):
            row[x] = _linear_clamped(voxels, pz, py, px)


@njit(nogil=True, cache=True)
def _cubic_slices(
    z_first: int,
    z_last: int,
    spline: Float32Array,
    size: Int64Array,
    start: Int64Array,
    m: Float64Array,
    field: Float32Array,
    fm: Float64Array,
    fill: float,
    rounding: bool,
    out: npt.NDArray[Any],
) -> None:
    """Cubic samples of coefficients that begin at ``start`` of an input of ``size``."""
    _, height, width = out.shape
    base, place = np.empty(3, dtype=np.float64), np.empty((3, width), dtype=np.float64)
    row = np.empty(width, dtype=np.float32)
    weights, taps = np.empty((3, 4), dtype=np.float32), np.empty((3, 4), dtype=np.int64)
    flat, z_start, y_start, x_start = spline.reshape(-1), start[0] + 1, start[1] + 1, start[2] + 1
    last_z, last_y, last_x = spline.shape[0] - 3, spline.shape[1] - 3, spline.shape[2] - 3
    for z in range(z_first, z_last):
        for y in range(height):
            coordinates(m, z, y, field, fm, base, place)
            row[:] = fill
            for x in range(width):
                if not is_inside(place, x, size):
                    continue
                iz, iy, ix = math.floor(place[0, x]), math.floor(place[1, x]), math.floor(place[2, x])
                kz, ky, kx = iz - z_start, iy - y_start, ix - x_start
                if 0 <= kz < last_z and 0 <= ky < last_y and 0 <= kx < last_x:
                    shares = (
                        np.float32(place[0, x] - iz),
                        np.float32(place[1, x] - iy),
                        np.float32(place[2, x] - ix),
                    )
                    corner = (kz * spline.shape[1] + ky) * spline.shape[2] + kx
                    row[x] = _cubic_unmirrored(flat, corner, spline.shape, shares)
                else:
                    for axis in range(3):
                        _taps(place, x, axis, size, start, weights, taps)
                    row[x] = _cubic(spline, weights, taps)
            _store_row(row, rounding, out, z, y)


@njit(nogil=True, cache=True, inline="always")
def _weights_of_share(t: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Cubic B-spline weights in float32."""
    s, sixth = np.float32(1.0) - t, np.float32(1.0 / 6.0)
    w0, w3 = s * s * s * sixth, t * t * t * sixth
    w1 = np.float32(2.0 / 3.0) - np.float32(0.5) * t * t * (np.float32(2.0) - t)
    return w0, w1, np.float32(1.0) - w0 - w1 - w3, w3


@njit(nogil=True, cache=True, inline="always")
def _cubic_unmirrored(
    flat: Float32Array, corner: int, shape: Index3, shares: tuple[np.float32, np.float32, np.float32]
) -> np.float32:
    """Sum of 64 coefficients; the four of each row along x are summed side by side."""
    wz, wy, wx = _weights_of_share(shares[0]), _weights_of_share(shares[1]), _weights_of_share(shares[2])
    a = b = c = d = np.float32(0.0)
    width, plane = np.uint64(shape[2]), np.uint64(shape[1] * shape[2])
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    slice_start = np.uint64(corner)
    for j in range(4):
        k = slice_start
        for i in range(4):
            weight = wz[j] * wy[i]
            a += weight * flat[k]
            b += weight * flat[k + one]
            c += weight * flat[k + two]
            d += weight * flat[k + three]
            k += width
        slice_start += plane
    return np.float32((wx[0] * a + wx[1] * b) + (wx[2] * c + wx[3] * d))


@njit(nogil=True, cache=True)
def _taps(
    place: Float64Array,
    x: int,
    axis: int,
    size: Int64Array,
    start: Int64Array,
    weights: Float32Array,
    taps: Int64Array,
) -> None:
    """Find the four coefficients along one axis that a sample needs, and their weights."""
    low = math.floor(place[axis, x])
    w0, w1, w2, w3 = cubic_weights(place[axis, x] - low)
    weights[axis, 0], weights[axis, 1], weights[axis, 2], weights[axis, 3] = w0, w1, w2, w3
    for k in range(4):
        taps[axis, k] = mirrored(low - 1 + k, size[axis]) - start[axis]


@njit(nogil=True, cache=True)
def _cubic(spline: Float32Array, weights: Float32Array, taps: Int64Array) -> np.float32:
    value = np.float32(0.0)
    for j in range(4):
        for k in range(4):
            z, y = taps[0, j], taps[1, k]
            along = np.float32(0.0)
            for i in range(4):
                along += weights[2, i] * spline[z, y, taps[2, i]]
            value += weights[0, j] * weights[1, k] * along
    return value
