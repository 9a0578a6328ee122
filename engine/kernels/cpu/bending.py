"""CPU twin of :mod:`engine.kernels.bending`: conjugate gradients on planes that stay in cache.

The lattices are small (10^4 nodes): what counts is a few passes of contiguous, vectorised planes for each
iteration, not threads. Callers solve several right sides side by side instead.

With Neumann Laplacians L of each axis, R is the square of their sum but for the ends of each axis, where
L squared also holds the squared first difference that a second difference without terms across the border
does not have. Vectors are laid out (z, component, flat plane) with a border of one node that repeats its
neighbor, so that no loop over a plane knows of borders; its vectors are zero there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Float64Array

RIDGE = 6.0 * 3 + 2.0 * 4.0 * 3
"""Diagonal of R: six for each axis, four for each mixed term; less near borders, which only slows down."""

_RING = 4
"""Planes of the Laplacian that are kept: three are in use, and one is being written."""

_MIN_SINGLE_TOLERANCE = 1e-3
"""From this tolerance on single precision suffices: half the bytes, rounding ten thousand times smaller than it."""

REORDER = {"reassoc", "contract", "nsz"}
"""What sums may do to be vectorised; NaN stays NaN."""


def solve_bending(
    tensor: Float64Array, right: Float64Array, stiffness: float, tolerance: float, iterations: int
) -> Float64Array:
    """Solve by preconditioned conjugate gradients, everything in units of the stiffness."""
    _, ny, nx, _ = right.shape
    precision = np.float32 if tolerance >= _MIN_SINGLE_TOLERANCE else np.float64
    unit = float(np.abs(right).max()) or 1.0  # keeps single precision within its range
    blocks = _with_border(tensor / stiffness, precision)
    inverse = _with_border(_inverse_blocks(tensor / stiffness), precision)
    residual = _with_border(right / unit, precision)
    solution = np.zeros_like(residual)
    _solve(blocks, inverse, residual, tolerance, iterations, ny, nx, solution)
    return _without_border(solution, ny, nx) * (unit / stiffness)


def bending_force(field: Float64Array) -> Float64Array:
    """Apply the bending operator once."""
    _, ny, nx, _ = field.shape
    u = _with_border(field, np.float64)
    out = np.zeros_like(u)
    _apply_bending(u, ny, nx, out)
    return _without_border(out, ny, nx)


def _with_border(values: Float64Array, precision: type[np.floating[Any]]) -> npt.NDArray[Any]:
    nz, ny, nx, n = values.shape
    padded = np.zeros((nz + 2, n, ny + 2, nx + 2), dtype=precision)
    padded[1:-1, :, 1:-1, 1:-1] = np.moveaxis(values, 3, 1)
    return padded.reshape(nz + 2, n, -1)


def _without_border(values: npt.NDArray[Any], ny: int, nx: int) -> Float64Array:
    padded = values.reshape(*values.shape[:2], ny + 2, nx + 2)
    return np.ascontiguousarray(np.moveaxis(padded[1:-1, :, 1:-1, 1:-1], 1, 3), dtype=np.float64)


@njit(cache=True, nogil=True, fastmath=REORDER, error_model="numpy")
def _inverse_blocks(tensor: Any) -> Any:
    """Inverses of the diagonal 3x3 blocks, six numbers each."""
    nz, ny, nx, _ = tensor.shape
    inverse = np.empty(tensor.shape)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                t = tensor[z, y, x]
                a, b, c, d, e, f = t[0] + RIDGE, t[1], t[2], t[3] + RIDGE, t[4], t[5] + RIDGE
                p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
                s = 1.0 / (a * p + b * q + c * r)
                to = inverse[z, y, x]
                to[0], to[1], to[2] = p * s, q * s, r * s
                to[3], to[4], to[5] = (a * f - c * c) * s, (b * c - a * e) * s, (a * d - b * b) * s
    return inverse


@njit(cache=True, nogil=True)
def _repeat_border(u: Any, ny: int, nx: int) -> None:
    """Give the nodes around a plane the value of their neighbor in it."""
    width = nx + 2
    for c in range(3):
        plane = u[c]
        for y in range(1, ny + 1):
            plane[y * width] = plane[y * width + 1]
            plane[y * width + nx + 1] = plane[y * width + nx]
        for x in range(1, nx + 1):
            plane[x] = plane[width + x]
            plane[(ny + 1) * width + x] = plane[ny * width + x]


@njit(cache=True, nogil=True)
def _fill_halo(u: Any, z: int, nz: int, ny: int, nx: int, ring: int) -> None:
    """Fill the halo around plane ``z``, and the planes before the first and after the last, with their neighbors."""
    _repeat_border(u[z % ring], ny, nx)
    if z == 1:
        u[0] = u[1]
    if z == nz:
        u[(nz + 1) % ring] = u[nz % ring]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _negative_laplacian(below: Any, plane: Any, above: Any, width: int, out: Any) -> None:
    """Negative Laplacian of one plane; its values on the border are meaningless."""
    first, last = width + 1, plane.shape[1] - width - 1
    six = plane.dtype.type(6.0)
    for c in range(3):
        low, high, to = below[c, first:last], above[c, first:last], out[c, first:last]
        here = plane[c, first:last]
        west, east = plane[c, first - 1 : last - 1], plane[c, first + 1 : last + 1]
        north, south = plane[c, first - width : last - width], plane[c, first + width : last + width]
        for i in range(to.size):
            to[i] = six * here[i] - ((west[i] + east[i]) + (north[i] + south[i])) - (low[i] + high[i])


@njit(cache=True, nogil=True, fastmath=REORDER)
def _subtract_end_differences(u: Any, z: int, ny: int, nx: int, out: Any) -> None:
    """Subtract the first differences at the ends of each axis, and clear the border."""
    nz, width = u.shape[0] - 2, nx + 2
    for c in range(3):
        here, to = u[z, c], out[c]
        if nz > 1:
            for plane, neighbor in ((1, 2), (2, 1), (nz, nz - 1), (nz - 1, nz)):
                if z == plane:
                    _subtract_difference(here, u[neighbor, c], to)
        if ny > 1:
            for row, neighbor in ((1, 2), (2, 1), (ny, ny - 1), (ny - 1, ny)):
                i, j = row * width, neighbor * width
                _subtract_difference(here[i : i + width], here[j : j + width], to[i : i + width])
        for y in range(1, ny + 1):
            i, j = y * width + 1, y * width + nx
            if nx > 1:
                low, high = here[i] - here[i + 1], here[j] - here[j - 1]
                to[i] -= low
                to[i + 1] += low
                to[j] -= high
                to[j - 1] += high
            to[i - 1] = 0.0
            to[j + 1] = 0.0
        to[:width] = 0.0
        to[(ny + 1) * width :] = 0.0


@njit(cache=True, nogil=True, fastmath=REORDER)
def _subtract_difference(here: Any, neighbor: Any, to: Any) -> None:
    """``to -= here - neighbor`` on a row."""
    for i in range(to.size):
        to[i] -= here[i] - neighbor[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _apply_blocks(blocks: Any, u: Any, out: Any, accumulate: bool) -> None:
    """``out = blocks u`` on a plane, or added to it."""
    for c, d, e, f in ((0, 0, 1, 2), (1, 1, 3, 4), (2, 2, 4, 5)):
        p, q, r, to = blocks[d], blocks[e], blocks[f], out[c]
        a, b, h = u[0], u[1], u[2]
        if accumulate:
            for i in range(to.size):
                to[i] += p[i] * a[i] + q[i] * b[i] + r[i] * h[i]
        else:
            for i in range(to.size):
                to[i] = p[i] * a[i] + q[i] * b[i] + r[i] * h[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _dot(a: Any, b: Any) -> float:
    """Dot product of two planes of vectors."""
    total = a.dtype.type(0.0)
    for c in range(3):
        p, q = a[c], b[c]
        for i in range(p.size):
            total += p[i] * q[i]
    return float(total)


@njit(cache=True, nogil=True, fastmath=REORDER)
def _add_scaled(to: Any, factor: float, what: Any) -> None:
    """``to += factor * what`` on a plane."""
    for c in range(3):
        p, q = to[c], what[c]
        for i in range(p.size):
            p[i] += factor * q[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _update_direction(direction: Any, beta: float, preconditioned: Any) -> None:
    """``direction = preconditioned + beta * direction`` on a plane."""
    for c in range(3):
        p, q = direction[c], preconditioned[c]
        for i in range(p.size):
            p[i] = q[i] + beta * p[i]


@njit(cache=True, nogil=True, fastmath=REORDER)
def _apply_bending(u: Any, ny: int, nx: int, out: Any) -> None:
    """``out = R u``."""
    nz, laplacian = u.shape[0] - 2, np.zeros((_RING, *u.shape[1:]), dtype=u.dtype)
    for z in range(1, nz + 3):
        if z <= nz:
            _fill_halo(u, z, nz, ny, nx, u.shape[0])
        if 1 < z <= nz + 1:
            _negative_laplacian(u[z - 2], u[z - 1], u[z], nx + 2, laplacian[(z - 1) % _RING])
            _fill_halo(laplacian, z - 1, nz, ny, nx, _RING)
        if z > 2:
            _negative_laplacian(
                laplacian[(z - 3) % _RING],
                laplacian[(z - 2) % _RING],
                laplacian[(z - 1) % _RING],
                nx + 2,
                out[z - 2],
            )
            _subtract_end_differences(u, z - 2, ny, nx, out[z - 2])


@njit(cache=True, nogil=True, fastmath=REORDER)
def _multiply(
    blocks: Any, direction: Any, preconditioned: Any, beta: float, ny: int, nx: int, laplacian: Any, out: Any
) -> float:
    """Update the direction, write its product with ``T + R``, and return its curvature.

    Each plane is visited again one and two planes later, while it is still in cache.
    """
    nz, curvature = direction.shape[0] - 2, 0.0
    for z in range(1, nz + 3):
        if z <= nz:
            _update_direction(direction[z], direction.dtype.type(beta), preconditioned[z])
            _fill_halo(direction, z, nz, ny, nx, direction.shape[0])
        if 1 < z <= nz + 1:
            _negative_laplacian(
                direction[z - 2], direction[z - 1], direction[z], nx + 2, laplacian[(z - 1) % _RING]
            )
            _fill_halo(laplacian, z - 1, nz, ny, nx, _RING)
        if z > 2:
            to = out[z - 2]
            _negative_laplacian(
                laplacian[(z - 3) % _RING], laplacian[(z - 2) % _RING], laplacian[(z - 1) % _RING], nx + 2, to
            )
            _apply_blocks(blocks[z - 2], direction[z - 2], to, True)
            _subtract_end_differences(direction, z - 2, ny, nx, to)
            curvature += _dot(direction[z - 2], to)
    return curvature


@njit(cache=True, nogil=True, fastmath=REORDER, error_model="numpy")
def _solve(
    blocks: Any,
    inverse: Any,
    residual: Any,
    tolerance: float,
    iterations: int,
    ny: int,
    nx: int,
    solution: Any,
) -> None:
    """Preconditioned conjugate gradients; ``residual_norm2`` is the residual times the preconditioned residual."""
    nz, number = residual.shape[0] - 2, residual.dtype.type
    preconditioned, direction, product = (
        np.zeros_like(residual),
        np.zeros_like(residual),
        np.zeros_like(residual),
    )
    laplacian = np.zeros((_RING, *residual.shape[1:]), dtype=residual.dtype)
    residual_norm2 = 0.0
    for z in range(1, nz + 1):
        _apply_blocks(inverse[z], residual[z], preconditioned[z], False)
        residual_norm2 += _dot(residual[z], preconditioned[z])
    target_norm2, beta = tolerance * tolerance * residual_norm2, 0.0
    for _ in range(iterations):
        if not residual_norm2 > target_norm2:
            return
        curvature = _multiply(blocks, direction, preconditioned, beta, ny, nx, laplacian, product)
        if not curvature > 0.0:
            return
        step, next_norm2 = residual_norm2 / curvature, 0.0
        for z in range(1, nz + 1):
            _add_scaled(solution[z], number(step), direction[z])
            _add_scaled(residual[z], number(-step), product[z])
            _apply_blocks(inverse[z], residual[z], preconditioned[z], False)
            next_norm2 += _dot(residual[z], preconditioned[z])
        beta = next_norm2 / residual_norm2
        residual_norm2 = next_norm2
