"""Search among all displacements of small cells: what each one costs, and the cheapest near a field."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import GridMismatchError, InvalidGeometryError, InvalidRequestError
from engine.kernels.arguments import MAX_VOXELS, BoolArray, FloatArray, LabelArray, require_volume
from engine.kernels.backend import Backend, BackendName, select
from engine.kernels.self_similarity import CODE_BITS, require_count

CodeArray: TypeAlias = npt.NDArray[np.uint64]

UNKNOWN_BITS = 18
UNKNOWN_COST = UNKNOWN_BITS / CODE_BITS
"""Cost of a voxel that would move outside or to an unknown place: worse than a match, better than a mismatch."""


GREATEST_CELL = 64
"""So that float32 holds a cell's differing bits as a whole number."""


class _DisplacementSearchTwin(Protocol):
    """What every backend's ``displacement_search`` module offers."""

    def costs(
        self,
        fixed: CodeArray,
        moving: CodeArray,
        weight: BoolArray,
        known: BoolArray,
        cell: int,
        radius: int,
        step: int,
        stride: int,
        unknown_bits: int,
        code_bits: int,
    ) -> FloatArray:
        """Differing bits over ``code_bits`` of every cell at every displacement."""

    def cheapest(self, costs: FloatArray, penalties: FloatArray) -> tuple[LabelArray, int]:
        """Flat index of the first least cost plus penalties (cz, cy, cx, 3, L), and number of NaN costs."""


