"""Lung as light as air stays lung, and air around the body, gas and padding do not become it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from engine.files.image_file import read_ct_image
from engine.geometry import VolumeGeometry, VoxelBox
from engine.refusal import RefusalCode, RefusedError
from engine.structures.lung import segment_lung
from engine.structures.lung_doubt import require_plausible_lung
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball

DATA = os.environ.get("COLDSPOT_DATA")
SPACING = (2.0, 1.5, 1.5)
GRID = VolumeGeometry((50, 140, 160), SPACING, origin_lps_mm=(-119.25, -104.25, -49.0))
_INDEX = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)
PLACE = GRID.to_lps(_INDEX.astype(float))
X, Y, Z = PLACE[..., 0], PLACE[..., 1], PLACE[..., 2]
BODY = (X / 105.0) ** 2 + (Y / 80.0) ** 2 < 1.0
"""An elliptic chest of 21 by 16 cm, with a lung on either side and a stomach below the left one."""
RIGHT = ((X + 48.0) / 42.0) ** 2 + (Y / 62.0) ** 2 < 1.0
LEFT = (((X - 48.0) / 42.0) ** 2 + (Y / 62.0) ** 2 < 1.0) & (Z > -10.0)
STOMACH = (X - 45.0) ** 2 + Y**2 + (Z + 32.0) ** 2 < 16.0**2
LUNG = RIGHT | LEFT
Image = npt.NDArray[np.int16]


def chest(
    lung_hu: float, *, noise_hu: float = 20.0, vessels: bool = True, air_hu: float = -1000.0, seed: int = 0
) -> Image:
    """A chest with lung of one density, its vessels, and a stomach filled with gas."""
    rng = np.random.default_rng(seed)
    hu = np.where(BODY, 40.0, air_hu)
    hu[LUNG] = lung_hu
    if vessels:
        noise = rng.normal(size=GRID.shape_zyx)
        tubes = np.abs(ndimage.gaussian_filter(noise, 2.5)) < 0.0006
        hu[LUNG & tubes] = 30.0
        slope = ndimage.gaussian_filter(rng.normal(size=GRID.shape_zyx), 6.0)
        hu[LUNG] += 12.0 * slope[LUNG] / slope.std()
    hu[STOMACH] = -1000.0
    return np.clip(np.rint(hu + rng.normal(0.0, noise_hu, hu.shape)), -1024, 3000).astype(np.int16)


def with_tumor(hu: Image, center: tuple[float, float, float], radius_mm: float = 6.0) -> LabelMask:
    tumor = ball(GRID, center, radius_mm, "tumor")
    hu[tumor.voxels] = 30
    return tumor


def missing(hu: Image, tumor: LabelMask, box: VoxelBox | None = None, margin_mm: float = 5.0) -> float:
    """Share of the target that is left out of the lung."""
    ct = CtVolume(hu, GRID)
    if box is not None:
        ct, tumor = ct.crop(box), tumor.crop(box)
    lung = segment_lung(ct, tumor)
    require_plausible_lung(ct, tumor, lung, margin_mm)
    here = ct.geometry.box_of(lung.geometry)
    target = ndimage.distance_transform_edt(~tumor.voxels[here.slices], sampling=SPACING) <= margin_mm
    return 1.0 - float(lung.voxels[target].mean())


DEEP = (-48.0, 0.0, 0.0)
CROPS = {
    "whole": None,
    "one lung": VoxelBox((0, 0, 0), (50, 140, 80)),
    "lesion alone": VoxelBox((10, 55, 30), (40, 85, 65)),
    "inside the body": VoxelBox((0, 35, 20), (50, 105, 110)),
}


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("lung_hu", [-850, -940, -955, -970, -985])
@pytest.mark.parametrize("vessels", [True, False])
def test_a_deep_target_lies_in_lung_however_light(lung_hu: int, vessels: bool, crop: str) -> None:
    hu = chest(lung_hu, vessels=vessels)
    assert missing(hu, with_tumor(hu, DEEP), CROPS[crop]) == 0.0


@pytest.mark.parametrize("offset", [-60, 60])
@pytest.mark.parametrize("noise_hu", [5.0, 35.0, 80.0])
def test_neither_noise_nor_an_offset_takes_lung_away(noise_hu: float, offset: int) -> None:
    hu = np.maximum(chest(-930, noise_hu=noise_hu) + offset, -1024).astype(np.int16)
    assert missing(hu, with_tumor(hu, DEEP)) < 0.01


def test_bullae_as_light_as_air_are_lung() -> None:
    hu = chest(-920)
    for center in ((-60.0, 20.0, 5.0), (-40.0, -25.0, -5.0), (-30.0, 5.0, 8.0)):
        hu[ball(GRID, center, 14.0, "bulla").voxels] = -1000
    assert missing(hu, with_tumor(hu, DEEP)) == 0.0


@pytest.mark.parametrize("padding", [-1024, -1000])
def test_lung_goes_on_behind_the_edge_of_the_circle(padding: int) -> None:
    """A field of view around the lesion, which the lung fills, padded as scanners do."""
    hu = chest(-955)
    tumor = with_tumor(hu, DEEP)
    hu[np.hypot(X + 48.0, Y) > 36.0] = padding
    assert missing(hu.copy(), tumor, CROPS["one lung"]) == 0.0
    near_edge = with_tumor(hu, (-48.0, 26.0, 0.0), 4.0)
    assert missing(hu, near_edge, CROPS["one lung"]) < 0.01


@pytest.mark.parametrize("lung_hu", [-850, -955, -970])
@pytest.mark.parametrize("crop", ["whole", "one lung"])
def test_air_behind_the_wall_is_not_lung(lung_hu: int, crop: str) -> None:
    hu = chest(lung_hu)
    tumor = with_tumor(hu, (-82.0, 0.0, 0.0), 6.0)
    ct, box = CtVolume(hu, GRID), CROPS[crop]
    if box is not None:
        ct, tumor = ct.crop(box), tumor.crop(box)
    lung = segment_lung(ct, tumor)
    here = GRID.box_of(lung.geometry).slices
    assert not lung.voxels[~BODY[here]].any()
    inner = ndimage.binary_erosion(RIGHT, iterations=2)[here]
    assert lung.voxels[inner].all()


def test_gas_below_the_diaphragm_is_not_lung() -> None:
    hu = chest(-930)
    tumor = with_tumor(hu, (48.0, 0.0, 5.0))
    lung = segment_lung(CtVolume(hu, GRID), tumor)
    here = GRID.box_of(lung.geometry).slices
    assert not lung.voxels[ndimage.binary_erosion(STOMACH, iterations=2)[here]].any()


def test_what_lung_encloses_is_lung_however_dense() -> None:
    hu = chest(-850)
    nodule = ball(GRID, (-48.0, 20.0, 0.0), 9.0, "another nodule")
    hu[nodule.voxels] = 40
    tumor = with_tumor(hu, DEEP)
    lung = segment_lung(CtVolume(hu, GRID), tumor)
    assert lung.voxels[nodule.voxels[GRID.box_of(lung.geometry).slices]].all()


def test_thick_slices_and_flipped_axes_change_nothing() -> None:
    hu = chest(-955)
    tumor = with_tumor(hu, DEEP)
    thick = VolumeGeometry((20, 140, 160), (5.0, 1.5, 1.5))
    lesion = LabelMask(np.ascontiguousarray(tumor.voxels[::2][:20]), thick, "tumor")
    lung = segment_lung(CtVolume(np.ascontiguousarray(hu[::2][:20]), thick), lesion)
    assert lung.voxels[
        ndimage.binary_dilation(lesion.voxels, iterations=2)[thick.box_of(lung.geometry).slices]
    ].all()
    turned = np.ascontiguousarray(hu.transpose(2, 1, 0)[:, ::-1])
    grid = VolumeGeometry(
        (160, 140, 50), (1.5, 1.5, 2.0), ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
    )
    mask = LabelMask(np.ascontiguousarray(tumor.voxels.transpose(2, 1, 0)[:, ::-1]), grid, "tumor")
    found = segment_lung(CtVolume(turned, grid), mask)
    assert found.voxels[
        ndimage.binary_dilation(mask.voxels, iterations=3)[grid.box_of(found.geometry).slices]
    ].all()


def test_air_that_was_left_out_beside_a_tumor_is_a_refusal() -> None:
    hu = chest(-850)
    tumor = with_tumor(hu, DEEP)
    ct = CtVolume(hu, GRID)
    lung = segment_lung(ct, tumor)
    require_plausible_lung(ct, tumor, lung, 5.0)
    cut = LabelMask(lung.voxels & (X < -50.0)[GRID.box_of(lung.geometry).slices], lung.geometry, "lung")
    with pytest.raises(RefusedError, match="air next to the tumor") as raised:
        require_plausible_lung(ct, tumor, cut, 5.0)
    assert raised.value.refusal.code is RefusalCode.LUNG_DOUBTFUL


def test_a_wall_beside_a_tumor_is_no_reason_for_doubt() -> None:
    hu = chest(-850)
    assert missing(hu, with_tumor(hu, (-84.0, 0.0, 0.0), 6.0)) > 0.05


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no emphysematous chest to read")
def test_a_chest_half_of_which_is_lighter_than_950_hu() -> None:
    ct = read_ct_image(Path(DATA or "") / "ct-cip-small" / "ct-64.nrrd")
    spacing = ct.geometry.spacing_zyx_mm
    lung = ndimage.binary_closing(
        read_ct_image(Path(DATA or "") / "ct-cip-small" / "lm-64.nrrd").voxels_hu > 0
    )
    depth = ndimage.distance_transform_edt(lung, sampling=spacing)
    places = np.argwhere(depth > 17.0)
    rng = np.random.default_rng(4)
    for index in places[rng.choice(len(places), 30, replace=False)]:
        tumor = ball(ct.geometry, tuple(ct.geometry.to_lps(index)), 6.0, "tumor")
        hu = ct.voxels_hu.copy()
        hu[tumor.voxels] = 30
        found = segment_lung(CtVolume(hu, ct.geometry), tumor)
        here = ct.geometry.box_of(found.geometry).slices
        target = ndimage.distance_transform_edt(~tumor.voxels[here], sampling=spacing) <= 5.0
        assert found.voxels[target].mean() > 0.95
