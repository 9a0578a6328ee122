"""Coverage counts by distance to a tumor, straight from masks of a whole volume.

What :func:`engine.kernels.distance.distance_mm` and :func:`engine.kernels.coverage.count_coverage` say
of whole arrays, without a distance of the whole: only the tumor's box grown by the last band edge is
worked on. One read of the tumor's mask finds that box; it is the floor of the time this takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.arrays import BoolArray, Float32Array, Int64Array
from engine.errors import GridMismatchError
from engine.kernels.arguments import Vector3, require_spacing, require_volume
from engine.kernels.backend import KernelBackend, select
from engine.kernels.coverage import CoverageCounts, require_edges, tabulated


class _GrowthTwin(Protocol):
    """What every backend's ``growth`` module offers."""

    def count(
        self, tumor: BoolArray, covered: BoolArray, counted: BoolArray, spacing: Vector3, edges: Float32Array
    ) -> tuple[Int64Array, float, float]:
        """Return counts (band, counted, covered) and the least uncovered distances."""


def count_growth_coverage(
    tumor: BoolArray,
    covered: BoolArray,
    counted: BoolArray,
    spacing_zyx_mm: Sequence[float],
    band_edges_mm: Sequence[float],
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> CoverageCounts:
    """Count voxels around a tumor by distance band, coverage and assessability.

    Parameters
    ----------
    tumor, covered, counted : ndarray of bool, (z, y, x)
        The tumor; the ablation zone; what can be assessed, as the lung. Not changed.
    spacing_zyx_mm : sequence of float
        Voxel spacing, mm.
    band_edges_mm : sequence of float
        Strictly ascending, compared in float32. With a last edge of ``inf`` all voxels are worked on.
    kernels : KernelBackend

    Returns
    -------
    CoverageCounts
        As of the distance from every voxel center of the volume to the nearest tumor voxel's, which is
        0 inside the tumor. The nearest uncovered distances reach beyond the bands: where nothing is
        uncovered inside the last edge, the search goes outward until it meets an uncovered voxel or
        knows that there is none (``inf``). An empty tumor counts nothing and is ``inf`` from everything.

    Raises
    ------
    InvalidGeometryError, GridMismatchError, InvalidRequestError, BackendError

    Notes
    -----
    A distance that equals an edge but for float32 rounding falls on either side of it, as it does in
    two calls of ``distance_mm`` with different bounds.
    """
    tumor = require_volume(tumor, "tumor", np.bool_)
    covered = require_volume(covered, "covered", np.bool_)
    counted = require_volume(counted, "counted", np.bool_)
    if not tumor.shape == covered.shape == counted.shape:
        raise GridMismatchError(
            f"tumor {tumor.shape}, covered {covered.shape} and counted {counted.shape} need one grid"
        )
    spacing, edges = require_spacing(spacing_zyx_mm), require_edges(band_edges_mm)
    twin: _GrowthTwin = select(kernels, "growth")
    return tabulated(edges, *twin.count(tumor, covered, counted, spacing, edges))
