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
