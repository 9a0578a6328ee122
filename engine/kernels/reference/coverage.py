"""Definition of the coverage counts: one boolean mask per count."""

from __future__ import annotations

import numpy as np

from engine.arrays import BoolArray, Float32Array, Int64Array


def count(
    distance: Float32Array, covered: BoolArray, counted: BoolArray, edges: Float32Array
) -> tuple[Int64Array, float, float, int]:
    """Return counts (band, counted, covered), smallest uncovered distances, number of NaN voxels."""
    lower = np.concatenate([[-np.inf], edges[:-1]])
    counts = np.zeros((edges.size, 2, 2), dtype=np.int64)
    for band, (low, high) in enumerate(zip(lower, edges, strict=True)):
        in_band = (distance >= low) & (distance < high)
        for is_counted in (0, 1):
            for is_covered in (0, 1):
                chosen = in_band & (counted == is_counted) & (covered == is_covered)
                counts[band, is_counted, is_covered] = np.count_nonzero(chosen)
    nearest = np.min(distance, where=~covered, initial=np.inf)
    nearest_counted = np.min(distance, where=~covered & counted, initial=np.inf)
    return counts, float(nearest), float(nearest_counted), int(np.isnan(distance).sum())
