"""Coverage and margin of many drawn tumor poses, read off one distance field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Float64Array, Int64Array
from engine.errors import InvalidRequestError
from engine.kernels.arguments import require_volume
from engine.kernels.backend import KernelBackend, select


@dataclass(frozen=True, eq=False)
class DrawnCoverage:
    """One row for each draw.

    Parameters
    ----------
    included, covered : ndarray of int64, (draws,)
        Points whose value is below the draw's value limit, and those of them whose sampled field is at
        or below the draw's field limit.
    max_on_surface : ndarray of float64, (draws,)
        Greatest sum of sampled field and offset over the surface points.
    """

    included: Int64Array
    covered: Int64Array
    max_on_surface: Float64Array


class _PoseDrawsTwin(Protocol):
    """What every backend's ``pose_draws`` module offers."""

    def evaluate(
        self,
        field: Float32Array,
        points: Float64Array,
        values: Float64Array,
        surface: Float64Array,
        maps: Float64Array,
        value_limits: Float64Array,
        field_limits: Float64Array,
        modes: Float64Array,
        weights: Float64Array,
    ) -> tuple[Int64Array, Int64Array, Float64Array]: ...


def evaluate_draws(
    field: Float32Array,
    points_index: npt.ArrayLike,
    point_values: npt.ArrayLike,
    surface_index: npt.ArrayLike,
    index_maps: npt.ArrayLike,
    value_limits: npt.ArrayLike,
    field_limits: npt.ArrayLike,
    surface_modes: npt.ArrayLike | None = None,
    mode_weights: npt.ArrayLike | None = None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> DrawnCoverage:
    """Move points by each draw's pose and sample a distance field there.

    Parameters
    ----------
    field : ndarray of float32, (z, y, x)
        Signed distance to the zone, negative inside; finite.
    points_index : array_like, (N, 3)
        Fractional (z, y, x) indices of the target's points, unperturbed.
    point_values : array_like, (N,)
        Each point's distance to the tumor.
    surface_index : array_like, (M, 3)
        Indices of points on the tumor's surface.
    index_maps : array_like, (D, 3, 4)
        For each draw the affine from an unperturbed index to the drawn one.
    value_limits, field_limits : array_like, (D,)
        See :class:`DrawnCoverage`.
    surface_modes, mode_weights : array_like, (M, K) and (D, K), optional
        Modes of an offset along the surface, and their weights in each draw: ``modes @ weights[d]`` is added to the
        field sampled at the surface points. Without them nothing is.
    kernels : KernelBackend

    Returns
    -------
    DrawnCoverage

    Raises
    ------
    InvalidRequestError, InvalidGeometryError, BackendError

    Notes
    -----
    Trilinear; beyond the field's border its outermost values hold.
    """
    checked = require_volume(field, "field", np.float32)
    points = _table(points_index, "points_index", (-1, 3))
    values = _table(point_values, "point_values", (len(points),))
    surface = _table(surface_index, "surface_index", (-1, 3))
    maps = _table(index_maps, "index_maps", (-1, 3, 4))
    limits = _table(value_limits, "value_limits", (len(maps),))
    field_levels = _table(field_limits, "field_limits", (len(maps),))
    modes, weights = np.zeros((len(surface), 1)), np.zeros((len(maps), 1))
    if surface_modes is not None and mode_weights is not None:
        modes = _table(surface_modes, "surface_modes", (len(surface), -1))
        weights = _table(mode_weights, "mode_weights", (len(maps), modes.shape[1]))
    twin: _PoseDrawsTwin = select(kernels, "pose_draws")
    return DrawnCoverage(
        *twin.evaluate(checked, points, values, surface, maps, limits, field_levels, modes, weights)
    )


def _table(numbers: npt.ArrayLike, name: str, shape: tuple[int, ...]) -> Float64Array:
    table = np.ascontiguousarray(numbers, dtype=np.float64)
    fits = table.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, table.shape, strict=True))
    if not fits or table.size == 0 or not np.isfinite(table).all():
        raise InvalidRequestError(f"{name} must be finite numbers of shape {shape}, not {table.shape}")
    return table
