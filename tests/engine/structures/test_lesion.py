"""The lesion: which part of the mask, how large, and whether the image shows all of it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import InvalidRequestError
from engine.findings import SUPPLIED
from engine.geometry import VolumeGeometry
from engine.structures.lesion import (
    choose_lesion,
    describe_lesion,
    grown_box_inside,
    longest_diameter_mm,
    touches_border,
)
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.5, 0.8, 0.8), 30.0)
LARGE, SMALL = ball(GRID, (-12.0, 0.0, 0.0), 7.0, "tumor"), ball(GRID, (14.0, 3.0, 0.0), 5.0, "tumor")
BOTH = LabelMask(LARGE.voxels | SMALL.voxels, GRID, "tumor")


def test_without_a_target_all_parts_are_one_lesion_and_it_is_said() -> None:
    chosen, said = choose_lesion(BOTH, None)
    assert chosen is BOTH
    assert "2 separate parts" in said[0]
    assert choose_lesion(LARGE, None) == (LARGE, ())


def test_a_target_chooses_its_part() -> None:
    for part, target in ((LARGE, (-10.0, 0.0, 1.0)), (SMALL, (14.0, 9.0, 0.0))):
        chosen, said = choose_lesion(BOTH, target)
        assert np.array_equal(chosen.voxels, part.voxels)
        assert said


def test_a_target_far_from_the_tumor_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match="LPS mm of the planning CT"):
        choose_lesion(LARGE, (20.0, 0.0, 0.0))
    assert choose_lesion(LARGE, (14.0, 0.0, 0.0))[0] is LARGE


def test_size_and_place() -> None:
    found = describe_lesion(LARGE, SUPPLIED)
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 0.343, rel=0.02)
    assert found.centroid_lps_mm == pytest.approx((-12.0, 0.0, 0.0), abs=0.1)
    assert found.longest_diameter_mm == pytest.approx(
        14.9, abs=1.0
    )  # corner to corner: a voxel diagonal more at most
    one = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    one[5, 5, 5] = True
    assert longest_diameter_mm(LabelMask(one, GRID)) == pytest.approx(np.sqrt(1.5**2 + 2 * 0.8**2))


def test_the_border_and_the_room_around() -> None:
    voxels = np.zeros((10, 10, 10), dtype=np.bool_)
    voxels[4:6, 4:6, 4:6] = True
    grid = VolumeGeometry((10, 10, 10), (1.0, 1.0, 1.0))
    mask = LabelMask(voxels, grid)
    assert not touches_border(mask)
    assert grown_box_inside(mask, 4.0, grid)
    assert not grown_box_inside(mask, 4.1, grid)
    for index in ((0, 5, 5), (5, 9, 5), (5, 5, 0)):
        at_edge = voxels.copy()
        at_edge[index] = True
        assert touches_border(LabelMask(at_edge, grid))


COARSE = VolumeGeometry((12, 12, 12), (10.0, 10.0, 10.0))
"""A voxel is a milliliter."""


def parts(*starts_and_lengths: tuple[int, int]) -> LabelMask:
    """Rows of voxels along x, each in a slice of its own."""
    voxels = np.zeros(COARSE.shape_zyx, dtype=np.bool_)
    for z, length in starts_and_lengths:
        voxels[z, 5, 1 : 1 + length] = True
    return LabelMask(voxels, COARSE, "tumor of a reader")


@pytest.mark.parametrize("length", [10, 11])
def test_every_further_part_is_named_however_small(length: int) -> None:
    (warning,) = choose_lesion(parts((2, length), (6, 1)), None)[1]
    place = f"LPS ({(1 + length) * 5:.1f}, 50.0, 20.0) mm"
    assert warning == (
        f"the tumor mask has 2 separate parts ({length} mL at {place}; 1 mL at LPS (10.0, 50.0, 60.0) mm), "
        "measured as one lesion; give a target point to choose one"
    )
    (many,) = choose_lesion(parts((0, 5), (2, 4), (4, 3), (6, 2), (8, 1), (10, 1)), None)[1]
    assert "6 separate parts" in many
    assert "and 2 more" in many


def test_the_part_at_the_target_keeps_name_and_grid() -> None:
    chosen, warnings = choose_lesion(parts((2, 10), (6, 3)), (10.0, 50.0, 63.0))
    assert np.array_equal(chosen.voxels, parts((6, 3)).voxels)
    assert (chosen.name, chosen.geometry) == ("tumor of a reader", COARSE)
    assert warnings == ("of 2 parts of the tumor mask the one at the target was measured",)


def test_a_target_belongs_to_the_mask_up_to_two_centimeters() -> None:
    mask = parts((2, 10))
    assert choose_lesion(mask, (50.0, 50.0, 40.0)) == (mask, ())
    with pytest.raises(InvalidRequestError) as caught:
        choose_lesion(mask, (50.0, 50.0, 41.0))
    assert str(caught.value).startswith(
        "the target point lies 21 mm from the tumor mask (at most 20 mm); check that it is in LPS mm"
    )


def test_a_lesion_is_described_in_the_planning_frame() -> None:
    lesion = describe_lesion(parts((2, 10)), SUPPLIED)
    assert lesion.volume_ml == pytest.approx(10.0)
    assert lesion.centroid_lps_mm == pytest.approx((55.0, 50.0, 20.0))
    assert lesion.verification_centroid_lps_mm is None
    assert lesion.origin == SUPPLIED
    assert lesion.longest_diameter_mm == pytest.approx(np.sqrt(100.0**2 + 2 * 10.0**2))


@pytest.mark.parametrize("index", [(0, 5, 5), (11, 5, 5), (5, 0, 5), (5, 11, 5), (5, 5, 0), (5, 5, 11)])
def test_every_face_of_the_grid_is_a_border(index: tuple[int, int, int]) -> None:
    def marked(place: tuple[int, ...]) -> LabelMask:
        voxels = np.zeros(COARSE.shape_zyx, dtype=np.bool_)
        voxels[5, 5, 5] = voxels[place] = True
        return LabelMask(voxels, COARSE)

    assert touches_border(marked(index))
    assert not touches_border(marked(tuple(min(max(i, 1), 10) for i in index)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_grown_box_has_to_lie_within_on_every_side(axis: int) -> None:
    """A voxel two from the border of a grid with unlike spacings: what fits along one axis decides."""
    spacing = (4.0, 3.0, 2.0)
    grid = VolumeGeometry((21, 21, 21), spacing)
    for side in (2, 18):
        voxels = np.zeros(grid.shape_zyx, dtype=np.bool_)
        index = [10, 10, 10]
        index[axis] = side
        voxels[tuple(index)] = True
        room = 2.0 * spacing[axis]
        assert grown_box_inside(LabelMask(voxels, grid), room, grid)
        assert not grown_box_inside(LabelMask(voxels, grid), room + 0.01, grid)
