"""Coverage counts on the CPU: every voxel read once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from engine.kernels.cpu.threads import over


def count(
    distance: Float32Array, covered: BoolArray, counted: BoolArray, edges: Float32Array
) -> tuple[Int64Array, float, float, int]:
    """Return counts (band, counted, covered), smallest uncovered distances, number of NaN voxels."""
    flat: list[npt.NDArray[Any]] = [
        distance.reshape(-1),
        covered.reshape(-1).view(np.uint8),
        counted.reshape(-1).view(np.uint8),
    ]
    for array in flat:
        array.flags.writeable = False  # one compiled type, whoever owns the array
    parts = over(distance.size, 1, _count, *flat, edges)
    counts = np.sum([part[0] for part in parts], axis=0).reshape(-1, 2, 2)
    nearest = min(part[1] for part in parts)
    nearest_counted = min(part[2] for part in parts)
    return counts[:-1], float(nearest), float(nearest_counted), sum(part[3] for part in parts)


@njit(nogil=True, cache=True)
def _count(
    first: int,
    last: int,
    distance: Float32Array,
    covered: UInt8Array,
    counted: UInt8Array,
    edges: Float32Array,
) -> tuple[Int64Array, np.float32, np.float32, int]:
    """Fill one histogram of band x counted x covered; the band past the last edge is dropped later."""
    bands = edges.size
    counts = np.zeros((bands + 1) * 4, dtype=np.int64)
    nearest = np.float32(np.inf)
    nearest_counted = np.float32(np.inf)
    nan_voxels = 0
    for i in range(first, last):
        mm = distance[i]
        band = 0
        for k in range(bands):
            band += mm >= edges[k]
        counts[4 * band + 2 * counted[i] + covered[i]] += 1
        if not covered[i]:
            nearest = min(nearest, mm)
            if counted[i]:
                nearest_counted = min(nearest_counted, mm)
        nan_voxels += math.isnan(mm)
    return counts, nearest, nearest_counted, nan_voxels
