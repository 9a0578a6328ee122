"""GPU twin of :mod:`engine.kernels.bending`: one thread per node, which gathers its own share of the energy.

The conjugate gradients stay on the device with their dot products: a step that has nothing left to do does
nothing, so that the host asks only after every few of them whether that is so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float64

from engine.arrays import Float64Array
from engine.kernels.gpu.device import (
    LINE_BLOCK,
    begun_with,
    download,
    empty,
    is_simulated,
    result,
    stream,
    upload,
)

RIDGE = 6.0 * 3 + 2.0 * 4.0 * 3
"""Diagonal of R far from borders."""

_STEPS_AT_ONCE = 8
"""The host waits for the device once in this many steps; the last of them may find nothing to do."""


def solve_bending(
    tensor: Float64Array, right: Float64Array, stiffness: float, tolerance: float, iterations: int
) -> Float64Array:
    """Solve by preconditioned conjugate gradients, everything in units of the stiffness."""
    launch, nodes = _over_nodes(right), right.shape[:3]
    blocks, rest = upload(tensor / stiffness), begun_with(right / stiffness)
    inverse = empty(blocks.shape, np.float64)
    solution, scaled, along, product = (empty((*nodes, 3), np.float64) for _ in range(4))
    sizes, curvatures = (begun_with(np.zeros(iterations + 1)) for _ in range(2))
    _begin[launch](blocks, rest, inverse, solution, along, scaled, sizes)
    for k in range(iterations):
        _turn[launch](along, scaled, sizes, tolerance, k)
        _multiply[launch](blocks, along, product, sizes, tolerance, k, curvatures)
        _advance[launch](inverse, along, product, solution, rest, scaled, sizes, tolerance, k, curvatures)
        if k % _STEPS_AT_ONCE == _STEPS_AT_ONCE - 1 and not _goes_on(sizes, tolerance, k + 1):
            break
    return download(solution)[0]


def _goes_on(sizes: Any, tolerance: float, k: int) -> bool:
    """Whether step ``k`` has something to do; one that was not reached is zero."""
    (reached,) = download(sizes)
    return bool(reached[k] > tolerance * tolerance * reached[0])


def bending_force(field: Float64Array) -> Float64Array:
    """Apply the bending operator once."""
    out = result(field.shape, np.float64)
    _bend[_over_nodes(field)](upload(field), out)
    return download(out)[0]


def _over_nodes(field: Float64Array) -> tuple[int, int, Any]:
    """Blocks, threads per block (a power of two for the reduction) and stream."""
    block = 2 if is_simulated() else LINE_BLOCK
    return -(-math.prod(field.shape[:3]) // block), block, stream()


@cuda.jit(device=True)
def _second(u: Any, z: Any, y: Any, x: Any, dz: Any, dy: Any, dx: Any, c: Any) -> Any:
    """Second difference two nodes along a step, as far as it lies inside."""
    k, j, i = z + 2 * dz, y + 2 * dy, x + 2 * dx
    if k < 0 or j < 0 or i < 0 or k >= u.shape[0] or j >= u.shape[1] or i >= u.shape[2]:
        return 0.0
    return u[z, y, x, c] - 2.0 * u[z + dz, y + dy, x + dx, c] + u[k, j, i, c]


@cuda.jit(device=True)
def _mixed(u: Any, z: Any, y: Any, x: Any, dz: Any, dy: Any, dx: Any, c: Any) -> Any:
    """Mixed difference of a square with this node at a corner; one of the three steps is zero."""
    k, j, i = z + dz, y + dy, x + dx
    if k < 0 or j < 0 or i < 0 or k >= u.shape[0] or j >= u.shape[1] or i >= u.shape[2]:
        return 0.0
    if dz == 0:
        sides = u[z, j, x, c] + u[z, y, i, c]
    elif dy == 0:
        sides = u[k, y, x, c] + u[z, y, i, c]
    else:
        sides = u[k, y, x, c] + u[z, j, x, c]
    return u[z, y, x, c] - sides + u[k, j, i, c]


@cuda.jit(device=True)
def _force(u: Any, z: Any, y: Any, x: Any, c: Any) -> Any:
    """One component of ``R u`` at a node: every difference that it takes part in."""
    total = 0.0
    for s in range(-1, 2, 2):
        total += _second(u, z, y, x, s, 0, 0, c)
        total += _second(u, z, y, x, 0, s, 0, c)
        total += _second(u, z, y, x, 0, 0, s, c)
        for t in range(-1, 2, 2):
            total += 2.0 * _mixed(u, z, y, x, s, t, 0, c)
            total += 2.0 * _mixed(u, z, y, x, s, 0, t, c)
            total += 2.0 * _mixed(u, z, y, x, 0, s, t, c)
    if 0 < z < u.shape[0] - 1:
        total -= 2.0 * _second(u, z - 1, y, x, 1, 0, 0, c)
    if 0 < y < u.shape[1] - 1:
        total -= 2.0 * _second(u, z, y - 1, x, 0, 1, 0, c)
    if 0 < x < u.shape[2] - 1:
        total -= 2.0 * _second(u, z, y, x - 1, 0, 0, 1, c)
    return total


@cuda.jit(device=True)
def _row(t: Any, c: Any, p: Any, q: Any, r: Any) -> Any:
    """One component of a symmetric 3x3 block times a vector."""
    if c == 0:
        return t[0] * p + t[1] * q + t[2] * r
    if c == 1:
        return t[1] * p + t[3] * q + t[4] * r
    return t[2] * p + t[4] * q + t[5] * r


@cuda.jit(device=True)
def _add_up(value: Any, totals: Any, k: Any) -> None:
    """Add the values of all threads to total ``k``; the block halves until one is left."""
    values = cuda.shared.array(LINE_BLOCK, float64)
    thread = cuda.threadIdx.x
    values[thread] = value
    half = cuda.blockDim.x // 2
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            values[thread] += values[thread + half]
        half //= 2
    if thread == 0:
        cuda.atomic.add(totals, k, values[0])


@cuda.jit
def _bend(u: Any, out: Any) -> None:
    n = cuda.grid(1)
    x, y, z = n % u.shape[2], n // u.shape[2] % u.shape[1], n // (u.shape[2] * u.shape[1])
    if z < u.shape[0]:
        for c in range(3):
            out[z, y, x, c] = _force(u, z, y, x, c)


@cuda.jit(device=True)
def _has_to(sizes: Any, tolerance: Any, k: Any) -> Any:
    """Whether a step has something to do: what is left is more than the share of its start, and is no NaN."""
    return sizes[k] > tolerance * tolerance * sizes[0]


@cuda.jit(device=True)
def _invert(t: Any, to: Any) -> None:
    """Inverse of a diagonal 3x3 block."""
    a, b, c, d, e, f = t[0] + RIDGE, t[1], t[2], t[3] + RIDGE, t[4], t[5] + RIDGE
    p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
    s = 1.0 / (a * p + b * q + c * r)
    to[0], to[1], to[2] = p * s, q * s, r * s
    to[3], to[4], to[5] = (a * f - c * c) * s, (b * c - a * e) * s, (a * d - b * b) * s


@cuda.jit(device=True)
def _precondition(inverse: Any, left: Any, scaled: Any) -> Any:
    """Precondition what is left at a node, and return the node's share of its size."""
    own = 0.0
    for c in range(3):
        value = _row(inverse, c, left[0], left[1], left[2])
        scaled[c] = value
        own += left[c] * value
    return own


