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
    blocks, residual = upload(tensor / stiffness), begun_with(right / stiffness)
    inverse = empty(blocks.shape, np.float64)
    solution, preconditioned, direction, product = (empty((*nodes, 3), np.float64) for _ in range(4))
    residual_norms2, curvatures = (begun_with(np.zeros(iterations + 1)) for _ in range(2))
    _initialize[launch](blocks, residual, inverse, solution, direction, preconditioned, residual_norms2)
    for k in range(iterations):
        _update_direction[launch](direction, preconditioned, residual_norms2, tolerance, k)
        _multiply[launch](blocks, direction, product, residual_norms2, tolerance, k, curvatures)
        _take_step[launch](
            inverse,
            direction,
            product,
            solution,
            residual,
            preconditioned,
            residual_norms2,
            tolerance,
            k,
            curvatures,
        )
        if k % _STEPS_AT_ONCE == _STEPS_AT_ONCE - 1 and not _needs_step(residual_norms2, tolerance, k + 1):
            break
    return download(solution)[0]


def _needs_step(residual_norms2: Any, tolerance: float, k: int) -> bool:
    """Whether step ``k`` has something to do, read back from the device; a step not reached has norm zero."""
    (reached,) = download(residual_norms2)
    return bool(reached[k] > tolerance * tolerance * reached[0])


def bending_force(field: Float64Array) -> Float64Array:
    """Apply the bending operator once."""
    out = result(field.shape, np.float64)
    _apply_bending[_over_nodes(field)](upload(field), out)
    return download(out)[0]


