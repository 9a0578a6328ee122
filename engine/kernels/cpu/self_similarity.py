"""Self-similarity codes on the CPU: slice by slice, rows in step.

The 12 pairs of patches differ by only six offsets, so six patch distances are computed per voxel
and each is read at two places. What a slice needs of the slices before it stays in a ring. Sums
are plain ones, not running ones: as few operations at this size, and nothing drifts.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Float32Array, Int64Array
from engine.kernels.cpu.threads import over

_CodeArray: TypeAlias = npt.NDArray[np.uint64]
_HalfCodes: TypeAlias = npt.NDArray[np.uint32]

HALF = 6
"""Pairs in each 32-bit half of a code."""


def encode(
    hu: Float32Array,
    pairs: Int64Array,
    radius: int,
    dilation: int,
    shares: Float32Array,
    min_total: np.float32,
) -> _CodeArray:
    """Code the patch distances that fall below ``shares`` of their sum, itself at least ``min_total``."""
    depth, height, width = hu.shape
    halo = dilation + radius
    padded = np.empty((depth + 2 * halo, height + 2 * halo, width + 2 * halo), dtype=np.float32)
    hu = hu.view()
    hu.flags.writeable = False  # one compiled type, whoever owns the array
    over(len(padded), padded[0].size // 4, _pad, hu, halo, padded)
    offsets, offset_of_pair = np.unique(pairs[:, 1] - pairs[:, 0], axis=0, return_inverse=True)
    places = np.column_stack([offset_of_pair.ravel(), pairs[:, 0]])
    codes = np.empty(hu.shape, dtype=np.uint64)
    work = 4 * height * width
    over(depth, work, _encode_slices, padded, offsets, places, radius, dilation, shares, min_total, codes)
    return codes


@njit(nogil=True, cache=True)
def _pad(z_first: int, z_last: int, hu: Float32Array, halo: int, padded: Float32Array) -> None:
    depth, height, width = hu.shape
    for z in range(z_first, z_last):
        for y in range(padded.shape[1]):
            source = hu[min(max(z - halo, 0), depth - 1), min(max(y - halo, 0), height - 1)]
            row = padded[z, y]
            row[:halo] = source[0]
            row[halo : halo + width] = source
            row[halo + width :] = source[width - 1]


@njit(nogil=True, cache=True)
def _encode_slices(
    z_first: int,
    z_last: int,
    padded: Float32Array,
    offsets: Int64Array,
    places: Int64Array,
    radius: int,
    dilation: int,
    shares: Float32Array,
    min_total: np.float32,
    codes: _CodeArray,
) -> None:
    _, height, width = codes.shape
    slots = dilation + 1
    ring = np.empty((slots, len(offsets), height + dilation, width + dilation), dtype=np.float32)
    for z in range(z_first - dilation, z_last):
        for o in range(len(offsets)):
            if z >= z_first or offsets[o, 0] != 0:  # the others are read in their own slice only
                plane = ring[(z + dilation) % slots, o]
                _patch_distances(padded, z, offsets[o], radius, dilation, height, width, plane)
        if z >= z_first:
            _encode_slice(ring, z, offsets, places, dilation, shares, min_total, codes[z])


@njit(nogil=True, cache=True)
def _patch_distances(
    padded: Float32Array,
    z: int,
    offset: Int64Array,
    radius: int,
    dilation: int,
    height: int,
    width: int,
    plane: Float32Array,
) -> None:
    """Distances of the patches at every place of slice ``z`` that some pair reads."""
    size = 2 * radius + 1
    rows = height + dilation * abs(offset[1]) + 2 * radius
    columns = width + dilation * abs(offset[2]) + 2 * radius
    y0, x0 = _first_place(offset[1], dilation) + dilation, _first_place(offset[2], dilation) + dilation
    z0 = z + dilation
    dz, dy, dx = dilation * offset[0], dilation * offset[1], dilation * offset[2]
    along_z, along_y = np.empty((size, columns), dtype=np.float32), np.empty(columns, dtype=np.float32)
    for y in range(rows):
        line = along_z[y % size]
        line[:] = 0.0
        for k in range(size):
            a = padded[z0 + k, y0 + y, x0 : x0 + columns]
            b = padded[z0 + k + dz, y0 + y + dy, x0 + dx : x0 + dx + columns]
            for x in range(columns):
                difference = a[x] - b[x]
                line[x] += difference * difference
        if y >= size - 1:
            along_y[:] = 0.0
            for k in range(y + 1 - size, y + 1):
                line = along_z[k % size]
                for x in range(columns):
                    along_y[x] += line[x]
            _box_sum(along_y, size, plane[y + 1 - size])


@njit(nogil=True, cache=True)
def _box_sum(line: Float32Array, size: int, out: Float32Array) -> None:
    columns = len(line) - size + 1
    out[:columns] = line[:columns]
    for k in range(1, size):
        shifted = line[k : k + columns]
        for x in range(columns):
            out[x] += shifted[x]


@njit(nogil=True, cache=True)
def _first_place(offset: int, dilation: int) -> int:
    """Where the first patch of a pair can lie along an axis: the second must lie on a neighbor, too."""
    return -dilation if offset > 0 else 0


@njit(nogil=True, cache=True)
def _encode_slice(
    ring: Float32Array,
    z: int,
    offsets: Int64Array,
    places: Int64Array,
    dilation: int,
    shares: Float32Array,
    min_total: np.float32,
    codes: _CodeArray,
) -> None:
    height, width = codes.shape
    excess = np.empty((len(places), width), dtype=np.float32)
    minima, total = np.empty((2, width), dtype=np.float32), np.empty(width, dtype=np.float32)
    halves, bits = np.empty((2, width), dtype=np.uint32), np.empty((HALF, 5), dtype=np.uint32)
    for k in range(HALF):
        for level in range(5):
            bits[k, level] = 1 << (5 * k + level)
    for y in range(height):
        for k in range(len(places)):
            o = places[k, 0]
            v = (z + dilation + dilation * places[k, 1]) % len(ring)
            u = y + dilation * places[k, 2] - _first_place(offsets[o, 1], dilation)
            t = dilation * places[k, 3] - _first_place(offsets[o, 2], dilation)
            _copy(ring[v, o, u, t : t + width], excess[k])
        _min_of_half(excess[:HALF], minima[0])
        _min_of_half(excess[HALF:], minima[1])
        _subtract_min(excess, minima, total)
        for x in range(width):
            total[x] = max(min_total, total[x])
        halves[:] = 0
        for k in range(len(places)):
            _add_bars(excess[k], total, shares, bits[k % HALF], halves[k // HALF])
        low, high, row = halves[0], halves[1], codes[y]
        for x in range(width):
            row[x] = np.uint64(low[x]) | (np.uint64(high[x]) << np.uint64(5 * HALF))


@njit(nogil=True, cache=True)
def _copy(source: Float32Array, row: Float32Array) -> None:
    """Copy by a loop: assigning a slice costs more than a short row."""
    for x in range(len(row)):
        row[x] = source[x]


@njit(nogil=True, cache=True)
def _min_of_half(rows: Float32Array, minima: Float32Array) -> None:
    """Minimum of six rows in one expression; a running minimum is not vectorized."""
    a, b, c, d, e, f = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5]
    for x in range(len(minima)):
        ab, cd, ef = _lesser(a[x], b[x]), _lesser(c[x], d[x]), _lesser(e[x], f[x])
        minima[x] = _lesser(_lesser(ab, cd), ef)


@njit(nogil=True, cache=True, inline="always")
def _lesser(a: np.float32, b: np.float32) -> np.float32:
    return a if a < b else b  # the built-in orders NaN, too, which takes a branch


@njit(nogil=True, cache=True)
def _subtract_min(excess: Float32Array, minima: Float32Array, total: Float32Array) -> None:
    """Subtract from each distance the minimum of its voxel, and add the remainders to ``total``."""
    first, second = minima[0], minima[1]
    for x in range(len(total)):
        first[x] = _lesser(first[x], second[x])
        total[x] = 0.0
    for k in range(len(excess)):
        row = excess[k]
        for x in range(len(total)):
            row[x] -= first[x]
            total[x] += row[x]


@njit(nogil=True, cache=True)
def _add_bars(
    excess: Float32Array, total: Float32Array, shares: Float32Array, bits: _HalfCodes, half: _HalfCodes
) -> None:
    """Set a bit for every threshold that a pair's distance stays below."""
    s0, s1, s2, s3, s4 = shares[0], shares[1], shares[2], shares[3], shares[4]
    b0, b1, b2, b3, b4 = bits[0], bits[1], bits[2], bits[3], bits[4]
    none = np.uint32(0)
    for x in range(len(half)):
        d, t = excess[x], total[x]
        bar = (b0 if d < s0 * t else none) | (b1 if d < s1 * t else none) | (b2 if d < s2 * t else none)
        half[x] |= bar | (b3 if d < s3 * t else none) | (b4 if d < s4 * t else none)