@cuda.jit
def _begin(blocks: Any, rest: Any, inverse: Any, solution: Any, along: Any, scaled: Any, sizes: Any) -> None:
    """Nothing is found yet, and there is no direction."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    own = 0.0
    if z < along.shape[0]:
        _invert(blocks[z, y, x], inverse[z, y, x])
        own = _precondition(inverse[z, y, x], rest[z, y, x], scaled[z, y, x])
        for c in range(3):
            solution[z, y, x, c] = along[z, y, x, c] = 0.0
    _add_up(own, sizes, 0)


@cuda.jit
def _turn(along: Any, scaled: Any, sizes: Any, tolerance: Any, k: Any) -> None:
    """New direction."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    if z < along.shape[0] and _has_to(sizes, tolerance, k):
        share = sizes[k] / sizes[k - 1] if k > 0 else 0.0
        for c in range(3):
            along[z, y, x, c] = scaled[z, y, x, c] + share * along[z, y, x, c]


@cuda.jit
def _multiply(
    blocks: Any, along: Any, product: Any, sizes: Any, tolerance: Any, k: Any, curvatures: Any
) -> None:
    """Multiply the direction by ``T + R``."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    own = 0.0
    if z < along.shape[0] and _has_to(sizes, tolerance, k):
        u = along[z, y, x]
        for c in range(3):
            value = _row(blocks[z, y, x], c, u[0], u[1], u[2]) + _force(along, z, y, x, c)
            product[z, y, x, c] = value
            own += u[c] * value
    _add_up(own, curvatures, k)


@cuda.jit
def _advance(
    inverse: Any,
    along: Any,
    product: Any,
    solution: Any,
    rest: Any,
    scaled: Any,
    sizes: Any,
    tolerance: Any,
    k: Any,
    curvatures: Any,
) -> None:
    """Go a step along the direction, and precondition what is left; a size of zero ends it."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    own = 0.0
    if z < along.shape[0] and _has_to(sizes, tolerance, k) and curvatures[k] > 0.0:
        step, left = sizes[k] / curvatures[k], rest[z, y, x]
        for c in range(3):
            solution[z, y, x, c] += step * along[z, y, x, c]
            left[c] -= step * product[z, y, x, c]
        own = _precondition(inverse[z, y, x], left, scaled[z, y, x])
    _add_up(own, sizes, k + 1)
