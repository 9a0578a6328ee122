"""A procedural chest: lung with a vessel tree, chest wall with ribs, mediastinum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry

_FINE_SPACING_MM: Final = 1.0
"""The chest is rendered once on this grid; scans are cubic samples of it."""

_PAINTED_LUNG_HU: Final = -855.0
_SOFT_TISSUE_HU: Final = 45.0
_FAT_HU: Final = -95.0
_BONE_HU: Final = 520.0
_MARROW_HU: Final = 220.0
_VESSEL_HU: Final = 40.0
EDGE_MM: Final = 0.7
"""Half width of the partial-volume edge of every surface."""

_MIN_BRANCH_RADIUS_MM: Final = 0.75
"""Branches thinner than this are not followed further."""

_Real = TypeVar("_Real", np.float32, np.float64)

_LUNG_CENTER = np.array([-75.0, 0.0, 0.0])
_LUNG_RADII = np.array([58.0, 88.0, 125.0])
_LUNG_SQUARENESS: Final = 2.4
"""Exponent of the superellipsoid: 2 is an ellipsoid, more is boxier."""
_HILUM = np.array([-26.0, 5.0, 0.0])


@dataclass(frozen=True, eq=False)
class _Thorax:
    """HU of the planning chest without tumor.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
    geometry : VolumeGeometry
    """

    hu: Float32Array
    geometry: VolumeGeometry


def lung_depth_mm(points_lps_mm: Float64Array) -> Float64Array:
    """Depth below the pleura of the right lung, approximate away from it; negative outside."""
    return _lung_depth_mm(_lung_powers(points_lps_mm, slice(None)).sum(axis=-1))


def _lung_powers(positions_mm: Float64Array, axis: int | slice) -> Float64Array:
    """Terms of the superellipsoid along x, y or z (an index), or along all."""
    return np.asarray(np.abs((positions_mm - _LUNG_CENTER[axis]) / _LUNG_RADII[axis]) ** _LUNG_SQUARENESS)


def _lung_depth_mm(sum_of_powers: Float64Array) -> Float64Array:
    # First-order distance: the level's excess over its slope, taken along the nearest axis.
    return np.asarray((1.0 - sum_of_powers ** (1.0 / _LUNG_SQUARENESS)) * np.min(_LUNG_RADII))


def render_thorax(
    rng: np.random.Generator, center_lps_mm: Float64Array, half_width_mm: Float64Array
) -> _Thorax:
    """Render the part of the chest around a point.

    Parameters
    ----------
    rng : numpy.random.Generator
    center_lps_mm : ndarray, (3,)
    half_width_mm : ndarray, (3,)
        Half the edges of the box to render.

    Returns
    -------
    _Thorax
    """
    box = VolumeGeometry((1, 1, 1), (1.0, 1.0, 1.0))
    grid = box.around(center_lps_mm - half_width_mm, center_lps_mm + half_width_mm, _FINE_SPACING_MM)
    x, y, z = _axes_lps_mm(grid)
    # The powers are taken once per row of the grid, not per voxel.
    depth = _lung_depth_mm(_lung_powers(x, 0) + _lung_powers(y, 1) + _lung_powers(z, 2)).astype(np.float32)
    hu = np.full(grid.shape_zyx, _SOFT_TISSUE_HU, dtype=np.float32)
    _wall(hu, (x, y, z), depth)
    in_lung = _edge(depth)
    lung = 22.0 * _texture(rng, grid.shape_zyx, 2.5)
    lung += 12.0 * _texture(rng, grid.shape_zyx, 8.0)
    lung += (_PAINTED_LUNG_HU + 25.0 * (y - center_lps_mm[1]) / 60.0).astype(
        np.float32
    )  # gravity: denser behind
    hu += in_lung * (lung - hu)
    hu += _vessels(rng, grid) * in_lung * (_VESSEL_HU - hu)
    return _Thorax(hu, grid)


def _axes_lps_mm(grid: VolumeGeometry) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Coordinates x, y, z of an upright grid, each along its own array axis."""
    along = [
        start + spacing * np.arange(count)
        for start, spacing, count in zip(
            grid.origin_lps_mm, grid.spacing_zyx_mm[::-1], grid.shape_zyx[::-1], strict=True
        )
    ]
    x, y, z = (np.asarray(axis, dtype=np.float64) for axis in along)
    return x[None, None, :], y[None, :, None], z[:, None, None]


def _wall(
    hu: Float32Array,
    axes: tuple[Float64Array, Float64Array, Float64Array],
    depth: Float32Array,
) -> None:
    """Fat, ribs and outside air beyond the pleura, on the lateral side only."""
    x, y, z = axes
    lateral = x < _HILUM[0]
    hu[lateral & (depth < -14.0)] = _FAT_HU
    # Ribs: slanting bands every 24 mm in the chest wall.
    phase = np.mod(z + 0.45 * y, 24.0) - 12.0
    from_axis = phase**2 + (depth + np.float32(7.5)) ** 2
    hu[lateral & (from_axis < 4.5**2)] = _BONE_HU
    hu[lateral & (from_axis < 2.8**2)] = _MARROW_HU
    hu[lateral & (depth < -30.0)] = -1000.0


