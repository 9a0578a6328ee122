"""New air along the wall is a pneumothorax; lighter lung, gas behind a wall and a lower skin are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from engine.geometry import VolumeGeometry
from engine.registration.acceptance import MAX_NEW_AIR_ML
from engine.registration.judging.pleural_air import PleuralAir, find_pleural_air
from engine.registration.region import ComparisonRegion

SHAPE, SPACING_MM = (70, 72, 74), 1.5
GRID = VolumeGeometry(SHAPE, (SPACING_MM,) * 3, origin_lps_mm=(-55.0, -54.0, -52.0))
Z, Y, X = np.moveaxis(GRID.to_lps(np.moveaxis(np.indices(SHAPE), 0, -1).astype(float))[..., ::-1], -1, 0)
ML = SPACING_MM**3 / 1000.0
LUNG = (X / 46.0) ** 2 + ((Y - 4.0) / 44.0) ** 2 + ((Z - 20.0) / 60.0) ** 2 < 1.0
SKIN_Y_MM = -49.0
DEPTH = ndimage.distance_transform_edt(np.pad(LUNG, 1, mode="edge"))[1:-1, 1:-1, 1:-1] * SPACING_MM
ZONE_DISTANCE = np.maximum(np.sqrt((X - 5.0) ** 2 + (Y - 8.0) ** 2 + Z**2) - 11.0, 0.0).astype(np.float32)
BODY_GAS = (X - 5.0) ** 2 + (Y - 2.0) ** 2 + (Z + 52.0) ** 2
Image = npt.NDArray[np.float32]
Shape = Callable[[float], npt.NDArray[np.bool_]]
"""Marked voxels by depth or by volume."""


@cache
def scan(lung_hu: float = -850.0, *, texture: float = 1.0, noise_hu: float = 10.0, seed: int = 0) -> Image:
    """A lung with its vessels and slopes in a wall, with skin in front; the same patient for every noise."""
    rng = np.random.default_rng(11)
    fine, coarse = rng.normal(size=(2, *SHAPE))
    fine, coarse = ndimage.gaussian_filter(fine, 1.0), ndimage.gaussian_filter(coarse, 5.0)
    pattern = 25.0 * fine / fine.std() + 20.0 * coarse / coarse.std()
    vessels = ndimage.gaussian_filter(np.random.default_rng(12).normal(size=SHAPE), 1.5)
    hu = np.where(LUNG, lung_hu + texture * pattern, 40.0)
    hu[LUNG & (vessels > 2.6 * vessels.std())] = 0.0
    hu[SKIN_Y_MM > Y] = -1000.0
    hu[ZONE_DISTANCE <= 0.0] = 20.0
    return seen(hu, noise_hu, seed)


def seen(hu: npt.NDArray[np.floating], noise_hu: float, seed: int) -> Image:
    """As the comparison shows it: blurred, windowed."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 0.6)
    blurred = ndimage.gaussian_filter(np.asarray(hu, dtype=np.float64), 0.5) + noise_hu * noise / noise.std()
    return np.asarray(np.clip(blurred, -1000.0, 200.0), dtype=np.float32)


def found(fixed: Image, planning: Image, *, with_zone: bool = True) -> PleuralAir:
    region = ComparisonRegion(fixed.copy(), np.ones(SHAPE, dtype=np.bool_), GRID)
    return find_pleural_air(region, planning, ZONE_DISTANCE if with_zone else None)


def of_volume(make: Shape, volume_ml: float) -> npt.NDArray[np.bool_]:
    """The one of a growing family of shapes that has a volume."""
    low, high = 0.5, 40.0
    for _ in range(18):
        middle = 0.5 * (low + high)
        if np.count_nonzero(make(middle)) * ML > volume_ml:
            high = middle
        else:
            low = middle
    return np.asarray(make(0.5 * (low + high)))


def rim(volume_ml: float) -> npt.NDArray[np.bool_]:
    """All around, deepest beside a place on the lateral wall."""
    away = np.exp(-((X + 40.0) ** 2 + Y**2 + Z**2) / (2.0 * 22.0**2))
    return of_volume(lambda depth_mm: LUNG & (depth_mm * away > DEPTH) & (ZONE_DISTANCE > 3.0), volume_ml)


def anterior(volume_ml: float) -> npt.NDArray[np.bool_]:
    """Air rises: a level below which there is lung, in front."""
    return of_volume(
        lambda mm: LUNG & (-40.0 + mm > Y) & (np.abs(Z) < 28.0) & (ZONE_DISTANCE > 3.0), volume_ml
    )


