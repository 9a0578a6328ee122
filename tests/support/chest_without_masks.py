"""A made-up chest before and after an ablation whose contours stand-ins for the models draw, by Hounsfield unit."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.assessment.planning import PreparedPlanning, prepare_planning, require_prepared
from engine.geometry import Vector3
from engine.volume import CtVolume
from tests.support.spheres import ball, centered_grid
from tests.support.stub_segmenter import StubSegmenter, model, section

GRID = centered_grid((1.6, 1.4, 1.4), 52.0)
TUMOR: Vector3 = (1.0, 2.0, -1.0)
OTHER: Vector3 = (-35.0, 20.0, 25.0)


@cache
def chest() -> npt.NDArray[np.int16]:
    noise = np.random.default_rng(0).normal(size=GRID.shape_zyx)
    fine, coarse = ndimage.gaussian_filter(noise, 1.8), ndimage.gaussian_filter(noise[::-1], 6.0)
    hu = np.clip(-700 + 130 * fine / fine.std() + 60 * coarse / coarse.std(), -1000, 100)
    return np.asarray(hu, dtype=np.int16)


@cache
def planning(*others: Vector3) -> CtVolume:
    hu = chest().copy()
    for center in (TUMOR, *others):
        hu[ball(GRID, center, 8.0, "").voxels] = 300
    return CtVolume(hu, GRID)


def verification(offset: float, radius: float, center: Vector3 = TUMOR) -> CtVolume:
    place = (center[0] + offset, center[1], center[2])
    hu = chest().copy()
    hu[ball(GRID, place, radius, "").voxels] = 250
    hu[ball(GRID, place, radius - 3.0, "").voxels] = 300
    return CtVolume(hu, GRID)


def tumor_model() -> StubSegmenter:
    return StubSegmenter(lambda ct: ct.voxels_hu == 300, identity=model("tumor-demo"))


def zone_model(blur_mm: float = 0.0) -> StubSegmenter:
    return StubSegmenter(
        lambda ct: (ct.voxels_hu >= 250).astype(np.uint8) + (ct.voxels_hu == 300),
        identity=model("zone-demo"),
        section=section(zone=1, core=2),
        blur_mm=blur_mm,
    )


@cache
def prepared() -> PreparedPlanning:
    return require_prepared(
        prepare_planning(planning(), None, target_lps_mm=TUMOR, tumor_segmenter=tumor_model())
    )
