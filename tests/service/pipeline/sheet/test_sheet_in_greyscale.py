"""Uncovered tissue is told from everything else in greyscale print and by people who are color-blind.

The marks are drawn on lung, on soft tissue and on noise, and looked at as each of them sees them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array, Int16Array
from engine.volume import CtVolume
from service.pipeline.sheet.marks import (
    HATCH_WIDTH_PT,
    NOT_ASSESSABLE,
    UNCOVERED,
    UNCOVERED_OUTSIDE,
    FillMark,
    draw_fill,
    swatch_of,
)
from service.pipeline.sheet.page import PAGE_WIDTH_IN, Canvas
from service.pipeline.sheet.panels import AssessedImages, after_panel
from service.pipeline.sheet.planes import Orientation, Plane, mask_on
from service.pipeline.sheet.text import DPI
from tests.support.color_vision import Vision, as_seen, lab
from tests.support.sheets import missed

PANEL_IN = 3.3
RNG = np.random.default_rng(5)
BACKGROUNDS: dict[str, Callable[[tuple[int, ...]], Int16Array]] = {
    "as scanned": lambda shape: np.empty(shape, dtype=np.int16),
    "lung": lambda shape: np.full(shape, -870, dtype=np.int16),
    "ground glass": lambda shape: np.full(shape, -400, dtype=np.int16),
    "soft tissue": lambda shape: np.full(shape, 60, dtype=np.int16),
    "noise": lambda shape: RNG.normal(-600.0, 60.0, shape).astype(np.int16),
}


@cache
def images(background: str, *, at_pleura: bool = False) -> AssessedImages:
    """Spheres, of which the zone covers one half; the other is uncovered, or not assessable."""
    found = missed()
    assert found.maps is not None
    assert found.scans is not None
    middle = round(float(np.argwhere(found.maps.target)[:, 2].mean()))
    left = np.zeros_like(found.maps.target)
    left[:, :, middle:] = True
    right_half = found.maps.target & ~left
    nothing = np.zeros_like(right_half)
    maps = replace(
        found.maps,
        zone=ndimage.binary_dilation(found.maps.zone, iterations=12) & left,
        uncovered=nothing if at_pleura else right_half,
        not_assessable=right_half if at_pleura else nothing,
    )
    ct = found.scans.verification
    if background != "as scanned":
        ct = CtVolume(BACKGROUNDS[background](ct.voxels_hu.shape), ct.geometry)
    return AssessedImages(replace(found.scans, verification=ct), maps)


def plane_of(shown: AssessedImages) -> Plane:
    missing = shown.maps.uncovered if shown.maps.uncovered.any() else shown.maps.not_assessable
    return shown.plane(Orientation.AXIAL, shown.maps.geometry.to_lps(np.argwhere(missing).mean(axis=0)))


@cache
def printed(background: str, *, at_pleura: bool = False) -> Float64Array:
    """The panel of the verification CT as it is printed, sRGB from 0 to 1."""
    shown = images(background, at_pleura=at_pleura)
    block = after_panel(shown, plane_of(shown), PANEL_IN)
    figure = Figure(figsize=(PAGE_WIDTH_IN, 5.0), dpi=DPI)
    file = io.BytesIO()
    with mpl.rc_context({"hatch.linewidth": HATCH_WIDTH_PT}):
        block.draw(Canvas(figure, 5.0), 0.0, 0.0)
        figure.savefig(file, format="png", dpi=DPI)
    file.seek(0)
    picture = np.asarray(imread(file), dtype=np.float64)[..., :3]
    (axis,) = figure.axes
    box = axis.bbox
    rows = slice(round(picture.shape[0] - box.y1), round(picture.shape[0] - box.y0))
    return np.asarray(picture[rows, round(box.x0) : round(box.x1)])


def area(mask: BoolArray, shown: AssessedImages, shape: tuple[int, ...], *, inside_px: int = 6) -> BoolArray:
    """Where a mask lies in the printed panel, without its outlines."""
    on_plane = mask_on(plane_of(shown), mask, shown.maps.geometry)
    zoom = [size / on_plane.shape[0] for size in shape[:2]]
    enlarged = ndimage.zoom(on_plane, zoom, order=1, grid_mode=True, mode="nearest") >= 0.5
    return enlarged if inside_px == 0 else np.asarray(ndimage.binary_erosion(enlarged, iterations=inside_px))


@pytest.mark.parametrize("vision", list(Vision))
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_uncovered_tissue_is_the_only_striped_thing(background: str, vision: Vision) -> None:
    shown, picture = images(background), printed(background)
    seen = lab(as_seen(picture, vision))
    maps = shown.maps
    missing = seen[area(maps.uncovered & ~maps.tumor, shown, picture.shape)]
    covered = seen[area(maps.target & maps.zone & ~maps.tumor, shown, picture.shape)]
    zone = seen[area(maps.zone & ~maps.target, shown, picture.shape)]
    assert min(len(missing), len(covered), len(zone)) > 100
    contrast = float(np.ptp(np.percentile(missing[:, 0], (10, 90))))
    assert contrast > 40.0, "stripes are seen"
    for other in (covered, zone):
        assert contrast > 2.5 * float(np.ptp(np.percentile(other[:, 0], (10, 90))))
        assert np.percentile(missing[:, 0], 90) > np.median(other[:, 0]) - 2.0, "its fill is bright"


@pytest.mark.parametrize("vision", [Vision.NORMAL, Vision.DEUTERANOPIA, Vision.PROTANOPIA])
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_its_color_differs_too_where_there_is_color(background: str, vision: Vision) -> None:
    shown, picture = images(background), printed(background)
    seen = lab(as_seen(picture, vision))
    maps = shown.maps
    missing = np.percentile(seen[area(maps.uncovered & ~maps.tumor, shown, picture.shape)], 90, axis=0)
    for other in (maps.target & maps.zone & ~maps.tumor, maps.zone & ~maps.target):
        usual = np.median(seen[area(other, shown, picture.shape)], axis=0)
        assert np.linalg.norm((missing - usual)[1:]) > 25.0


@pytest.mark.parametrize("vision", list(Vision))
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_it_has_an_outline_that_is_dark_and_light(background: str, vision: Vision) -> None:
    shown, picture = images(background), printed(background)
    lightness = lab(as_seen(picture, vision))[..., 0]
    whole = area(shown.maps.uncovered, shown, picture.shape, inside_px=0)
    rim = ndimage.binary_dilation(whole, iterations=5) & ~ndimage.binary_erosion(whole, iterations=3)
    near_dark = ndimage.minimum_filter(lightness, 9)[rim]
    near_light = ndimage.maximum_filter(lightness, 9)[rim]
    assert np.mean(near_dark < 30.0) > 0.85
    assert np.mean(near_light > 75.0) > 0.85


@pytest.mark.parametrize("vision", list(Vision))
@pytest.mark.parametrize("background", ["lung", "soft tissue"])
def test_what_is_not_assessable_is_hatched_otherwise(background: str, vision: Vision) -> None:
    directions = []
    for at_pleura in (False, True):
        shown, picture = images(background, at_pleura=at_pleura), printed(background, at_pleura=at_pleura)
        lightness = lab(as_seen(picture, vision))[..., 0]
        mask = shown.maps.not_assessable if at_pleura else shown.maps.uncovered
        inside = area(mask & ~shown.maps.tumor, shown, picture.shape)
        across, down = (float(np.abs(np.gradient(lightness, axis=axis))[inside].mean()) for axis in (1, 0))
        directions.append(across / down)
    assert directions[0] > 0.6, "diagonal stripes"
    assert directions[1] < 0.4, "horizontal lines"


@pytest.mark.parametrize("vision", list(Vision))
@pytest.mark.parametrize("background", [0.15, 0.6, 0.9])
def test_what_cannot_be_assessed_is_darker_where_uncovered_and_has_another_hatch(
    background: float, vision: Vision
) -> None:
    def lightness(mark: FillMark) -> float:
        fill = mark.opacity * np.array(mpl.colors.to_rgb(mark.fill)) + (1.0 - mark.opacity) * background
        return float(lab(as_seen(fill.reshape(1, 1, 3), vision))[0, 0, 0])

    outside = lightness(UNCOVERED_OUTSIDE)
    assert outside < lightness(UNCOVERED) - 20.0
    assert len({UNCOVERED.hatch[0], UNCOVERED_OUTSIDE.hatch[0], NOT_ASSESSABLE.hatch[0]}) == 3


def test_the_legend_shows_the_fill_and_the_hatch_of_the_images() -> None:
    for mark in (UNCOVERED, UNCOVERED_OUTSIDE, NOT_ASSESSABLE):
        swatch = swatch_of(mark)
        assert swatch["hatch"] == mark.hatch
        assert swatch["facecolor"][:3] == mpl.colors.to_rgb(mark.fill)
    figure = Figure()
    axis = figure.add_subplot()
    draw_fill(axis, np.zeros((5, 5), dtype=np.float32), UNCOVERED)
    assert not axis.images
    assert not axis.collections