def displacement_costs(
    fixed_codes: CodeArray,
    moving_codes: CodeArray,
    fixed_weight: BoolArray,
    moving_known: BoolArray,
    *,
    cell: int,
    radius: int,
    step: int = 1,
    stride: int = 1,
    backend: BackendName = Backend.CPU,
) -> FloatArray:
    """Compare every cell of the fixed image with the moving image at every displacement.

    Parameters
    ----------
    fixed_codes, moving_codes : ndarray of uint64, (z, y, x)
        Self-similarity codes on one grid. Not changed.
    fixed_weight : ndarray of bool, (z, y, x)
        Fixed voxels that count.
    moving_known : ndarray of bool, (z, y, x)
        Moving voxels that tell something.
    cell : int
        Edge of the cells, voxels; the last ones may be cut off by the grid.
    radius : int
        Of the search, in steps: ``L = 2 * radius + 1`` displacements along each axis.
    step : int
        Between displacements, voxels.
    stride : int
        Only every ``stride``-th voxel of a cell along each axis is compared; divides ``cell``.
    backend : {'cpu', 'gpu', 'reference'}

    Returns
    -------
    ndarray of float32, (cz, cy, cx, L, L, L)
        Sum over the cell's counting voxels ``p`` of the share of bits in which ``fixed[p]`` and
        ``moving[p + d]`` differ, ``UNKNOWN_COST`` where ``p + d`` lies outside or is not known. Index
        ``(i, j, k)`` of the last three axes is ``d = step * (i - radius, j - radius, k - radius)``.
        0 everywhere for a cell in which no voxel counts.

    Raises
    ------
    InvalidGeometryError, GridMismatchError, InvalidRequestError, BackendError

    Notes
    -----
    Dense displacement search with binary descriptors: Heinrich, Jenkinson, Papiez, Brady and Schnabel,
    MICCAI 2013, and Heinrich, Papiez, Schnabel and Handels, "Non-parametric discrete
    registration with convex optimisation", WBIR 2014. Bits are counted in integers: all backends agree.
    """
    fixed = _require_codes(fixed_codes, "fixed_codes")
    moving = _require_codes(moving_codes, "moving_codes")
    weight = require_volume(fixed_weight, "fixed_weight", np.bool_)
    known = require_volume(moving_known, "moving_known", np.bool_)
    if not fixed.shape == moving.shape == weight.shape == known.shape:
        raise GridMismatchError(
            f"fixed {fixed.shape}, moving {moving.shape}, fixed_weight {weight.shape} and moving_known "
            f"{known.shape} need one grid"
        )
    cell, radius = require_count(cell, "cell"), require_count(radius, "radius")
    step, stride = require_count(step, "step"), require_count(stride, "stride")
    if cell > GREATEST_CELL:
        raise InvalidRequestError(f"cell {cell} must be at most {GREATEST_CELL}; search a coarser grid")
    if cell % stride:
        raise InvalidRequestError(f"stride {stride} must divide cell {cell}, or cells compare unlike voxels")
    count = math.prod(-(-n // cell) for n in fixed.shape) * (2 * radius + 1) ** 3
    if count > MAX_VOXELS:
        raise InvalidRequestError(
            f"{count} costs are more than {MAX_VOXELS}; take larger cells, or a smaller radius"
        )
    twin: _DisplacementSearchTwin = select(backend, "displacement_search")
    return twin.costs(fixed, moving, weight, known, cell, radius, step, stride, UNKNOWN_BITS, CODE_BITS)


def cheapest_displacement(
    costs: FloatArray,
    around: FloatArray,
    strength: float,
    *,
    backend: BackendName = Backend.CPU,
) -> LabelArray:
    """Choose each cell's displacement by its cost and its distance to a field.

    Parameters
    ----------
    costs : ndarray of float32, (cz, cy, cx, L, L, L)
        As from :func:`displacement_costs`. Not changed.
    around : ndarray of float32, (cz, cy, cx, 3)
        Displacement (z, y, x) to stay near, in steps.
    strength : float
        Cost of one squared step away from ``around``; 0 for none.
    backend : {'cpu', 'gpu', 'reference'}

    Returns
    -------
    ndarray of int32, (cz, cy, cx, 3)
        Displacement (z, y, x) in steps with the least ``cost + strength * |d - around|**2``; of equal ones
        the first in array order.

    Raises
    ------
    InvalidGeometryError, GridMismatchError, InvalidRequestError, BackendError
        InvalidRequestError also for a cost that is NaN.

    Notes
    -----
    The similarity step of the coupled convex scheme: Heinrich, Papiez, Schnabel and Handels,
    "Non-parametric discrete registration with convex optimisation", WBIR 2014.
    """
    costs = _require_costs(costs)
    cells, size = costs.shape[:3], costs.shape[3]
    if not isinstance(around, np.ndarray) or around.dtype != np.float32 or around.shape != (*cells, 3):
        raise GridMismatchError(
            f"around must be float32 of shape {(*cells, 3)}, one displacement per cell, "
            f"not {getattr(around, 'dtype', type(around).__name__)} {getattr(around, 'shape', '')}"
        )
    if not (math.isfinite(strength) and strength >= 0):
        raise InvalidRequestError(f"strength {strength} must be a finite number of at least 0")
    radius = size // 2
    with np.errstate(over="ignore", invalid="ignore"):
        away = np.arange(-radius, radius + 1, dtype=np.float32) - around[..., None]
        penalties = np.float32(strength) * away * away
    if not np.isfinite(penalties).all():
        raise InvalidRequestError("around must be finite, and strength times its squares a float32")
    twin: _DisplacementSearchTwin = select(backend, "displacement_search")
    flat, nan_costs = twin.cheapest(costs, penalties)
    if nan_costs:
        raise InvalidRequestError(f"{nan_costs} costs are NaN; none of their cells can be decided")
    chosen = np.stack(np.unravel_index(flat, (size, size, size)), axis=-1) - radius
    return np.asarray(chosen, dtype=np.int32)


def _require_codes(codes: Any, name: str) -> CodeArray:
    checked = require_volume(codes, name, np.uint64)
    if int(checked.max()) >> CODE_BITS:
        raise InvalidRequestError(f"{name} have more than {CODE_BITS} bits; pass self-similarity codes")
    return checked


def _require_costs(costs: Any) -> FloatArray:
    if not isinstance(costs, np.ndarray) or costs.ndim != 6 or not 0 < costs.size <= MAX_VOXELS:
        shape = getattr(costs, "shape", type(costs).__name__)
        raise InvalidGeometryError(f"costs must be a non-empty (cz, cy, cx, L, L, L) array, not {shape}")
    size = costs.shape[3]
    if costs.shape[3:] != (size, size, size) or size % 2 == 0:
        raise InvalidGeometryError(
            f"costs {costs.shape} must end in three equal odd numbers of displacements"
        )
    if costs.dtype != np.float32:
        raise InvalidRequestError(f"costs must be float32, not {costs.dtype}; convert them first")
    return np.ascontiguousarray(costs)
