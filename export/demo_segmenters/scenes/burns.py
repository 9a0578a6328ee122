"""Ablation zones of scenes: shape, ground-glass rim, coagulated core, bubbles, cavities and heat sinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.fields import (
    PatchGrid,
    line_distance_mm,
    share_within,
    smooth_noise,
    unit_vector,
)
from export.demo_segmenters.scenes.tumors import ellipsoid_distance_mm

_SHELL_SHARE: Final = 0.5
_TWO_SHARE: Final = 0.35
_LOBED_SHARE: Final = 0.4
_BUBBLES_SHARE: Final = 0.3
_CAVITY_SHARE: Final = 0.15
_BRIGHTEST_HU: Final = 90.0
_LUNG_HU: Final = -850.0


@dataclass(frozen=True, eq=False)
class Burn:
    """A zone on the grid of a scene.

    Parameters
    ----------
    depth_mm : ndarray of float32, (z, y, x)
        Below its surface, negative outside.
    rim_mm : ndarray of float32, (z, y, x)
        Depth at which the ground glass ends and the core begins.
    """

    depth_mm: Float32Array
    rim_mm: Float32Array

    @property
    def labels(self) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
        """0 outside, 1 ground glass, 2 core."""
        inside = self.depth_mm >= 0.0
        return inside.astype(np.uint8) + (inside & (self.depth_mm >= self.rim_mm))


def draw_burn(
    rng: np.random.Generator,
    grid: PatchGrid,
    tumor_distance_mm: Float32Array,
    radius_mm: float,
    allowed_mm: Float32Array,
) -> Burn:
    """Draw a zone.

    Parameters
    ----------
    rng : numpy.random.Generator
    grid : PatchGrid
    tumor_distance_mm : ndarray, (z, y, x)
        To the tumor as it lies after the ablation, negative inside; its center is near the grid's.
    radius_mm : float
        Of the tumor.
    allowed_mm : ndarray, (z, y, x)
        Depth below the surface of what can be zone: lung and tumor.
    """
    depth = (
        _shell(rng, grid, tumor_distance_mm)
        if rng.random() < _SHELL_SHARE
        else _ellipsoids(rng, grid, radius_mm)
    )
    if rng.random() < _LOBED_SHARE:
        depth += np.float32(rng.uniform(0.5, 3.0)) * smooth_noise(rng, grid, float(rng.uniform(5.0, 13.0)))
    depth += np.float32(rng.uniform(0.0, 0.6)) * smooth_noise(rng, grid, float(rng.uniform(1.5, 4.0)))
    depth = np.minimum(depth, allowed_mm)
    rim = float(rng.uniform(0.0, 7.0)) * (1.0 + 0.3 * smooth_noise(rng, grid, 12.0))
    return Burn(depth, np.asarray(np.clip(rim, 0.0, 9.0), dtype=np.float32))


def with_heat_sink(rng: np.random.Generator, grid: PatchGrid, burn: Burn, vessel_mm: Float32Array) -> Burn:
    """A zone that stops short of a vessel, whose surface is ``vessel_mm`` away."""
    spared = vessel_mm - np.float32(rng.uniform(0.0, 4.0))
    soft = np.float32(rng.uniform(0.0, 0.6)) * smooth_noise(rng, grid, 5.0)
    return Burn(np.minimum(burn.depth_mm, spared + soft), burn.rim_mm)


def paint_burn(rng: np.random.Generator, grid: PatchGrid, hu: Float32Array, burn: Burn) -> Float32Array:
    """The tissue ``hu`` (z, y, x) with a zone in it."""
    inward = share_within(burn.depth_mm - burn.rim_mm, float(rng.uniform(0.4, 2.0)))
    rim_hu, core_hu = float(rng.uniform(-750.0, -200.0)), float(rng.uniform(-100.0, 80.0))
    if rng.random() < 0.25:  # Hours later the core is often lighter than its rim.
        core_hu = float(rng.uniform(-550.0, -100.0))
    burnt = np.float32(rim_hu) + inward * np.float32(core_hu - rim_hu)
    burnt += (
        np.float32(rng.uniform(0.0, 90.0)) * smooth_noise(rng, grid, float(rng.uniform(1.0, 4.0)))
        + np.float32(rng.uniform(0.0, 60.0)) * smooth_noise(rng, grid, float(rng.uniform(5.0, 15.0)))
    ) * (0.6 + 0.4 * inward)
    if rng.random() < 0.2:  # a dense border, as of inflammation
        border = np.exp(-((burn.depth_mm - np.float32(rng.uniform(0.5, 2.0))) ** 2) / 2.0)
        burnt += np.float32(rng.uniform(100.0, 500.0)) * border
    burnt = np.minimum(burnt, np.float32(_BRIGHTEST_HU))
    burnt += np.float32(rng.choice([0.0, rng.uniform(0.0, 0.9)])) * np.maximum(hu - np.float32(_LUNG_HU), 0.0)
    # Burnt tissue is no brighter than the tissue was, or than burnt tissue ever is.
    darker = np.minimum(hu - np.float32(rng.uniform(0.0, 160.0)), np.float32(_BRIGHTEST_HU))
    burnt = np.maximum(np.minimum(burnt, np.maximum(hu, np.float32(_BRIGHTEST_HU))), darker)
    burnt = _with_gas(rng, grid, burnt, burn.depth_mm)
    share = share_within(burn.depth_mm, float(rng.uniform(0.4, 1.5)))
    return np.asarray(hu + share * (burnt - hu), dtype=np.float32)


def _with_gas(
    rng: np.random.Generator, grid: PatchGrid, burnt_hu: Float32Array, depth_mm: Float32Array
) -> Float32Array:
    """Bubbles, and a cavity: both belong to the zone."""
    if rng.random() < _BUBBLES_SHARE:
        lows = smooth_noise(rng, grid, float(rng.uniform(1.5, 4.0)))
        gas = share_within(lows - np.float32(rng.uniform(1.6, 2.6)), 0.3) * share_within(depth_mm - 2.0, 0.5)
        burnt_hu = burnt_hu + gas * (np.float32(rng.uniform(-950.0, -500.0)) - burnt_hu)
    inner = np.argwhere(depth_mm > 5.0)
    if rng.random() < _CAVITY_SHARE and len(inner):
        at = np.asarray(inner[int(rng.integers(len(inner)))], dtype=np.float32)
        center = (at - np.float32(0.5 * (grid.edge - 1))) * np.float32(grid.spacing_mm)
        axes = rng.uniform(1.5, 7.0) * rng.uniform(0.6, 1.0, 3)
        cavity = ellipsoid_distance_mm(rng, grid.positions_mm() - center[:, None, None, None], axes)
        gas = share_within(np.minimum(-cavity, depth_mm - 1.5), 0.6)
        burnt_hu = burnt_hu + gas * (np.float32(rng.uniform(-980.0, -600.0)) - burnt_hu)
    return burnt_hu


def _shell(rng: np.random.Generator, grid: PatchGrid, tumor_distance_mm: Float32Array) -> Float32Array:
    """A margin around the tumor that varies smoothly; some zones leave part of the tumor out."""
    kind = rng.random()
    margin = rng.uniform(3.0, 14.0) if kind < 0.7 else rng.uniform(-1.0, 4.0)
    depth = np.float32(margin) - tumor_distance_mm
    depth += np.float32(rng.uniform(0.0, 3.5)) * smooth_noise(rng, grid, float(rng.uniform(10.0, 30.0)))
    if kind > 0.85:  # cut off on one side
        side = np.tensordot(unit_vector(rng), grid.positions_mm(), axes=1)
        depth = np.minimum(depth + 3.0, np.float32(rng.uniform(-6.0, 6.0)) - side)
    return np.asarray(depth, dtype=np.float32)


def _ellipsoids(rng: np.random.Generator, grid: PatchGrid, radius_mm: float) -> Float32Array:
    """One ellipsoid, or two that are joined or apart, off the tumor's center."""
    count = 2 if rng.random() < _TWO_SHARE else 1
    along = unit_vector(rng)
    middle = unit_vector(rng) * np.float32(rng.uniform(0.0, 0.7 * radius_mm + 4.0))
    apart = np.float32(rng.uniform(6.0, 34.0))
    positions, depth = grid.positions_mm(), np.full((grid.edge,) * 3, -np.inf, dtype=np.float32)
    for number in range(count):
        center = middle + along * apart * np.float32(number - 0.5 * (count - 1))
        axes = rng.uniform(8.0, 30.0 if count == 1 else 19.0) * rng.uniform(0.6, 1.0, 3)
        distance = ellipsoid_distance_mm(rng, positions - center[:, None, None, None], axes)
        np.maximum(depth, -distance, out=depth)
    return depth


def vessel_distance_mm(rng: np.random.Generator, grid: PatchGrid, reach_mm: float) -> Float32Array:
    """Distance to the surface of a vessel that passes within ``reach_mm`` of the center, (z, y, x)."""
    start = unit_vector(rng) * np.float32(rng.uniform(0.0, reach_mm))
    bent = grid.positions_mm()
    for axis in range(3):
        bent[axis] += np.float32(rng.uniform(0.0, 2.5)) * smooth_noise(rng, grid, 20.0)
    return line_distance_mm(bent, start, unit_vector(rng)) - np.float32(rng.uniform(0.8, 4.5))
