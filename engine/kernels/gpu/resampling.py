"""Resampling on the GPU: one thread per output voxel.

Voxels go up in their own type, and of a volume that is mostly not sampled only the part that is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, float32, float64, int64

from engine.arrays import Float32Array, Float64Array, read_only
from engine.kernels.arguments import Index3
from engine.kernels.gpu.device import (
    empty,
    greater,
    hand_out,
    lesser,
    over_items,
    over_voxels,
    result,
    upload,
)

POLE = math.sqrt(3.0) - 2.0
_GAIN = (1.0 - POLE) * (1.0 - 1.0 / POLE)
HORIZON = 24
"""Terms of the initial sum: the pole's powers are below 1e-13 past it."""

NO_DISPLACEMENT = read_only(np.zeros((1, 1, 1, 3), dtype=np.float32))

PART_SHARE = 0.5
"""A volume of which less than this is sampled stays on the host, but for that part."""

# Rows of the one small array that says where an output voxel is sampled.
TO_INPUT, TO_FIELD, SIZE, FIRST = 0, 3, 6, 7


def resample(
    voxels: npt.NDArray[Any],
    index_map: Float64Array,
    shape: Index3,
    displacement: Float32Array | None,
    displacement_map: Float64Array,
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Sample ``voxels``; order 3 mirrors at the border, the others hold the border voxel."""
    source, first = voxels, (0, 0, 0)
    if displacement is None and order < 3:
        source, first = _sampled_part(voxels, index_map, shape)
    place = upload(np.vstack([index_map, displacement_map, [*voxels.shape, 0], [*first, 0]]))
    field = upload(NO_DISPLACEMENT if displacement is None else displacement)
    out, samples = result(shape, voxels.dtype), upload(source)
    if order == 3:
        samples = _spline(samples)
    kernel = {0: _nearest, 1: _linear, 3: _cubic}[order]
    kernel[over_voxels(shape)](samples, place, field, fill, *_whole_numbers(voxels.dtype), out)
    return hand_out(out)


def _sampled_part(
    voxels: npt.NDArray[Any], index_map: Float64Array, shape: Index3
) -> tuple[npt.NDArray[Any], Index3]:
    """Part of the input that is sampled, with a voxel to spare, and its start; all of it where that is most."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    position = corners @ index_map[:, :3].T + index_map[:, 3]
    last = np.array(voxels.shape)
    low = np.clip(np.floor(position.min(axis=0)) - 1, 0, last - 1).astype(int)
    high = np.clip(np.ceil(position.max(axis=0)) + 2, low + 1, last).astype(int)
    if np.prod(high - low) >= PART_SHARE * voxels.size:
        return voxels, (0, 0, 0)
    z, y, x = (int(n) for n in low)
    return voxels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], (z, y, x)


def _whole_numbers(dtype: np.dtype[Any]) -> tuple[bool, float, float]:
    """Whether the type holds whole numbers only, and the least and the greatest of them."""
    if dtype.kind == "f":
        return False, 0.0, 0.0
    limits = np.iinfo(dtype)
    return True, float(limits.min), float(limits.max)


def _spline(voxels: Any) -> Any:
    """B-spline coefficients of voxels, axis by axis, one thread per line."""
    spline = empty(voxels.shape, np.float32)
    _convert[over_voxels(voxels.shape)](voxels, spline)
    for axis in (2, 1, 0):
        lines = [spline.shape[a] for a in range(3) if a != axis]
        if spline.shape[axis] > 1:
            _prefilter_lines[over_items(lines[0] * lines[1])](spline, axis)
    return spline


@cuda.jit(device=True)
def _held(p: Any, size: Any) -> Any:
    """Position held between the outermost centers."""
    return lesser(greater(p, 0.0), size - 1.0)


@cuda.jit(device=True)
def _mapped(place: Any, row: Any, z: Any, y: Any, x: Any) -> Any:
    return (place[row, 0] * z + place[row, 1] * y + place[row, 3]) + place[row, 2] * x


@cuda.jit(device=True)
def _blend(field: Any, component: Any, pz: Any, py: Any, px: Any) -> Any:
    """Linear sample of one component of a (z, y, x, c) field, held at its border."""
    pz, py, px = _held(pz, field.shape[0]), _held(py, field.shape[1]), _held(px, field.shape[2])
    z, y, x = int(pz), int(py), int(px)
    value = 0.0
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                wz = pz - z if dz else 1.0 - (pz - z)
                wy = py - y if dy else 1.0 - (py - y)
                wx = px - x if dx else 1.0 - (px - x)
                iz, iy, ix = (
                    lesser(z + dz, field.shape[0] - 1),
                    lesser(y + dy, field.shape[1] - 1),
                    lesser(x + dx, field.shape[2] - 1),
                )
                value += wz * wy * wx * field[iz, iy, ix, component]
    return value


@cuda.jit(device=True)
def _position(place: Any, field: Any, z: Any, y: Any, x: Any, position: Any) -> Any:
    """Input index of an output voxel, from the first that is there; whether it lies inside the volume."""
    pz = _mapped(place, TO_FIELD, z, y, x)
    py = _mapped(place, TO_FIELD + 1, z, y, x)
    px = _mapped(place, TO_FIELD + 2, z, y, x)
    inside = True
    for axis in range(3):
        p = _mapped(place, TO_INPUT + axis, z, y, x) + _blend(field, axis, pz, py, px)
        inside = inside and p >= -0.5 and p < place[SIZE, axis] - 0.5
        position[axis] = p - place[FIRST, axis]
    return inside


@cuda.jit(device=True)
def _rounded(value: Any, whole: Any, minimum: Any, maximum: Any) -> Any:
    """What a voxel holds of a value: whole numbers are rounded half away from zero, and saturate."""
    single = float32(value)
    if not whole:
        return single
    return lesser(greater(int64(single + math.copysign(float32(0.5), single)), minimum), maximum)


