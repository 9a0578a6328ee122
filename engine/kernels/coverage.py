"""Counts of covered and uncovered voxels by distance to the tumor, in one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from engine.errors import GridMismatchError, InvalidRequestError
from engine.kernels.arguments import require_volume
from engine.kernels.backend import KernelBackend, select


@dataclass(frozen=True, eq=False)
class _CoverageCounts:
    """Voxels by band of distance to the tumor, and how near the tumor coverage fails.

    Parameters
    ----------
    band_edges_mm : ndarray of float64, (n,)
        Band 0 holds distances below the first edge; band i those in ``[edge[i-1], edge[i])``.
        Distances at or beyond the last edge belong to no band.
    voxels, covered, counted, covered_and_counted : ndarray of int64, (n,)
        Voxels of each band: all, covered, counted, both.
    nearest_uncovered_mm : float
        Least distance to the tumor of an uncovered voxel, in or out of the bands; ``inf`` if
        every voxel is covered. The minimal ablative margin on this grid.
    nearest_uncovered_counted_mm : float
        The same over counted voxels only.
    """

    band_edges_mm: Float64Array
    voxels: Int64Array
    covered: Int64Array
    counted: Int64Array
    covered_and_counted: Int64Array
    nearest_uncovered_mm: float
    nearest_uncovered_counted_mm: float


class _CoverageTwin(Protocol):
    """What every backend's ``coverage`` module offers."""

    def count(
        self, distance: Float32Array, covered: BoolArray, counted: BoolArray, edges: Float32Array
    ) -> tuple[Int64Array, float, float, int]:
        """Return counts (band, counted, covered), smallest uncovered distances, number of NaN voxels."""


def count_coverage(
    distance_to_tumor_mm: Float32Array,
    covered: BoolArray,
    counted: BoolArray,
    band_edges_mm: Sequence[float],
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> _CoverageCounts:
    """Count voxels by distance band, coverage and assessability in one pass.

    Parameters
    ----------
    distance_to_tumor_mm : ndarray of float32, (z, y, x)
        Signed distance to the tumor's surface, mm; infinite values are allowed.
    covered : ndarray of bool, (z, y, x)
        Voxels of the ablation zone.
    counted : ndarray of bool, (z, y, x)
        Voxels that can be assessed, as the lung.
    band_edges_mm : sequence of float
        Strictly ascending, compared in float32; the last may be ``inf``.
    kernels : KernelBackend

    Returns
    -------
    _CoverageCounts

    Raises
    ------
    InvalidGeometryError, GridMismatchError, InvalidRequestError, BackendError
        InvalidRequestError also for a distance that is NaN.
    """
    distance = require_volume(distance_to_tumor_mm, "distance_to_tumor_mm", np.float32)
    covered = require_volume(covered, "covered", np.bool_)
    counted = require_volume(counted, "counted", np.bool_)
    if not distance.shape == covered.shape == counted.shape:
        raise GridMismatchError(
            f"distance {distance.shape}, covered {covered.shape} and counted {counted.shape} need one grid"
        )
    edges = _require_edges(band_edges_mm)
    twin: _CoverageTwin = select(kernels, "coverage")
    counts, nearest, nearest_counted, nan_voxels = twin.count(distance, covered, counted, edges)
    if nan_voxels:
        raise InvalidRequestError(f"{nan_voxels} distances to the tumor are NaN; none can be counted")
    return _tabulated(edges, counts, nearest, nearest_counted)


def _tabulated(
    edges: Float32Array, counts: Int64Array, nearest: float, nearest_counted: float
) -> _CoverageCounts:
    """Coverage counts from a histogram of (band, counted, covered) and the least uncovered distances."""
    return _CoverageCounts(
        band_edges_mm=edges.astype(np.float64),
        voxels=counts.sum(axis=(1, 2)),
        covered=counts[:, :, 1].sum(axis=1),
        counted=counts[:, 1, :].sum(axis=1),
        covered_and_counted=counts[:, 1, 1].copy(),
        nearest_uncovered_mm=nearest,
        nearest_uncovered_counted_mm=nearest_counted,
    )


def _require_edges(band_edges_mm: Sequence[float]) -> Float32Array:
    """Return strictly ascending band edges in float32.

    Raises
    ------
    InvalidRequestError
    """
    edges = np.array(band_edges_mm, dtype=np.float32)
    finite = edges.ndim == 1 and edges.size > 0 and bool(np.isfinite(edges[:-1]).all())
    if not finite or not edges[-1] > -math.inf or not (np.diff(edges) > 0).all():
        raise InvalidRequestError(
            f"band edges {list(band_edges_mm)} mm must strictly ascend; only the last may be inf"
        )
    return edges
