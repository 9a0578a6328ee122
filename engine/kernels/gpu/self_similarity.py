"""Self-similarity codes on the GPU: six volumes of patch distances, then one thread per code.

Squares go through memory before they are added: the compiler would otherwise join a product and a
sum into one rounding, and the codes would differ from those of the other twins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, float32, uint64

from engine.arrays import Float32Array, Int64Array
from engine.kernels.gpu.device import download, empty, greater, lesser, over_voxels, result, upload

PAIRS = 12


def encode(
    hu: Float32Array,
    pairs: Int64Array,
    radius: int,
    dilation: int,
    shares: Float32Array,
    min_total: np.float32,
) -> npt.NDArray[np.uint64]:
    """Code the patch distances that fall below ``shares`` of their sum, itself at least ``min_total``."""
    offsets, offset_of_pair = np.unique(pairs[:, 1] - pairs[:, 0], axis=0, return_inverse=True)
    # the second patch of a pair must lie on a neighbor, so the first begins a step before the volume
    firsts = np.where(offsets > 0, -dilation, 0)
    places = np.column_stack(
        [offset_of_pair.ravel(), dilation * pairs[:, 0] - firsts[offset_of_pair.ravel()]]
    )
    image, size = upload(hu), 2 * radius + 1
    distances = empty((len(offsets), *(n + dilation for n in hu.shape)), np.float32)
    a, b = (empty([n + dilation + 2 * radius for n in hu.shape], np.float32) for _ in range(2))
    for o, offset in enumerate(offsets):
        depth, height, width = np.array(hu.shape) + dilation * np.abs(offset)
        rows, columns = height + 2 * radius, width + 2 * radius
        dz, dy, dx = (int(n) for n in dilation * offset)
        z0, y0, x0 = (int(n) - radius for n in firsts[o])
        _square_differences[over_voxels((depth + 2 * radius, rows, columns))](
            image, dz, dy, dx, z0, y0, x0, a
        )
        _box_sum[over_voxels((depth, rows, columns))](a, 0, size, b)
        _box_sum[over_voxels((depth, height, columns))](b, 1, size, a)
        _box_sum[over_voxels((depth, height, width))](a, 2, size, distances[o])
    codes = result(hu.shape, np.uint64)
    _encode[over_voxels(hu.shape)](distances, upload(places), upload(shares), min_total, codes)
    return download(codes)[0]


@cuda.jit(device=True)
def _held(i: Any, size: Any) -> Any:
    """Index held inside the volume: its outermost voxels go on beyond it."""
    return lesser(greater(i, 0), size - 1)


@cuda.jit
def _square_differences(hu: Any, dz: Any, dy: Any, dx: Any, z0: Any, y0: Any, x0: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    depth, height, width = hu.shape
    v, u, t = z + z0, y + y0, x + x0
    here = hu[_held(v, depth), _held(u, height), _held(t, width)]
    difference = here - hu[_held(v + dz, depth), _held(u + dy, height), _held(t + dx, width)]
    out[z, y, x] = difference * difference


@cuda.jit
def _box_sum(values: Any, axis: Any, size: Any, out: Any) -> None:
    """Sum ``size`` voxels from here on along an axis, from first to last; nothing where they end."""
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    dz, dy, dx = int(axis == 0), int(axis == 1), int(axis == 2)
    last = size - 1
    if (
        z + last * dz >= values.shape[0]
        or y + last * dy >= values.shape[1]
        or x + last * dx >= values.shape[2]
    ):
        return
    total = values[z, y, x]
    for k in range(1, size):
        total += values[z + k * dz, y + k * dy, x + k * dx]
    out[z, y, x] = total


@cuda.jit
def _encode(distances: Any, places: Any, shares: Any, min_total: Any, codes: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= codes.shape[2] or y >= codes.shape[1] or z >= codes.shape[0]:
        return
    excess = cuda.local.array(PAIRS, float32)
    for k in range(PAIRS):
        excess[k] = distances[places[k, 0], z + places[k, 1], y + places[k, 2], x + places[k, 3]]
    minimum = excess[0]
    for k in range(1, PAIRS):
        minimum = lesser(minimum, excess[k])
    total = float32(0.0)
    for k in range(PAIRS):
        excess[k] -= minimum
        total += excess[k]
    total = greater(total, min_total)
    code = uint64(0)
    for k in range(PAIRS):
        for level in range(shares.shape[0]):
            if excess[k] < shares[level] * total:
                code |= uint64(1) << uint64(shares.shape[0] * k + level)
    codes[z, y, x] = code
