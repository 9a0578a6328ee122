"""Displacement search on the GPU: a thread per cell and displacement, then a block per cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, float32, int32

from engine.kernels.arguments import BoolArray, FloatArray, LabelArray
from engine.kernels.gpu.device import LINE_BLOCK, download, empty, is_simulated, lesser, over_items, upload


def costs(
    fixed: npt.NDArray[np.uint64],
    moving: npt.NDArray[np.uint64],
    weight: BoolArray,
    known: BoolArray,
    cell: int,
    radius: int,
    step: int,
    stride: int,
    unknown_bits: int,
    code_bits: int,
) -> FloatArray:
    """Differing bits over ``code_bits`` of every cell at every displacement."""
    size = 2 * radius + 1
    cells = tuple(-(-n // cell) for n in fixed.shape)
    found = empty((*cells, size, size, size), np.float32)
    _cost[over_items(found.size)](
        upload(fixed),
        upload(moving),
        upload(weight.view(np.uint8)),
        upload(known.view(np.uint8)),
        cell,
        step,
        stride,
        unknown_bits,
        np.float32(code_bits),
        found,
    )
    return download(found)


def cheapest(costs: FloatArray, penalties: FloatArray) -> tuple[LabelArray, int]:
    """Flat index of the first least cost plus penalties (cz, cy, cx, 3, L), and number of NaN costs."""
    cells, size = costs.shape[:3], costs.shape[3]
    count = cells[0] * cells[1] * cells[2]
    chosen, nan_costs = empty((count,), np.int32), upload(np.zeros(1, dtype=np.int32))
    block = 2 if is_simulated() else LINE_BLOCK
    _choose[count, block](
        upload(costs.reshape(count, size, size, size)),
        upload(penalties.reshape(count, 3, size)),
        chosen,
        nan_costs,
    )
    return download(chosen).reshape(cells), int(download(nan_costs)[0])


@cuda.jit
def _cost(
    fixed: Any,
    moving: Any,
    weight: Any,
    known: Any,
    cell: Any,
    step: Any,
    stride: Any,
    unknown_bits: Any,
    code_bits: Any,
    found: Any,
) -> None:
    """Threads of a warp share a cell and read neighbors of the moving image."""
    item = cuda.grid(1)
    if item >= found.size:
        return
    size = found.shape[3]
    k, j, i = item % size, item // size % size, item // (size * size) % size
    place = item // (size * size * size)
    cx, cy, cz = (
        place % found.shape[2],
        place // found.shape[2] % found.shape[1],
        place // (found.shape[2] * found.shape[1]),
    )
    depth, height, width = fixed.shape
    radius = size // 2
    dz, dy, dx = step * (i - radius), step * (j - radius), step * (k - radius)
    bits = 0
    for z in range(cz * cell, lesser(cz * cell + cell, depth), stride):
        for y in range(cy * cell, lesser(cy * cell + cell, height), stride):
            for x in range(cx * cell, lesser(cx * cell + cell, width), stride):
                if not weight[z, y, x]:
                    continue
                v, u, t = z + dz, y + dy, x + dx
                if 0 <= v < depth and 0 <= u < height and 0 <= t < width and known[v, u, t]:
                    bits += cuda.popc(fixed[z, y, x] ^ moving[v, u, t])
                else:
                    bits += unknown_bits
    found[cz, cy, cx, i, j, k] = float32(bits) / code_bits


@cuda.jit
def _choose(costs: Any, penalties: Any, chosen: Any, nan_costs: Any) -> None:
    """Each thread finds its own first least total; then the block halves until one is left."""
    block_least = cuda.shared.array(LINE_BLOCK, float32)
    block_first = cuda.shared.array(LINE_BLOCK, int32)
    c, thread = cuda.blockIdx.x, cuda.threadIdx.x
    size = costs.shape[1]
    count = size * size * size
    least, first = float32(np.inf), 0
    for d in range(thread, count, cuda.blockDim.x):
        i, j, k = d // (size * size), d // size % size, d % size
        total = costs[c, i, j, k] + ((penalties[c, 0, i] + penalties[c, 1, j]) + penalties[c, 2, k])
        if total < least:
            least, first = total, d
        elif total != total:  # noqa: PLR0124 - NaN alone differs from itself
            cuda.atomic.add(nan_costs, 0, 1)
    block_least[thread], block_first[thread] = least, first
    half = cuda.blockDim.x // 2
    while half > 0:
        cuda.syncthreads()
        if thread < half:
            other = thread + half
            is_less = block_least[other] < block_least[thread]
            is_equal = block_least[other] == block_least[thread]
            if is_less or (is_equal and block_first[other] < block_first[thread]):
                block_least[thread], block_first[thread] = block_least[other], block_first[other]
        half //= 2
    if thread == 0:
        chosen[c] = block_first[0]