def _over_nodes(field: Float64Array) -> tuple[int, int, Any]:
    """Blocks, threads per block (a power of two for the reduction) and stream."""
    block = 2 if is_simulated() else LINE_BLOCK
    return -(-math.prod(field.shape[:3]) // block), block, stream()


@cuda.jit(device=True)
def _second_difference(u: Any, z: Any, y: Any, x: Any, dz: Any, dy: Any, dx: Any, c: Any) -> Any:
    """Second difference of a node and the next two along a step; 0 where they leave the lattice."""
    k, j, i = z + 2 * dz, y + 2 * dy, x + 2 * dx
    if k < 0 or j < 0 or i < 0 or k >= u.shape[0] or j >= u.shape[1] or i >= u.shape[2]:
        return 0.0
    return u[z, y, x, c] - 2.0 * u[z + dz, y + dy, x + dx, c] + u[k, j, i, c]


@cuda.jit(device=True)
def _mixed_difference(u: Any, z: Any, y: Any, x: Any, dz: Any, dy: Any, dx: Any, c: Any) -> Any:
    """Mixed difference over the square with this node at a corner, 0 outside the lattice; one of the steps is zero."""
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
        total += _second_difference(u, z, y, x, s, 0, 0, c)
        total += _second_difference(u, z, y, x, 0, s, 0, c)
        total += _second_difference(u, z, y, x, 0, 0, s, c)
        for t in range(-1, 2, 2):
            total += 2.0 * _mixed_difference(u, z, y, x, s, t, 0, c)
            total += 2.0 * _mixed_difference(u, z, y, x, s, 0, t, c)
            total += 2.0 * _mixed_difference(u, z, y, x, 0, s, t, c)
    if 0 < z < u.shape[0] - 1:
        total -= 2.0 * _second_difference(u, z - 1, y, x, 1, 0, 0, c)
    if 0 < y < u.shape[1] - 1:
        total -= 2.0 * _second_difference(u, z, y - 1, x, 0, 1, 0, c)
    if 0 < x < u.shape[2] - 1:
        total -= 2.0 * _second_difference(u, z, y, x - 1, 0, 0, 1, c)
    return total


@cuda.jit(device=True)
def _block_row_times(t: Any, c: Any, p: Any, q: Any, r: Any) -> Any:
    """One component of a symmetric 3x3 block times a vector."""
    if c == 0:
        return t[0] * p + t[1] * q + t[2] * r
    if c == 1:
        return t[1] * p + t[3] * q + t[4] * r
    return t[2] * p + t[4] * q + t[5] * r


@cuda.jit(device=True)
def _add_to_total(value: Any, totals: Any, k: Any) -> None:
    """Add the values of all threads to total ``k``: a reduction in shared memory, then one atomic addition a block."""
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
def _apply_bending(u: Any, out: Any) -> None:
    n = cuda.grid(1)
    x, y, z = n % u.shape[2], n // u.shape[2] % u.shape[1], n // (u.shape[2] * u.shape[1])
    if z < u.shape[0]:
        for c in range(3):
            out[z, y, x, c] = _force(u, z, y, x, c)


@cuda.jit(device=True)
def _is_unconverged(residual_norms2: Any, tolerance: Any, k: Any) -> Any:
    """Whether a step has something to do: the residual is above its tolerance, and not NaN."""
    return residual_norms2[k] > tolerance * tolerance * residual_norms2[0]


@cuda.jit(device=True)
def _invert(t: Any, to: Any) -> None:
    """Inverse of a diagonal 3x3 block."""
    a, b, c, d, e, f = t[0] + RIDGE, t[1], t[2], t[3] + RIDGE, t[4], t[5] + RIDGE
    p, q, r = d * f - e * e, c * e - b * f, b * e - c * d
    s = 1.0 / (a * p + b * q + c * r)
    to[0], to[1], to[2] = p * s, q * s, r * s
    to[3], to[4], to[5] = (a * f - c * c) * s, (b * c - a * e) * s, (a * d - b * b) * s


@cuda.jit(device=True)
def _precondition(inverse: Any, residual_here: Any, preconditioned: Any) -> Any:
    """Precondition the residual at a node, and return the node's summand of its squared norm."""
    thread_sum = 0.0
    for c in range(3):
        value = _block_row_times(inverse, c, residual_here[0], residual_here[1], residual_here[2])
        preconditioned[c] = value
        thread_sum += residual_here[c] * value
    return thread_sum


@cuda.jit
def _initialize(
    blocks: Any,
    residual: Any,
    inverse: Any,
    solution: Any,
    direction: Any,
    preconditioned: Any,
    residual_norms2: Any,
) -> None:
    """Start from a solution and a direction of zero."""
    n = cuda.grid(1)
    x, y, z = (
        n % direction.shape[2],
        n // direction.shape[2] % direction.shape[1],
        n // (direction.shape[2] * direction.shape[1]),
    )
    thread_sum = 0.0
    if z < direction.shape[0]:
        _invert(blocks[z, y, x], inverse[z, y, x])
        thread_sum = _precondition(inverse[z, y, x], residual[z, y, x], preconditioned[z, y, x])
        for c in range(3):
            solution[z, y, x, c] = direction[z, y, x, c] = 0.0
    _add_to_total(thread_sum, residual_norms2, 0)


@cuda.jit
def _update_direction(
    direction: Any, preconditioned: Any, residual_norms2: Any, tolerance: Any, k: Any
) -> None:
    """``direction = preconditioned + beta * direction``."""
    n = cuda.grid(1)
    x, y, z = (
        n % direction.shape[2],
        n // direction.shape[2] % direction.shape[1],
        n // (direction.shape[2] * direction.shape[1]),
    )
    if z < direction.shape[0] and _is_unconverged(residual_norms2, tolerance, k):
        beta = residual_norms2[k] / residual_norms2[k - 1] if k > 0 else 0.0
        for c in range(3):
            direction[z, y, x, c] = preconditioned[z, y, x, c] + beta * direction[z, y, x, c]


@cuda.jit
def _multiply(
    blocks: Any, direction: Any, product: Any, residual_norms2: Any, tolerance: Any, k: Any, curvatures: Any
) -> None:
    """Multiply the direction by ``T + R``."""
    n = cuda.grid(1)
    x, y, z = (
        n % direction.shape[2],
        n // direction.shape[2] % direction.shape[1],
        n // (direction.shape[2] * direction.shape[1]),
    )
    thread_sum = 0.0
    if z < direction.shape[0] and _is_unconverged(residual_norms2, tolerance, k):
        u = direction[z, y, x]
        for c in range(3):
            value = _block_row_times(blocks[z, y, x], c, u[0], u[1], u[2]) + _force(direction, z, y, x, c)
            product[z, y, x, c] = value
            thread_sum += u[c] * value
    _add_to_total(thread_sum, curvatures, k)


@cuda.jit
def _take_step(
    inverse: Any,
    direction: Any,
    product: Any,
    solution: Any,
    residual: Any,
    preconditioned: Any,
    residual_norms2: Any,
    tolerance: Any,
    k: Any,
    curvatures: Any,
) -> None:
    """Go a step along the direction and precondition the residual; without a step the next squared norm stays 0."""
    n = cuda.grid(1)
    x, y, z = (
        n % direction.shape[2],
        n // direction.shape[2] % direction.shape[1],
        n // (direction.shape[2] * direction.shape[1]),
    )
    thread_sum = 0.0
    if z < direction.shape[0] and _is_unconverged(residual_norms2, tolerance, k) and curvatures[k] > 0.0:
        step, residual_here = residual_norms2[k] / curvatures[k], residual[z, y, x]
        for c in range(3):
            solution[z, y, x, c] += step * direction[z, y, x, c]
            residual_here[c] -= step * product[z, y, x, c]
        thread_sum = _precondition(inverse[z, y, x], residual_here, preconditioned[z, y, x])
    _add_to_total(thread_sum, residual_norms2, k + 1)
