"""Components on the GPU: every voxel joins its neighbors by lock-free union-find.

Allegretti, Bolelli and Grana, IEEE Trans. Parallel Distrib. Syst. 31 (2020), section 3 ("UF").
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import cuda, int32

from engine.arrays import BoolArray, Float64Array, Int32Array, Int64Array, read_only
from engine.kernels.gpu.device import download, empty, greater, lesser, over_items, over_voxels, upload

_NEIGHBORS_BEFORE_26 = 13
_NEIGHBORS_BEFORE_6 = 3


def label(
    mask: BoolArray, connectivity: int
) -> tuple[Int32Array, Int64Array, Float64Array, Int64Array, Int64Array]:
    """Labels by size, then sizes, centroids, box starts and box stops."""
    marked = upload(mask.view(np.uint8))
    parent = empty((mask.size,), np.int32)
    before = upload(_neighbors_before(connectivity))
    _own_root[over_voxels(mask.shape)](marked, parent)
    _join_neighbors[over_voxels(mask.shape)](marked, before, parent)
    _to_root[over_items(mask.size)](parent)
    (roots,) = download(parent)
    return _ranked(roots.reshape(mask.shape), mask)


@cache
def _neighbors_before(connectivity: int) -> Int32Array:
    """Offsets (z, y, x) of the neighbors that come before a voxel in array order."""
    offsets = [np.array(o) - 1 for o in np.ndindex(3, 3, 3)][:_NEIGHBORS_BEFORE_26]
    if connectivity == 6:
        offsets = [o for o in offsets if np.abs(o).sum() == 1]
    return read_only(np.array(offsets, dtype=np.int32))


def _ranked(
    roots: Int32Array, mask: BoolArray
) -> tuple[Int32Array, Int64Array, Float64Array, Int64Array, Int64Array]:
    """Turn roots into ranks by size, and measure; on the host, over marked voxels only."""
    index = np.argwhere(mask)
    names, part, sizes = np.unique(roots[mask], return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    number = rank[part]
    labels = np.zeros(mask.shape, dtype=np.int32)
    labels[mask] = number + 1
    sums = np.stack([np.bincount(number, index[:, a], minlength=len(names)) for a in range(3)], axis=1)
    starts = np.full((len(names), 3), np.iinfo(np.int64).max)
    stops = np.zeros((len(names), 3), dtype=np.int64)
    np.minimum.at(starts, number, index)
    np.maximum.at(stops, number, index + 1)
    sizes = sizes[order].astype(np.int64)
    return labels, sizes, sums / sizes[:, None], starts, stops


@cuda.jit
def _own_root(marked: Any, parent: Any) -> None:
    x, y, z = cuda.grid(3)
    depth, height, width = marked.shape
    if x < width and y < height and z < depth:
        i = (z * height + y) * width + x
        parent[i] = i if marked[z, y, x] else -1


@cuda.jit(device=True)
def _root(parent: Any, i: Any) -> Any:
    while parent[i] != i:
        i = parent[i]
    return i


@cuda.jit(device=True)
def _join(parent: Any, a: Any, b: Any) -> None:
    """Hang the higher root under the lower one; start over if another thread was faster."""
    while True:
        a, b = _root(parent, a), _root(parent, b)
        if a == b:
            return
        low, high = lesser(a, b), greater(a, b)
        seen = cuda.atomic.min(parent, high, low)
        if seen == high:
            return
        a, b = seen, low


@cuda.jit
def _join_neighbors(marked: Any, before: Any, parent: Any) -> None:
    x, y, z = cuda.grid(3)
    depth, height, width = marked.shape
    if x >= width or y >= height or z >= depth or not marked[z, y, x]:
        return
    for k in range(before.shape[0]):
        v, u, t = z + before[k, 0], y + before[k, 1], x + before[k, 2]
        if v >= 0 and 0 <= u < height and 0 <= t < width and marked[v, u, t]:
            _join(parent, int32((z * height + y) * width + x), int32((v * height + u) * width + t))


@cuda.jit
def _to_root(parent: Any) -> None:
    i = cuda.grid(1)
    if i < parent.size and parent[i] >= 0:
        parent[i] = _root(parent, i)
