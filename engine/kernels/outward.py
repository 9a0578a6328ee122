"""How far to look: the last band first, then outward until something uncovered is met."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from engine.arrays import Float32Array, Int64Array
from engine.kernels.arguments import Index3, Vector3

Box = tuple[Index3, Index3]
Counts = tuple[Int64Array, float, float]
"""Counts (band, counted, covered) and the least uncovered distances: of all voxels, of counted ones."""

_FARTHER = 1.5
"""The search's radius grows by this: at most 3.4 times the voxels of the radius that was enough."""


class Masks(Protocol):
    """Tumor, covered and counted masks on one backend."""

    def count_within(self, radius_mm: float, where: Box) -> Counts:
        """Count the voxels of (at least) ``where`` that lie within ``radius_mm`` of the tumor."""

    def uncovered_box(self, *, only_counted: bool) -> Box | None:
        """Box of all voxels that are not covered; None if all are."""


def count_outward(
    masks: Masks, tumor_box: Box | None, shape_zyx: Index3, spacing: Vector3, edges: Float32Array
) -> Counts:
    """Count within the last edge, then look for the nearest uncovered voxels wherever they are."""
    if tumor_box is None:
        return np.zeros((edges.size, 2, 2), dtype=np.int64), math.inf, math.inf
    whole = ((0, 0, 0), shape_zyx)
    radius = max(float(edges[-1]), *spacing)
    counts, *nearest = masks.count_within(radius, whole)
    if math.isinf(nearest[1]) and math.isfinite(radius):
        radius *= _FARTHER  # most margins that exceed the bands exceed them by little
        nearest = list(masks.count_within(radius, whole)[1:])
        if math.isinf(nearest[0]):
            nearest[0] = _nearest_uncovered(masks, 0, radius, tumor_box, spacing)
        if math.isinf(nearest[1]) and math.isfinite(nearest[0]):
            nearest[1] = _nearest_uncovered(masks, 1, radius, tumor_box, spacing)
    return counts, nearest[0], nearest[1]


def _nearest_uncovered(masks: Masks, which: int, radius: float, tumor_box: Box, spacing: Vector3) -> float:
    """Least distance of an uncovered voxel (1: counted) when none lies within ``radius``."""
    where = masks.uncovered_box(only_counted=bool(which))
    if where is None:
        return math.inf
    radius, nearest = max(radius, _gap_mm(tumor_box, where, spacing)), math.inf
    while math.isinf(nearest):
        radius = _FARTHER * radius + max(spacing)
        _, *found = masks.count_within(radius, where)
        nearest = found[which]
    return nearest


def _gap_mm(a: Box, b: Box, spacing: Vector3) -> float:
    """Distance between the nearest voxel centers of two boxes."""
    apart = np.maximum(np.subtract(a[0], b[1]), np.subtract(b[0], a[1])) + 1
    return float(np.linalg.norm(np.maximum(apart, 0) * np.array(spacing)))
