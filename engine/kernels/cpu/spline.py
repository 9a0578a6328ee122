"""Interpolating cubic B-splines on the CPU: exact prefilter, weights, mirrored indices.

Thevenaz et al., IEEE TMI 19 (2000), appendix: one causal and one anticausal pass per axis. Every pass
runs over blocks of neighboring columns, all of them in step, that stay in a core's cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Float32Array
from engine.kernels.cpu.threads import over

POLE = math.sqrt(3.0) - 2.0
HORIZON = 24
"""Terms of the initial sum: the pole's powers are below 1e-13 past it."""

COLUMNS = 64
"""Columns of a block: 512 rows of them are 128 KiB."""


def prefiltered(voxels: npt.NDArray[Any]) -> Float32Array:
    """B-spline coefficients of ``voxels`` mirrored about their outermost centers, float32."""
    c = np.array(voxels, dtype=np.float32, order="C")
    depth, height, width = c.shape
    over(depth, 8 * height * width, _filter_slices, c)
    if depth > 1:
        over(height, 4 * depth * width, _filter_along_z, c)
    return c


@njit(nogil=True, cache=True)
def mirrored(i: int, size: int) -> int:
    """Index of the coefficient that stands at ``i``, at most two beyond an end."""
    if size == 1:
        return 0
    i = abs(i)
    period = 2 * (size - 1)
    i %= period
    return period - i if i >= size else i


@njit(nogil=True, cache=True)
def cubic_weights(t: float) -> tuple[float, float, float, float]:
    """Cubic B-spline at the four coefficients around a sample ``t`` past the second."""
    s = 1.0 - t
    w0, w3 = s * s * s / 6.0, t * t * t / 6.0
    w1 = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
    return w0, w1, 1.0 - w0 - w1 - w3, w3


@njit(nogil=True, cache=True)
def filter_columns(block: Float32Array) -> None:
    """Filter ``COLUMNS`` columns along axis 0 in place."""
    n = block.shape[0]
    if n == 1:
        return
    pole, gain = np.float32(POLE), np.float32((1.0 - POLE) * (1.0 - 1.0 / POLE))
    first = np.zeros(COLUMNS, dtype=np.float64)
    terms = min(HORIZON, 2 * (n - 1))
    for k in range(terms):
        row, power = block[mirrored(k, n)], POLE**k
        for x in range(COLUMNS):
            first[x] += power * row[x]
    whole = 1.0 - POLE ** (2 * (n - 1)) if terms < HORIZON else 1.0
    before = block[0]
    for x in range(COLUMNS):
        before[x] = gain * first[x] / whole
    for i in range(1, n):
        before, row = block[i - 1], block[i]
        for x in range(COLUMNS):
            row[x] = gain * row[x] + pole * before[x]
    end = np.float32(POLE / (POLE * POLE - 1.0))
    before, row = block[n - 2], block[n - 1]
    for x in range(COLUMNS):
        row[x] = end * (row[x] + pole * before[x])
    for i in range(n - 2, -1, -1):
        row, after = block[i], block[i + 1]
        for x in range(COLUMNS):
            row[x] = pole * (after[x] - row[x])


@njit(nogil=True, cache=True)
def load_columns(plane: npt.NDArray[Any], first: int, block: Float32Array) -> None:
    """Copy ``COLUMNS`` columns of a plane from ``first`` on; zeros stand beyond its last."""
    used = min(COLUMNS, plane.shape[1] - first)
    for i in range(plane.shape[0]):
        row, source = block[i], plane[i, first : first + used]
        for x in range(used):
            row[x] = source[x]
        row[used:] = 0.0


@njit(nogil=True, cache=True)
def load_rows(plane: Float32Array, first: int, block: Float32Array) -> None:
    """Copy ``COLUMNS`` rows of a plane from ``first`` on as columns; zeros stand beyond its last."""
    used = min(COLUMNS, plane.shape[0] - first)
    for x in range(plane.shape[1]):
        column = block[x]
        for j in range(used):
            column[j] = plane[first + j, x]
        column[used:] = 0.0


@njit(nogil=True, cache=True)
def _filter_slices(first: int, last: int, c: Float32Array) -> None:
    """Filter slices along y, then along x."""
    _, height, width = c.shape
    along_y = np.empty((height, COLUMNS), dtype=np.float32)
    along_x = np.empty((width, COLUMNS), dtype=np.float32)
    for z in range(first, last):
        plane = c[z]
        for x in range(0, width, COLUMNS):
            load_columns(plane, x, along_y)
            filter_columns(along_y)
            used = min(COLUMNS, width - x)
            plane[:, x : x + used] = along_y[:, :used]
        for y in range(0, height, COLUMNS):
            load_rows(plane, y, along_x)
            filter_columns(along_x)
            for j in range(min(COLUMNS, height - y)):
                for x in range(width):
                    plane[y + j, x] = along_x[x, j]


@njit(nogil=True, cache=True)
def _filter_along_z(first: int, last: int, c: Float32Array) -> None:
    depth, _, width = c.shape
    block = np.empty((depth, COLUMNS), dtype=np.float32)
    for y in range(first, last):
        for x in range(0, width, COLUMNS):
            used = min(COLUMNS, width - x)
            for z in range(depth):
                block[z, :used] = c[z, y, x : x + used]
                block[z, used:] = 0.0
            filter_columns(block)
            for z in range(depth):
                c[z, y, x : x + used] = block[z, :used]
