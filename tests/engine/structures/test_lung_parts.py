"""What of a planning CT counts as lung: how far around the tumor, over which vessels, and which air does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.geometry import VolumeGeometry
from engine.structures.lung import segment_lung
from engine.volume import CtVolume, LabelMask

SHAPE = (40, 90, 90)
GRID = VolumeGeometry(SHAPE, (2.0, 1.0, 1.0))
LUNG, TISSUE, AIR = -850, 40, -1000
Image = npt.NDArray[np.int16]


def scan() -> Image:
    return np.full(SHAPE, LUNG, dtype=np.int16)


def tumor(*start_zyx: int) -> LabelMask:
    marked = np.zeros(SHAPE, dtype=np.bool_)
    z, y, x = start_zyx
    marked[z : z + 2, y : y + 4, x : x + 4] = True
    return LabelMask(marked, GRID, "tumor")


def lung_of(hu: Image, lesion: LabelMask) -> tuple[npt.NDArray[np.bool_], tuple[slice, slice, slice]]:
    """The lung and where it lies in the CT."""
    lung = segment_lung(CtVolume(hu, GRID), lesion)
    return lung.voxels, GRID.box_of(lung.geometry).slices


def test_the_lung_is_looked_for_within_40_mm_of_the_tumor() -> None:
    lung = segment_lung(CtVolume(scan(), GRID), tumor(4, 43, 43))
    assert lung.name == "lung"
    assert GRID.box_of(lung.geometry).slices == (slice(0, 26), slice(3, 87), slice(3, 87))
    assert lung.voxels.all()


@pytest.mark.parametrize(("width", "closed"), [(8, True), (9, False)])
def test_vessels_up_to_8_mm_wide_are_closed_over(width: int, closed: bool) -> None:
    hu = scan()
    hu[:, :, 20 : 20 + width] = TISSUE
    lung, box = lung_of(hu, tumor(19, 43, 50))
    vessel = np.zeros(SHAPE, dtype=np.bool_)
    vessel[:, :, 20 : 20 + width] = True
    assert lung[vessel[box]].all() == closed
    assert lung[vessel[box]].any() == closed
    assert lung[~vessel[box]].all()


@pytest.mark.parametrize(("hu_value", "aerated"), [(-401, True), (-400, False)])
def test_lung_is_lighter_than_its_threshold(hu_value: int, aerated: bool) -> None:
    hu = scan()
    hu[:, 40:, :] = hu_value
    lung, _ = lung_of(hu, tumor(19, 20, 43))
    assert lung[:, -10:, :].all() == aerated
    assert lung[:, -10:, :].any() == aerated


def with_wall(hu: Image) -> Image:
    """A chest wall of 12 mm from y = 60 on, and outside air behind it."""
    hu[:, 60:72] = TISSUE
    hu[:, 72:] = AIR
    return hu


def test_air_that_reaches_a_side_of_the_scan_is_not_lung() -> None:
    lung, box = lung_of(with_wall(scan()), tumor(19, 43, 43))
    y = np.arange(SHAPE[1])[box[1]]
    assert lung[:, y < 60].all()
    assert not lung[:, y >= 60].any()


@pytest.mark.parametrize("side", [1, 2])
@pytest.mark.parametrize("end", [0, 1])
def test_whichever_side_it_reaches(side: int, end: int) -> None:
    hu = with_wall(scan())
    hu = np.ascontiguousarray(hu[:, ::-1] if end == 0 else hu)
    if side == 2:
        hu = np.ascontiguousarray(hu.transpose(0, 2, 1))
    lung, box = lung_of(hu, tumor(19, 43, 43))
    assert not lung[hu[box] == AIR].any()
    assert lung[hu[box] == LUNG].all()


def test_air_inside_the_lung_belongs_to_it() -> None:
    """A bulla, and a bronchus that runs out of the scan at its first and last slice alone."""
    hu = with_wall(scan())
    hu[15:25, 20:40, 60:80] = AIR
    hu[:, 20:40, 20:36] = AIR
    lung, box = lung_of(hu, tumor(19, 43, 43))
    y = np.arange(SHAPE[1])[box[1]]
    assert lung[:, y < 60].all()


def test_noise_in_lung_is_not_outside_air() -> None:
    hu = with_wall(scan())
    hu[::2, 4:60:4, ::4] = -1024
    lung, box = lung_of(hu, tumor(19, 43, 43))
    y = np.arange(SHAPE[1])[box[1]]
    assert lung[:, y < 58].all()
    assert not lung[:, y >= 60].any()


def test_the_tumor_belongs_wherever_it_lies() -> None:
    hu = with_wall(scan())
    lesion = tumor(19, 64, 43)
    lung, box = lung_of(hu, lesion)
    assert lung[lesion.voxels[box]].all()
    y = np.arange(SHAPE[1])[box[1]]
    assert not lung[:, y >= 72].any()
