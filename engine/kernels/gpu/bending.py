"""GPU twin of :mod:`engine.kernels.bending`: one thread per node, which gathers its own share of the energy.

The vectors of the conjugate gradients stay on the device; only their two dot products come back.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float64

from engine.kernels.arguments import DoubleArray
from engine.kernels.gpu.device import LINE_BLOCK, download, is_simulated, upload

RIDGE = 6.0 * 3 + 2.0 * 4.0 * 3
"""Diagonal of R far from borders."""


def solve_bending(
    tensor: DoubleArray, right: DoubleArray, stiffness: float, tolerance: float, iterations: int
) -> DoubleArray:
    """Solve by preconditioned conjugate gradients, everything in units of the stiffness."""
    launch = _over_nodes(right)
    blocks, rest = upload(tensor / stiffness), upload(right / stiffness)
    inverse = cuda.device_array_like(blocks)
    found, scaled = (upload(np.zeros_like(right)) for _ in range(2))
    along, product = (upload(np.zeros_like(right)) for _ in range(2))
    _invert[launch](blocks, inverse)
    size = _total(_advance, launch, inverse, 0.0, along, product, found, rest, scaled)
    enough, share = tolerance * tolerance * size, 0.0
    for _ in range(iterations):
        if not size > enough:
            break
        _turn[launch](along, share, scaled)
        curvature = _total(_multiply, launch, blocks, along, product)
        if not curvature > 0.0:
            break
        now = _total(_advance, launch, inverse, size / curvature, along, product, found, rest, scaled)
        size, share = now, now / size
    return download(found)


def bending_force(field: DoubleArray) -> DoubleArray:
    """Apply the bending operator once."""
    out = cuda.device_array(field.shape)
    _bend[_over_nodes(field)](upload(field), out)
    return download(out)


def _over_nodes(field: DoubleArray) -> tuple[int, int]:
    """Blocks and threads per block, a power of two for the reduction."""
    block = 2 if is_simulated() else LINE_BLOCK
    return -(-math.prod(field.shape[:3]) // block), block


def _total(kernel: Any, launch: tuple[int, int], *args: Any) -> float:
    """Run a kernel that adds to its last argument, and return the sum."""
    total = upload(np.zeros(1))
    kernel[launch](*args, total)
    return float(download(total)[0])


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
def _add_up(value: Any, total: Any) -> None:
    """Add the values of all threads; the block halves until one is left."""
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
        cuda.atomic.add(total, 0, values[0])


@cuda.jit
def _bend(u: Any, out: Any) -> None:
    n = cuda.grid(1)
    x, y, z = n % u.shape[2], n // u.shape[2] % u.shape[1], n // (u.shape[2] * u.shape[1])
    if z < u.shape[0]:
        for c in range(3):
            out[z, y, x, c] = _force(u, z, y, x, c)


@cuda.jit
def _invert(blocks: Any, inverse: Any) -> None:
    """Inverses of the diagonal 3x3 blocks."""
    n = cuda.grid(1)
    x = n % blocks.shape[2]
    y, z = n // blocks.shape[2] % blocks.shape[1], n // (blocks.shape[2] * blocks.shape[1])
    if z >= blocks.shape[0]:
        return
    t, to = blocks[z, y, x], inverse[z, y, x]
    a, b, c, d, e, f = t[0] + RIDGE, t[1], t[2], t[3] + RIDGE, t[4], t[5] + RIDGE
    p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
    s = 1.0 / (a * p + b * q + c * r)
    to[0], to[1], to[2] = p * s, q * s, r * s
    to[3], to[4], to[5] = (a * f - c * c) * s, (b * c - a * e) * s, (a * d - b * b) * s


@cuda.jit
def _turn(along: Any, share: Any, scaled: Any) -> None:
    """New direction."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    if z < along.shape[0]:
        for c in range(3):
            along[z, y, x, c] = scaled[z, y, x, c] + share * along[z, y, x, c]


@cuda.jit
def _multiply(blocks: Any, along: Any, product: Any, curvature: Any) -> None:
    """Multiply the direction by ``T + R``."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    own = 0.0
    if z < along.shape[0]:
        u = along[z, y, x]
        for c in range(3):
            value = _row(blocks[z, y, x], c, u[0], u[1], u[2]) + _force(along, z, y, x, c)
            product[z, y, x, c] = value
            own += u[c] * value
    _add_up(own, curvature)


@cuda.jit
def _advance(
    inverse: Any, step: Any, along: Any, product: Any, found: Any, rest: Any, scaled: Any, size: Any
) -> None:
    """Go a step along the direction, and precondition what is left."""
    n = cuda.grid(1)
    x, y, z = n % along.shape[2], n // along.shape[2] % along.shape[1], n // (along.shape[2] * along.shape[1])
    own = 0.0
    if z < along.shape[0]:
        left = rest[z, y, x]
        for c in range(3):
            found[z, y, x, c] += step * along[z, y, x, c]
            left[c] -= step * product[z, y, x, c]
        for c in range(3):
            value = _row(inverse[z, y, x], c, left[0], left[1], left[2])
            scaled[z, y, x, c] = value
            own += left[c] * value
    _add_up(own, size)
