"""Definition of :mod:`engine.kernels.bending`: the energy as sparse matrices, solved far below any tolerance."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from engine.arrays import Float64Array
from engine.kernels.arguments import Index3

PLACES = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
"""Where the elements of a symmetric 3x3 block stand among its six numbers."""

_TIGHT = 1e-13
_ROUNDS = 100
"""Iterations for each unknown at most: an exact solution, whatever the caller would be content with."""


def solve_bending(
    tensor: Float64Array,
    right: Float64Array,
    stiffness: float,
    _tolerance: float,  # solved further than asked
    _iterations: int,
) -> Float64Array:
    """Solve by SciPy's conjugate gradients, preconditioned by the inverse diagonal blocks."""
    shape = _shape(right)
    blocks = tensor.reshape(-1, 6)[:, PLACES]
    energy = stiffness * _energy(shape)
    matrix = sparse.block_diag(list(blocks)) + sparse.kron(energy, sparse.eye(3))
    inverse = np.linalg.inv(blocks + np.eye(3) * energy.diagonal().max())
    precondition = LinearOperator(
        matrix.shape,
        matvec=lambda residual: np.einsum("nij,nj->ni", inverse, residual.reshape(-1, 3)).ravel(),
    )
    solution, _ = cg(
        matrix.tocsr(), right.ravel(), rtol=_TIGHT, atol=0.0, maxiter=_ROUNDS * right.size, M=precondition
    )
    return np.asarray(solution).reshape(right.shape)


def bending_force(field: Float64Array) -> Float64Array:
    """Apply the energy's matrix once."""
    return np.asarray(_energy(_shape(field)) @ field.reshape(-1, 3)).reshape(field.shape)


def _shape(field: Float64Array) -> Index3:
    nz, ny, nx, _ = field.shape
    return nz, ny, nx


def _energy(shape: Index3) -> Any:
    """Sum of squared second differences that lie inside the lattice, as a sparse matrix."""
    total = sparse.csr_array((int(np.prod(shape)),) * 2)
    for axis in range(3):
        total = total + _square(shape, {axis: 2})
        for other in range(axis):
            total = total + 2.0 * _square(shape, {axis: 1, other: 1})
    return total


def _square(shape: Index3, orders: dict[int, int]) -> Any:
    """Matrix whose quadratic form sums the squares of a mixed difference."""
    steps: Any = sparse.eye_array(1)
    for axis, size in enumerate(shape):
        order = orders.get(axis, 0)
        difference = np.diff(np.eye(size), order, axis=0)
        steps = sparse.kron(steps, sparse.csr_array(difference))
    return (steps.T @ steps).tocsr()
