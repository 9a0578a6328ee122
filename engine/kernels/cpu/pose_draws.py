"""CPU twin of :mod:`engine.kernels.pose_draws`: draws spread over the cores, most points not sampled.

A draw moves a point by little, and the field changes along each axis by no more from voxel to voxel than its
steepest step. So a point whose unperturbed sample lies farther from the limit than that needs no sample, and the
answer stays the same. Points keep their order, so that those left lie near each other in memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from engine.arrays import Float32Array, Float64Array, Int64Array
from engine.kernels.cpu import threads

ROUNDING = 1e-6
"""Added to how far a sample can move, relative and absolute: far more than its arithmetic rounds."""


def evaluate(
    field: Float32Array,
    points: Float64Array,
    values: Float64Array,
    surface: Float64Array,
    maps: Float64Array,
    value_limits: Float64Array,
    field_limits: Float64Array,
    modes: Float64Array,
    weights: Float64Array,
) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Evaluate every draw; points and field stay in cache while the draws change."""
    max_slope = np.max(threads.over(len(field), field[0].size, _max_slopes, field), axis=0)
    at_points, at_surface = _sample_unperturbed(field, points), _sample_unperturbed(field, surface)
    draws = len(maps)
    included = np.zeros(draws, dtype=np.int64)
    covered = np.zeros(draws, dtype=np.int64)
    max_on_surface = np.empty(draws, dtype=np.float64)
    threads.over(
        draws,
        (len(points) + len(surface) * modes.shape[1]) // 4,
        _evaluate,
        field,
        points, values, at_points, _max_field_change(points, maps, max_slope),
        surface, at_surface, _max_field_change(surface, maps, max_slope), modes, weights,
        maps, value_limits, field_limits, included, covered, max_on_surface,
    )  # fmt: skip
    return included, covered, max_on_surface


def _sample_unperturbed(field: Float32Array, points: Float64Array) -> Float64Array:
    samples = np.empty(len(points), dtype=np.float64)
    threads.over(len(points), 8, _sample_all, field, np.eye(4)[:3], points, samples)
    return samples


def _max_field_change(points: Float64Array, maps: Float64Array, max_slope: Float64Array) -> Float64Array:
    """For each draw, by how much a sample at any of the points can differ from the unperturbed one, (D,)."""
    low, high = points.min(axis=0), points.max(axis=0)
    linear_change = maps[:, :, :3] - np.eye(3)
    max_displacement = np.abs(linear_change @ (0.5 * (low + high)) + maps[:, :, 3]) + np.abs(
        linear_change
    ) @ (0.5 * (high - low))
    max_change: Float64Array = max_displacement @ max_slope * (1.0 + ROUNDING) + ROUNDING
    return max_change


@njit(cache=True, nogil=True)
def _max_slopes(first: int, last: int, field: Any) -> Any:
    """Greatest difference between neighbors along each axis, of slices ``first`` to ``last`` and the next."""
    depth, height, width = field.shape
    max_slopes = np.zeros(3, dtype=np.float64)
    for z in range(first, last):
        for y in range(height):
            along_z = along_y = along_x = np.float32(0.0)
            for x in range(width - 1):
                along_x = max(along_x, abs(field[z, y, x + 1] - field[z, y, x]))
            if y + 1 < height:
                for x in range(width):
                    along_y = max(along_y, abs(field[z, y + 1, x] - field[z, y, x]))
            if z + 1 < depth:
                for x in range(width):
                    along_z = max(along_z, abs(field[z + 1, y, x] - field[z, y, x]))
            max_slopes[0], max_slopes[1], max_slopes[2] = (
                max(max_slopes[0], along_z),
                max(max_slopes[1], along_y),
                max(max_slopes[2], along_x),
            )
    return max_slopes


@njit(cache=True, nogil=True, inline="always")
def _sample(field: Any, m: Any, z0: float, y0: float, x0: float) -> float:
    depth, height, width = field.shape
    z = min(max(m[0, 0] * z0 + m[0, 1] * y0 + m[0, 2] * x0 + m[0, 3], 0.0), depth - 1.0)
    y = min(max(m[1, 0] * z0 + m[1, 1] * y0 + m[1, 2] * x0 + m[1, 3], 0.0), height - 1.0)
    x = min(max(m[2, 0] * z0 + m[2, 1] * y0 + m[2, 2] * x0 + m[2, 3], 0.0), width - 1.0)
    # unsigned, so that Numba need not test for a sign
    k, j, i = np.uint64(z), np.uint64(y), np.uint64(x)
    fz, fy, fx = z - k, y - j, x - i
    one = np.uint64(1)
    k1 = min(k + one, np.uint64(depth - 1))
    j1 = min(j + one, np.uint64(height - 1))
    i1 = min(i + one, np.uint64(width - 1))
    a = field[k, j, i] + fx * (np.float64(field[k, j, i1]) - field[k, j, i])
    b = field[k, j1, i] + fx * (np.float64(field[k, j1, i1]) - field[k, j1, i])
    c = field[k1, j, i] + fx * (np.float64(field[k1, j, i1]) - field[k1, j, i])
    d = field[k1, j1, i] + fx * (np.float64(field[k1, j1, i1]) - field[k1, j1, i])
    a += fy * (b - a)
    c += fy * (d - c)
    return float(a + fz * (c - a))


@njit(cache=True, nogil=True)
def _sample_all(first: int, last: int, field: Any, m: Any, points: Any, samples: Any) -> None:
    for p in range(first, last):
        samples[p] = _sample(field, m, points[p, 0], points[p, 1], points[p, 2])


@njit(cache=True, nogil=True)
def _evaluate(
    first: int,
    last: int,
    field: Any,
    points: Any,
    values: Any,
    at_points: Any,
    max_change: Any,
    surface: Any,
    at_surface: Any,
    max_surface_change: Any,
    modes: Any,
    weights: Any,
    maps: Any,
    value_limits: Any,
    field_limits: Any,
    included: Any,
    covered: Any,
    max_on_surface: Any,
) -> None:
    offsets = np.empty(at_surface.size, dtype=np.float64)
    for d in range(first, last):
        m, value_limit, limit = maps[d], value_limits[d], field_limits[d]
        surely, never = limit - max_change[d], limit + max_change[d]
        inside, hit = 0, 0
        for p in range(values.size):
            if values[p] < value_limit:
                inside += 1
                if at_points[p] < surely:
                    hit += 1
                elif at_points[p] <= never:
                    hit += _sample(field, m, points[p, 0], points[p, 1], points[p, 2]) <= limit
        greatest = -np.inf
        for p in range(at_surface.size):
            offset = 0.0
            for k in range(modes.shape[1]):
                offset += modes[p, k] * weights[d, k]
            offsets[p] = offset
            greatest = max(greatest, at_surface[p] + offset)
        largest = -np.inf
        for p in range(at_surface.size):
            if at_surface[p] + offsets[p] >= greatest - 2.0 * max_surface_change[d]:
                sampled = _sample(field, m, surface[p, 0], surface[p, 1], surface[p, 2])
                largest = max(largest, sampled + offsets[p])
        included[d], covered[d], max_on_surface[d] = inside, hit, largest
