"""Which of the things that a model draws is the zone of this lesion, by a stand-in for the model."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pytest

from engine.findings import NO_CONTOUR, THRESHOLDED
from engine.geometry import Vector3
from engine.refusal import RefusalCode, RefusedError
from engine.structures.model_contour import DEMO_SD_MM
from engine.structures.zone import ZoneContour
from engine.structures.zone_search import find_zone
from engine.volume import CtVolume
from tests.support.spheres import ball, centered_grid, positions
from tests.support.stub_segmenter import StubSegmenter, section

GRID = centered_grid((1.5, 1.5, 1.5), 75.0)
LESION: Vector3 = (-10.0, 5.0, 8.0)
TUMOR_POINTS = positions(GRID)[ball(GRID, LESION, 8.0, "").voxels]

Balls = tuple[tuple[Vector3, float], ...]


def placed(*balls: tuple[Vector3, float]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.any([ball(GRID, center, radius, "").voxels for center, radius in balls], axis=0))


def ct(needle: bool = False) -> CtVolume:
    hu = np.full(GRID.shape_zyx, -850, dtype=np.int16)
    if needle:
        away = positions(GRID) - np.array(LESION)
        hu[np.hypot(away[..., 1], away[..., 2]) < 1.2] = 3000
    return CtVolume(hu, GRID)


def search(
    drawn: npt.NDArray[np.bool_],
    *,
    core: npt.NDArray[np.bool_] | None = None,
    scan: CtVolume | None = None,
) -> tuple[ZoneContour, StubSegmenter]:
    labels = drawn.astype(np.uint8)
    known = section(zone=1)
    if core is not None:
        labels, known = labels + (core & drawn), section(zone=1, core=2)
    segmenter = StubSegmenter(lambda _: labels, section=known)
    return find_zone(scan or ct(), segmenter, TUMOR_POINTS), segmenter


def refused(drawn: npt.NDArray[np.bool_]) -> str:
    with pytest.raises(RefusedError) as raised:
        search(drawn)
    assert raised.value.refusal.code is RefusalCode.NO_ZONE
    return raised.value.refusal.reason


def test_the_zone_is_ground_glass_and_core_and_the_core_stands_apart() -> None:
    whole, inner = placed((LESION, 16.0)), placed((LESION, 11.0))
    found, segmenter = search(whole, core=inner)
    assert (found.zone.voxels == whole).all()
    assert found.core is not None
    assert (found.core.voxels == inner).all()
    assert found.core_origin == found.origin
    assert len(segmenter.asked) == 1
    assert found.warnings == ()


def test_a_model_without_a_core_leaves_it_to_the_hu() -> None:
    whole, inner = placed((LESION, 16.0)), placed((LESION, 11.0))
    hu = ct().voxels_hu.copy()
    hu[whole], hu[inner] = -550, -50
    found, _ = search(whole, scan=CtVolume(hu, GRID))
    assert found.core_origin == THRESHOLDED
    plain, _ = search(whole)
    assert (plain.core, plain.core_origin) == (None, NO_CONTOUR)


def test_a_core_that_is_hardly_there_is_none() -> None:
    found, _ = search(placed((LESION, 16.0)), core=placed((LESION, 1.6)))
    assert (found.core, found.core_origin) == (None, NO_CONTOUR)


def test_a_zone_elsewhere_in_the_lung_is_none_of_this_lesion() -> None:
    far = (LESION[0] + 45.0, LESION[1], LESION[2])
    reason = refused(placed((far, 12.0)))
    assert re.search(r"2[567] mm away", reason)
    both, _ = search(placed((far, 14.0), (LESION, 12.0)))
    assert (both.zone.voxels == placed((LESION, 12.0))).all()
    assert both.warnings == ()


def test_no_zone_at_all_and_specks_are_refused() -> None:
    assert "found no ablation zone within 45 mm" in refused(np.zeros(GRID.shape_zyx, dtype=np.bool_))
    assert "at least 0.3 mL" in refused(placed((LESION, 3.5)))


def test_a_zone_beside_the_lesion_is_its_zone() -> None:
    """Half missed: it touches the tumor's place, and what it misses is for the coverage to say."""
    beside = placed(((LESION[0] + 14.0, LESION[1], LESION[2]), 10.0))
    found, _ = search(beside)
    assert (found.zone.voxels == beside).all()


