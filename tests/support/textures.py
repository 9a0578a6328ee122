"""A patient of smooth random texture, aerated like lung; its HU are known at any place, so a warped scan is exact."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.geometry import VolumeGeometry
from engine.registration.region import ComparisonRegion, SourceRegion
from engine.volume import CtVolume
from tests.support.spheres import positions

WAVES: Final = 48
WAVELENGTHS_MM: Final = (11.0, 45.0)
MEAN_HU: Final = -700.0
SPREAD_HU: Final = 85.0

Mapping = Callable[[Float64Array], Float64Array]


@cache
def _waves(seed: int) -> tuple[Float64Array, Float64Array]:
    rng = np.random.default_rng(seed)
    way = rng.normal(size=(WAVES, 3))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    length = np.exp(rng.uniform(np.log(WAVELENGTHS_MM[0]), np.log(WAVELENGTHS_MM[1]), WAVES))
    return 2.0 * np.pi * way / length[:, None], rng.uniform(0.0, 2.0 * np.pi, WAVES)


def texture_hu(seed: int, points_lps_mm: Float64Array) -> Float64Array:
    """HU at any places (..., 3)."""
    number, phase = _waves(seed)
    flat = points_lps_mm.reshape(-1, 3)
    hu = np.zeros(len(flat), dtype=np.float32)
    for k in range(WAVES):
        hu += np.cos((flat @ number[k] + phase[k]).astype(np.float32))
    spread = SPREAD_HU * np.sqrt(2.0 / WAVES)
    return np.asarray(MEAN_HU + spread * hu.reshape(points_lps_mm.shape[:-1]), dtype=np.float64)


def unmoved(points_lps_mm: Float64Array) -> Float64Array:
    """The identity."""
    return points_lps_mm


def scan(seed: int, grid: VolumeGeometry, to_texture: Mapping = unmoved) -> CtVolume:
    """Scan a patient whose place ``p`` shows the texture's place ``to_texture(p)``."""
    hu = texture_hu(seed, to_texture(positions(grid)))
    return CtVolume(np.rint(np.clip(hu, -1024, 3000)).astype(np.int16), grid)


def fixed_region(seed: int, grid: VolumeGeometry, to_texture: Mapping = unmoved) -> ComparisonRegion:
    """As :func:`scan`, ready for comparison."""
    hu = texture_hu(seed, to_texture(positions(grid))).astype(np.float32)
    return ComparisonRegion(hu, np.ones(grid.shape_zyx, dtype=np.bool_), grid)


def moving_region(seed: int, grid: VolumeGeometry) -> SourceRegion:
    """The texture itself on any grid."""
    return SourceRegion(texture_hu(seed, positions(grid)).astype(np.float32), grid)


def bump(center_lps_mm: Float64Array, way_mm: Float64Array, width_mm: float) -> Mapping:
    """Displacement (not mapping) of a Gaussian bump."""

    def displacement(points: Float64Array) -> Float64Array:
        square = ((points - center_lps_mm) ** 2).sum(axis=-1)
        return np.asarray(way_mm * np.exp(square / (-2.0 * width_mm**2))[..., None])

    return displacement
