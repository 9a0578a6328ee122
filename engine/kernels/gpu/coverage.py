"""Coverage counts on the GPU: a histogram per block in shared memory, then one for all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda, float32, uint32

from engine.arrays import BoolArray, Float32Array, Int64Array
from engine.errors import InvalidRequestError
from engine.kernels.gpu.device import begun_with, download, over_items, upload

MAX_EDGES = 31
"""Band edges that fit the shared histogram."""

CELLS = 4 * (MAX_EDGES + 1) + 1
_NAN_CELL = CELLS - 1


def count(
    distance: Float32Array, covered: BoolArray, counted: BoolArray, edges: Float32Array
) -> tuple[Int64Array, float, float, int]:
    """Return counts (band, counted, covered), smallest uncovered distances, number of NaN voxels."""
    if edges.size > MAX_EDGES:
        raise InvalidRequestError(f"{edges.size} band edges; the gpu backend takes at most {MAX_EDGES}")
    marks = (upload(voxels.ravel().view(np.uint8)) for voxels in (covered, counted))
    cells = begun_with(np.zeros(CELLS, dtype=np.uint32))
    nearest = begun_with(np.full(2, np.inf, dtype=np.float32))
    _count[over_items(distance.size)](upload(distance.ravel()), *marks, upload(edges), cells, nearest)
    totals, nearest_mm = download(cells, nearest)
    totals = totals.astype(np.int64)
    counts = totals[: 4 * edges.size].reshape(-1, 2, 2)
    return counts, float(nearest_mm[0]), float(nearest_mm[1]), int(totals[_NAN_CELL])


@cuda.jit
def _count(distance: Any, covered: Any, counted: Any, edges: Any, cells: Any, nearest: Any) -> None:
    block_cells = cuda.shared.array(CELLS, uint32)
    block_nearest = cuda.shared.array(2, float32)
    for cell in range(cuda.threadIdx.x, CELLS, cuda.blockDim.x):
        block_cells[cell] = 0
    for k in range(cuda.threadIdx.x, 2, cuda.blockDim.x):
        block_nearest[k] = np.inf
    cuda.syncthreads()
    i = cuda.grid(1)
    if i < distance.size:
        mm = distance[i]
        band = 0
        for k in range(edges.size):
            if mm >= edges[k]:
                band += 1
        cuda.atomic.add(block_cells, 4 * band + 2 * counted[i] + covered[i], 1)
        if math.isnan(mm):
            cuda.atomic.add(block_cells, _NAN_CELL, 1)
        elif not covered[i]:
            cuda.atomic.min(block_nearest, 0, mm)
            if counted[i]:
                cuda.atomic.min(block_nearest, 1, mm)
    cuda.syncthreads()
    for cell in range(cuda.threadIdx.x, CELLS, cuda.blockDim.x):
        if block_cells[cell] > 0:
            cuda.atomic.add(cells, cell, block_cells[cell])
    for k in range(cuda.threadIdx.x, 2, cuda.blockDim.x):
        cuda.atomic.min(nearest, k, block_nearest[k])
