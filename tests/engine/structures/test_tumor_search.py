"""Which of the things that a model draws is the tumor, by a stand-in for the model."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import InvalidRequestError
from engine.findings import READER_CONTOUR_SD_MM, ContourOrigin
from engine.geometry import Vector3, VolumeGeometry
from engine.refusal import RefusalCode, RefusedError
from engine.structures.model_contour import (
    DEMO_SD_MM,
    MAX_LOCAL_SD_MM,
    ModelContour,
    model_sd_mm,
)
from engine.structures.tumor_search import find_tumor
from engine.volume import CtVolume
from tests.support.spheres import ball, centered_grid, positions
from tests.support.stub_segmenter import StubSegmenter, model

GRID = centered_grid((2.0, 1.5, 1.5), 75.0)
THICK = centered_grid((5.0, 1.5, 1.5), 75.0)
LUNG_MM = 60.0

FIRST: Vector3 = (-20.0, 5.0, 10.0)
SECOND: Vector3 = (25.0, -10.0, -14.0)
WALL: Vector3 = (70.0, 0.0, 0.0)


@cache
def chest(grid: VolumeGeometry) -> CtVolume:
    """A ball of lung in soft tissue."""
    depth = LUNG_MM - np.linalg.norm(positions(grid), axis=-1)
    noise = np.random.default_rng(1).normal(0.0, 25.0, grid.shape_zyx)
    return CtVolume(np.rint(np.where(depth > 0, -850.0, 40.0) + noise).astype(np.int16), grid)


def balls(grid: VolumeGeometry, *placed: tuple[Vector3, float]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any([ball(grid, center, radius, "").voxels for center, radius in placed], axis=0))


def search(
    *placed: tuple[Vector3, float], target: Vector3 | None = None, grid: VolumeGeometry = GRID
) -> tuple[ModelContour, StubSegmenter]:
    drawn = balls(grid, *placed) if placed else np.zeros(grid.shape_zyx, dtype=np.bool_)
    segmenter = StubSegmenter(lambda _: drawn)
    return find_tumor(chest(grid), segmenter, target), segmenter


def refused(*placed: tuple[Vector3, float], target: Vector3 | None = None) -> RefusedError:
    with pytest.raises(RefusedError) as raised:
        search(*placed, target=target)
    return raised.value


@pytest.mark.parametrize("grid", [GRID, THICK], ids=["2mm", "5mm"])
def test_the_target_picks_the_lesion_and_only_its_surroundings_are_segmented(grid: VolumeGeometry) -> None:
    found, segmenter = search((FIRST, 8.0), (SECOND, 12.0), target=FIRST, grid=grid)
    assert found.mask.geometry is chest(grid).geometry
    assert (found.mask.voxels == balls(grid, (FIRST, 8.0))).all()
    (box,) = segmenter.asked
    assert box is not None
    assert np.allclose(np.subtract(box.high_mm, box.low_mm), 90.0)
    assert found.origin == ContourOrigin.segmented_by(model("stub-demo"))
    assert found.warnings == ()
    assert found.contour_sd_mm >= DEMO_SD_MM


def test_a_target_just_outside_a_tumor_means_it_and_that_is_said() -> None:
    found, _ = search((FIRST, 8.0), target=(FIRST[0] + 13.0, FIRST[1], FIRST[2]))
    assert found.mask.volume_ml == pytest.approx(2.1, rel=0.1)
    (said,) = found.warnings
    assert "outside the tumor" in said


def test_a_target_30_mm_off_is_refused_with_the_distance() -> None:
    error = refused((FIRST, 8.0), target=(FIRST[0] + 38.0, FIRST[1], FIRST[2]))
    assert error.refusal.code is RefusalCode.LESION_NOT_FOUND
    assert re.search(r"lies (29|30|31) mm away", error.refusal.reason)
    (candidate,) = error.refusal.candidates
    assert np.linalg.norm(np.subtract(candidate.place_lps_mm, FIRST)) < 2.0


def test_a_target_in_empty_lung_is_refused() -> None:
    error = refused(target=(0.0, 0.0, 0.0))
    assert error.refusal.code is RefusalCode.LESION_NOT_FOUND
    assert error.refusal.candidates == ()


def test_a_target_outside_the_ct_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match="outside the planning CT"):
        search((FIRST, 8.0), target=(500.0, 0.0, 0.0))


def test_a_tumor_cut_by_the_box_is_looked_at_in_a_wider_one() -> None:
    found, segmenter = search(((0.0, 0.0, 0.0), 30.0), target=(25.0, 0.0, 0.0))
    assert len(segmenter.asked) == 2
    assert (found.mask.voxels == balls(GRID, ((0.0, 0.0, 0.0), 30.0))).all()


def test_everything_is_no_tumor() -> None:
    endless = centered_grid((4.0, 4.0, 4.0), 100.0)
    segmenter = StubSegmenter(lambda ct: np.ones(ct.geometry.shape_zyx, dtype=np.bool_))
    with pytest.raises(RefusedError, match="goes on beyond 80 mm"):
        find_tumor(chest(endless), segmenter, (0.0, 0.0, 0.0))


def test_one_candidate_is_taken_and_said() -> None:
    found, segmenter = search((FIRST, 8.0))
    assert segmenter.asked == [None]
    (said,) = found.warnings
    assert "only candidate" in said
    assert f"{found.mask.volume_ml:.2f} mL" in said


def test_several_candidates_are_listed_largest_first() -> None:
    error = refused((FIRST, 8.0), (SECOND, 12.0))
    assert error.refusal.code is RefusalCode.SEVERAL_LESIONS
    volumes = [candidate.volume_ml for candidate in error.refusal.candidates]
    assert volumes == sorted(volumes, reverse=True)
    assert len(volumes) == 2
    for candidate in error.refusal.candidates:
        assert str(candidate) in error.refusal.reason


def test_a_candidate_s_place_chooses_it() -> None:
    error = refused((FIRST, 8.0), (SECOND, 12.0))
    for candidate in error.refusal.candidates:
        found, _ = search((FIRST, 8.0), (SECOND, 12.0), target=candidate.place_lps_mm)
        assert found.mask.volume_ml == pytest.approx(candidate.volume_ml)
        assert found.warnings == ()


def test_a_candidate_s_place_lies_in_it_however_bent_it_is() -> None:
    ring = np.abs(np.linalg.norm(positions(GRID), axis=-1) - 25.0) < 4.0
    segmenter = StubSegmenter(lambda _: ring | balls(GRID, ((0.0, 0.0, 0.0), 8.0)))
    with pytest.raises(RefusedError) as raised:
        find_tumor(chest(GRID), segmenter)
    bent = raised.value.refusal.candidates[0]
    assert ring[tuple(np.rint(GRID.to_index(bent.place_lps_mm)).astype(int))]


def test_none_and_what_is_no_candidate() -> None:
    assert refused().refusal.code is RefusalCode.LESION_NOT_FOUND
    speck = refused((FIRST, 2.0))
    assert speck.refusal.code is RefusalCode.LESION_NOT_FOUND
    elsewhere = refused((WALL, 4.0))
    assert "do not lie at the lung" in elsewhere.refusal.reason


def test_a_nodule_at_the_pleura_is_a_candidate() -> None:
    found, _ = search(((LUNG_MM - 2.0, 0.0, 0.0), 6.0))
    assert found.mask.voxels.any()


def test_a_site_s_own_model_is_taken_for_as_good_as_a_reader() -> None:
    drawn = balls(GRID, (FIRST, 8.0))
    demo = find_tumor(chest(GRID), StubSegmenter(lambda _: drawn), FIRST)
    own = find_tumor(
        chest(GRID), StubSegmenter(lambda _: drawn, identity=model("site-net", demo=False)), FIRST
    )
    assert READER_CONTOUR_SD_MM < own.contour_sd_mm < demo.contour_sd_mm


def test_the_cautious_tumor_is_all_that_may_belong_to_it() -> None:
    drawn = balls(GRID, (FIRST, 8.0), (SECOND, 8.0))
    found = find_tumor(chest(GRID), StubSegmenter(lambda _: drawn, blur_mm=2.0), FIRST)
    near = balls(GRID, (FIRST, 13.0))
    assert found.cautious.voxels.sum() > 1.2 * found.mask.voxels.sum()
    assert not (found.mask.voxels & ~found.cautious.voxels).any()
    assert not (found.cautious.voxels & ~near).any(), "no other part, and nothing far"


@pytest.mark.parametrize("sd_mm", [1.0, 2.0])
def test_the_doubt_of_a_model_is_read_off_its_probability(sd_mm: float) -> None:
    """A flat surface whose probability is a normal distribution function of depth."""
    from scipy.special import ndtr

    depth = np.linspace(-16.0, 16.0, 65)
    share = np.broadcast_to(ndtr(depth / sd_mm)[:, None, None], (65, 9, 9)).astype(np.float32)
    assert model_sd_mm(np.ascontiguousarray(share), (0.5, 0.5, 0.5)) == pytest.approx(sd_mm, rel=0.05)


def test_a_model_that_commits_itself_nowhere_is_as_unsure_as_can_be() -> None:
    hump = np.full((9, 9, 9), 0.4, dtype=np.float32)
    hump[4, 4, 4] = 0.6
    assert model_sd_mm(hump, (1.0, 1.0, 1.0)) > 0.9 * MAX_LOCAL_SD_MM / 2
    assert model_sd_mm(np.zeros((5, 5, 5), dtype=np.float32), (1.0, 1.0, 1.0)) == MAX_LOCAL_SD_MM
