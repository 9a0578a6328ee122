"""The grid of a scene, and smooth random fields on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.arrays import Float32Array


@dataclass(frozen=True)
class PatchGrid:
    """A cube of voxels about the place of a scene; axes z, y, x, the patient's back at high y.

    Parameters
    ----------
    edge : int
        Voxels along each axis.
    spacing_mm : float
    """

    edge: int
    spacing_mm: float

    @property
    def half_mm(self) -> float:
        """From the center to a face."""
        return 0.5 * self.edge * self.spacing_mm

    def positions_mm(self) -> Float32Array:
        """Offsets of the voxels from the center along z, y and x, (3, z, y, x)."""
        along = (np.arange(self.edge, dtype=np.float32) - 0.5 * (self.edge - 1)) * np.float32(self.spacing_mm)
        return np.stack(np.meshgrid(along, along, along, indexing="ij"))


def smooth_noise(rng: np.random.Generator, grid: PatchGrid, correlation_mm: float) -> Float32Array:
    """Gaussian noise of mean about 0 and standard deviation 1, smooth over ``correlation_mm``; (z, y, x).

    A cubic B-spline whose coefficients are white noise, one every ``correlation_mm``.
    """
    step = max(correlation_mm, grid.spacing_mm) / grid.spacing_mm
    count = int(np.ceil(grid.edge / step)) + 4
    lattice = rng.standard_normal((count,) * 3).astype(np.float32)
    weights = [_spline_weights(grid.edge, step, float(rng.random()), count) for _ in range(3)]
    noise = np.einsum("abc,xc->abx", lattice, weights[0], optimize=True)
    noise = np.einsum("abx,yb->ayx", noise, weights[1], optimize=True)
    noise = np.einsum("ayx,za->zyx", noise, weights[2], optimize=True)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def smooth_displacement_mm(
    rng: np.random.Generator, grid: PatchGrid, correlation_mm: float, sd_mm: float
) -> Float32Array:
    """A smooth random displacement, (3, z, y, x)."""
    return np.stack([np.float32(sd_mm) * smooth_noise(rng, grid, correlation_mm) for _ in range(3)])


def pulled(field: Float32Array, displacement_mm: Float32Array, grid: PatchGrid) -> Float32Array:
    """What a field holds at every voxel's position plus its displacement; the edge's value beyond the grid."""
    index = np.indices((grid.edge,) * 3, dtype=np.float32) + displacement_mm / np.float32(grid.spacing_mm)
    return np.asarray(ndimage.map_coordinates(field, index, order=1, mode="nearest"), dtype=np.float32)


def share_within(depth_mm: Float32Array, half_width_mm: float) -> Float32Array:
    """How much of a voxel lies inside a surface with a blurred edge, 0 to 1."""
    return np.asarray(np.clip(0.5 + depth_mm / np.float32(2.0 * half_width_mm), 0.0, 1.0), dtype=np.float32)


def unit_vector(rng: np.random.Generator) -> Float32Array:
    """A direction, uniform on the sphere, (3,)."""
    vector = rng.normal(size=3)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def line_distance_mm(
    positions_mm: Float32Array, start_mm: Float32Array, direction: Float32Array, *, from_start: bool = False
) -> Float32Array:
    """Distance to a line, or with ``from_start`` to the half of it that begins at ``start_mm``."""
    offset = positions_mm - start_mm[:, None, None, None]
    along = np.tensordot(direction, offset, axes=1)
    if from_start:
        along = np.maximum(along, 0.0)
    square = (offset**2).sum(axis=0) - 2.0 * along * np.tensordot(direction, offset, axes=1) + along**2
    return np.asarray(np.sqrt(np.maximum(square, 0.0)), dtype=np.float32)


def _spline_weights(points: int, step: float, phase: float, count: int) -> Float32Array:
    """Weight of each coefficient at each point, (points, count)."""
    at = np.arange(points)[:, None] / step + 1.0 + phase
    away = np.abs(at - np.arange(count)[None, :])
    near = (4.0 - 6.0 * away**2 + 3.0 * away**3) / 6.0
    far = np.maximum(2.0 - away, 0.0) ** 3 / 6.0
    return np.where(away < 1.0, near, far).astype(np.float32)
