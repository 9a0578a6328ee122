"""Resampling on the GPU: one thread per output voxel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda, float64, int64

from engine.kernels.arguments import DoubleArray, FloatArray, Index3
from engine.kernels.gpu.device import download, empty, greater, lesser, over_items, over_voxels, upload

POLE = math.sqrt(3.0) - 2.0
GAIN = (1.0 - POLE) * (1.0 - 1.0 / POLE)
HORIZON = 24
"""Terms of the initial sum: the pole's powers are below 1e-13 past it."""

NO_DISPLACEMENT = np.zeros((1, 1, 1, 3), dtype=np.float32)


def resample(
    voxels: npt.NDArray[Any],
    index_map: DoubleArray,
    shape: Index3,
    displacement: FloatArray | None,
    displacement_map: DoubleArray,
    order: int,
    fill: float,
) -> npt.NDArray[Any]:
    """Sample ``voxels``; order 3 mirrors at the border, the others hold the border voxel."""
    field = upload(NO_DISPLACEMENT if displacement is None else displacement)
    maps = upload(index_map), field, upload(displacement_map)
    launch = over_voxels(shape)
    if order == 0:
        out = empty(shape, voxels.dtype)
        _nearest[launch](upload(voxels), *maps, fill, out)
        return download(out)
    out = empty(shape, np.float32)
    source = upload(voxels.astype(np.float32))
    if order == 3:
        _prefilter(source)
    (_linear if order == 1 else _cubic)[launch](source, *maps, fill, out)
    return _cast(download(out), voxels.dtype)


def _prefilter(spline: Any) -> None:
    """Turn voxels into B-spline coefficients, axis by axis, one thread per line."""
    for axis in (2, 1, 0):
        lines = [spline.shape[a] for a in range(3) if a != axis]
        if spline.shape[axis] > 1:
            _prefilter_lines[over_items(lines[0] * lines[1])](spline, axis)


def _cast(values: FloatArray, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round half away from zero and saturate where the type is an integer."""
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    return np.clip(np.trunc(values + np.copysign(np.float32(0.5), values)), limits.min, limits.max).astype(
        dtype
    )


@cuda.jit(device=True)
def _held(p: Any, size: Any) -> Any:
    """Position held between the outermost centers."""
    return lesser(greater(p, 0.0), size - 1.0)


@cuda.jit(device=True)
def _mapped(m: Any, axis: Any, z: Any, y: Any, x: Any) -> Any:
    return (m[axis, 0] * z + m[axis, 1] * y + m[axis, 3]) + m[axis, 2] * x


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
def _position(m: Any, field: Any, fm: Any, z: Any, y: Any, x: Any, at: Any) -> None:
    """Input index of an output voxel."""
    for axis in range(3):
        at[axis] = _mapped(m, axis, z, y, x)
    pz, py, px = _mapped(fm, 0, z, y, x), _mapped(fm, 1, z, y, x), _mapped(fm, 2, z, y, x)
    for axis in range(3):
        at[axis] += _blend(field, axis, pz, py, px)


@cuda.jit(device=True)
def _is_inside(at: Any, shape: Any) -> Any:
    for axis in range(3):  # noqa: SIM110 - no generators on the device
        if not (at[axis] >= -0.5 and at[axis] < shape[axis] - 0.5):
            return False
    return True


@cuda.jit
def _nearest(voxels: Any, m: Any, field: Any, fm: Any, fill: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    at = cuda.local.array(3, float64)
    _position(m, field, fm, z, y, x, at)
    if not _is_inside(at, voxels.shape):
        out[z, y, x] = fill
        return
    # inside, so adding a half leaves nothing below zero to truncate
    iz = lesser(int(at[0] + 0.5), voxels.shape[0] - 1)
    iy = lesser(int(at[1] + 0.5), voxels.shape[1] - 1)
    ix = lesser(int(at[2] + 0.5), voxels.shape[2] - 1)
    out[z, y, x] = voxels[iz, iy, ix]


@cuda.jit
def _linear(voxels: Any, m: Any, field: Any, fm: Any, fill: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    at = cuda.local.array(3, float64)
    _position(m, field, fm, z, y, x, at)
    if not _is_inside(at, voxels.shape):
        out[z, y, x] = fill
        return
    pz, py, px = _held(at[0], voxels.shape[0]), _held(at[1], voxels.shape[1]), _held(at[2], voxels.shape[2])
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
    out[z, y, x] = low * (1.0 - wz) + high * wz


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
def _cubic(spline: Any, m: Any, field: Any, fm: Any, fill: Any, out: Any) -> None:
    x, y, z = cuda.grid(3)
    if x >= out.shape[2] or y >= out.shape[1] or z >= out.shape[0]:
        return
    at = cuda.local.array(3, float64)
    _position(m, field, fm, z, y, x, at)
    if not _is_inside(at, spline.shape):
        out[z, y, x] = fill
        return
    weights, taps = cuda.local.array((3, 4), float64), cuda.local.array((3, 4), int64)
    for axis in range(3):
        _taps(at[axis], spline.shape[axis], axis, weights, taps)
    value = 0.0
    for j in range(4):
        for k in range(4):
            along = 0.0
            for i in range(4):
                along += weights[2, i] * spline[taps[0, j], taps[1, k], taps[2, i]]
            value += weights[0, j] * weights[1, k] * along
    out[z, y, x] = value


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
    line[0] = GAIN * first
    for i in range(1, n):
        line[i] = GAIN * line[i] + POLE * line[i - 1]
    line[n - 1] = POLE / (POLE * POLE - 1.0) * (line[n - 1] + POLE * line[n - 2])
    for i in range(n - 2, -1, -1):
        line[i] = POLE * (line[i + 1] - line[i])