def _vessel_tree(rng: np.random.Generator) -> list[tuple[Float64Array, Float64Array, float]]:
    """Segments of a tree from the hilum, each branch thinner and shorter than its parent."""
    segments: list[tuple[Float64Array, Float64Array, float]] = []
    front = []
    for _ in range(14):
        direction = rng.normal(size=3) * np.array([0.5, 1.0, 1.2]) + np.array([-1.3, 0.0, 0.0])
        front.append((_HILUM.copy(), direction / np.linalg.norm(direction), 4.0))
    while front:
        start, direction, radius = front.pop()
        length = rng.uniform(3.5, 6.5) * np.sqrt(radius) * 1.8
        end = start + direction * length
        if radius < 3.0 and lung_depth_mm(end) < 1.5:
            continue
        segments.append((start, end, radius))
        if radius < _MIN_BRANCH_RADIUS_MM:
            continue
        for share in (rng.uniform(0.78, 0.92), rng.uniform(0.5, 0.75)):
            branch_direction = direction + rng.normal(0.0, 0.42, 3)
            front.append((end, branch_direction / np.linalg.norm(branch_direction), radius * share))
    return segments


def _vessels(rng: np.random.Generator, grid: VolumeGeometry) -> Float32Array:
    """Contrast of the vessel tree on an upright isotropic grid: 0 none, 1 full."""
    vessels = np.zeros(grid.shape_zyx, dtype=np.float32)
    tree = _vessel_tree(rng)
    radii = np.array([radius for _, _, radius in tree])
    starts, ends = (grid.to_index(np.array([segment[k] for segment in tree])) for k in (0, 1))
    padding = ((radii + EDGE_MM) / _FINE_SPACING_MM)[:, None]
    first = np.maximum(np.floor(np.minimum(starts, ends) - padding), 0).astype(int)
    last = np.minimum(np.ceil(np.maximum(starts, ends) + padding) + 1, grid.shape_zyx).astype(int)
    for k in np.flatnonzero((last > first).all(axis=1)):
        _paint_capsule(vessels, first[k], last[k], (starts[k], ends[k]), radii[k])
    return vessels


def _paint_capsule(
    vessels: Float32Array,
    first: npt.NDArray[np.int_],
    last: npt.NDArray[np.int_],
    ends: tuple[Float64Array, Float64Array],
    radius: float,
) -> None:
    """Paint one segment between two fractional indices into its box."""
    (z0, z1), (y0, y1), (x0, x1) = ((int(a), int(b)) for a, b in zip(first, last, strict=True))
    start, axis = ends[0], ends[1] - ends[0]
    dz = np.arange(z0, z1)[:, None, None] - start[0]
    dy = np.arange(y0, y1)[:, None] - start[1]
    dx = np.arange(x0, x1) - start[2]
    length = axis @ axis
    share = np.clip((dz * axis[0] + dy * axis[1] + dx * axis[2]) / length, 0.0, 1.0)
    square = (dz - share * axis[0]) ** 2 + (dy - share * axis[1]) ** 2 + (dx - share * axis[2]) ** 2
    distance = _FINE_SPACING_MM * np.sqrt(square)
    # A vessel thinner than a voxel keeps its contrast only in proportion to its cross-section.
    contrast = min(1.0, (radius / 0.8) ** 2)
    box = vessels[z0:z1, y0:y1, x0:x1]
    np.maximum(box, contrast * _edge(radius - distance), out=box, casting="same_kind")


def _edge(depth_mm: npt.NDArray[_Real]) -> npt.NDArray[_Real]:
    """0 outside, 1 inside, a linear ramp of ``2 EDGE_MM`` at the surface."""
    share: npt.NDArray[_Real] = np.clip(0.5 + depth_mm / (2.0 * EDGE_MM), 0.0, 1.0)
    return share


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Float32Array:
    """Smooth noise of unit standard deviation."""
    step = max(1, int(sigma / 2.0))
    small = [n // step + 2 for n in shape]
    noise = ndimage.gaussian_filter(rng.standard_normal(small).astype(np.float32), sigma / step, mode="wrap")
    if step == 1:
        noise = noise[tuple(slice(0, n) for n in shape)]
        return np.asarray(noise / noise.std())
    for axis, (n, m) in enumerate(zip(shape, small, strict=True)):
        noise = np.moveaxis(np.tensordot(_stretch(m, step, n), noise, axes=(1, axis)), 0, axis)
    return np.asarray(noise / noise.std())


def _stretch(count: int, step: int, kept: int) -> Float32Array:
    """Matrix (kept, count) that interpolates between ``count`` samples, ``step`` times as finely."""
    samples = np.linspace(0.0, count - 1.0, count * step)[:kept, None]
    distance = np.abs(samples - np.arange(count, dtype=np.float64))
    return np.asarray(np.maximum(1.0 - distance, 0.0), dtype=np.float32)
