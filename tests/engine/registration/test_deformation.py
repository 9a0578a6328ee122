"""The dense deformation on made-up texture: known motions come back, and nothing else moves it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.geometry import RigidTransform, VolumeGeometry, VoxelBox
from engine.registration.comparison import BORDER_MM, COARSE_BORDER_MM, compare_whole
from engine.registration.deformation import Deformation, Level, deform, local_model
from engine.registration.evidence import METAL_HALO_MM
from engine.registration.region import ComparisonRegion, SourceRegion
from engine.volume import CtVolume
from tests.support.spheres import centered_grid, positions
from tests.support.textures import Mapping, bump, fixed_region, moving_region, scan

GRID_MM = 1.5
COARSE = (Level(3.0, 12.0, 9.0, 6, 1000.0), Level(3.0, 12.0, 9.0, 4, 100.0))
FINE = Level(GRID_MM, 4.5, 9.0, 6, 10.0)
FIXED = centered_grid((GRID_MM,) * 3, 36.0)
MOVING = centered_grid((GRID_MM,) * 3, 50.0)
INTERIOR_MM = 30.0

AFFINE = np.array([[1.04, 0.02, 0.0], [-0.03, 0.97, 0.01], [0.0, 0.02, 1.03]])
AFFINE_SHIFT = np.array([1.5, -2.0, 1.0])


def affine(points: Float64Array) -> Float64Array:
    return np.asarray(points @ (AFFINE - np.eye(3)).T + AFFINE_SHIFT)


def translation(points: Float64Array) -> Float64Array:
    return np.broadcast_to(np.array([2.5, -3.0, 4.0]), points.shape)


smooth_bump = bump(np.array([4.0, -3.0, 2.0]), np.array([5.0, -3.5, 5.1]), 20.0)
MOTIONS: dict[str, Mapping] = {"translation": translation, "affine": affine, "bump": smooth_bump}


def find(
    fixed: ComparisonRegion,
    moving: SourceRegion,
    evidence: npt.NDArray[np.bool_] | None = None,
    start: RigidTransform | None = None,
) -> Deformation:
    """Coarse, then fine."""
    counted = fixed.inside if evidence is None else evidence
    at = RigidTransform.identity() if start is None else start
    half = np.ascontiguousarray(counted[::2, ::2, ::2])
    coarse = deform(fixed.coarser(), moving.thinned(3.0), half, at, COARSE)
    return deform(fixed, moving, counted, at, (FINE,), initial=coarse)


@cache
def texture() -> SourceRegion:
    return moving_region(1, MOVING)


@cache
def shown(motion: str) -> ComparisonRegion:
    return fixed_region(1, FIXED, lambda points: points + MOTIONS[motion](points))


@cache
def found_for(motion: str) -> Deformation:
    return find(shown(motion), texture())


def interior(half_mm: float = INTERIOR_MM) -> Float64Array:
    return np.random.default_rng(0).uniform(-half_mm, half_mm, (3000, 3))


def error_mm(found: Deformation, motion: Mapping, points: Float64Array) -> Float64Array:
    off = found.displacement_mm(points) - motion(points)
    return np.asarray(np.linalg.norm(off, axis=-1))


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_known_motion_comes_back(motion: str) -> None:
    off = error_mm(found_for(motion), MOTIONS[motion], interior())
    assert off.mean() < 0.1
    assert np.percentile(off, 95) < 0.2


def test_the_largest_displacement_was_as_large_as_said() -> None:
    assert np.linalg.norm(smooth_bump(np.array([[4.0, -3.0, 2.0]]))) == pytest.approx(8.0, abs=0.05)


def test_a_turned_start_and_oblique_axes_of_the_moving_ct_change_nothing() -> None:
    """The same motion, found from a rigid start, in a moving scan whose rows run askew."""
    start = RigidTransform.from_rotation(
        Rotation.from_euler("xyz", (6.0, -4.0, 8.0), degrees=True).as_matrix(), (12.0, -30.0, 7.0)
    )
    turn = Rotation.from_euler("xyz", (10.0, 20.0, -15.0), degrees=True).as_matrix()
    z, y, x = (tuple(float(v) for v in turn[:, axis]) for axis in (2, 1, 0))
    half = -45.0 * (turn @ np.ones(3)) + start.translation_mm
    askew = VolumeGeometry((76, 65, 65), (1.2, 1.4, 1.4), (z, y, x), tuple(half))  # type: ignore[arg-type] # three
    fixed = fixed_region(1, FIXED, lambda p: start.apply(p + smooth_bump(p)))
    found = find(fixed, moving_region(1, askew), start=start)
    near = interior(22.0)
    assert error_mm(found, smooth_bump, near).mean() < 0.15
    in_moving = start.apply(near + smooth_bump(near))
    assert np.linalg.norm(found.to_moving(near) - in_moving, axis=1).mean() < 0.15


@pytest.mark.parametrize(
    ("gain", "offset", "within_mm"), [(1.3, 80.0, 0.16), (0.75, -60.0, 0.18), (1.0, 100.0, 1e-4)]
)
def test_density_that_breathing_changes_does_not_move_the_field(
    gain: float, offset: float, within_mm: float
) -> None:
    changed = SourceRegion((gain * texture().hu + offset).astype(np.float32), texture().geometry)
    found = find(shown("bump"), changed)
    points = interior()
    apart = found.displacement_mm(points) - found_for("bump").displacement_mm(points)
    assert np.linalg.norm(apart, axis=1).mean() < within_mm


def test_under_a_void_is_what_the_surroundings_predict() -> None:
    """An affine motion costs the prior nothing: the void adds next to nothing to the error around it."""
    void = np.linalg.norm(positions(FIXED), axis=-1) <= 16.0
    hu = shown("affine").hu.copy()
    hu[void] = 60.0
    burnt = ComparisonRegion(hu, shown("affine").inside, FIXED)
    points = interior(9.0)
    honest = error_mm(find(burnt, texture(), ~void), affine, points)
    assert honest.max() < 0.25
    # Were the burn evidence, it would drag its surroundings along.
    assert error_mm(find(burnt, texture()), affine, points).mean() > 2.0 * honest.mean()


def test_no_stiffness_holds_an_affine_motion_back() -> None:
    rigid_prior = tuple(replace(level, stiffness=1e7) for level in COARSE)
    fixed = shown("affine")
    half = np.ascontiguousarray(fixed.inside[::2, ::2, ::2])
    found = deform(fixed.coarser(), texture().thinned(3.0), half, RigidTransform.identity(), rigid_prior)
    assert error_mm(found, affine, interior()).max() < 0.3
    bent = deform(
        shown("bump").coarser(), texture().thinned(3.0), half, RigidTransform.identity(), rigid_prior
    )
    assert error_mm(bent, smooth_bump, interior()).mean() > 1.0


def test_places_beyond_the_moving_ct_do_not_pull() -> None:
    """The moving scan ends in the middle of the fixed one; the motion goes on beyond its edge."""
    half = MOVING.crop(VoxelBox((0, 0, 0), (*MOVING.shape_zyx[:2], MOVING.shape_zyx[2] // 2)))
    found = find(shown("translation"), moving_region(1, half))
    edge = half.corners_lps_mm()[:, 0].max() - 2.5
    assert np.isnan(found.warped[:, :, positions(FIXED)[0, 0, :, 0] > edge + 1.0]).all()
    off = error_mm(found, translation, interior())
    assert off.max() < 0.5


def test_a_border_of_the_moving_ct_is_left_out() -> None:
    ct = scan(1, FIXED)
    comparison = compare_whole(ct, ct, None, RigidTransform.identity())
    for region, border in ((comparison.fine.moving, BORDER_MM), (comparison.coarse.moving, COARSE_BORDER_MM)):
        ends, whole = region.geometry.corners_lps_mm(), ct.geometry.corners_lps_mm()
        off = np.concatenate([ends.min(axis=0) - whole.min(axis=0), whole.max(axis=0) - ends.max(axis=0)])
        assert (off >= border - 0.8).all()
        assert (off <= border + 3.0).all()


def test_what_is_not_known_at_all_leaves_no_field() -> None:
    nothing = np.zeros(FIXED.shape_zyx, dtype=np.bool_)
    found = find(shown("bump"), texture(), nothing)
    assert np.array_equal(found.nodes_mm, np.zeros_like(found.nodes_mm))


def test_metal_is_no_evidence() -> None:
    """A needle is in one scan alone: with it the field is the one without it."""
    plain = scan(1, FIXED, lambda p: p + smooth_bump(p))
    hu = plain.voxels_hu.copy()
    hu[:, 24:26, 20:23] = 3000
    needled = CtVolume(hu, FIXED)
    moving = scan(1, MOVING)
    fields = []
    for ct in (plain, needled):
        fine = compare_whole(moving, ct, None, RigidTransform.identity()).fine
        fields.append(find(fine.fixed, fine.moving, fine.evidence))
        if ct is needled:
            places = fine.fixed.geometry.to_index(FIXED.to_lps(np.argwhere(hu == 3000).astype(float)))
            at = np.round(places).astype(int)
            assert not fine.evidence[tuple(at.T)].any()
            at[:, 1] -= round(METAL_HALO_MM / fine.fixed.geometry.spacing_zyx_mm[0])
            assert not fine.evidence[tuple(at.T)].any()
            assert fine.evidence.mean() > 0.9
    points = interior()
    apart = fields[0].displacement_mm(points) - fields[1].displacement_mm(points)
    assert np.linalg.norm(apart, axis=1).max() < 0.3


def test_the_same_scans_give_the_same_field() -> None:
    again = find(shown("bump"), texture())
    assert np.array_equal(again.nodes_mm, found_for("bump").nodes_mm)
    assert np.array_equal(again.tensor, found_for("bump").tensor)


def test_the_local_model_reads_gain_and_noise_and_survives_nothing() -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(-800.0, 150.0, 5000)
    f = 1.2 * w + 300.0 + rng.normal(0.0, 20.0, 5000)
    sums = np.array([5000.0, f.sum(), w.sum(), (f * f).sum(), (w * w).sum(), (f * w).sum()])
    told = local_model(np.stack([sums, np.zeros(6)])[None, None])[0, 0]
    assert told[0] == pytest.approx([f.mean(), w.mean(), 1.2, 20.0**2 + 10.0**2], rel=0.06)
    assert told[0, 2] == pytest.approx(1.2, abs=0.02)
    assert np.isfinite(told).all()
    assert told[1, 3] >= told[0, 3] * 0.99
