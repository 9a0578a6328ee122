"""Boxes of marked voxels on the GPU: a thread per voxel; only marks outside the box so far touch it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda

from engine.arrays import BoolArray, read_only
from engine.kernels.arguments import Index3
from engine.kernels.gpu.device import begun_with, download, over_voxels, upload

Box = tuple[Index3, Index3]

_NO_MASK = read_only(np.zeros((1, 1, 1), dtype=np.uint8))


def occupied_box(mask: BoolArray) -> Box | None:
    """Start and stop (exclusive) of the marked voxels; None if there are none."""
    return box_on_device(upload(mask.view(np.uint8)))


def uncovered_box(covered: BoolArray, counted: BoolArray | None) -> Box | None:
    """Box of the voxels that are not covered (and counted, where that is given); None if there are none."""
    other = None if counted is None else upload(counted.view(np.uint8))
    return box_on_device(upload(covered.view(np.uint8)), other, flip=1)


def box_on_device(marked: Any, other: Any = None, flip: int = 0) -> Box | None:
    """Box of a mask that is on the device already."""
    box = begun_with(np.array([*marked.shape, 0, 0, 0], dtype=np.int32))
    also = upload(_NO_MASK) if other is None else other
    _extend_box[over_voxels(marked.shape)](marked, flip, also, int(other is not None), box)
    za, ya, xa, zb, yb, xb = (int(edge) for edge in download(box)[0])
    return None if zb == 0 else ((za, ya, xa), (zb, yb, xb))


@cuda.jit
def _extend_box(marked: Any, flip: Any, other: Any, has_other: Any, box: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= marked.shape[2] or y >= marked.shape[1] or z >= marked.shape[0]:
        return
    if marked[z, y, x] == flip or (has_other and not other[z, y, x]):
        return
    if z < box[0]:
        cuda.atomic.min(box, 0, z)
    if y < box[1]:
        cuda.atomic.min(box, 1, y)
    if x < box[2]:
        cuda.atomic.min(box, 2, x)
    if z >= box[3]:
        cuda.atomic.max(box, 3, z + 1)
    if y >= box[4]:
        cuda.atomic.max(box, 4, y + 1)
    if x >= box[5]:
        cuda.atomic.max(box, 5, x + 1)
