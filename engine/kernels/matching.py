"""The quadratic that a displacement field sees around two nearly aligned images.

Both images are compared through a local linear model (offset, gain, noise), so that what breathing does to
the density of lung does not pull the field, and a place that does not match counts little.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Float64Array
from engine.errors import InvalidGeometryError, InvalidRequestError
from engine.kernels.arguments import node_shape, require_volume
from engine.kernels.backend import KernelBackend, select

MODEL = 4


class _MatchingTwin(Protocol):
    """What every backend's ``matching`` module offers."""

    def local_moments(
        self, fixed: Float32Array, warped: Float32Array, evidence: npt.NDArray[np.bool_], cell: float
    ) -> Float64Array: ...

    def match_equations(
        self,
        fixed: Float32Array,
        warped: Float32Array,
        evidence: npt.NDArray[np.bool_],
        model: Float64Array,
        model_cell: float,
        cell: float,
        spacing_mm: float,
        outlier_ratio: float,
    ) -> tuple[Float64Array, Float64Array]: ...


def local_moments(
    fixed: Float32Array,
    warped: Float32Array,
    evidence: npt.NDArray[np.bool_],
    cell: float,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Float64Array:
    """Sums of both images around every node of a lattice, weighted by the node's hat function.

    Parameters
    ----------
    fixed, warped : ndarray of float32, (z, y, x)
        The warped image is NaN where it is not known; such voxels do not count.
    evidence : ndarray of bool, (z, y, x)
        Voxels that count.
    cell : float
        Voxels between nodes, at least 1.
    kernels : KernelBackend

    Returns
    -------
    ndarray of float64, (*nodes, 6)
        Sums of 1, f, w, f², w², f w.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError
    """
    images = _require_images(fixed, warped, evidence)
    _require_positive(cell - 1.0, "cell must be at least 1 voxel", or_zero=True)
    twin: _MatchingTwin = select(kernels, "matching")
    return twin.local_moments(*images, float(cell))


def match_equations(
    fixed: Float32Array,
    warped: Float32Array,
    evidence: npt.NDArray[np.bool_],
    model: Float64Array,
    *,
    model_cell: float,
    cell: float,
    spacing_mm: float,
    outlier_ratio: float,
    kernels: KernelBackend = KernelBackend.CPU,
) -> tuple[Float64Array, Float64Array]:
    """Gauss-Newton equations of a nodal displacement that brings ``warped`` onto ``fixed``.

    Parameters
    ----------
    fixed, warped, evidence
        As in :func:`local_moments`; the outermost voxels, which have no central difference, do not count.
    model : ndarray of float64, (*model nodes, 4)
        Mean of fixed, mean of warped, gain, noise variance; read off linearly between nodes.
    model_cell, cell : float
        Voxels between nodes of the model and of the displacement.
    spacing_mm : float
        Of the isotropic grid.
    outlier_ratio : float
        A difference of this many noise standard deviations counts half.
    kernels : KernelBackend

    Returns
    -------
    tensor : ndarray of float64, (*nodes, 6)
        zz, zy, zx, yy, yx, xx of the summed outer products of the gradient, per mm².
    force : ndarray of float64, (*nodes, 3)
        Summed gradient times difference, along z, y, x, per mm.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    Difference d = (f - mean f) - gain (w - mean w), gradient g = (grad f + gain grad w) / 2, weight
    1 / (variance (1 + d² / (variance ratio²))), each voxel shared among its 8 nodes by their hat functions
    (lumped). The symmetric gradient: Thirion, Med Image Anal 2:243-260, 1998.
    """
    images = _require_images(fixed, warped, evidence)
    for name, value in (("spacing_mm", spacing_mm), ("outlier_ratio", outlier_ratio)):
        _require_positive(value, f"{name} must be positive")
    for name, value in (("cell", cell), ("model_cell", model_cell)):
        _require_positive(value - 1.0, f"{name} must be at least 1 voxel", or_zero=True)
    table = np.ascontiguousarray(model, dtype=np.float64)
    shape = images[0].shape
    expected = (*node_shape((shape[0], shape[1], shape[2]), model_cell), MODEL)
    if table.shape != expected or not np.isfinite(table).all() or (table[..., 3] <= 0.0).any():
        raise InvalidRequestError(
            f"model must be finite numbers of shape {expected} with positive variances, not {table.shape}"
        )
    twin: _MatchingTwin = select(kernels, "matching")
    return twin.match_equations(
        *images, table, float(model_cell), float(cell), float(spacing_mm), float(outlier_ratio)
    )


def _require_images(fixed: Any, warped: Any, evidence: Any) -> tuple[Any, Any, Any]:
    fixed_image = require_volume(fixed, "fixed", np.float32)
    warped_image = require_volume(warped, "warped", np.float32)
    where = require_volume(evidence, "evidence", np.bool_)
    if not fixed_image.shape == warped_image.shape == where.shape:
        raise InvalidGeometryError(
            f"fixed, warped and evidence must be of one shape, not {fixed_image.shape}, {warped_image.shape}, "
            f"{where.shape}"
        )
    return fixed_image, warped_image, where


def _require_positive(value: float, complaint: str, *, or_zero: bool = False) -> None:
    if not (np.isfinite(value) and (value > 0.0 or (or_zero and value == 0.0))):
        raise InvalidRequestError(complaint)
