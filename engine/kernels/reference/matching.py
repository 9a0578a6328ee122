"""Definition of :mod:`engine.kernels.matching`: hat functions over whole volumes."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Float64Array
from engine.kernels.arguments import node_shape


def local_moments(
    fixed: Float32Array, warped: Float32Array, evidence: npt.NDArray[np.bool_], cell: float
) -> Float64Array:
    """Sum both images around every node."""
    known = evidence & np.isfinite(fixed) & np.isfinite(warped)
    f, w = (np.where(known, image, 0.0).astype(np.float64) for image in (fixed, warped))
    return _share(np.stack([known.astype(np.float64), f, w, f * f, w * w, f * w], axis=-1), cell)


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
    mean_f, mean_w, gain, variance = np.moveaxis(_read_off(model, fixed.shape, model_cell), -1, 0)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = (fixed - mean_f) - gain * (warped - mean_w)
        gradient = np.full((*fixed.shape, 3), np.nan)
        for axis in range(3):
            inner = tuple(slice(1, -1) if a == axis else slice(None) for a in range(3))
            slopes = [_central(image, axis) / (2.0 * spacing_mm) for image in (fixed, warped)]
            gradient[(*inner, axis)] = (slopes[0] + gain[inner] * slopes[1]) / 2.0
        weight = 1.0 / (variance + (difference / outlier_ratio) ** 2)
        known = evidence & np.isfinite(difference) & np.isfinite(weight * np.abs(gradient).sum(axis=-1))
    g, d = np.where(known[..., None], gradient, 0.0), np.where(known, difference, 0.0)
    weighted = np.where(known, weight, 0.0)[..., None] * g
    z, y, x = np.moveaxis(weighted, -1, 0)
    tensor = [z * g[..., 0], z * g[..., 1], z * g[..., 2], y * g[..., 1], y * g[..., 2], x * g[..., 2]]
    return _share(np.stack(tensor, axis=-1), cell), _share(weighted * d[..., None], cell)


def _central(image: Float32Array, axis: int) -> Float64Array:
    size = image.shape[axis]
    ahead = np.take(image, np.arange(2, size), axis)
    behind = np.take(image, np.arange(max(size - 2, 0)), axis)
    return (ahead - behind).astype(np.float64)


def _corners(
    shape: tuple[int, ...], cell: float
) -> list[tuple[tuple[npt.NDArray[np.int64], ...], Float64Array]]:
    """For each of the 8 nodes around a voxel: its index and its hat function there."""
    position = [np.arange(n) / cell for n in shape]
    below = [p.astype(np.int64) for p in position]
    corners = []
    for corner in product((0, 1), repeat=3):
        hats = [
            p - b if above else 1.0 - (p - b) for above, p, b in zip(corner, position, below, strict=True)
        ]
        index = np.ix_(*(b + above for above, b in zip(corner, below, strict=True)))
        z, y, x = np.ix_(*hats)
        corners.append((index, z * y * x))
    return corners


def _share(values: Float64Array, cell: float) -> Float64Array:
    """Share voxels among their nodes."""
    nz, ny, nx, n = values.shape
    sums = np.zeros((*node_shape((nz, ny, nx), cell), n))
    for index, hat in _corners(values.shape[:3], cell):
        np.add.at(sums, index, hat[..., None] * values)
    return sums


def _read_off(model: Float64Array, shape: tuple[int, ...], cell: float) -> Float64Array:
    """Read a lattice of nodes off at every voxel."""
    values = np.zeros((*shape, model.shape[-1]))
    for index, hat in _corners(shape, cell):
        values += hat[..., None] * model[index]
    return values
