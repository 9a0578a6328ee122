"""Power sums on the GPU: each thread strides over the volume, each block adds once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, int64, uint64

from engine.kernels.gpu.device import begun_with, download, over_items, upload

THREADS = 1 << 16
"""Enough to fill any GPU; each reads every 65536th voxel, neighbors side by side."""

_OFFSET = 1 << 15
"""Added to each voxel: the atomic sum is one of unsigned numbers."""


def power_sums(voxels: npt.NDArray[np.int16]) -> tuple[int, int]:
    """Sum and sum of squares."""
    sums = begun_with(np.zeros(2, dtype=np.uint64))
    count = voxels.size
    _add[over_items(min(count, THREADS))](upload(voxels.reshape(-1)), sums)
    (totals,) = download(sums)
    shifted, squares = int(totals[0]), int(totals[1])
    return shifted - _OFFSET * count, squares


@cuda.jit
def _add(values: Any, sums: Any) -> None:
    of_block = cuda.shared.array(2, uint64)
    if cuda.threadIdx.x == 0:
        of_block[0] = 0
        of_block[1] = 0
    cuda.syncthreads()
    shifted, squares = int64(0), int64(0)
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        value = int64(values[i])
        shifted += value + _OFFSET
        squares += value * value
    cuda.atomic.add(of_block, 0, uint64(shifted))
    cuda.atomic.add(of_block, 1, uint64(squares))
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        cuda.atomic.add(sums, 0, of_block[0])
        cuda.atomic.add(sums, 1, of_block[1])
