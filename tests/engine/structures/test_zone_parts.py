"""The zone as what changed: which parts count, where it ends, and what it encloses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from engine.arrays import Float64Array
from engine.geometry import RigidTransform, Vector3
from engine.refusal import RefusalCode, RefusedError
from engine.structures.warped_planning import DISTANCE_BOUND_MM, WarpedPlanning
from engine.structures.zone import ZoneContour
from engine.structures.zone_search import find_zone
from engine.volume import CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid
from tests.support.stub_segmenter import StubSegmenter, section

GRID = centered_grid((1.5, 1.2, 1.2), 40.0)
TUMOR: Vector3 = (0.0, 0.0, 0.0)
SHIFT: Vector3 = (4.0, -3.0, 2.0)
"""Of the verification CT against the planning CT."""

Voxels = npt.NDArray[np.bool_]


@cache
def lung() -> npt.NDArray[np.float32]:
    noise = np.random.default_rng(3).normal(size=GRID.shape_zyx)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return np.asarray(-850 + 40 * smooth / smooth.std(), dtype=np.float32)


@cache
def moved_lung() -> npt.NDArray[np.float32]:
    z, y, x = (shift / spacing for shift, spacing in zip(SHIFT[::-1], GRID.spacing_zyx_mm, strict=True))
    return np.asarray(ndimage.shift(lung(), (z, y, x), order=1, mode="nearest"), dtype=np.float32)


def moved(center: Vector3) -> Vector3:
    x, y, z = (float(c + s) for c, s in zip(center, SHIFT, strict=True))
    return x, y, z


def in_planning(center: Vector3, radius: float) -> Voxels:
    return ball(GRID, center, radius, "").voxels


def in_verification(center: Vector3, radius: float) -> Voxels:
    return ball(GRID, moved(center), radius, "").voxels


def noisy(hu: npt.NDArray[np.float32], seed: int) -> CtVolume:
    noise = np.random.default_rng(seed).normal(0, 25, hu.shape)
    return CtVolume(np.rint(hu + noise).astype(np.int16), GRID)


class Scene:
    """A tumor before, and burns after; old tissue is in both scans."""

    def __init__(self, radius: float = 6.0) -> None:
        self.before, self.after = lung().copy(), moved_lung().copy()
        self.before[in_planning(TUMOR, radius)] = 30
        self.after[in_verification(TUMOR, radius)] = 30
        self.tumor = LabelMask(in_planning(TUMOR, radius), GRID, "tumor")
        self.zone = np.zeros(GRID.shape_zyx, dtype=np.bool_)
        self.wall = np.zeros(GRID.shape_zyx, dtype=np.bool_)

    def burn(self, center: Vector3, radius: float, hu: float = -350.0) -> Voxels:
        """Ground glass that the model finds."""
        marked = in_verification(center, radius)
        self.after[marked & (self.after < hu)] = hu
        self.zone |= marked
        return marked

    def old(self, center: Vector3, radius: float) -> None:
        """Fibrosis that the model takes for zone."""
        self.before[in_planning(center, radius)] = -250
        self.after[in_verification(center, radius)] = -250
        self.zone |= in_verification(center, radius)

    def found(self, *, before: bool = True) -> ZoneContour:
        planning = noisy(self.before, 1)
        warped = WarpedPlanning(planning, self.tumor, RigidTransform.from_translation([-s for s in SHIFT]))
        points: Float64Array = GRID.to_lps(np.argwhere(in_verification(TUMOR, 6.0))[::7])
        return find_zone(
            noisy(self.after, 2),
            StubSegmenter(lambda _ct: self.zone, section=section(zone=1)),
            points,
            before=warped if before else None,
            lung=LabelMask(~self.wall, GRID, "lung"),
        )


def overlap(found: LabelMask, true: Voxels) -> float:
    both = np.count_nonzero(found.voxels & true)
    return 2 * both / (np.count_nonzero(found.voxels) + np.count_nonzero(true))


@pytest.mark.parametrize("hu", [-700.0, -350.0, 0.0])
def test_one_burn_is_one_part_that_changed(hu: float) -> None:
    scene = Scene()
    true = scene.burn((2.0, 0.0, 1.0), 13.0, hu)
    found = scene.found()
    assert found.parts == 1
    assert found.changed_share is not None
    assert found.changed_share > 0.9
    assert overlap(found.zone, true) > 0.999
    assert found.warnings == ()


def test_two_burns_apart_count_together_and_the_answer_says_so() -> None:
    scene = Scene()
    true = scene.burn((-7.0, 0.0, 0.0), 6.0) | scene.burn((9.0, 0.0, 0.0), 7.0)
    found = scene.found()
    assert found.parts == 2
    assert overlap(found.zone, true) > 0.999
    assert any("2 separate parts" in warning for warning in found.warnings)
    assert found.contour_sd_mm is not None
    alone = scene.found(before=False)
    assert (alone.parts, alone.changed_share) == (1, None)
    assert overlap(alone.zone, true) < 0.9


def test_a_part_that_did_not_change_is_named_and_not_counted() -> None:
    scene = Scene()
    true = scene.burn((-5.0, 0.0, 0.0), 8.0)
    scene.old((11.0, 0.0, 0.0), 5.0)
    found = scene.found()
    assert found.parts == 1
    assert overlap(found.zone, true) > 0.999
    (warning,) = found.warnings
    assert "changed against the planning CT" in warning


def test_old_tissue_alone_is_a_refusal_even_where_it_is_the_larger_part() -> None:
    scene = Scene()
    scene.old((11.0, 0.0, 0.0), 9.0)
    with pytest.raises(RefusedError, match="was there before") as refused:
        scene.found()
    assert refused.value.refusal.code is RefusalCode.NO_ZONE
    true = scene.burn((-7.5, 0.0, 0.0), 6.0)
    assert overlap(scene.found().zone, true) > 0.999


def test_a_changed_part_beyond_the_target_is_named_and_not_counted() -> None:
    scene = Scene()
    true = scene.burn((-5.0, 0.0, 0.0), 8.0)
    scene.burn((21.0, 0.0, 0.0), 6.0)
    found = scene.found()
    assert found.parts == 1
    assert overlap(found.zone, true) > 0.999
    assert any("was not counted" in warning for warning in found.warnings)


def test_a_cavity_of_air_is_zone_and_a_gap_of_lung_is_not() -> None:
    for hu, is_zone in ((-1000.0, True), (None, False)):
        scene = Scene()
        true = scene.burn((0.0, 0.0, 0.0), 15.0, -100.0)
        hole = in_verification((8.0, 0.0, 0.0), 3.5)
        scene.after[hole] = moved_lung()[hole] if hu is None else hu
        scene.zone &= ~hole
        found = scene.found().zone.voxels
        share = np.count_nonzero(found & hole) / np.count_nonzero(hole)
        assert (share > 0.8) == is_zone
        assert (found & ~true).sum() == 0


def test_a_pneumothorax_at_the_edge_is_no_cavity() -> None:
    scene = Scene()
    scene.burn((0.0, 0.0, 0.0), 13.0, -100.0)
    x = GRID.to_lps(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1))[..., 0]
    scene.after[x > 12.0] = -1000
    scene.zone &= x <= 12.0
    assert not (scene.found().zone.voxels & (x > 12.0)).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_zone_ends_at_the_pleura(axis: int) -> None:
    scene = Scene()
    position = GRID.to_lps(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1))[..., axis]
    scene.wall = position > 9.0
    scene.before[scene.wall] = 40
    wall_after = position > 9.0 + SHIFT[axis]
    scene.after[wall_after] = 40
    true = scene.burn((0.0, 0.0, 0.0), 14.0) & ~wall_after
    found = scene.found().zone
    beyond = position > 9.0 + SHIFT[axis] + 1.0
    assert not (found.voxels & beyond).any()
    assert overlap(found, true) > 0.97


def test_a_tumor_in_the_wall_is_not_cut_off() -> None:
    scene = Scene()
    x = GRID.to_lps(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1))[..., 0]
    scene.wall = x > 2.0
    scene.burn((0.0, 0.0, 0.0), 12.0)
    found = scene.found().zone.voxels
    inner = in_verification(TUMOR, 5.0)
    assert (found & inner).sum() == inner.sum()


def test_the_planning_ct_and_the_tumors_distance_follow_the_motion() -> None:
    scene = Scene()
    before = WarpedPlanning(
        noisy(scene.before, 1), scene.tumor, RigidTransform.from_translation([-s for s in SHIFT])
    )
    distance = before("tumor_distance_mm", GRID)
    offset = GRID.to_lps(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1)) - np.array(moved(TUMOR))
    expected = np.linalg.norm(offset, axis=-1) - 6.0
    assert np.abs(distance - expected)[expected < 8].max() < 1.0
    assert np.abs(distance - expected)[expected < 55].max() < 2.0
    assert distance.max() <= DISTANCE_BOUND_MM
    assert before("planning_ct_warped", GRID)[in_verification(TUMOR, 4.0)].min() > -80
    np.testing.assert_allclose(before.to_verification(np.array([TUMOR])), [moved(TUMOR)])
    far = replace(GRID, origin_lps_mm=(900.0, 0.0, 0.0))
    assert (before("tumor_distance_mm", far) == DISTANCE_BOUND_MM).all()
