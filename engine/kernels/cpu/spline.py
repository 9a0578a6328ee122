"""Interpolating cubic B-splines on the CPU: exact prefilter, weights, mirrored indices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.kernels.arguments import FloatArray
from engine.kernels.cpu.threads import over

POLE = math.sqrt(3.0) - 2.0
HORIZON = 24
"""Terms of the initial sum: the pole's powers are below 1e-13 past it."""


def prefiltered(voxels: npt.NDArray[Any]) -> FloatArray:
    """B-spline coefficients of ``voxels`` mirrored about their outermost centers, float32.

    Thevenaz et al., IEEE TMI 19 (2000), appendix: one causal and one anticausal pass per axis.
    """
    c = np.array(voxels, dtype=np.float32, order="C")
    depth, height, width = c.shape
    if width > 1:
        over(depth, 4 * height * width, _along_x, c)
    if height > 1:
        over(depth, 4 * height * width, _along_y, c)
    if depth > 1:
        over(height, 4 * depth * width, _along_z, c)
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
def _along_x(first: int, last: int, c: FloatArray) -> None:
    for z in range(first, last):
        for y in range(c.shape[1]):
            _filter_columns(c[z, y].reshape((c.shape[2], 1)))


@njit(nogil=True, cache=True)
def _along_y(first: int, last: int, c: FloatArray) -> None:
    for z in range(first, last):
        _filter_columns(c[z])


@njit(nogil=True, cache=True)
def _along_z(first: int, last: int, c: FloatArray) -> None:
    plane = np.empty((c.shape[0], c.shape[2]), dtype=np.float32)
    for y in range(first, last):
        plane[:, :] = c[:, y]
        _filter_columns(plane)
        c[:, y] = plane


@njit(nogil=True, cache=True)
def _filter_columns(c: FloatArray) -> None:
    """Filter along axis 0 in place, all columns in step."""
    n, columns = c.shape
    pole, gain = np.float32(POLE), np.float32((1.0 - POLE) * (1.0 - 1.0 / POLE))
    first = np.zeros(columns, dtype=np.float64)
    terms = min(HORIZON, 2 * (n - 1))
    for k in range(terms):
        source, power = mirrored(k, n), POLE**k
        for x in range(columns):
            first[x] += power * c[source, x]
    whole = 1.0 - POLE ** (2 * (n - 1)) if terms < HORIZON else 1.0
    for x in range(columns):
        c[0, x] = gain * first[x] / whole
    for i in range(1, n):
        for x in range(columns):
            c[i, x] = gain * c[i, x] + pole * c[i - 1, x]
    end = np.float32(POLE / (POLE * POLE - 1.0))
    for x in range(columns):
        c[n - 1, x] = end * (c[n - 1, x] + pole * c[n - 2, x])
    for i in range(n - 2, -1, -1):
        for x in range(columns):
            c[i, x] = pole * (c[i + 1, x] - c[i, x])
