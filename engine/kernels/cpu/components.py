"""Components on the CPU: runs of voxels along x, joined by union-find.

Rows without a marked voxel cost one look; sizes, centroids and boxes come from the runs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.arrays import BoolArray, Float64Array, Int32Array, Int64Array, UInt8Array
from engine.kernels.cpu.threads import over

RUN_START, RUN_STOP = 0, 1


def label(
    mask: BoolArray, connectivity: int
) -> tuple[Int32Array, Int64Array, Float64Array, Int64Array, Int64Array]:
    """Labels by size, then sizes, centroids, box starts and box stops."""
    depth, height, width = mask.shape
    voxels = mask.view(np.uint8)
    voxels.flags.writeable = False
    runs_per_row = np.zeros(depth * height + 1, dtype=np.int64)
    over(depth, height * width // 4, _count_runs, voxels, runs_per_row[1:])
    first_run = np.cumsum(runs_per_row)
    runs = np.empty((int(first_run[-1]), 2), dtype=np.int64)
    over(depth, height * width // 4, _find_runs, voxels, first_run, runs)
    part, parts = _join_runs(runs, first_run, depth, height, 1 if connectivity == 26 else 0)
    sizes, sums, starts, stops = _measure(runs, first_run, part, parts, height)
    # Parts are numbered by their first run, so a stable sort breaks ties by first voxel.
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(parts, dtype=np.int32)
    rank[order] = np.arange(1, parts + 1)
    labels = np.zeros(mask.shape, dtype=np.int32)
    over(depth, height * width // 4, _write_labels, runs, first_run, rank[part], labels)
    sizes = sizes[order]
    return labels, sizes, sums[order] / sizes[:, None], starts[order], stops[order]


@njit(nogil=True, cache=True)
def _count_runs(z_first: int, z_last: int, mask: UInt8Array, runs_per_row: Int64Array) -> None:
    _, height, width = mask.shape
    for z in range(z_first, z_last):
        for y in range(height):
            count = np.int64(mask[z, y, 0])
            for x in range(1, width):
                count += mask[z, y, x] & (mask[z, y, x - 1] ^ np.uint8(1))
            runs_per_row[z * height + y] = count


@njit(nogil=True, cache=True)
def _find_runs(z_first: int, z_last: int, mask: UInt8Array, first_run: Int64Array, runs: Int64Array) -> None:
    _, height, width = mask.shape
    for row in range(z_first * height, z_last * height):
        run, end = first_run[row], first_run[row + 1]
        z, y, x = row // height, row % height, 0
        while run < end:
            while not mask[z, y, x]:
                x += 1
            runs[run, RUN_START] = x
            while x < width and mask[z, y, x]:
                x += 1
            runs[run, RUN_STOP] = x
            run += 1


@njit(nogil=True, cache=True)
def _root(parent: Int64Array, run: int) -> int:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = parent[run]
    return run


@njit(nogil=True, cache=True)
def _join_rows(
    runs: Int64Array, parent: Int64Array, a: int, a_end: int, b: int, b_end: int, reach: int
) -> None:
    """Join the runs of two rows that overlap, or with ``reach`` 1 also touch at a corner."""
    while a < a_end and b < b_end:
        if runs[a, RUN_START] < runs[b, RUN_STOP] + reach and runs[b, RUN_START] < runs[a, RUN_STOP] + reach:
            low, high = _root(parent, a), _root(parent, b)
            parent[max(low, high)] = min(low, high)
        if runs[a, RUN_STOP] < runs[b, RUN_STOP]:
            a += 1
        else:
            b += 1


@njit(nogil=True, cache=True)
def _join_runs(
    runs: Int64Array, first_run: Int64Array, depth: int, height: int, reach: int
) -> tuple[Int64Array, int]:
    """Part that each run belongs to, numbered in order of first runs, and how many there are."""
    parent = np.arange(len(runs))
    for z in range(depth):
        for y in range(height):
            row = z * height + y
            a, a_end = first_run[row], first_run[row + 1]
            if a == a_end:
                continue
            if y > 0:
                _join_rows(runs, parent, a, a_end, first_run[row - 1], a, reach)
            if z > 0:
                for other in range(max(0, y - reach), min(height, y + reach + 1)):
                    below = (z - 1) * height + other
                    _join_rows(runs, parent, a, a_end, first_run[below], first_run[below + 1], reach)
    part, parts = np.empty_like(parent), 0
    for run in range(len(parent)):
        if parent[run] == run:
            part[run] = parts
            parts += 1
        else:  # a parent comes before its child, so it has its number
            part[run] = part[parent[run]]
    return part, parts


@njit(nogil=True, cache=True)
def _measure(
    runs: Int64Array, first_run: Int64Array, part: Int64Array, parts: int, height: int
) -> tuple[Int64Array, Float64Array, Int64Array, Int64Array]:
    """Size, sum of indices, box start and box stop of every part."""
    sizes = np.zeros(parts, dtype=np.int64)
    sums = np.zeros((parts, 3), dtype=np.float64)
    starts = np.full((parts, 3), 1 << 40)
    stops = np.zeros((parts, 3), dtype=np.int64)
    for row in range(len(first_run) - 1):
        for run in range(first_run[row], first_run[row + 1]):
            p, start, stop = part[run], runs[run, RUN_START], runs[run, RUN_STOP]
            length = stop - start
            sizes[p] += length
            low = (row // height, row % height, start)
            high = (row // height + 1, row % height + 1, stop)
            for axis in range(3):
                starts[p, axis] = min(starts[p, axis], low[axis])
                stops[p, axis] = max(stops[p, axis], high[axis])
                sums[p, axis] += length * (low[axis] + high[axis] - 1) / 2
    return sizes, sums, starts, stops


@njit(nogil=True, cache=True)
def _write_labels(
    z_first: int,
    z_last: int,
    runs: Int64Array,
    first_run: Int64Array,
    numbers: Int32Array,
    labels: Int32Array,
) -> None:
    height = labels.shape[1]
    for row in range(z_first * height, z_last * height):
        for run in range(first_run[row], first_run[row + 1]):
            for x in range(runs[run, RUN_START], runs[run, RUN_STOP]):
                labels[row // height, row % height, x] = numbers[run]
