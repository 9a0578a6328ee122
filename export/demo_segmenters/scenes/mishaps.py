"""What is no zone but looks like one: hemorrhage, effusion, pneumothorax, atelectasis, old disease, vessels."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.backgrounds import LocalChest
from export.demo_segmenters.scenes.burns import vessel_distance_mm
from export.demo_segmenters.scenes.fields import (
    PatchGrid,
    line_distance_mm,
    share_within,
    smooth_noise,
    unit_vector,
)

_FIBROSIS_SHARE: Final = 0.25
_OLD_HAZE_SHARE: Final = 0.2
_VESSELS_SHARE: Final = 0.4
_HEMORRHAGE_SHARE: Final = 0.25
_ATELECTASIS_SHARE: Final = 0.2
_EFFUSION_SHARE: Final = 0.15
_PNEUMOTHORAX_SHARE: Final = 0.12
_NEW_HAZE_SHARE: Final = 0.1


def add_old_disease(rng: np.random.Generator, grid: PatchGrid, chest: LocalChest) -> None:
    """Change ``chest.hu``, in place, by what both scans show: fibrosis, haze, vessels."""
    hu, in_lung = chest.hu, share_within(chest.lung_depth_mm, 1.0)
    if rng.random() < _FIBROSIS_SHARE:
        fine = np.abs(smooth_noise(rng, grid, float(rng.uniform(2.0, 5.0))))
        where = share_within(smooth_noise(rng, grid, 15.0) - np.float32(rng.uniform(-0.5, 1.0)), 0.5)
        _densify(hu, np.exp(-3.0 * fine) * where * in_lung, float(rng.uniform(-500.0, 60.0)))
    if rng.random() < _OLD_HAZE_SHARE:
        _haze(rng, grid, hu, in_lung)
    if rng.random() < _VESSELS_SHARE:
        for _ in range(int(rng.integers(1, 4))):
            vessel = vessel_distance_mm(rng, grid, 0.7 * grid.half_mm)
            _densify(hu, share_within(-vessel, 0.8) * in_lung, float(rng.uniform(-20.0, 80.0)))


def add_new_findings(
    rng: np.random.Generator,
    grid: PatchGrid,
    hu: Float32Array,
    lung_depth_mm: Float32Array,
    tract_mm: Float32Array,
) -> None:
    """Change ``hu``, in place, by what the verification CT alone shows beside the zone.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : PatchGrid
    hu, lung_depth_mm : ndarray, (z, y, x)
    tract_mm : ndarray, (z, y, x)
        Distance to the needle's tract.
    """
    in_lung = share_within(lung_depth_mm, 1.0)
    if rng.random() < _HEMORRHAGE_SHARE:
        width = np.float32(rng.uniform(1.5, 8.0)) * (1.0 + 0.4 * smooth_noise(rng, grid, 9.0))
        share = share_within(width - tract_mm, float(rng.uniform(0.5, 4.0))) * in_lung
        ragged = np.clip(1.0 + np.float32(rng.uniform(0.0, 0.5)) * smooth_noise(rng, grid, 3.0), 0.0, 1.5)
        _densify(hu, np.minimum(share * ragged, 1.0), float(rng.uniform(-700.0, 50.0)))
    if rng.random() < _ATELECTASIS_SHARE:
        _atelectasis(rng, grid, hu, lung_depth_mm)
    if rng.random() < _NEW_HAZE_SHARE:
        _haze(rng, grid, hu, in_lung)
    if rng.random() < _EFFUSION_SHARE:
        layer = _pleural_layer(rng, grid, lung_depth_mm, unit_vector(rng), 16.0)
        hu += layer * (np.float32(rng.uniform(-10.0, 45.0)) - hu)
    if rng.random() < _PNEUMOTHORAX_SHARE:
        layer = _pleural_layer(rng, grid, lung_depth_mm, unit_vector(rng), 14.0)
        hu += layer * (np.float32(rng.uniform(-1010.0, -980.0)) - hu)


def new_tract_mm(rng: np.random.Generator, grid: PatchGrid) -> Float32Array:
    """Distance to a needle's way from near the center out of the grid, (z, y, x)."""
    tip = np.asarray(rng.normal(0.0, 5.0, 3), dtype=np.float32)
    return line_distance_mm(grid.positions_mm(), tip, unit_vector(rng), from_start=True)


def _atelectasis(
    rng: np.random.Generator, grid: PatchGrid, hu: Float32Array, lung_depth_mm: Float32Array
) -> None:
    """Collapsed lung: a plate, or a band below the pleura."""
    in_lung = share_within(lung_depth_mm, 1.0)
    if rng.random() < 0.5:
        normal = unit_vector(rng)
        height = np.tensordot(normal, grid.positions_mm(), axes=1) - np.float32(rng.uniform(-30.0, 30.0))
        height = np.abs(height + 2.0 * smooth_noise(rng, grid, 15.0))
        share = share_within(np.float32(rng.uniform(1.0, 6.0)) - height, 1.0)
    else:
        share = _pleural_layer(rng, grid, lung_depth_mm, unit_vector(rng), 16.0)
    extent = share_within(smooth_noise(rng, grid, 25.0) + 0.3, 0.3)
    _densify(hu, share * extent * in_lung, float(rng.uniform(-400.0, 70.0)))


def _pleural_layer(
    rng: np.random.Generator,
    grid: PatchGrid,
    lung_depth_mm: Float32Array,
    toward: Float32Array,
    thickest_mm: float,
) -> Float32Array:
    """Share of each voxel in a layer below the pleura that is thickest toward a direction."""
    ahead = np.tensordot(toward, grid.positions_mm(), axes=1) / np.float32(grid.half_mm)
    uneven = 0.5 + ahead + 0.2 * smooth_noise(rng, grid, 20.0)
    thickness = np.float32(rng.uniform(3.0, thickest_mm)) * np.clip(uneven, 0.0, 1.2)
    return share_within(thickness - lung_depth_mm, 0.8) * share_within(lung_depth_mm, 0.8)


def _haze(rng: np.random.Generator, grid: PatchGrid, hu: Float32Array, in_lung: Float32Array) -> None:
    patches = share_within(smooth_noise(rng, grid, float(rng.uniform(8.0, 25.0))) - 0.6, 0.5)
    _densify(hu, patches * in_lung * np.float32(rng.uniform(0.3, 1.0)), float(rng.uniform(-700.0, -250.0)))


def _densify(hu: Float32Array, share: Float32Array, target_hu: float) -> None:
    """Bring tissue nearer to a density, in place; what is denser already stays."""
    hu += (share * np.maximum(np.float32(target_hu) - hu, 0.0)).astype(np.float32)