@cuda.jit(device=True)
def _nearest_index(p: Any, first: Any, size: Any) -> Any:
    """Nearest of the voxels that are there; rounded in the whole volume, so that a tie falls as it does there."""
    # inside, so adding a half leaves nothing below zero to truncate
    return lesser(int((p + first) + 0.5) - int(first), size - 1)


@cuda.jit
def _nearest(
    voxels: Any,
    place: Any,
    field: Any,
    fill: Any,
    _whole: Any,
    _least: Any,
    _greatest: Any,
    out: Any,
) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    position = cuda.local.array(3, float64)
    if not _position(place, field, z, y, x, position):
        out[z, y, x] = fill
        return
    iz = _nearest_index(position[0], place[FIRST, 0], voxels.shape[0])
    iy = _nearest_index(position[1], place[FIRST, 1], voxels.shape[1])
    ix = _nearest_index(position[2], place[FIRST, 2], voxels.shape[2])
    out[z, y, x] = voxels[iz, iy, ix]


@cuda.jit
def _linear(
    voxels: Any, place: Any, field: Any, fill: Any, whole: Any, minimum: Any, maximum: Any, out: Any
) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    position = cuda.local.array(3, float64)
    if not _position(place, field, z, y, x, position):
        out[z, y, x] = fill
        return
    pz, py, px = (
        _held(position[0], voxels.shape[0]),
        _held(position[1], voxels.shape[1]),
        _held(position[2], voxels.shape[2]),
    )
    z0, y0, x0 = int(pz), int(py), int(px)
    z1, y1, x1 = (
        lesser(z0 + 1, voxels.shape[0] - 1),
        lesser(y0 + 1, voxels.shape[1] - 1),
        lesser(x0 + 1, voxels.shape[2] - 1),
    )
    wz, wy, wx = pz - z0, py - y0, px - x0
    low = (voxels[z0, y0, x0] * (1.0 - wx) + voxels[z0, y0, x1] * wx) * (1.0 - wy) + (
        voxels[z0, y1, x0] * (1.0 - wx) + voxels[z0, y1, x1] * wx
    ) * wy
    high = (voxels[z1, y0, x0] * (1.0 - wx) + voxels[z1, y0, x1] * wx) * (1.0 - wy) + (
        voxels[z1, y1, x0] * (1.0 - wx) + voxels[z1, y1, x1] * wx
    ) * wy
    out[z, y, x] = _rounded(low * (1.0 - wz) + high * wz, whole, minimum, maximum)


@cuda.jit(device=True)
def _mirrored(i: Any, size: Any) -> Any:
    """Index of the coefficient that stands at ``i``."""
    if size == 1:
        return 0
    period = 2 * (size - 1)
    i = abs(i) % period
    return period - i if i >= size else i


@cuda.jit(device=True)
def _taps(p: Any, size: Any, axis: Any, weights: Any, taps: Any) -> None:
    low = int64(math.floor(p))
    t = p - low
    s = 1.0 - t
    weights[axis, 0] = s * s * s / 6.0
    weights[axis, 1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
    weights[axis, 3] = t * t * t / 6.0
    weights[axis, 2] = 1.0 - weights[axis, 0] - weights[axis, 1] - weights[axis, 3]
    for k in range(4):
        taps[axis, k] = _mirrored(low - 1 + k, size)


@cuda.jit
def _cubic(
    spline: Any, place: Any, field: Any, fill: Any, whole: Any, minimum: Any, maximum: Any, out: Any
) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    position = cuda.local.array(3, float64)
    if not _position(place, field, z, y, x, position):
        out[z, y, x] = fill
        return
    weights, taps = cuda.local.array((3, 4), float64), cuda.local.array((3, 4), int64)
    for axis in range(3):
        _taps(position[axis], spline.shape[axis], axis, weights, taps)
    value = 0.0
    for j in range(4):
        for k in range(4):
            along = 0.0
            for i in range(4):
                along += weights[2, i] * spline[taps[0, j], taps[1, k], taps[2, i]]
            value += weights[0, j] * weights[1, k] * along
    out[z, y, x] = _rounded(value, whole, minimum, maximum)


@cuda.jit
def _convert(voxels: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    if x < out.shape[2] and y < out.shape[1] and z < out.shape[0]:
        out[z, y, x] = voxels[z, y, x]


@cuda.jit
def _prefilter_lines(spline: Any, axis: Any) -> None:
    """Causal and anticausal pass of Thevenaz et al., IEEE TMI 19 (2000), appendix."""
    thread = cuda.grid(1)
    across = spline.shape[2] if axis != 2 else spline.shape[1]
    other = spline.shape[0] if axis != 0 else spline.shape[1]
    if thread >= across * other:
        return
    if axis == 0:
        line = spline[:, thread // across, thread % across]
    elif axis == 1:
        line = spline[thread // across, :, thread % across]
    else:
        line = spline[thread // across, thread % across, :]
    n = line.shape[0]
    terms = lesser(HORIZON, 2 * (n - 1))
    first = 0.0
    power = 1.0
    for k in range(terms):
        first += power * line[_mirrored(k, n)]
        power *= POLE
    if terms < HORIZON:
        first /= 1.0 - power
    line[0] = _GAIN * first
    for i in range(1, n):
        line[i] = _GAIN * line[i] + POLE * line[i - 1]
    line[n - 1] = POLE / (POLE * POLE - 1.0) * (line[n - 1] + POLE * line[n - 2])
    for i in range(n - 2, -1, -1):
        line[i] = POLE * (line[i + 1] - line[i])
