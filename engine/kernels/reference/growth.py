"""Definition of the growth's coverage: the distance of the whole volume, then its counts."""

from __future__ import annotations

import math

from engine.arrays import BoolArray, Float32Array, Int64Array
from engine.kernels.arguments import Vector3
from engine.kernels.reference.coverage import count as count_distances
from engine.kernels.reference.distance import distance_mm


def count(
    tumor: BoolArray, covered: BoolArray, counted: BoolArray, spacing: Vector3, edges: Float32Array
) -> tuple[Int64Array, float, float]:
    """Return counts (band, counted, covered) and the least uncovered distances."""
    distance = distance_mm(tumor, spacing, math.inf, (0, 0, 0), tumor.shape)
    return count_distances(distance, covered, counted, edges)[:3]
