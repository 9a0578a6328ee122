"""Needles left in place: metal, with bright and dark streaks along it."""

from __future__ import annotations

import numpy as np

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.fields import PatchGrid, share_within, unit_vector


def add_needle(rng: np.random.Generator, grid: PatchGrid, hu: Float32Array) -> None:
    """Put a needle from outside to near the center; ``hu`` (z, y, x) is changed in place."""
    direction = unit_vector(rng) * np.array([0.5, 1.0, 1.0], dtype=np.float32)
    direction /= np.linalg.norm(direction)
    tip = np.asarray(rng.normal(0.0, 5.0, 3), dtype=np.float32) - direction * np.float32(
        rng.uniform(0.0, 12.0)
    )
    offset = grid.positions_mm() - tip[:, None, None, None]
    along = np.maximum(np.tensordot(direction, offset, axes=1), 0.0)
    across = offset - along * direction[:, None, None, None]
    distance = np.sqrt((across**2).sum(axis=0))
    angle = np.arctan2(offset[1], offset[2])
    waves = np.cos(int(rng.integers(2, 9)) * angle + np.float32(rng.uniform(0.0, 6.28)))
    fading = np.exp(-distance / np.float32(rng.uniform(4.0, 16.0)))
    hu += np.float32(rng.uniform(10.0, 220.0)) * waves * fading
    share = share_within(np.float32(rng.uniform(0.4, 1.1)) - distance, 0.5 * grid.spacing_mm)
    hu += share * (np.float32(rng.uniform(1500.0, 3071.0)) - hu)
