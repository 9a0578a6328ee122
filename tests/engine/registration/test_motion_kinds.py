"""Stiff, smooth and sliding lungs, and a collapsed one: what each must be, by rules of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.errors import GridMismatchError, InvalidRequestError
from engine.geometry import RigidTransform, VolumeGeometry, VoxelBox
from engine.phantoms.ablation import random_ablation
from engine.phantoms.chest import chest_of_ct, procedural_chest, random_place
from engine.phantoms.free_deformation import Contraction, DeformationKind, FreeDeformation
from engine.phantoms.motion import FREE_MM, MIN_JACOBIAN, RIGID_MM, Motion, random_motion, rigid_projection
from engine.phantoms.pneumothorax import CollapsedLung, collapse_lung
from engine.phantoms.procedure import make_procedure
from engine.phantoms.sliding import FLOW_LATTICE_MM, Pleura, slide_along
from engine.phantoms.thorax import lung_depth_mm
from engine.phantoms.tumor import evenly_spread
from engine.volume import CtVolume, LabelMask

KINDS: tuple[DeformationKind, ...] = ("stiff", "smooth", "sliding")
CENTER = np.array([-85.0, 8.0, 10.0])
RADIUS_MM = 9.0
PLEURA = Pleura(lung_depth_mm, still_at_x_mm=-40.0, free_at_x_mm=-75.0)


def drawn(kind: DeformationKind, seed: int = 0, *, contraction: float = 0.1, slide_mm: float = 8.0) -> Motion:
    return random_motion(
        np.random.default_rng(seed),
        CENTER,
        RADIUS_MM,
        rigid_only=False,
        contraction=contraction,
        greatest_bend_mm=10.0,
        deformation=kind,
        slide_mm=slide_mm,
        pleura=PLEURA,
        zone=(np.array([1.5, -1.0, 0.5]), 15.0),
    )


def around(center: Float64Array, low_mm: float, high_mm: float, count: int = 1500) -> Float64Array:
    rng = np.random.default_rng(1)
    away = rng.normal(size=(count, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(center + away * rng.uniform(low_mm, high_mm, (count, 1)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_tumor_is_rigid_lung_is_free_and_nothing_folds(kind: DeformationKind, seed: int) -> None:
    motion = drawn(kind, seed)
    inside = around(motion.verification_center, 0.0, RADIUS_MM + RIGID_MM - 0.01)
    with_tumor = motion.planning_from_verification.apply(inside)
    assert np.abs(motion.lung_to_planning(inside) - with_tumor).max() < 1e-9
    turn = motion.planning_from_verification.rotation
    assert np.abs(turn @ turn.T - np.eye(3)).max() < 1e-12
    assert np.linalg.det(turn) == pytest.approx(1.0)
    center = motion.to_planning(motion.verification_center)
    assert center == pytest.approx(motion.planning_center, abs=1e-9)
    beyond = around(motion.verification_center, RADIUS_MM + RIGID_MM + FREE_MM, 45.0)
    free = motion.free.to_planning(beyond)
    if motion.slide is not None:
        lung = motion.slide.in_lung(free)
        free[lung] = motion.slide.apply(free[lung])
    assert np.abs(motion.to_planning(beyond) - free).max() < 1e-9
    bend = free - motion.planning_from_verification.apply(beyond)
    assert np.abs(bend).max() > 1.0
    assert motion.min_jacobian() > MIN_JACOBIAN
    assert not motion.rigid


@pytest.mark.parametrize("kind", KINDS)
def test_the_tumor_moves_as_the_tissue_in_its_place_would_on_average(kind: DeformationKind) -> None:
    motion = drawn(kind, 4)
    inside = around(motion.verification_center, 0.0, RADIUS_MM, 6000)
    inside = inside[np.random.default_rng(2).random(len(inside)) < _volume_share(inside, motion)]
    free = motion.free.to_planning(inside)
    free = free if motion.slide is None else motion.slide.apply(free)
    off = free - motion.planning_from_verification.apply(inside)
    assert np.linalg.norm(off.mean(axis=0)) < 0.15
    assert np.sqrt((off**2).sum(axis=1).mean()) < 1.5
    again = rigid_projection(inside, free)
    angle = Rotation.from_matrix(again.rotation @ motion.planning_from_verification.rotation.T).magnitude()
    assert np.degrees(angle) < 0.5


def _volume_share(points: Float64Array, motion: Motion) -> Float64Array:
    """Radii were drawn evenly: this makes the points even in volume."""
    return np.asarray((np.linalg.norm(points - motion.verification_center, axis=1) / RADIUS_MM) ** 2)


def test_rigid_projection_finds_a_rigid_motion_and_never_a_reflection() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3)) * 10.0
    turn = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
    truth = RigidTransform.from_rotation(turn, (4.0, -7.0, 2.0))
    assert np.abs(rigid_projection(points, truth.apply(points)).matrix - truth.matrix).max() < 1e-9
    mirrored = points * np.array([-1.0, 1.0, 1.0])
    assert np.linalg.det(rigid_projection(points, mirrored).rotation) == pytest.approx(1.0)


def test_contraction_shortens_the_zone_evenly_and_fades_beyond() -> None:
    center = np.array([3.0, 2.0, 1.0])
    drawn_in = Contraction(center, 0.1, 15.0)
    unit = evenly_spread(50)
    within = drawn_in.inverse_displacement_mm(center + 5.0 * unit)
    assert np.einsum("ni,ni->n", within, unit) == pytest.approx(0.5, rel=0.01)
    far = drawn_in.inverse_displacement_mm(center + 45.0 * unit)
    assert np.einsum("ni,ni->n", far, unit) == pytest.approx(0.1 * 45.0 / 27.0, rel=0.01)
    # The tumor beside the zone's center is pulled along.
    turn = np.eye(3)
    free = FreeDeformation(turn, center, center, contraction=drawn_in)
    assert free.to_planning(center[None] + 4.0 * unit[:1]) == pytest.approx(center + 4.4 * unit[:1], abs=0.02)


def test_a_stiff_lung_bends_less_around_the_tumor_than_a_smooth_one() -> None:
    bends = {kind: [_bend_mm(drawn(kind, seed, contraction=0.0)) for seed in range(8)] for kind in KINDS[:2]}
    assert np.median(bends["stiff"]) < 0.6 * np.median(bends["smooth"])


def _bend_mm(motion: Motion) -> float:
    """What an affine motion leaves of the deformation around the tumor, RMS."""
    shell = around(motion.verification_center, RADIUS_MM + 12.0, RADIUS_MM + 20.0)
    ones = np.c_[shell - motion.verification_center, np.ones(len(shell))]
    moved = motion.lung_to_planning(shell)
    found, *_ = np.linalg.lstsq(ones, moved, rcond=None)
    return float(np.sqrt(((moved - ones @ found) ** 2).sum(axis=1).mean()))


# --- Sliding


def test_a_slide_jumps_along_the_pleura_and_leaves_the_boundary_where_it_is() -> None:
    jump = np.array([0.0, 0.0, 8.0])
    slide = slide_along(PLEURA, jump, CENTER, 60.0)
    places = np.random.default_rng(3).uniform(CENTER - 58.0, CENTER + 58.0, (60_000, 3))
    depth = lung_depth_mm(places)
    skin = places[(depth > 0.0) & (depth < 2.0) & (places[:, 0] < -100.0)]
    assert len(skin) > 100
    carried = slide.apply(skin)
    assert np.abs(lung_depth_mm(carried) - lung_depth_mm(skin)).max() < 0.25
    moved = np.linalg.norm(carried - skin, axis=1)
    assert np.median(moved) == pytest.approx(8.0, abs=1.0)
    deep = places[(depth > 30.0) & (places[:, 0] < -76.0)]
    assert np.abs(slide.apply(deep) - deep - jump).max() < 0.2
    medial = places[places[:, 0] > -40.0 + 2.0 * FLOW_LATTICE_MM]
    assert np.abs(slide.apply(medial) - medial).max() < 0.05


def test_chest_wall_stays_while_the_lung_slides() -> None:
    motion = drawn("sliding", 2)
    points = around(motion.verification_center, 15.0, 60.0, 20_000)
    wall = motion.wall_to_planning(points)
    outside = lung_depth_mm(wall) < 0.0
    mapped = motion.to_planning(points)
    assert outside.any()
    assert np.array_equal(mapped[outside], wall[outside])
    away = np.linalg.norm(points - motion.verification_center, axis=1) > RADIUS_MM + 14.0
    at_pleura = (lung_depth_mm(wall) > 0.0) & (lung_depth_mm(wall) < 2.0) & (wall[:, 0] < -100.0) & away
    assert np.median(np.linalg.norm((mapped - wall)[at_pleura], axis=1)) > 2.0
    # No gap and no overlap: what was lung is lung.
    assert (lung_depth_mm(mapped[at_pleura]) > -0.3).all()


def test_a_slide_needs_a_pleura() -> None:
    with pytest.raises(InvalidRequestError, match="pleura"):
        random_motion(
            np.random.default_rng(0), CENTER, 8.0, rigid_only=False, contraction=0.0, deformation="sliding"
        )


def test_too_strong_a_contraction_is_refused_rather_than_folded() -> None:
    with pytest.raises(InvalidRequestError, match="contraction"):
        drawn("smooth", contraction=-0.9)


# --- Ablation and chest


@pytest.mark.parametrize("margin_mm", [-3.0, 0.5, 4.0, 6.5, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_an_ablation_has_the_margin_that_was_asked_for(margin_mm: float, seed: int) -> None:
    ablation = random_ablation(np.random.default_rng(seed), "miss", margin_mm)
    assert ablation.margin_mm(evenly_spread(30_000)).min() == pytest.approx(margin_mm, abs=0.05)


@pytest.fixture(scope="module")
def scanned() -> CtVolume:
    # At the wall, so that the scan shows it.
    return make_procedure(5, pleural=True, size_mm=80.0, tumor_volume_ml=1.0, rigid_only=True).planning


def test_lung_found_in_a_ct_is_the_lung_it_was_made_of(scanned: CtVolume) -> None:
    center = np.mean(scanned.geometry.corners_lps_mm(), axis=0)
    chest = chest_of_ct(scanned, center)
    points = np.random.default_rng(0).uniform(center - 38.0, center + 38.0, (8000, 3))
    true, found = lung_depth_mm(points), chest.lung_depth_mm(points)
    near = np.abs(true) < 8.0
    assert near.sum() > 200
    assert np.median(np.abs(found[near] - true[near])) < 1.5
    assert chest.pleura.free_at_x_mm < chest.pleura.still_at_x_mm  # the right lung: lateral is to the right


def test_a_place_is_as_deep_as_was_asked_for_or_refused() -> None:
    rng = np.random.default_rng(0)
    low, high = CENTER - 60.0, CENTER + 60.0
    place = random_place(rng, lung_depth_mm, low, high, (5.0, 9.0))
    assert 5.0 <= lung_depth_mm(place) <= 9.0
    with pytest.raises(InvalidRequestError, match="below the pleura"):
        random_place(rng, lung_depth_mm, low, high, (500.0, 501.0))


def test_no_lung_is_no_chest() -> None:
    grid = VolumeGeometry((20, 20, 20), (2.0, 2.0, 2.0))
    solid = CtVolume(np.full((20, 20, 20), 40, dtype=np.int16), grid)
    with pytest.raises(InvalidRequestError, match="no lung"):
        chest_of_ct(solid, np.zeros(3))


def test_procedural_chest_is_as_large_as_asked() -> None:
    chest = procedural_chest(np.random.default_rng(0), CENTER, 12.0)
    assert (chest.low_lps_mm <= CENTER - 12.0).all()
    assert (chest.high_lps_mm >= CENTER + 11.0).all()


# --- Pneumothorax


@pytest.fixture(scope="module")
def collapse() -> tuple[CtVolume, LabelMask, LabelMask, Callable[[float], CollapsedLung]]:
    """A slab of lung behind a wall at x = -60: depth is the distance from it."""
    grid = VolumeGeometry((40, 40, 60), (1.5, 1.5, 1.5), origin_lps_mm=(-75.0, -30.0, -30.0))
    x, y, z = (grid.to_lps(np.moveaxis(np.indices(grid.shape_zyx), 0, -1))[..., axis] for axis in range(3))
    lung = x >= -60.0
    zone = (x + 30.0) ** 2 + y**2 + z**2 <= 8.0**2
    hu = np.where(lung, -850.0 + 40.0 * np.sin(x / 3.0), 40.0)
    ct = CtVolume(np.where(zone, -100, np.rint(hu)).astype(np.int16), grid)
    lung_mask, zone_mask = LabelMask(lung, grid, "lung"), LabelMask(zone, grid, "ablation zone")

    def with_gap(gap_mm: float) -> CollapsedLung:
        return collapse_lung(ct, lung_mask, np.array([-30.0, 0.0, 0.0]), gap_mm=gap_mm, masks=(zone_mask,))

    return ct, lung_mask, zone_mask, with_gap


Collapse = tuple[CtVolume, LabelMask, LabelMask, Callable[[float], CollapsedLung]]


def test_a_collapsed_lung_has_air_before_the_wall_and_falls_back(collapse: Collapse) -> None:
    ct, lung, zone, with_gap = collapse
    found = with_gap(10.0)
    middle = found.air.voxels[20, 20]
    assert 1.5 * middle.sum() == pytest.approx(10.0, abs=1.6)
    assert not (found.air.voxels & ~lung.voxels).any()
    assert found.ct.voxels_hu[found.air.voxels].mean() == pytest.approx(-990.0, abs=5.0)
    assert np.array_equal(found.ct.voxels_hu[~lung.voxels], ct.voxels_hu[~lung.voxels])
    moved = found.masks[0]
    before, after = (m.geometry.to_lps(np.argwhere(m.voxels).mean(axis=0)) for m in (zone, moved))
    # 30 mm below the pleura: (1 - 20/45)^2 of 10 mm and a little more, away from the wall.
    assert 2.0 < after[0] - before[0] < 6.5
    assert abs(after[1] - before[1]) < 0.5
    assert found.ct.voxels_hu[moved.voxels].mean() > -200.0


def test_no_gap_is_no_collapse(collapse: Collapse) -> None:
    ct, _, zone, with_gap = collapse
    found = with_gap(0.0)
    assert np.array_equal(found.ct.voxels_hu, ct.voxels_hu)
    assert np.array_equal(found.masks[0].voxels, zone.voxels)
    assert not found.air.voxels.any()


def test_collapse_wants_masks_on_the_grid_of_the_ct(collapse: Collapse) -> None:
    ct, lung, _, _ = collapse
    elsewhere = lung.crop(VoxelBox((1, 0, 0), lung.geometry.shape_zyx))
    with pytest.raises(GridMismatchError):
        collapse_lung(ct, elsewhere, CENTER)
    with pytest.raises(GridMismatchError):
        collapse_lung(ct, lung, CENTER, masks=(elsewhere,))
