"""Distance kernels on the CPU: exact separable passes over only what can matter.

``S`` is the box of indices that hold sources, ``R`` the box of results. Passing along an axis
turns its extent from ``S`` to ``R``, so a small mask, region or bound makes every pass small.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from engine.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from engine.kernels.arguments import Index3, Vector3
from engine.kernels.cpu.envelope import lower_envelope
from engine.kernels.cpu.occupied_box import occupied_box
from engine.kernels.cpu.threads import over

BOUND_TOLERANCE = 1e-6
SQUARED_TOLERANCE = 4e-6

Box = tuple[Index3, Index3]


def distance_mm(mask: BoolArray, spacing: Vector3, bound: float, start: Index3, stop: Index3) -> Float32Array:
    """Rows along x inside each slice, envelopes along y while it is in cache, then along z."""
    voxels = mask.view(np.uint8)
    voxels.flags.writeable = False  # one compiled type, whoever owns the array
    boxes = _source_and_result(occupied_box(mask), spacing, bound, start, stop)
    if boxes is None:
        return np.full(_box_shape((start, stop)), np.inf, dtype=np.float32)
    source, result = boxes
    out, slices = _output_and_scratch(source, result)
    limit, root_bound = _limits(bound)
    source_box, result_box = np.array(source), np.array(result)
    steps = np.array(spacing)
    depth, height, width = out.shape
    over(len(slices), height * width, _mask_slices, voxels, source_box, result_box, steps, limit, slices)
    shift = result[0][0] - source[0][0]
    over(height, depth * width, _along_z, slices, out, shift, steps[0], limit, root_bound)
    return _placed(out, result, (start, stop))


def signed_distance_mm(
    occupancy: Float32Array, spacing: Vector3, level: float, bound: float, start: Index3, stop: Index3
) -> Float32Array:
    """Crossings on x, y and z edges, each spread from its own axis first.

    The x and y families share the pass along z; the z family takes its own two passes.
    """
    voxels = occupancy.view()
    voxels.flags.writeable = False
    field = voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    boxes = _source_and_result(_surface_box(voxels, np.float32(level)), spacing, bound, start, stop)
    if boxes is None:
        return np.where(field >= np.float32(level), np.float32(-np.inf), np.float32(np.inf))
    source, result = boxes
    limit, root_bound = _limits(bound)
    squares, slices = _output_and_scratch(source, result)
    box, edges, steps = np.array(source), np.array(result), np.array(spacing)
    depth, height, width = squares.shape
    near = np.float32(level)
    over(len(slices), 4 * height * width, _in_plane_slices, voxels, near, box, edges, steps, limit, slices)
    shift = result[0][0] - source[0][0]
    over(height, depth * width, _along_z, slices, squares, shift, steps[0], limit, -1.0)
    rows = np.empty((depth, _box_shape(source)[1], _box_shape(source)[2]), dtype=np.float32)
    over(rows.shape[1], depth * rows.shape[2], _z_crossings, voxels, near, box, edges, steps, limit, rows)
    over(
        depth,
        3 * height * width,
        _finish_slices,
        voxels,
        near,
        rows,
        box,
        edges,
        steps,
        limit,
        root_bound,
        squares,
    )
    if result == (start, stop):
        return squares
    out = np.where(field >= near, np.float32(-np.inf), np.float32(np.inf))
    out[_inner(result, (start, stop))] = squares
    return out


def _limits(bound: float) -> tuple[float, float]:
    """Squared distance that counts as none, and the largest distance that is kept."""
    return float(np.float32(bound**2 * (1 + SQUARED_TOLERANCE))), bound * (1 + BOUND_TOLERANCE)


def _box_shape(box: Box) -> Index3:
    """Voxels of a box along each axis."""
    (a, b, c), (d, e, f) = box
    return (d - a, e - b, f - c)


def _source_and_result(
    occupied: Box | None, spacing: Vector3, bound: float, start: Index3, stop: Index3
) -> tuple[Box, Box] | None:
    """Where sources can matter and where results can be finite; None if nowhere."""
    if occupied is None:
        return None
    limits = []
    for axis, step in enumerate(spacing):
        # one voxel more: crossings lie on edges, between two voxels
        bound_voxels = 1 << 40 if math.isinf(bound) else math.ceil(bound / step) + 1
        low, high = occupied[0][axis], occupied[1][axis]
        first, last = max(start[axis], low - bound_voxels), min(stop[axis], high + bound_voxels)
        if first >= last:
            return None
        limits.append((max(low, first - bound_voxels), min(high, last + bound_voxels), first, last))
    (za, zb, zc, zd), (ya, yb, yc, yd), (xa, xb, xc, xd) = limits
    return ((za, ya, xa), (zb, yb, xb)), ((zc, yc, xc), (zd, yd, xd))


def _output_and_scratch(source: Box, result: Box) -> tuple[Float32Array, Float32Array]:
    """Allocate the result, and slices for the source's z extent: inside it where they fit."""
    out = np.empty(_box_shape(result), dtype=np.float32)
    first, last = source[0][0] - result[0][0], source[1][0] - result[0][0]
    if first >= 0 and last <= len(out):
        return out, out[first:last]
    return out, np.empty((last - first, *out.shape[1:]), dtype=np.float32)


