"""Where the planning CT's tissue lies after the ablation, and where a registration takes it to lie."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.fields import PatchGrid, smooth_displacement_mm, unit_vector

_OFF_SHARE: Final = 0.12
_GROSS_SHARE: Final = 0.04
_SLIDING_SHARE: Final = 0.3
_MAX_CONTRACTION: Final = 0.3


def contraction_mm(rng: np.random.Generator, grid: PatchGrid, reach_mm: float) -> Float32Array:
    """From a place after the ablation to where its tissue was before: 0 to 30 % farther out, (3, z, y, x).

    Everything within ``reach_mm`` of the center is drawn in evenly, what is beyond less and less.
    """
    share = float(rng.choice([0.0, rng.uniform(0.0, 0.12), rng.uniform(0.0, _MAX_CONTRACTION)]))
    positions = grid.positions_mm()
    distance = np.sqrt((positions**2).sum(axis=0))
    fading = np.minimum(1.0, np.float32(reach_mm) / np.maximum(distance, np.float32(1.0))) ** 3
    return np.asarray(np.float32(share / (1.0 - share)) * fading * positions, dtype=np.float32)


def registration_error_mm(
    rng: np.random.Generator,
    grid: PatchGrid,
    lung_depth_mm: Float32Array,
    contraction: Float32Array,
) -> Float32Array:
    """From a place after the ablation to where a registration looks in the planning CT, (3, z, y, x).

    The tissue was at ``contraction``; the registration follows it in part, is off by up to some millimeters,
    and in a few scenes by much more.
    """
    kind = rng.random()
    offset_sd = 0.6
    if kind < _GROSS_SHARE:
        offset_sd = 6.0
    elif kind < _GROSS_SHARE + _OFF_SHARE:
        offset_sd = 1.8
    positions = grid.positions_mm()
    turn = Rotation.from_rotvec(rng.normal(0.0, np.deg2rad(2.0), 3)).as_matrix() - np.eye(3)
    error = np.tensordot(turn.astype(np.float32), positions, axes=1)
    error += np.asarray(rng.normal(0.0, offset_sd, 3), dtype=np.float32)[:, None, None, None]
    error += smooth_displacement_mm(rng, grid, float(rng.uniform(15.0, 40.0)), float(rng.uniform(0.0, 1.2)))
    if rng.random() < _SLIDING_SHARE:
        slid = unit_vector(rng) * np.float32(rng.uniform(0.0, 4.0))
        error += slid[:, None, None, None] * (lung_depth_mm < 0.0)
    return np.asarray(error + np.float32(rng.uniform(0.0, 1.0)) * contraction, dtype=np.float32)


def breathing_step_mm(rng: np.random.Generator, grid: PatchGrid) -> Float32Array:
    """A breath between two slabs of slices: from some slice on everything is seen elsewhere, (3, z, y, x)."""
    step = np.zeros((3, *(grid.edge,) * 3), dtype=np.float32)
    shift = unit_vector(rng) * np.float32(rng.uniform(1.0, 6.0))
    step[:, int(rng.integers(grid.edge // 5, 4 * grid.edge // 5)) :] = shift[:, None, None, None]
    return step
