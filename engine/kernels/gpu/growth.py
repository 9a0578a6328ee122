"""Growth and coverage on the GPU: the tumor's surroundings go up once, only the counts come down."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.kernels.arguments import BoolArray, FloatArray, Vector3
from engine.kernels.gpu.coverage import count_on_device
from engine.kernels.gpu.device import upload
from engine.kernels.gpu.distance import distance_on_device
from engine.kernels.gpu.occupied_box import occupied_box, uncovered_box
from engine.kernels.outward import Box, Counts, count_outward


def count(
    tumor: BoolArray, covered: BoolArray, counted: BoolArray, spacing: Vector3, edges: FloatArray
) -> Counts:
    """Return counts (band, counted, covered) and the least uncovered distances."""
    box = occupied_box(tumor)
    depth, height, width = tumor.shape
    masks = _Masks(tumor, covered, counted, box, spacing, edges)
    return count_outward(masks, box, (depth, height, width), spacing, edges)


@dataclass(frozen=True)
class _Masks:
    tumor: BoolArray
    covered: BoolArray
    counted: BoolArray
    tumor_box: Box | None
    spacing: Vector3
    edges: FloatArray

    def uncovered_box(self, *, only_counted: bool) -> Box | None:
        """Box of all voxels that are not covered; None if all are."""
        return uncovered_box(self.covered, self.counted if only_counted else None)

    def count_within(self, radius_mm: float, where: Box) -> Counts:  # noqa: ARG002 - all around is as quick
        """Count the voxels that lie within ``radius_mm`` of the tumor, in its box grown by that."""
        around = self._around(radius_mm)
        distance = distance_on_device(upload(self.tumor[around].view(np.uint8)), self.spacing, radius_mm)
        covered, counted = (upload(m[around].view(np.uint8)).ravel() for m in (self.covered, self.counted))
        counts, nearest, nearest_counted, _ = count_on_device(distance.ravel(), covered, counted, self.edges)
        return counts, nearest, nearest_counted

    def _around(self, radius_mm: float) -> tuple[slice, ...]:
        """Box of the tumor grown by a radius, within the volume."""
        if self.tumor_box is None or math.isinf(radius_mm):
            return (slice(None),) * 3
        reach = [math.ceil(radius_mm / step) + 1 for step in self.spacing]
        return tuple(slice(max(0, a - r), b + r) for a, b, r in zip(*self.tumor_box, reach, strict=True))