def _inner(box: Box, outer: Box) -> tuple[slice, ...]:
    return tuple(slice(a - o, b - o) for a, b, o in zip(*box, outer[0], strict=True))


def _placed(values: Float32Array, box: Box, outer: Box) -> Float32Array:
    """``values`` in the larger box, infinite around them."""
    if box == outer:
        return values
    out = np.full(_box_shape(outer), np.inf, dtype=np.float32)
    out[_inner(box, outer)] = values
    return out


def _surface_box(voxels: Float32Array, level: np.float32) -> Box | None:
    """Bounding box of voxels at or above ``level`` and their neighbors; None if there are none."""
    depth, height, width = voxels.shape
    parts = over(depth, height * width // 4, _occupied, voxels, level)
    low = np.min([part[0] for part in parts], axis=0)
    high = np.max([part[1] for part in parts], axis=0)
    if high[0] == 0:
        return None
    low, high = np.maximum(low - 1, 0), np.minimum(high + 1, voxels.shape)
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))


@njit(nogil=True, cache=True)
def _occupied(
    z_first: int, z_last: int, voxels: Float32Array, level: np.float32
) -> tuple[Int64Array, Int64Array]:
    _, height, width = voxels.shape
    low = np.array([voxels.shape[0], height, width])
    high = np.zeros(3, dtype=np.int64)
    columns = np.zeros(width, dtype=np.uint8)
    for z in range(z_first, z_last):
        for y in range(height):
            any_hit = np.uint8(0)
            for x in range(width):
                hit = np.uint8(voxels[z, y, x] >= level)
                columns[x] |= hit
                any_hit |= hit
            if any_hit:
                low[0], high[0] = min(low[0], z), z + 1
                low[1], high[1] = min(low[1], y), max(high[1], y + 1)
    for x in range(width):
        if columns[x]:
            low[2], high[2] = min(low[2], x), x + 1
    return low, high


@njit(nogil=True, cache=True)
def _mask_slices(
    first: int,
    last: int,
    mask: UInt8Array,
    source: Int64Array,
    result: Int64Array,
    steps: Float32Array,
    limit: float,
    slices: Float32Array,
) -> None:
    """Squared distance within each slice."""
    height, width = slices.shape[1], slices.shape[2]
    rows = np.empty((source[1, 1] - source[0, 1], 1, width), dtype=np.float32)
    for k in range(first, last):
        for j in range(rows.shape[0]):
            row = mask[source[0, 0] + k, source[0, 1] + j]
            _nearest_in_row(row, source[0, 2], source[1, 2], result[0, 2], steps[2], limit, rows[j, 0])
        plane = slices[k].reshape((height, 1, width))
        lower_envelope(rows, 0, plane, 0, result[0, 1] - source[0, 1], steps[1], limit, -1.0)


@njit(nogil=True, cache=True)
def _nearest_in_row(
    mask: UInt8Array, first: int, last: int, shift: int, step: float, limit: float, out: Float32Array
) -> None:
    """Squared distance along x to the nearest marked voxel of ``mask[first:last]``."""
    far = 1 << 30
    before = -far
    for x in range(first, min(last, shift)):
        before = x if mask[x] else before
    for i in range(out.size):
        before = i + shift if mask[i + shift] else before
        out[i] = i + shift - before
    after = far
    for x in range(last - 1, max(first, shift + out.size) - 1, -1):
        after = x if mask[x] else after
    if before == -far and after == far:
        out[:] = limit
        return
    for i in range(out.size - 1, -1, -1):
        after = i + shift if mask[i + shift] else after
        distance = min(np.float64(out[i]), np.float64(after - i - shift)) * step
        out[i] = min(distance**2, limit)


@njit(nogil=True, cache=True)
def _along_z(
    first: int,
    last: int,
    slices: Float32Array,
    out: Float32Array,
    shift: int,
    step: float,
    limit: float,
    root_bound: float,
) -> None:
    for y in range(first, last):
        lower_envelope(slices, y, out, y, shift, step, limit, root_bound)