def test_of_two_zones_at_the_lesion_one_is_counted_and_the_other_said() -> None:
    mine = (LESION, 11.0)
    other = ((LESION[0] + 30.0, LESION[1], LESION[2]), 15.0)
    found, _ = search(placed(mine, other))
    assert (found.zone.voxels == placed(mine)).all(), "the one with the most tissue at the tumor"
    (warning,) = found.warnings
    assert "not counted as ablated" in warning
    assert "14." in warning


def test_a_zone_larger_than_the_box_is_looked_at_in_a_wider_one() -> None:
    center = (LESION[0] + 30.0, LESION[1], LESION[2])
    found, segmenter = search(placed((center, 30.0)))
    assert len(segmenter.asked) == 2
    assert found.zone.volume_ml == pytest.approx(113.0, rel=0.02)


def test_everything_is_no_zone() -> None:
    wide = centered_grid((5.0, 5.0, 5.0), 120.0)
    segmenter = StubSegmenter(lambda scan: np.ones(scan.geometry.shape_zyx), section=section(zone=1))
    with pytest.raises(RefusedError, match="goes on beyond 80 mm"):
        find_zone(CtVolume(np.full(wide.shape_zyx, -850, dtype=np.int16), wide), segmenter, TUMOR_POINTS)


def test_what_a_needle_hides_belongs_to_the_zone_around_it() -> None:
    scan = ct(needle=True)
    whole = placed((LESION, 14.0))
    away = np.abs(positions(GRID)[..., 1] - LESION[1]) < 1.6
    split = whole & ~away  # the model sees two halves, a slab of streaks between them
    hidden = whole & (scan.voxels_hu > 1800)
    halves, _ = search(split)
    assert halves.warnings != ()
    found, _ = search(split, core=placed((LESION, 9.0)), scan=scan)
    assert found.warnings == ()
    assert (found.zone.voxels & hidden).sum() > 0.7 * hidden.sum()
    assert not (found.zone.voxels & ~whole).any(), "nothing is added beyond the zone"
    assert (found.zone.voxels & away & whole).sum() < (away & whole).sum(), "far from metal a gap stays a gap"
    assert found.core is not None
    assert (found.core.voxels & hidden).any()


def test_the_cautious_zone_is_what_the_model_is_sure_of() -> None:
    drawn = placed((LESION, 14.0))
    unsure = positions(GRID)[..., 2] > LESION[2] + 6.0
    segmenter = StubSegmenter(
        lambda _: drawn, section=section(zone=1), doubt=lambda _: np.where(unsure, 0.7, 1.0)
    )
    found = find_zone(ct(), segmenter, TUMOR_POINTS)
    assert (found.zone.voxels == drawn).all()
    assert found.cautious is not None
    assert (found.cautious.voxels == (drawn & ~unsure)).all()


def test_a_blurred_model_is_less_sure() -> None:
    drawn = placed((LESION, 14.0))
    sds: list[float] = []
    for blur_mm in (0.0, 1.5, 3.0):
        segmenter = StubSegmenter(lambda _: drawn, section=section(zone=1), blur_mm=blur_mm)
        sd_mm = find_zone(ct(), segmenter, TUMOR_POINTS).contour_sd_mm
        assert sd_mm is not None
        sds.append(sd_mm)
    assert sds == sorted(sds)
    assert sds[0] < 1.1 * DEMO_SD_MM
    assert sds[2] > 2.5


def test_what_lies_nearest_to_the_lesion_is_named_with_its_size_and_place() -> None:
    large: Vector3 = (LESION[0] + 48.0, LESION[1], LESION[2])
    small: Vector3 = (LESION[0], LESION[1] + 30.0, LESION[2])
    reason = refused(placed((large, 12.0), (small, 6.0)))
    found = re.search(
        r"nearest part it found has (\S+) mL at LPS \((\S+), (\S+), (\S+)\) mm, (\d+) mm away", reason
    )
    assert found is not None
    volume_ml, x, y, z, away_mm = map(float, found.groups())
    assert volume_ml == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.05)
    assert (x, y, z) == pytest.approx(small, abs=1.0)
    assert away_mm == pytest.approx(30.0 - 8.0 - 6.0, abs=2.5)  # from voxel center to voxel center
