"""A made-up chest before and after an ablation, with supplied masks of tumor and zone."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import ndimage

from engine.assessment.planning import PreparedPlanning, prepare_planning, require_prepared
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.6, 1.3, 1.3), 65.0)


@cache
def chest() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=GRID.shape_zyx)
    fine, coarse = ndimage.gaussian_filter(noise, 1.8), ndimage.gaussian_filter(noise[::-1], 6.0)
    hu = np.clip(-700 + 130 * fine / fine.std() + 60 * coarse / coarse.std(), -1000, 100)
    return np.asarray(hu, dtype=np.int16)


@cache
def prepared() -> PreparedPlanning:
    tumor = ball(GRID, (1.0, 2.0, -1.0), 8.0, "tumor")
    hu = chest().copy()
    hu[tumor.voxels] = 20
    return require_prepared(prepare_planning(CtVolume(hu, GRID), tumor))


def verification(offset: float, radius: float) -> tuple[CtVolume, LabelMask]:
    zone = ball(GRID, (1.0 + offset, 2.0, -1.0), radius, "ablation zone")
    core = ball(GRID, (1.0 + offset, 2.0, -1.0), radius - 3.0, "core")
    hu = chest().copy()
    hu[zone.voxels], hu[core.voxels] = -550, -50
    return CtVolume(hu, GRID), zone