@njit(nogil=True, cache=True)
def _in_plane_slices(
    first: int,
    last: int,
    occupancy: Float32Array,
    level: np.float32,
    source: Int64Array,
    result: Int64Array,
    steps: Float32Array,
    limit: float,
    slices: Float32Array,
) -> None:
    """Squared distance within each slice to its crossings on x edges and on y edges."""
    height, width = slices.shape[1], slices.shape[2]
    n_y, n_x = source[1, 1] - source[0, 1], source[1, 2] - source[0, 2]
    x_rows = np.empty((n_y, 1, width), dtype=np.float32)
    y_rows = np.empty((height, 1, n_x), dtype=np.float32)
    for k in range(first, last):
        window = occupancy[source[0, 0] + k, source[0, 1] : source[1, 1], source[0, 2] : source[1, 2]]
        for j in range(n_y):
            line = window[j : j + 1].T
            _spread_crossings(
                line, level, result[0, 2] - source[0, 2], steps[2], limit, x_rows[j : j + 1].T, 0
            )
        plane = slices[k].reshape((height, 1, width))
        lower_envelope(x_rows, 0, plane, 0, result[0, 1] - source[0, 1], steps[1], limit, -1.0)
        _spread_crossings(window, level, result[0, 1] - source[0, 1], steps[1], limit, y_rows, 0)
        _nearer_along_x(y_rows, plane, result[0, 2] - source[0, 2], steps[2], limit)


@njit(nogil=True, cache=True)
def _z_crossings(
    first: int,
    last: int,
    occupancy: Float32Array,
    level: np.float32,
    source: Int64Array,
    result: Int64Array,
    steps: Float32Array,
    limit: float,
    rows: Float32Array,
) -> None:
    """Squared distance along z to the crossings on z edges."""
    for j in range(first, last):
        window = occupancy[source[0, 0] : source[1, 0], source[0, 1] + j, source[0, 2] : source[1, 2]]
        _spread_crossings(window, level, result[0, 0] - source[0, 0], steps[0], limit, rows, j)


@njit(nogil=True, cache=True)
def _spread_crossings(
    window: Float32Array,
    level: np.float32,
    shift: int,
    step: float,
    limit: float,
    out: Float32Array,
    row: int,
) -> None:
    """Squared distance along axis 0 of each column of ``window`` to its nearest crossing."""
    n_in, width = window.shape
    positions = np.empty((n_in, width), dtype=np.float64)
    counts = np.zeros(width, dtype=np.int64)
    for j in range(n_in - 1):
        for x in range(width):
            a, b = window[j, x], window[j + 1, x]
            if (a >= level) != (b >= level):
                share = (np.float64(level) - a) / (np.float64(b) - a)
                positions[counts[x], x] = j + share
                counts[x] += 1
    nearest = np.zeros(width, dtype=np.int64)
    for i in range(out.shape[0]):
        here = np.float64(i + shift)
        for x in range(width):
            if counts[x] == 0:
                out[i, row, x] = limit
                continue
            k = nearest[x]
            distance = abs(positions[k, x] - here)
            while k + 1 < counts[x] and abs(positions[k + 1, x] - here) <= distance:
                k += 1
                distance = abs(positions[k, x] - here)
            nearest[x] = k
            out[i, row, x] = min((distance * step) ** 2, limit)


@njit(nogil=True, cache=True)
def _nearer_along_x(rows: Float32Array, plane: Float32Array, shift: int, step: float, limit: float) -> None:
    """Lower ``plane`` to the envelope of ``rows`` along x, taken across the transposed slice."""
    height, _, n_x = rows.shape
    width = plane.shape[2]
    transposed = np.empty((n_x, 1, height), dtype=np.float32)
    spread = np.empty((width, 1, height), dtype=np.float32)
    for y_tile in range(0, height, 16):
        for x in range(n_x):
            for y in range(y_tile, min(y_tile + 16, height)):
                transposed[x, 0, y] = rows[y, 0, x]
    lower_envelope(transposed, 0, spread, 0, shift, step, limit, -1.0)
    for y_tile in range(0, height, 16):
        for x in range(width):
            for y in range(y_tile, min(y_tile + 16, height)):
                plane[y, 0, x] = min(plane[y, 0, x], spread[x, 0, y])


@njit(nogil=True, cache=True)
def _finish_slices(
    first: int,
    last: int,
    occupancy: Float32Array,
    level: np.float32,
    rows: Float32Array,
    source: Int64Array,
    result: Int64Array,
    steps: Float32Array,
    limit: float,
    root_bound: float,
    squares: Float32Array,
) -> None:
    """Add the z family's passes along y and x; square root, bound and sign."""
    _, height, width = squares.shape
    n_y, n_x = rows.shape[1], rows.shape[2]
    spread = np.empty((height, 1, n_x), dtype=np.float32)
    for k in range(first, last):
        plane = squares[k].reshape((height, 1, width))
        flat = rows[k].reshape((n_y, 1, n_x))
        lower_envelope(flat, 0, spread, 0, result[0, 1] - source[0, 1], steps[1], limit, -1.0)
        _nearer_along_x(spread, plane, result[0, 2] - source[0, 2], steps[2], limit)
        for y in range(height):
            for x in range(width):
                distance = math.sqrt(plane[y, 0, x])
                if distance > root_bound:
                    distance = np.inf
                inside = occupancy[result[0, 0] + k, result[0, 1] + y, result[0, 2] + x] >= level
                plane[y, 0, x] = -distance if inside else distance