def loculated(volume_ml: float) -> npt.NDArray[np.bool_]:
    """A lens against the posterior wall."""
    away = np.sqrt((X - 15.0) ** 2 + (Y - 45.0) ** 2 + (Z - 8.0) ** 2)
    return of_volume(
        lambda mm: LUNG & (mm * (1.0 - (away / (3.0 * mm)) ** 2) > DEPTH) & (ZONE_DISTANCE > 3.0), volume_ml
    )


@pytest.mark.parametrize("shape", [rim, anterior, loculated])
@pytest.mark.parametrize("volume_ml", [8.0, 14.0, 30.0])
@pytest.mark.parametrize("lung_hu", [-780.0, -900.0])
def test_air_along_the_wall_is_found(shape: Shape, volume_ml: float, lung_hu: float) -> None:
    planning, after = scan(lung_hu), scan(lung_hu, seed=1)
    air = shape(volume_ml)
    after = np.where(air, seen(np.where(air, -995.0, after), 8.0, 2), after)
    answer = found(after, planning)
    assert answer.volume_ml > MAX_NEW_AIR_ML
    assert answer.place_lps_mm is not None
    index = np.round(GRID.to_index(np.array(answer.place_lps_mm))).astype(int)
    assert ndimage.binary_dilation(air, iterations=8)[tuple(index)]


@pytest.mark.parametrize("lung_hu", [-900.0, -940.0, -970.0])
@pytest.mark.parametrize("texture", [0.4, 0.8])
@pytest.mark.parametrize("before_hu", [-850.0, -930.0])
def test_hyperinflated_lung_is_none(lung_hu: float, texture: float, before_hu: float) -> None:
    planning = scan(before_hu, texture=texture if before_hu < -900.0 else 1.0)
    after = scan(lung_hu, texture=texture, seed=1)
    assert found(after, planning).volume_ml <= MAX_NEW_AIR_ML


@pytest.mark.parametrize("seed", range(4))
def test_emphysema_that_grew_in_places_is_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    center = rng.uniform([-25.0, -25.0, -20.0], [25.0, 25.0, 20.0])
    away = ((X - center[0]) ** 2 + (Y - center[1]) ** 2 + (Z - center[2]) ** 2) / (
        2.0 * rng.uniform(9.0, 20.0) ** 2
    )
    after = scan(seed=1)
    lighter = np.where(LUNG & (after < -600.0), after - 110.0 * np.exp(-away), after)
    assert found(np.maximum(lighter, -1000.0).astype(np.float32), scan()).volume_ml <= MAX_NEW_AIR_ML


@pytest.mark.parametrize("volume_ml", [10.0, 20.0, 40.0])
def test_gas_behind_a_wall_is_none(volume_ml: float) -> None:
    to_lung = ndimage.distance_transform_edt(~LUNG) * SPACING_MM
    gas = of_volume(
        lambda mm: ((2.0 * mm) ** 2 > BODY_GAS) & (to_lung > 4.0) & (Y > SKIN_Y_MM + 4.0), volume_ml
    )
    after = seen(np.where(gas, -990.0, scan(seed=1)), 5.0, 3)
    assert found(after, scan()).volume_ml == 0.0
    assert found(after, scan(), with_zone=False).volume_ml == 0.0


@pytest.mark.parametrize("lower_mm", [2.0, 4.0, 6.0])
def test_a_lower_skin_is_none(lower_mm: float) -> None:
    outside = (SKIN_Y_MM + lower_mm > Y) & ~ndimage.binary_dilation(LUNG, iterations=2)
    after = seen(np.where(outside, -1000.0, scan(seed=1)), 5.0, 3)
    assert found(after, scan()).volume_ml == 0.0


def test_air_that_was_there_before_is_not_new() -> None:
    air = loculated(20.0)
    before, after = (np.where(air, np.float32(-990.0), scan(seed=seed)) for seed in (0, 1))
    assert found(after, before).volume_ml <= MAX_NEW_AIR_ML


def test_what_the_planning_ct_does_not_show_is_not_judged() -> None:
    planning = np.full(SHAPE, np.nan, dtype=np.float32)
    air = rim(20.0)
    assert found(np.where(air, np.float32(-995.0), scan(seed=1)), planning) == PleuralAir(0.0)
