"""The whole registration on made-up patients: known motions come back, and what cannot be trusted is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.errors import EmptyMaskError, GridMismatchError
from engine.geometry import RigidTransform, Vector3, VolumeGeometry, VoxelBox
from engine.refusal import RefusalCode, RefusedError
from engine.registration import lesion_alignment
from engine.registration import register as registering
from engine.registration.lesion_alignment import align_rigidly, refine, translate
from engine.registration.planning_features import planning_features
from engine.registration.register import RegisteredPair, register
from engine.volume import CtVolume, LabelMask
from tests.support.registration_quality import GOOD
from tests.support.spheres import ball, positions
from tests.support.textures import Mapping, bump, scan, texture_hu, unmoved

LESION = np.array([4.0, -6.0, 3.0])
TUMOR_MM = 8.0
ZONE_MM = 14.0
TUMOR_HU = 20
ZONE_HU = -100
WALL_X_MM = -38.0
"""Lung is on its left; the chest wall has a texture of its own, in soft tissue."""


def grid_at(
    center: Float64Array, spacing: Vector3, half_mm: float = 50.0, turn: Float64Array | None = None
) -> VolumeGeometry:
    """A grid around a place; ``turn`` rotates its axes."""
    n = [round(2 * half_mm / s) for s in spacing]
    axes = np.eye(3) if turn is None else turn
    z, y, x = ((float(a), float(b), float(c)) for a, b, c in (axes[:, 2], axes[:, 1], axes[:, 0]))
    half = 0.5 * (np.array(n[::-1]) - 1) * np.array(spacing[::-1])
    a, b, c = (float(v) for v in center - axes @ half)
    return VolumeGeometry((n[0], n[1], n[2]), spacing, (z, y, x), (a, b, c))


def with_painted(ct: CtVolume, mask: LabelMask, hu: int) -> CtVolume:
    voxels = ct.voxels_hu.copy()
    voxels[mask.voxels] = hu
    return CtVolume(voxels, ct.geometry)


@dataclass(frozen=True, eq=False)
class Verification:
    """A scan after the burn, and where its places were before."""

    ct: CtVolume
    zone: LabelMask
    place: Float64Array
    to_planning: Mapping


def verification(
    to_planning: Mapping,
    place: Float64Array,
    *,
    spacing: Vector3 = (1.5, 1.3, 1.3),
    turn: Float64Array | None = None,
    seed: int = 1,
    half_mm: float = 50.0,
) -> Verification:
    off = np.array([3.0, 2.0, -2.0])
    grid = grid_at(place + off, spacing, half_mm, turn)
    zone = ball(grid, place + off, ZONE_MM, "ablation zone")
    return Verification(with_painted(scan(seed, grid, to_planning), zone, ZONE_HU), zone, place, to_planning)


@cache
def planned() -> tuple[CtVolume, LabelMask]:
    grid = grid_at(LESION + np.array([2.0, -3.0, 1.0]), (1.5, 1.2, 1.2), 62.0)
    tumor = ball(grid, LESION, TUMOR_MM, "tumor")
    return with_painted(scan(1, grid), tumor, TUMOR_HU), tumor


def registered_with(seen: Verification, deadline_s: float | None = None) -> RegisteredPair:
    planning, tumor = planned()
    return register(seen.ct, planning, fixed_zone=seen.zone, moving_tumor=tumor, deadline_s=deadline_s)


def rigid(shift: Vector3, turn_deg: Vector3) -> RigidTransform:
    """Planning from verification; the lesion lies at its place plus ``shift``."""
    turn = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    return RigidTransform.from_rotation(turn, LESION - turn @ (LESION + np.array(shift)))


def breathing(shift: Vector3) -> tuple[Mapping, Float64Array]:
    """Turned, shifted and bent by up to 5 mm."""
    planning_from_verification, place = rigid(shift, (3.0, -2.0, 2.0)), LESION + np.array(shift)
    bend = bump(place + np.array([20.0, -14.0, 8.0]), np.array([3.0, 2.5, -3.0]), 24.0)
    return (lambda points: planning_from_verification.apply(points + bend(points))), place


def shell(center: Float64Array, inner_mm: float = 26.0, outer_mm: float = 38.0) -> Float64Array:
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(800, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return np.asarray(center + unit * rng.uniform(inner_mm, outer_mm, (800, 1)))


def inside_tumor(center: Float64Array) -> Float64Array:
    return shell(center, 0.0, TUMOR_MM - 1.0)


def error_mm(pair: RegisteredPair, seen: Verification, points: Float64Array) -> Float64Array:
    off = points + pair.field.at(points) - seen.to_planning(points)
    return np.asarray(np.linalg.norm(off, axis=1))


@cache
def breathed() -> Verification:
    return verification(*breathing((-14.0, 9.0, 22.0)))


@cache
def usual() -> RegisteredPair:
    return registered_with(breathed())


def test_a_breath_is_followed_and_the_tumor_found() -> None:
    found, seen = usual().alignment, breathed()
    assert found.method == "deformable"
    assert error_mm(usual(), seen, shell(seen.place)).mean() < 0.3
    assert error_mm(usual(), seen, inside_tumor(seen.place)).mean() < 0.6
    assert found.similarity == found.quality.similarity > 0.99
    assert found.quality.residual_mm < 0.2
    assert found.quality.folding_share == 0.0
    assert found.quality.min_jacobian > 0.5
    assert 0.2 < found.uncertainty_mm < 1.5
    turn = found.planning_from_verification.rotation
    assert np.allclose(turn @ turn.T, np.eye(3))


@pytest.mark.parametrize("shift", [(3.0, 39.0, -8.0), (0.0, 0.0, 0.0)])
def test_a_rigid_motion_is_found_up_to_40_mm_off(shift: Vector3) -> None:
    planning_from_verification, place = rigid(shift, (0.0, 5.0, 0.0)), LESION + np.array(shift)
    seen = verification(planning_from_verification.apply, place, spacing=(2.0, 1.4, 1.4))
    found = registered_with(seen).alignment
    around = place + TUMOR_MM * np.array([[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1]])
    off = found.planning_from_verification.apply(around) - planning_from_verification.apply(around)
    assert np.linalg.norm(off, axis=1).max() < 0.4


def test_axes_and_grids_do_not_matter() -> None:
    """Rows askew and another spacing: the same places of the patient go to the same places."""
    turn = Rotation.from_euler("xyz", (12.0, -9.0, 17.0), degrees=True).as_matrix()
    seen = verification(*breathing((-14.0, 9.0, 22.0)), spacing=(1.25, 1.5, 1.5), turn=turn, half_mm=54.0)
    askew = registered_with(seen)
    points = shell(seen.place)
    assert error_mm(askew, seen, points).mean() < 0.3
    field, other = askew.field, usual().field
    apart = np.linalg.norm(field.at(points) - other.at(points), axis=1)
    assert apart.mean() < 0.3
    at_tumor = field.at(seen.place) - other.at(seen.place)
    assert np.linalg.norm(at_tumor) < 0.3


def test_slices_stored_from_head_to_feet_change_nothing() -> None:
    seen = breathed()
    grid = seen.ct.geometry
    last = grid.to_lps(np.array([grid.shape_zyx[0] - 1.0, 0.0, 0.0]))
    a, b, c = (float(v) for v in last)
    dz, dy, dx = grid.directions_zyx_lps
    flipped = replace(grid, directions_zyx_lps=((-dz[0], -dz[1], -dz[2]), dy, dx), origin_lps_mm=(a, b, c))
    ct = CtVolume(np.ascontiguousarray(seen.ct.voxels_hu[::-1]), flipped)
    zone = LabelMask(np.ascontiguousarray(seen.zone.voxels[::-1]), flipped, "ablation zone")
    found = registered_with(replace(seen, ct=ct, zone=zone)).alignment
    assert (
        np.abs(
            found.planning_from_verification.matrix - usual().alignment.planning_from_verification.matrix
        ).max()
        < 0.02
    )


def test_the_field_is_rigid_in_the_tumor_and_reaches_35_mm_around_it() -> None:
    found, seen = usual(), breathed()
    planning_from_verification = found.alignment.planning_from_verification
    points = inside_tumor(planning_from_verification.inverse.apply(LESION))
    moved = planning_from_verification.apply(points)
    assert points + found.field.at(points) == pytest.approx(moved, abs=1e-3)
    assert found.field.jacobian_determinant().min() > 0.0
    ends = found.field.geometry.corners_lps_mm()
    image = seen.ct.geometry.corners_lps_mm()
    tumor_low, tumor_high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    assert (ends.min(axis=0) <= np.maximum(tumor_low - 35.0, image.min(axis=0) + 1.5)).all()
    assert (ends.max(axis=0) >= np.minimum(tumor_high + 35.0, image.max(axis=0) - 1.5)).all()


def test_the_same_scans_give_the_same_answer() -> None:
    again = registered_with(breathed())
    assert again.alignment.planning_from_verification == usual().alignment.planning_from_verification
    assert np.array_equal(
        again.alignment.translation_covariance_mm2, usual().alignment.translation_covariance_mm2
    )
    assert np.array_equal(again.field.displacement_lps_mm, usual().field.displacement_lps_mm)
    assert again.alignment.quality == usual().alignment.quality


def test_a_deadline_gives_a_coarser_answer_that_says_so() -> None:
    seen = breathed()
    hurried = registered_with(seen, deadline_s=0.0)
    assert hurried.alignment.method == "deformable_coarse"
    assert hurried.alignment.coarse_only
    assert not usual().alignment.coarse_only
    assert hurried.alignment.uncertainty_mm > usual().alignment.uncertainty_mm + 0.3
    assert error_mm(hurried, seen, inside_tumor(seen.place)).mean() < 1.5


def test_time_enough_changes_nothing() -> None:
    planning, tumor = planned()
    side = planning_features(planning, tumor)
    seen = breathed()
    found = translate(side, seen.ct, seen.zone)
    assert found.method == "translation"
    rigidly = align_rigidly(side, seen.ct, seen.zone, found)
    assert rigidly.method == "rigid"
    refined = refine(side, rigidly, deadline_s=1e6)
    assert refined.method == "deformable"
    assert refined.planning_from_verification == usual().alignment.planning_from_verification
    uncertain = [one.uncertainty_mm for one in (found, rigidly, refined)]
    assert uncertain == sorted(uncertain, reverse=True)
    off = [
        np.linalg.norm(one.planning_from_verification.apply(seen.place) - seen.to_planning(seen.place))
        for one in (found, rigidly, refined)
    ]
    assert off[0] < 4.0
    assert off[1] < 1.5
    assert off[2] < 0.6


def test_whole_scans_without_masks() -> None:
    to_planning, place = breathing((-5.0, 4.0, 6.0))
    seen = verification(to_planning, place)
    plain = scan(1, seen.ct.geometry, to_planning)
    found = register(plain, scan(1, planned()[0].geometry))
    assert found.alignment.method == "deformable"
    assert error_mm(found, seen, shell(place, 0.0, 38.0)).mean() < 0.3
    ends, image = found.field.geometry.corners_lps_mm(), plain.geometry.corners_lps_mm()
    assert (ends.min(axis=0) <= image.min(axis=0) + 1.5).all()
    assert (ends.max(axis=0) >= image.max(axis=0) - 1.5).all()
    hurried = register(plain, scan(1, planned()[0].geometry), deadline_s=0.0)
    assert hurried.alignment.method == "deformable_coarse"
    assert hurried.alignment.uncertainty_mm > found.alignment.uncertainty_mm


def test_a_zone_alone_and_a_tumor_alone() -> None:
    seen = breathed()
    planning, tumor = planned()
    zone_alone = register(seen.ct, planning, fixed_zone=seen.zone)
    tumor_alone = register(scan(1, seen.ct.geometry, seen.to_planning), planning, moving_tumor=tumor)
    for found in (zone_alone, tumor_alone):
        assert error_mm(found, seen, shell(seen.place)).mean() < 0.4


def test_masks_that_are_empty_or_elsewhere_are_errors() -> None:
    seen, (planning, tumor) = breathed(), planned()
    with pytest.raises(GridMismatchError, match="ablation zone"):
        register(seen.ct, planning, fixed_zone=replace(tumor, name="ablation zone"), moving_tumor=tumor)
    with pytest.raises(GridMismatchError, match="tumor"):
        register(seen.ct, planning, fixed_zone=seen.zone, moving_tumor=replace(seen.zone, name="tumor"))
    nothing = LabelMask(np.zeros_like(tumor.voxels), tumor.geometry, "tumor")
    with pytest.raises(EmptyMaskError, match="tumor"):
        register(seen.ct, planning, moving_tumor=nothing)


# --- Refusals


def refused(seen: Verification, planning: tuple[CtVolume, LabelMask] | None = None) -> RefusedError:
    ct, tumor = planning or planned()
    with pytest.raises(RefusedError) as caught:
        register(seen.ct, ct, fixed_zone=seen.zone, moving_tumor=tumor)
    assert len(caught.value.refusal.reason) > 40
    return caught.value


def test_another_patient_is_refused() -> None:
    said = refused(verification(unmoved, LESION, seed=2)).refusal
    assert said.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH
    assert "another patient" in said.reason
    assert "Check that both scans" in said.reason


def test_a_mirrored_patient_is_refused_as_the_wrong_side() -> None:
    def mirrored(points: Float64Array) -> Float64Array:
        return np.asarray(points * np.array([-1.0, 1.0, 1.0]) + np.array([2.0 * LESION[0], 0.0, 0.0]))

    said = refused(verification(mirrored, LESION)).refusal
    assert said.code is RefusalCode.WRONG_SIDE
    assert "left and right" in said.reason


@pytest.mark.parametrize("with_masks", [True, False])
def test_a_scan_without_structure_is_refused(with_masks: bool) -> None:
    seen = breathed()
    ct = CtVolume(np.full_like(seen.ct.voxels_hu, -850), seen.ct.geometry)
    if with_masks:
        refused(replace(seen, ct=ct))
    else:
        with pytest.raises(RefusedError):
            register(ct, planned()[0])


def test_a_verification_ct_beside_the_lesion_is_refused() -> None:
    """It shows the same patient, but ends before the lesion."""
    grid = grid_at(LESION + np.array([0.0, 0.0, 44.0]), (1.5, 1.3, 1.3), 40.0)
    zone = ball(grid, LESION + np.array([0.0, 0.0, 22.0]), 10.0, "ablation zone")
    seen = Verification(with_painted(scan(1, grid), zone, ZONE_HU), zone, LESION, unmoved)
    said = refused(seen).refusal
    assert said.code is RefusalCode.LESION_OUTSIDE_OVERLAP
    assert "scan" in said.reason


def test_a_planning_ct_that_shows_hardly_more_than_the_lesion_is_refused() -> None:
    planning, tumor = planned()
    near = np.array(planning.geometry.to_index(LESION)).round().astype(int)
    half = np.array([15, 18, 18])
    box = VoxelBox.between(near - half, near + half + 1)
    cut = (planning.crop(box), tumor.crop(box))
    said = refused(verification(unmoved, LESION), cut).refusal
    assert said.code is RefusalCode.LESION_OUTSIDE_OVERLAP
    assert "larger field of view" in said.reason


def chest(grid: VolumeGeometry, to_planning: Mapping = unmoved, wall: Mapping = unmoved) -> CtVolume:
    """Lung with a chest wall beside it that moves on its own."""
    places = positions(grid)
    outside = wall(places)
    solid = 40.0 + 0.7 * (texture_hu(7, outside) + 700.0)
    # The pleura is flat and runs along y and z: sliding along it leaves no gap.
    share = np.clip((WALL_X_MM - outside[..., 0]) / 1.5 + 0.5, 0.0, 1.0)
    hu = share * solid + (1.0 - share) * texture_hu(1, to_planning(places))
    return CtVolume(np.rint(hu).astype(np.int16), grid)


@cache
def planned_chest() -> tuple[CtVolume, LabelMask]:
    _, tumor = planned()
    return with_painted(chest(tumor.geometry), tumor, TUMOR_HU), tumor


def test_air_beside_the_lung_is_refused() -> None:
    grid = grid_at(LESION, (1.5, 1.3, 1.3))
    zone = ball(grid, LESION, ZONE_MM, "ablation zone")
    burnt = with_painted(chest(grid), zone, ZONE_HU)
    planning, tumor = planned_chest()
    assert register(burnt, planning, fixed_zone=zone, moving_tumor=tumor).alignment.quality.new_air_ml < 5.0
    x = positions(grid)[..., 0]
    air = LabelMask((x > WALL_X_MM) & (x < WALL_X_MM + 10.0), grid, "air")
    seen = Verification(with_painted(burnt, air, -990), zone, LESION, unmoved)
    said = refused(seen, (planning, tumor)).refusal
    assert said.code is RefusalCode.LUNG_CHANGED
    assert "re-expanded" in said.reason


def test_lung_that_slides_along_the_wall_takes_the_tumor_along() -> None:
    jump = np.array([0.0, 1.0, 7.0])
    grid = grid_at(LESION - jump, (1.5, 1.3, 1.3))
    zone = ball(grid, LESION - jump, ZONE_MM, "ablation zone")
    slid = with_painted(chest(grid, lambda p: p + jump), zone, ZONE_HU)
    planning, tumor = planned_chest()
    found = register(slid, planning, fixed_zone=zone, moving_tumor=tumor)
    off = found.alignment.planning_from_verification.apply(LESION - jump) - LESION
    assert np.linalg.norm(off) < 0.4


def test_refine_refuses_what_its_judge_does_not_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lesion_alignment, registering):
        monkeypatch.setattr(module, "judge", lambda *_, **__: replace(GOOD, min_jacobian=-0.2))
    seen = breathed()
    planning, tumor = planned()
    for zone, structure in ((seen.zone, tumor), (seen.zone, None)):
        with pytest.raises(RefusedError) as caught:
            register(seen.ct, planning, fixed_zone=zone, moving_tumor=structure, deadline_s=0.0)
        assert caught.value.refusal.code is RefusalCode.FOLDING
