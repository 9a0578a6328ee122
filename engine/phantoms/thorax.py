"""A procedural chest: lung with a vessel tree, chest wall with ribs, mediastinum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import FloatArray, VolumeGeometry

FINE_SPACING_MM: Final = 1.0
"""The chest is rendered once on this grid; scans are cubic samples of it."""

LUNG_HU: Final = -855.0
SOFT_TISSUE_HU: Final = 45.0
FAT_HU: Final = -95.0
BONE_HU: Final = 520.0
VESSEL_HU: Final = 40.0
EDGE_MM: Final = 0.7
"""Half width of the partial-volume edge of every surface."""

THINNEST_MM: Final = 0.75
"""Branches thinner than this are not followed further."""

_LUNG_CENTER = np.array([-75.0, 0.0, 0.0])
_LUNG_RADII = np.array([58.0, 88.0, 125.0])
_HILUM = np.array([-26.0, 5.0, 0.0])


@dataclass(frozen=True, eq=False)
class Thorax:
    """HU of the planning chest without tumor.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
    geometry : VolumeGeometry
    """

    hu: npt.NDArray[np.float32]
    geometry: VolumeGeometry


def lung_depth_mm(points_lps_mm: FloatArray) -> FloatArray:
    """Depth below the pleura of the right lung, approximate away from it; negative outside."""
    scaled = np.abs((points_lps_mm - _LUNG_CENTER) / _LUNG_RADII)
    level = (scaled**2.4).sum(axis=-1) ** (1.0 / 2.4)
    # First-order distance: the level's excess over its slope, taken along the nearest axis.
    return np.asarray((1.0 - level) * np.min(_LUNG_RADII))


def render_thorax(rng: np.random.Generator, center_lps_mm: FloatArray, half_width_mm: FloatArray) -> Thorax:
    """Render the part of the chest around a point."""
    box = VolumeGeometry((1, 1, 1), (1.0, 1.0, 1.0))
    grid = box.around(center_lps_mm - half_width_mm, center_lps_mm + half_width_mm, FINE_SPACING_MM)
    points = grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1))
    depth = lung_depth_mm(points)
    hu = np.full(grid.shape_zyx, SOFT_TISSUE_HU, dtype=np.float64)
    _wall(hu, points, depth)
    in_lung = _edge(depth)
    gradient = 25.0 * (points[..., 1] - center_lps_mm[1]) / 60.0  # gravity: denser behind
    lung = (
        LUNG_HU
        + gradient
        + 22.0 * _texture(rng, grid.shape_zyx, 2.5)
        + 12.0 * _texture(rng, grid.shape_zyx, 8.0)
    )
    hu = hu * (1.0 - in_lung) + lung * in_lung
    vessels = np.zeros(grid.shape_zyx, dtype=np.float32)
    for start, end, radius in _vessel_tree(rng):
        _paint_capsule(vessels, grid, start, end, radius)
    hu += vessels * in_lung * (VESSEL_HU - hu)
    return Thorax(hu.astype(np.float32), grid)


def _wall(hu: npt.NDArray[np.float64], points: FloatArray, depth: FloatArray) -> None:
    """Fat, ribs and outside air beyond the pleura, on the lateral side only."""
    lateral = points[..., 0] < _HILUM[0]
    hu[lateral & (depth < -14.0)] = FAT_HU
    # Ribs: slanting bands every 24 mm in the chest wall.
    phase = np.mod(points[..., 2] + 0.45 * points[..., 1], 24.0) - 12.0
    rib = lateral & (np.hypot(phase, depth + 7.5) < 4.5)
    hu[rib] = BONE_HU
    hu[lateral & (np.hypot(phase, depth + 7.5) < 2.8)] = 220.0
    hu[lateral & (depth < -30.0)] = -1000.0


def _vessel_tree(rng: np.random.Generator) -> list[tuple[FloatArray, FloatArray, float]]:
    """Segments of a tree from the hilum, each branch thinner and shorter than its parent."""
    segments: list[tuple[FloatArray, FloatArray, float]] = []
    front = []
    for _ in range(14):
        direction = rng.normal(size=3) * np.array([0.5, 1.0, 1.2]) + np.array([-1.3, 0.0, 0.0])
        front.append((_HILUM.copy(), direction / np.linalg.norm(direction), 4.0))
    while front:
        start, direction, radius = front.pop()
        length = rng.uniform(3.5, 6.5) * np.sqrt(radius) * 1.8
        end = start + direction * length
        if lung_depth_mm(end[None])[0] < 1.5 and radius < 3.0:
            continue
        segments.append((start, end, radius))
        if radius < THINNEST_MM:
            continue
        for share in (rng.uniform(0.78, 0.92), rng.uniform(0.5, 0.75)):
            turned = direction + rng.normal(0.0, 0.42, 3)
            front.append((end, turned / np.linalg.norm(turned), radius * share))
    return segments


def _paint_capsule(
    vessels: npt.NDArray[np.float32], grid: VolumeGeometry, start: FloatArray, end: FloatArray, radius: float
) -> None:
    room = radius + 2.0
    low = grid.to_index(np.minimum(start, end) - room)
    high = grid.to_index(np.maximum(start, end) + room)
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.minimum(np.ceil(high) + 1, grid.shape_zyx).astype(int)
    if (last <= first).any():
        return
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    points = grid.to_lps(np.moveaxis(np.indices(tuple(last - first)), 0, -1) + first)
    axis = end - start
    along = np.clip((points - start) @ axis / (axis @ axis), 0.0, 1.0)
    distance = np.linalg.norm(points - start - along[..., None] * axis, axis=-1)
    # A vessel thinner than a voxel keeps its contrast only in proportion to its cross-section.
    contrast = min(1.0, (radius / 0.8) ** 2)
    vessels[box] = np.maximum(vessels[box], contrast * _edge(radius - distance))


def _edge(depth_mm: FloatArray) -> FloatArray:
    """0 outside, 1 inside, a linear ramp of ``2 EDGE_MM`` at the surface."""
    return np.clip(0.5 + depth_mm / (2.0 * EDGE_MM), 0.0, 1.0)


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> npt.NDArray[np.float32]:
    """Smooth noise of unit standard deviation."""
    step = max(1, int(sigma / 2.0))
    small = [n // step + 2 for n in shape]
    noise = ndimage.gaussian_filter(rng.standard_normal(small).astype(np.float32), sigma / step, mode="wrap")
    if step > 1:
        noise = ndimage.zoom(noise, step, order=1)
    noise = noise[tuple(slice(0, n) for n in shape)]
    return np.asarray(noise / noise.std())
