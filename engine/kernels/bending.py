"""The smoothest field that obeys a quadratic: a linear system with bending energy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.backend import KernelBackend, select


class _BendingTwin(Protocol):
    """What every backend's ``bending`` module offers."""

    def solve_bending(
        self, tensor: Float64Array, right: Float64Array, stiffness: float, tolerance: float, iterations: int
    ) -> Float64Array: ...

    def bending_force(self, field: Float64Array) -> Float64Array: ...


def solve_bending(
    tensor: Float64Array,
    right: Float64Array,
    stiffness: float,
    *,
    tolerance: float = 1e-3,
    iterations: int = 400,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Float64Array:
    """Solve ``(T + stiffness R) u = right`` for a field on nodes.

    Parameters
    ----------
    tensor : ndarray of float64, (z, y, x, 6)
        Symmetric 3x3 blocks of T: zz, zy, zx, yy, yx, xx; positive semidefinite.
    right : ndarray of float64, (z, y, x, 3)
    stiffness : float
        Weight of the bending energy R.
    tolerance : float
        The preconditioned residual is brought to this share of its start.
    iterations : int
        At most this many.
    kernels : KernelBackend

    Returns
    -------
    ndarray of float64, (z, y, x, 3)

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    R sums squared second differences, u_zz² + u_yy² + u_xx² + 2 (u_zy² + u_zx² + u_yx²), without terms
    across the border: an affine field costs nothing (thin plate; Rueckert et al., IEEE Trans Med Imaging
    18:712-721, 1999, eq. 4). Conjugate gradients with 3x3 block-diagonal preconditioning.
    """
    blocks, column = _require_nodes(tensor, "tensor", 6), _require_nodes(right, "right", 3)
    if blocks.shape[:3] != column.shape[:3]:
        raise InvalidGeometryError(f"tensor {blocks.shape} and right side {column.shape} differ in nodes")
    if not (np.isfinite(stiffness) and stiffness > 0.0 and tolerance > 0.0 and iterations > 0):
        raise InvalidRequestError("stiffness, tolerance and iterations must be positive")
    twin: _BendingTwin = select(kernels, "bending")
    return twin.solve_bending(blocks, column, float(stiffness), float(tolerance), int(iterations))


def bending_force(field: Float64Array, *, kernels: KernelBackend = KernelBackend.CPU) -> Float64Array:
    """Gradient of half the bending energy of a field: ``R u``.

    Parameters
    ----------
    field : ndarray of float64, (z, y, x, 3)
    kernels : KernelBackend

    Returns
    -------
    ndarray of float64, (z, y, x, 3)

    Raises
    ------
    InvalidGeometryError, BackendError
    """
    twin: _BendingTwin = select(kernels, "bending")
    return twin.bending_force(_require_nodes(field, "field", 3))


def _require_nodes(values: Any, name: str, components: int) -> Float64Array:
    table = np.ascontiguousarray(values, dtype=np.float64)
    if table.ndim != 4 or table.shape[3] != components or min(table.shape) < 1:
        raise InvalidGeometryError(f"{name} must be (z, y, x, {components}), not {table.shape}")
    if not np.isfinite(table).all():
        raise InvalidRequestError(f"{name} must be finite")
    return table
