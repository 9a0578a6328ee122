"""Growth and coverage on the GPU: the tumor's surroundings go up once, only the counts come down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import cuda

from engine.arrays import BoolArray, Float32Array
from engine.kernels.arguments import Vector3
from engine.kernels.gpu.coverage import count_on_device
from engine.kernels.gpu.device import empty, over_voxels, upload
from engine.kernels.gpu.distance import distance_on_device
from engine.kernels.gpu.occupied_box import box_on_device, uncovered_box
from engine.kernels.outward import Box, Counts, count_outward


def count(
    tumor: BoolArray, covered: BoolArray, counted: BoolArray, spacing: Vector3, edges: Float32Array
) -> Counts:
    """Return counts (band, counted, covered) and the least uncovered distances."""
    marked = upload(tumor.view(np.uint8))
    box = box_on_device(marked)
    depth, height, width = tumor.shape
    masks = _Masks(marked, covered, counted, box, spacing, edges)
    return count_outward(masks, box, (depth, height, width), spacing, edges)


@dataclass(frozen=True)
class _Masks:
    marked: Any
    """The tumor, on the device."""
    covered: BoolArray
    counted: BoolArray
    tumor_box: Box | None
    spacing: Vector3
    edges: Float32Array

    def uncovered_box(self, *, only_counted: bool) -> Box | None:
        """Box of all voxels that are not covered; None if all are."""
        return uncovered_box(self.covered, self.counted if only_counted else None)

    def count_within(self, radius_mm: float, where: Box) -> Counts:  # noqa: ARG002 - all around is as quick
        """Count the voxels that lie within ``radius_mm`` of the tumor, in its box grown by that."""
        around = self._around(radius_mm)
        covered, counted = (upload(m[around].view(np.uint8)) for m in (self.covered, self.counted))
        tumor = empty(covered.shape, np.uint8)
        _cut[over_voxels(tumor.shape)](self.marked, *(part.start or 0 for part in around), tumor)
        distance = distance_on_device(tumor, self.spacing, radius_mm)
        counts, nearest, nearest_counted, _ = count_on_device(
            distance.ravel(), covered.ravel(), counted.ravel(), self.edges
        )
        return counts, nearest, nearest_counted

    def _around(self, radius_mm: float) -> tuple[slice, ...]:
        """Box of the tumor grown by a radius, within the volume."""
        if self.tumor_box is None or math.isinf(radius_mm):
            return (slice(None),) * 3
        reach = [math.ceil(radius_mm / step) + 1 for step in self.spacing]
        return tuple(slice(max(0, a - r), b + r) for a, b, r in zip(*self.tumor_box, reach, strict=True))


@cuda.jit
def _cut(voxels: Any, z0: Any, y0: Any, x0: Any, out: Any) -> None:
    """The part of a volume that begins at (z0, y0, x0)."""
    x, y, z = cuda.grid(3)
    if x < out.shape[2] and y < out.shape[1] and z < out.shape[0]:
        out[z, y, x] = voxels[z + z0, y + y0, x + x0]
