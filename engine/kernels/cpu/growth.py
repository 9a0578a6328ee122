"""Growth and coverage on the CPU: distances live in scratch, are counted there and never written.

The passes are those of the distance to a mask. The last one, along z, goes row by row of y, and each
row's plane of distances is counted while it is in cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from engine.kernels.arguments import Index3, Vector3
from engine.kernels.cpu.distance import Box, box_shape, limits, mask_slices, source_and_result
from engine.kernels.cpu.envelope import lower_envelope
from engine.kernels.cpu.occupied_box import occupied_box, uncovered_box
from engine.kernels.cpu.threads import over
from engine.kernels.outward import Counts, count_outward

_CellArray: TypeAlias = npt.NDArray[np.uint16]

SCRATCH_VOXELS = 1 << 22
"""Squared distances within slices that exist at one time: 16 MiB."""


def count(
    tumor: BoolArray, covered: BoolArray, counted: BoolArray, spacing: Vector3, edges: Float32Array
) -> Counts:
    """Return counts (band, counted, covered) and the least uncovered distances."""
    box = occupied_box(tumor)
    masks = _Masks(_as_bytes(tumor), _as_bytes(covered), _as_bytes(counted), box, spacing, edges)
    depth, height, width = tumor.shape
    return count_outward(masks, box, (depth, height, width), spacing, edges)


def _as_bytes(mask: BoolArray) -> UInt8Array:
    voxels = mask.view(np.uint8)
    voxels.flags.writeable = False  # one compiled type, whoever owns the array
    return voxels


@dataclass(frozen=True)
class _Masks:
    tumor: UInt8Array
    covered: UInt8Array
    counted: UInt8Array
    tumor_box: Box | None
    spacing: Vector3
    edges: Float32Array

    def uncovered_box(self, *, only_counted: bool) -> Box | None:
        """Box of all voxels that are not covered; None if all are."""
        counted = self.counted.view(np.bool_) if only_counted else None
        return uncovered_box(self.covered.view(np.bool_), counted)

    def count_within(self, radius_mm: float, where: Box) -> Counts:
        """Count the voxels of ``where`` that lie within ``radius_mm``, some rows of y at a time."""
        counts = np.zeros((self.edges.size, 2, 2), dtype=np.int64)
        nearest, nearest_counted = np.inf, np.inf
        boxes = source_and_result(self.tumor_box, self.spacing, radius_mm, *where)
        if boxes is None:
            return counts, nearest, nearest_counted
        (source, (start, stop)), depth = boxes, box_shape(boxes[0])[0]
        rows = max(1, SCRATCH_VOXELS // (depth * (stop[2] - start[2])))
        for y in range(start[1], stop[1], rows):
            low, high = (start[0], y, start[2]), (stop[0], min(y + rows, stop[1]), stop[2])
            for part in self._count_rows(source, low, high, radius_mm):
                counts += part[0]
                nearest, nearest_counted = min(nearest, part[1]), min(nearest_counted, part[2])
        return counts, float(nearest), float(nearest_counted)

    def _count_rows(self, source: Box, start: Index3, stop: Index3, radius_mm: float) -> list[Counts]:
        """Squared distances within the source's slices, then along z and into the counts."""
        limit, root_bound = limits(radius_mm)
        depth, height, width = box_shape((start, stop))
        slices = np.empty((source[1][0] - source[0][0], height, width), dtype=np.float32)
        steps, result = np.array(self.spacing), np.array((start, stop))
        plane = height * width
        over(len(slices), plane, mask_slices, self.tumor, np.array(source), result, steps, limit, slices)
        shift = start[0] - source[0][0]
        masks = self.covered, self.counted
        rest = slices, result, shift, steps[0], limit, root_bound, *masks, self.edges
        return over(height, depth * width, _count_along_z, *rest)


@njit(nogil=True, cache=True)
def _count_along_z(
    first: int,
    last: int,
    slices: Float32Array,
    result: Int64Array,
    shift: int,
    step: float,
    limit: float,
    root_bound: float,
    covered: UInt8Array,
    counted: UInt8Array,
    edges: Float32Array,
) -> tuple[Int64Array, np.float32, np.float32]:
    """Finish the distances of each (z, x) plane and fill one histogram of band x counted x covered."""
    depth, bands = result[1, 0] - result[0, 0], edges.size
    plane = np.empty((depth, 1, slices.shape[2]), dtype=np.float32)
    cells = np.empty(slices.shape[2], dtype=np.uint16)
    counts = np.zeros((bands + 1) * 4, dtype=np.int64)
    nearest = np.full(2, np.inf, dtype=np.float32)
    for row in range(first, last):
        lower_envelope(slices, row, plane, 0, shift, step, limit, root_bound)
        y = result[0, 1] + row
        for z in range(depth):
            mm = plane[z, 0]
            if _any_below(mm, max(edges[bands - 1], nearest[1])):
                is_covered = covered[result[0, 0] + z, y, result[0, 2] : result[1, 2]]
                is_counted = counted[result[0, 0] + z, y, result[0, 2] : result[1, 2]]
                _find_cells(mm, is_covered, is_counted, edges, cells)
                _count_runs(cells, counts)
                _keep_nearest(mm, is_covered, is_counted, nearest)
    return counts[: 4 * bands].copy().reshape((bands, 2, 2)), nearest[0], nearest[1]


@njit(nogil=True, cache=True, inline="always")
def _any_below(mm: Float32Array, bound: np.float32) -> bool:
    found = np.int32(0)
    for x in range(mm.size):
        found |= np.int32(mm[x] < bound)
    return bool(found)


@njit(nogil=True, cache=True, inline="always")
def _find_cells(
    mm: Float32Array, is_covered: UInt8Array, is_counted: UInt8Array, edges: Float32Array, cells: _CellArray
) -> None:
    """Cell of each voxel in a histogram of band x counted x covered."""
    for x in range(mm.size):
        cells[x] = is_covered[x] | (is_counted[x] << 1)
    for k in range(edges.size):
        edge = edges[k]
        for x in range(mm.size):
            cells[x] += np.uint16(mm[x] >= edge) << 2


@njit(nogil=True, cache=True, inline="always")
def _count_runs(cells: _CellArray, counts: Int64Array) -> None:
    """Neighbors share a cell: one addition per run of them."""
    begin = 0
    for x in range(1, cells.size):
        if cells[x] != cells[begin]:
            counts[cells[begin]] += x - begin
            begin = x
    counts[cells[begin]] += cells.size - begin


@njit(nogil=True, cache=True, inline="always")
def _keep_nearest(
    mm: Float32Array, is_covered: UInt8Array, is_counted: UInt8Array, nearest: Float32Array
) -> None:
    """Least distance of an uncovered voxel, and of a counted one, which is never less."""
    found = np.int32(0)
    for x in range(mm.size):
        found |= np.int32(mm[x] < nearest[1]) & np.int32(is_covered[x] ^ 1)
    if found:
        for x in range(mm.size):
            if not is_covered[x]:
                nearest[0] = min(nearest[0], mm[x])
                if is_counted[x]:
                    nearest[1] = min(nearest[1], mm[x])
