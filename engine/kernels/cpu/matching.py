"""CPU twin of :mod:`engine.kernels.matching`.

A voxel row is turned into rows of factors, whose products are added, still voxel by voxel, to the four node
rows around; only a finished node row is handed to the nodes along it. All loops over x are plain sums of
rows of one padded length, which compile to vector instructions. Slabs between two node planes touch only
those planes, so every second slab can run at once; the others follow.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Float32Array, Float64Array, Int64Array
from engine.kernels.arguments import node_shape
from engine.kernels.cpu import threads

_LANES = 16
"""Rows are padded to a multiple of this: as many numbers as a vectorised loop takes at once."""

MOMENT_FACTORS = np.array([(0, 0), (0, 1), (0, 2), (1, 1), (2, 2), (1, 2)])
"""Rows whose products are summed; rows: known or not, fixed, warped."""

EQUATION_FACTORS = np.array([(0, 3), (0, 4), (0, 5), (1, 4), (1, 5), (2, 5), (0, 6), (1, 6), (2, 6)])
"""Rows: weighted gradient along z, y, x; gradient along z, y, x; difference; weight."""


class _Axis(NamedTuple):
    """Voxels of an axis between the nodes along it."""

    below: Int64Array
    """Node below each voxel."""
    share: Float64Array
    """What the node above gets of it."""
    first: Int64Array
    """First voxel above each node, and the number of voxels."""


def local_moments(
    fixed: Float32Array, warped: Float32Array, evidence: npt.NDArray[np.bool_], cell: float
) -> Float64Array:
    """Sum both images around every node."""
    nz, ny, nx = node_shape(fixed.shape, cell)
    axes = tuple(_axis(n, cell) for n in fixed.shape)
    images = _padded(fixed), _padded(warped), _padded(evidence), evidence.any(axis=2)
    sums = np.zeros((nz, ny, len(MOMENT_FACTORS), nx))
    work = int(cell * fixed.shape[1] * fixed.shape[2])
    for parity in (0, 1):
        slabs = (nz - parity) // 2
        threads.over(slabs, work, _moments, parity, *images, axes, MOMENT_FACTORS, sums)
    return np.ascontiguousarray(np.moveaxis(sums, 2, 3))


def match_equations(
    fixed: Float32Array,
    warped: Float32Array,
    evidence: npt.NDArray[np.bool_],
    model: Float64Array,
    model_cell: float,
    cell: float,
    spacing_mm: float,
    outlier_ratio: float,
) -> tuple[Float64Array, Float64Array]:
    """Sum tensor and force around every node."""
    nz, ny, nx = node_shape(fixed.shape, cell)
    axes = tuple(_axis(n, cell) for n in fixed.shape)
    model_axes = tuple(_axis(n, model_cell) for n in fixed.shape)
    inner = np.zeros_like(evidence)
    inner[1:-1, 1:-1, 1:-1] = evidence[1:-1, 1:-1, 1:-1]
    images = _padded(fixed), _padded(warped), _padded(inner), inner.any(axis=2)
    lines = _along_x(model, model_axes[2], images[0].shape[2] - 2)
    sums = np.zeros((nz, ny, len(EQUATION_FACTORS), nx))
    work = int(2 * cell * fixed.shape[1] * fixed.shape[2])
    for parity in (0, 1):
        slabs = (nz - parity) // 2
        threads.over(
            slabs, work, _equations,
            parity, *images, axes, lines, model_axes, 0.25 / spacing_mm, outlier_ratio, EQUATION_FACTORS, sums,
        )  # fmt: skip
    return np.moveaxis(sums[:, :, :6], 2, 3).copy(), np.moveaxis(sums[:, :, 6:], 2, 3).copy()


def _axis(size: int, cell: float) -> _Axis:
    position = np.arange(size) / cell
    below = position.astype(np.int64)
    return _Axis(below, position - below, np.searchsorted(below, np.arange(below[-1] + 3)))


def _padded(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows with a voxel before and at least one behind, for neighbors and whole vectors."""
    depth, height, width = image.shape
    rows = np.zeros((depth, height, -(-width // _LANES) * _LANES + 2), dtype=image.dtype)
    rows[:, :, 1 : width + 1] = image
    return rows


def _along_x(model: Float64Array, axis: _Axis, width: int) -> Float64Array:
    """The model on node rows, read off at every voxel along them: (z, y, 4 width)."""
    low, high = model[:, :, axis.below], model[:, :, axis.below + 1]
    lines = np.ones((*model.shape[:2], 4, width))
    lines[..., : axis.below.size] = np.moveaxis(low + axis.share[:, None] * (high - low), 2, 3)
    return lines.reshape(*model.shape[:2], -1)


@njit(cache=True, nogil=True)
def _moments(
    begin: int,
    end: int,
    parity: int,
    fixed: Any,
    warped: Any,
    counted: Any,
    rows: Any,
    axes: Any,
    factors: Any,
    sums: Any,
) -> None:
    width = fixed.shape[2] - 2
    lines, around = np.empty((3, width)), np.zeros((2, 2, factors.shape[0], width))
    for slab in range(begin, end):
        k = 2 * slab + parity
        for j in range(axes[1].first.size - 1):
            for z in range(axes[0].first[k], axes[0].first[k + 1]):
                for y in range(axes[1].first[j], axes[1].first[j + 1]):
                    if rows[z, y]:
                        _moment_lines(fixed[z, y], warped[z, y], counted[z, y], lines)
                        _add_products(lines, factors, axes[0].share[z], axes[1].share[y], around)
            _hand_on(around, axes[2], k, j, sums)


@njit(cache=True, nogil=True)
def _moment_lines(fixed: Any, warped: Any, counted: Any, lines: Any) -> None:
    weight, f, w = lines[0], lines[1], lines[2]
    fixed, warped, counted = fixed[1:-1], warped[1:-1], counted[1:-1]
    for i in range(weight.size):
        p, q = float(fixed[i]), float(warped[i])
        known = counted[i] & (abs(p) + abs(q) < np.inf)
        weight[i] = 1.0 if known else 0.0
        f[i] = p if known else 0.0
        w[i] = q if known else 0.0


@njit(cache=True, nogil=True)
def _equations(
    begin: int,
    end: int,
    parity: int,
    fixed: Any,
    warped: Any,
    counted: Any,
    rows: Any,
    axes: Any,
    model: Any,
    model_axes: Any,
    slope: float,
    ratio: float,
    factors: Any,
    sums: Any,
) -> None:
    width = fixed.shape[2] - 2
    lines, around = np.empty((8, width)), np.zeros((2, 2, factors.shape[0], width))
    local = np.empty(4 * width)
    for slab in range(begin, end):
        k = 2 * slab + parity
        for j in range(axes[1].first.size - 1):
            for z in range(axes[0].first[k], axes[0].first[k + 1]):
                for y in range(axes[1].first[j], axes[1].first[j + 1]):
                    if rows[z, y]:
                        _model_line(model, model_axes[0], model_axes[1], z, y, local)
                        _equation_lines(
                            fixed, warped, counted[z, y], local, z, y, slope, 1.0 / (ratio * ratio), lines
                        )
                        _add_products(lines, factors, axes[0].share[z], axes[1].share[y], around)
            _hand_on(around, axes[2], k, j, sums)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _model_line(model: Any, z_axis: Any, y_axis: Any, z: int, y: int, out: Any) -> None:
    """The model along one voxel row."""
    k, j, a, b = z_axis.below[z], y_axis.below[y], z_axis.share[z], y_axis.share[y]
    p, q, r, s = model[k, j], model[k, j + 1], model[k + 1, j], model[k + 1, j + 1]
    hp, hq, hr, hs = (1.0 - a) * (1.0 - b), (1.0 - a) * b, a * (1.0 - b), a * b
    for i in range(out.size):
        out[i] = (hp * p[i] + hq * q[i]) + (hr * r[i] + hs * s[i])


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def _equation_lines(
    fixed: Any,
    warped: Any,
    counted: Any,
    local: Any,
    z: int,
    y: int,
    slope: float,
    tail: float,
    lines: Any,
) -> None:
    """Gradient, difference and weight along one voxel row; zero where something is not known."""
    n = lines.shape[1]
    mean_f, mean_w, gain, variance = local[:n], local[n : 2 * n], local[2 * n : 3 * n], local[3 * n :]
    f, f_west, f_east = fixed[z, y, 1:-1], fixed[z, y, :-2], fixed[z, y, 2:]
    w, w_west, w_east = warped[z, y, 1:-1], warped[z, y, :-2], warped[z, y, 2:]
    f_north, f_south, w_north, w_south = (
        fixed[z, y - 1, 1:-1], fixed[z, y + 1, 1:-1], warped[z, y - 1, 1:-1], warped[z, y + 1, 1:-1],
    )  # fmt: skip
    f_below, f_above, w_below, w_above = (
        fixed[z - 1, y, 1:-1], fixed[z + 1, y, 1:-1], warped[z - 1, y, 1:-1], warped[z + 1, y, 1:-1],
    )  # fmt: skip
    inside, gz, gy, gx, d, weight = counted[1:-1], lines[3], lines[4], lines[5], lines[6], lines[7]
    for i in range(n):
        g = gain[i]
        along_z = slope * ((f_above[i] - f_below[i]) + g * (w_above[i] - w_below[i]))
        along_y = slope * ((f_south[i] - f_north[i]) + g * (w_south[i] - w_north[i]))
        along_x = slope * ((f_east[i] - f_west[i]) + g * (w_east[i] - w_west[i]))
        differs = (f[i] - mean_f[i]) - g * (w[i] - mean_w[i])
        share = 1.0 / (variance[i] + differs * differs * tail)
        steep = share * (abs(along_z) + abs(along_y) + abs(along_x))
        known = inside[i] & (steep + abs(differs) < np.inf)
        gz[i] = along_z if known else 0.0
        gy[i] = along_y if known else 0.0
        gx[i] = along_x if known else 0.0
        d[i] = differs if known else 0.0
        weight[i] = share if known else 0.0
    for c in range(3):
        to, what = lines[c], lines[c + 3]
        for i in range(n):
            to[i] = weight[i] * what[i]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_products(lines: Any, factors: Any, az: float, ay: float, around: Any) -> None:
    """Add the products of a voxel row to the node rows around it."""
    hp, hq, hr, hs = (1.0 - az) * (1.0 - ay), (1.0 - az) * ay, az * (1.0 - ay), az * ay
    for c in range(factors.shape[0]):
        a, b = lines[factors[c, 0]], lines[factors[c, 1]]
        p, q, r, s = around[0, 0, c], around[0, 1, c], around[1, 0, c], around[1, 1, c]
        for i in range(p.size):
            v = a[i] * b[i]
            p[i] += hp * v
            q[i] += hq * v
            r[i] += hr * v
            s[i] += hs * v


@njit(cache=True, nogil=True)
def _hand_on(around: Any, axis: Any, k: int, j: int, sums: Any) -> None:
    """Hand finished node rows to their nodes; the rows above are the next ones below."""
    for o in range(2):
        rows, to = around[o, 0], sums[k + o, j]
        for x in range(axis.below.size):  # one sum after the other would wait for itself
            i, a = axis.below[x], axis.share[x]
            for c in range(rows.shape[0]):
                v = a * rows[c, x]
                to[c, i] += rows[c, x] - v
                to[c, i + 1] += v
        rows[:] = around[o, 1]
        around[o, 1] = 0.0
