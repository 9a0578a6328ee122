"""Distance kernels on the GPU: one thread per voxel searches outward along one axis.

A search ends as soon as no farther row can matter, so its length is the distance itself; the
passes are those of the definition's separable form. Neighboring threads lie along x, hence read
neighboring voxels whatever the axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import cuda

from engine.arrays import BoolArray, Float32Array
from engine.kernels.arguments import Index3, Vector3
from engine.kernels.gpu.device import empty, greater, hand_out, lesser, over_voxels, result, upload

BOUND_TOLERANCE = 1e-6
SQUARED_TOLERANCE = 4e-6


def distance_mm(mask: BoolArray, spacing: Vector3, bound: float, start: Index3, stop: Index3) -> Float32Array:
    """Nearest voxel along x, then envelopes along y and z."""
    box, first = _window(mask.shape, spacing, bound, start, stop)
    squares = _squares(upload(mask[box].view(np.uint8)), spacing, bound)
    out = result([b - a for a, b in zip(start, stop, strict=True)], np.float32)
    _root[over_voxels(out.shape)](squares, *first, _limits(bound)[1], out)
    return hand_out(out)


def _squares(marked: Any, spacing: Vector3, bound: float) -> Any:
    """Squared distances to the marked voxels of a mask on the device; they stay there."""
    launch, limit = over_voxels(marked.shape), _limits(bound)[0]
    a, b = empty(marked.shape, np.float32), empty(marked.shape, np.float32)
    _nearest_marked_along_x[launch](marked, np.float32(spacing[2]), limit, a)
    _envelope[launch](a, 1, np.float32(spacing[1]), limit, b)
    _envelope[launch](b, 0, np.float32(spacing[0]), limit, a)
    return a


def signed_distance_mm(
    occupancy: Float32Array, spacing: Vector3, level: float, bound: float, start: Index3, stop: Index3
) -> Float32Array:
    """Crossings on edges of each axis, spread along it and then along the two others."""
    box, first = _window(occupancy.shape, spacing, bound, start, stop)
    field = upload(occupancy[box])
    launch = over_voxels(field.shape)
    limit, root_bound = _limits(bound)
    near = np.float32(level)
    a, b, nearest = (empty(field.shape, np.float32) for _ in range(3))
    for axis in range(3):
        second, third = (i for i in (2, 1, 0) if i != axis)
        _nearest_crossing[launch](field, near, axis, np.float32(spacing[axis]), limit, a)
        _envelope[launch](a, second, np.float32(spacing[second]), limit, b)
        _envelope[launch](b, third, np.float32(spacing[third]), limit, a if axis else nearest)
        if axis:
            _keep_less[launch](a, nearest)
    out = result([b - a for a, b in zip(start, stop, strict=True)], np.float32)
    _signed_root[over_voxels(out.shape)](nearest, field, near, *first, root_bound, out)
    return hand_out(out)


def _limits(bound: float) -> tuple[np.float32, np.float32]:
    """Squared distance that counts as none, and the largest distance that is kept."""
    return np.float32(bound**2 * (1 + SQUARED_TOLERANCE)), np.float32(bound * (1 + BOUND_TOLERANCE))


def _window(
    shape: tuple[int, ...], spacing: Vector3, bound: float, start: Index3, stop: Index3
) -> tuple[tuple[slice, ...], Index3]:
    """Box of the input that can matter to the region, and where in that box the region begins."""
    box, first = [], []
    for axis in range(3):
        # one voxel more: crossings lie on edges, between two voxels
        bound_voxels = shape[axis] if math.isinf(bound) else math.ceil(bound / spacing[axis]) + 1
        low, high = max(0, start[axis] - bound_voxels), min(shape[axis], stop[axis] + bound_voxels)
        box.append(slice(low, high))
        first.append(start[axis] - low)
    return tuple(box), (first[0], first[1], first[2])


@cuda.jit
def _nearest_marked_along_x(marked: Any, step: Any, limit: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    depth, height, width = marked.shape
    if x >= width or y >= height or z >= depth:
        return
    out[z, y, x] = limit
    for d in range(greater(x, width - 1 - x) + 1):
        square = (np.float32(d) * step) * (np.float32(d) * step)
        if square >= limit:
            return
        if (x - d >= 0 and marked[z, y, x - d]) or (x + d < width and marked[z, y, x + d]):
            out[z, y, x] = square
            return


@cuda.jit(device=True)
def _along(field: Any, z: Any, y: Any, x: Any, axis: Any, i: Any) -> Any:
    """Value at index ``i`` of the line through a voxel along ``axis``."""
    if axis == 0:
        return field[i, y, x]
    if axis == 1:
        return field[z, i, x]
    return field[z, y, i]


@cuda.jit
def _envelope(src: Any, axis: Any, step: Any, limit: Any, dst: Any) -> None:
    """``dst = min over d of src at distance d along axis + (d * step)**2``, at most ``limit``."""
    x, y, z = cuda.grid(3)
    if x >= src.shape[2] or y >= src.shape[1] or z >= src.shape[0]:
        return
    here, size = z, src.shape[0]
    if axis == 1:
        here, size = y, src.shape[1]
    elif axis == 2:
        here, size = x, src.shape[2]
    nearest = lesser(limit, src[z, y, x])
    for d in range(1, greater(here, size - 1 - here) + 1):
        square = (np.float32(d) * step) * (np.float32(d) * step)
        if square >= nearest:
            break
        if here - d >= 0:
            nearest = lesser(nearest, _along(src, z, y, x, axis, here - d) + square)
        if here + d < size:
            nearest = lesser(nearest, _along(src, z, y, x, axis, here + d) + square)
    dst[z, y, x] = nearest


@cuda.jit(device=True)
def _offset_of_crossing(a: Any, b: Any, level: Any) -> Any:
    """Share of the edge from ``a`` to ``b`` at which ``level`` is crossed; 2 if it is not."""
    if (a >= level) == (b >= level):
        return np.float32(2.0)
    return (level - a) / (b - a)


@cuda.jit
def _nearest_crossing(field: Any, level: Any, axis: Any, step: Any, limit: Any, out: Any) -> None:
    """Squared distance along ``axis`` to the nearest crossing on edges of that axis."""
    x, y, z = cuda.grid(3)
    if x >= field.shape[2] or y >= field.shape[1] or z >= field.shape[0]:
        return
    here, size = z, field.shape[0]
    if axis == 1:
        here, size = y, field.shape[1]
    elif axis == 2:
        here, size = x, field.shape[2]
    nearest = limit
    before = after = field[z, y, x]
    for d in range(greater(here, size - 1 - here)):
        square = (np.float32(d) * step) * (np.float32(d) * step)
        if square >= nearest:
            break
        if here - d >= 1:
            following = _along(field, z, y, x, axis, here - d - 1)
            share = _offset_of_crossing(before, following, level)
            before = following
            if share < np.float32(2.0):
                distance = (np.float32(d) + share) * step
                nearest = lesser(nearest, distance * distance)
        if here + d < size - 1:
            following = _along(field, z, y, x, axis, here + d + 1)
            share = _offset_of_crossing(after, following, level)
            after = following
            if share < np.float32(2.0):
                distance = (np.float32(d) + share) * step
                nearest = lesser(nearest, distance * distance)
    out[z, y, x] = nearest


@cuda.jit
def _keep_less(candidate: Any, nearest: Any) -> None:
    x, y, z = cuda.grid(3)
    if x < nearest.shape[2] and y < nearest.shape[1] and z < nearest.shape[0]:
        nearest[z, y, x] = lesser(nearest[z, y, x], candidate[z, y, x])


@cuda.jit(device=True)
def _kept(square: Any, root_bound: Any) -> Any:
    """Distance of a square; infinite beyond the bound."""
    distance = math.sqrt(square)
    return distance if distance <= root_bound else np.float32(np.inf)


@cuda.jit
def _root(squares: Any, z0: Any, y0: Any, x0: Any, root_bound: Any, out: Any) -> None:
    """Distances of the part of ``squares`` that begins at (z0, y0, x0)."""
    x, y, z = cuda.grid(3)
    if x < out.shape[2] and y < out.shape[1] and z < out.shape[0]:
        out[z, y, x] = _kept(squares[z + z0, y + y0, x + x0], root_bound)


@cuda.jit
def _signed_root(
    squares: Any, field: Any, level: Any, z0: Any, y0: Any, x0: Any, root_bound: Any, out: Any
) -> None:
    """As ``_root``, negative where the field is at or above the level."""
    x, y, z = cuda.grid(3)
    if x < out.shape[2] and y < out.shape[1] and z < out.shape[0]:
        distance = _kept(squares[z + z0, y + y0, x + x0], root_bound)
        out[z, y, x] = -distance if field[z + z0, y + y0, x + x0] >= level else distance
