"""Which part a target point means: the nearest by its voxels' edges, and no noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import InvalidRequestError
from engine.geometry import Vector3, VolumeGeometry
from engine.refusal import RefusalCode, RefusedError
from engine.structures.model_contour import ModelContour
from engine.structures.tumor_search import find_tumor
from engine.volume import CtVolume
from tests.support.stub_segmenter import StubSegmenter

GRID = VolumeGeometry((40, 60, 60), (2.0, 1.0, 1.0))
CT = CtVolume(np.full(GRID.shape_zyx, -800, dtype=np.int16), GRID)
Voxels = npt.NDArray[np.bool_]


def blocks(*corners: tuple[tuple[int, int, int], tuple[int, int, int]]) -> Voxels:
    marked = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    for start, stop in corners:
        marked[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return marked


def search(drawn: Voxels, target_lps_mm: Vector3) -> ModelContour:
    return find_tumor(CT, StubSegmenter(lambda _: drawn), target_lps_mm)


LARGE = blocks(((10, 10, 10), (15, 20, 20)))
SMALL = blocks(((10, 10, 30), (15, 20, 38)))


def test_a_target_in_a_part_means_it_without_a_warning() -> None:
    for part, x in ((LARGE, 19.5), (SMALL, 29.5)):
        contour = search(LARGE | SMALL, (x, 15.0, 24.0))
        assert np.array_equal(contour.mask.voxels, part)
        assert contour.warnings == ()


@pytest.mark.parametrize(
    ("target", "distance"),
    [((22.5, 15.0, 24.0), "3.0"), ((15.0, 15.0, 33.0), "4.0"), ((22.5, 23.5, 24.0), "5.0")],
)
def test_the_distance_is_that_of_the_nearest_voxels_edge(target: Vector3, distance: str) -> None:
    contour = search(LARGE, target)
    assert contour.warnings == (
        f"the target point lies {distance} mm outside the tumor that was segmented; check its contour",
    )


def test_of_two_parts_the_nearer_is_meant_and_of_two_equally_near_the_larger() -> None:
    for x, part in ((24.0, LARGE), (24.5, LARGE), (25.0, SMALL)):
        assert np.array_equal(search(LARGE | SMALL, (x, 15.0, 24.0)).mask.voxels, part)


@pytest.mark.parametrize(("length", "large_enough"), [(5, True), (4, False)])
def test_the_smallest_part_has_a_thirtieth_of_a_milliliter(length: int, large_enough: bool) -> None:
    """Three voxels of 2 mm³ across and five long are 0.03 mL."""
    speck = blocks(((20, 30, 30), (21, 33, 30 + length)))
    target = (32.0, 31.0, 40.0)
    if large_enough:
        assert np.array_equal(search(speck, target).mask.voxels, speck)
    else:
        with pytest.raises(RefusedError, match="found no tumor within 45 mm") as caught:
            search(speck, target)
        assert caught.value.refusal.code is RefusalCode.LESION_NOT_FOUND
        assert caught.value.refusal.candidates == ()
        assert "check that the point is in LPS mm of the planning CT" in caught.value.refusal.reason


def test_noise_at_the_target_does_not_hide_the_tumor_near_it() -> None:
    speck = blocks(((12, 15, 25), (13, 16, 26)))
    assert np.array_equal(search(LARGE | speck, (25.0, 15.0, 24.0)).mask.voxels, LARGE)


@pytest.mark.parametrize(("x", "reached"), [(29.5, True), (29.6, False)])
def test_a_target_reaches_one_centimeter(x: float, reached: bool) -> None:
    if reached:
        assert "10.0 mm outside" in search(LARGE, (x, 15.0, 24.0)).warnings[0]
    else:
        with pytest.raises(RefusedError, match="within 10 mm of the target point; its nearest candidate"):
            search(LARGE, (x, 15.0, 24.0))


def test_a_target_less_than_a_millimeter_outside_is_said_too() -> None:
    assert "lies 0.5 mm outside" in search(LARGE, (20.0, 15.0, 24.0)).warnings[0]


def test_a_target_beyond_the_ct_is_an_error_of_its_field() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        search(LARGE, (-300.0, 15.0, 24.0))
    assert caught.value.field == "target_lps_mm"


def test_what_goes_on_for_ever_is_not_found() -> None:
    wide = VolumeGeometry((60, 60, 60), (4.0, 4.0, 4.0))
    everything = StubSegmenter(lambda ct: np.ones(ct.geometry.shape_zyx))
    air = CtVolume(np.full(wide.shape_zyx, -800, dtype=np.int16), wide)
    with pytest.raises(RefusedError, match="goes on beyond 80 mm") as caught:
        find_tumor(air, everything, (118.0, 118.0, 118.0))
    assert caught.value.refusal.code is RefusalCode.LESION_NOT_FOUND


@pytest.mark.parametrize(("length", "large_enough"), [(5, True), (4, False)])
def test_without_a_target_the_smallest_candidate_has_a_tenth_of_a_milliliter(
    length: int, large_enough: bool
) -> None:
    """Ten voxels of 2 mm³ across and five long are 0.1 mL."""
    drawn = blocks(((20, 30, 30), (22, 35, 30 + length)))
    segmenter = StubSegmenter(lambda _: drawn)
    if large_enough:
        assert np.array_equal(find_tumor(CT, segmenter).mask.voxels, drawn)
    else:
        with pytest.raises(RefusedError, match=r"in or at the lung of the planning CT; give"):
            find_tumor(CT, segmenter)
