"""The tumor's motion from its surroundings: exact where it must be, honest where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.kernels.bending import solve_bending
from engine.registration import lesion_motion
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, field_of
from engine.registration.lesion_motion import LesionMotion, predict_lesion_motion, rigid_part
from engine.registration.rigid_tumor import field_with_rigid_tumor
from tests.support.spheres import ball, centered_grid
from tests.support.textures import Mapping

CENTER = np.array([-60.0, 20.0, 400.0])
NODE_MM = 4.5
STRENGTH = 30.0
"""Data term of a node, per mm²: of the order that a lung with vessels has."""

STIFFNESS = 10.0
VOID_MM = 16.0
NOISE_MM = 0.15


def lattice_of(nodes: int = 23) -> VolumeGeometry:
    x, y, z = (float(v) for v in CENTER - 0.5 * NODE_MM * (nodes - 1))
    return VolumeGeometry((nodes, nodes, nodes), (NODE_MM,) * 3, origin_lps_mm=(x, y, z))


def deformation(
    motion: Mapping,
    *,
    lattice: VolumeGeometry | None = None,
    void_mm: float = VOID_MM,
    noise_mm: float = 0.0,
    along_xyz: tuple[float, float, float] = (1.0, 1.0, 1.0),
    start: RigidTransform | None = None,
    seed: int = 0,
) -> Deformation:
    """A deformation whose data term knows a motion (LPS) at every node outside the void."""
    nodes = lattice or lattice_of()
    places = positions(nodes)
    seen = motion(places) + np.random.default_rng(seed).normal(0.0, 1.0, places.shape) * noise_mm
    known = np.linalg.norm(places - CENTER, axis=-1) > void_mm
    tensor = np.zeros((*nodes.shape_zyx, 6))
    for component, share in zip((5, 3, 0), along_xyz, strict=True):
        tensor[..., component] = np.where(known, STRENGTH * share, 0.0)
    right = tensor[..., [0, 3, 5]] * seen[..., ::-1]
    found = solve_bending(tensor, right, STIFFNESS, tolerance=1e-5)
    force = right - tensor[..., [0, 3, 5]] * found
    nothing = np.zeros((1, 1, 1), dtype=np.float32)
    at = RigidTransform.identity() if start is None else start
    return Deformation(at, found, nodes, tensor, force, STIFFNESS, nothing, np.zeros((1, 1, 1, 6)), nodes)


def tumor(seed: int = 0) -> Float64Array:
    """Places throughout a tumor of 14 mm."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(80, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return np.asarray(CENTER + 7.0 * np.cbrt(rng.uniform(0.0, 1.0, (80, 1))) * unit)


def predict(found: Deformation) -> LesionMotion:
    return predict_lesion_motion(found, tumor(), VOID_MM)


def rigid(turn_deg: tuple[float, float, float], shift: tuple[float, float, float]) -> RigidTransform:
    """Turning about the lesion."""
    turn = Rotation.from_rotvec(np.deg2rad(turn_deg)).as_matrix()
    return RigidTransform.from_rotation(turn, CENTER - turn @ CENTER + shift)


def still(points: Float64Array) -> Float64Array:
    return np.zeros_like(points)


def waving(seed: int, length_mm: float, spread_mm: float = 2.0, count: int = 12) -> Mapping:
    """Waves in every direction, of one length and with a displacement of ``spread_mm`` along each axis."""
    rng = np.random.default_rng(seed)
    way = rng.normal(size=(count, 3))
    number = 2.0 * np.pi / length_mm * way / np.linalg.norm(way, axis=1, keepdims=True)
    height = rng.normal(size=(count, 3)) * spread_mm * np.sqrt(2.0 / count)
    phase = rng.uniform(0.0, 2.0 * np.pi, count)
    return lambda points: np.asarray(np.cos((points - CENTER) @ number.T + phase) @ height)


def sd_mm(found: LesionMotion) -> float:
    return float(np.sqrt(np.trace(found.covariance_mm2) / 3.0))


# --- The motion


@pytest.mark.parametrize(
    ("turn_deg", "shift"), [((4.0, 0.0, 0.0), (6.0, 0.0, 0.0)), ((-2.0, 3.0, 4.0), (-1.0, 5.0, 3.0))]
)
def test_a_rigid_motion_is_found_exactly(
    turn_deg: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    truth = rigid(turn_deg, shift)
    found = predict(deformation(lambda p: truth.apply(p) - p))
    off = found.moving_from_fixed.apply(tumor()) - truth.apply(tumor())
    assert np.abs(off).max() < 0.01
    assert found.hole_error_mm < 0.2


def test_the_start_comes_before_the_deformation() -> None:
    start, truth = rigid((10.0, -20.0, 15.0), (30.0, -12.0, 9.0)), rigid((1.0, 2.0, -1.0), (1.0, -2.0, 0.5))
    found = predict(deformation(lambda p: truth.apply(p) - p, start=start))
    assert np.abs(found.moving_from_fixed.apply(tumor()) - (start @ truth).apply(tumor())).max() < 0.05


def test_the_tumor_keeps_its_size_in_a_converging_field() -> None:
    found = predict(deformation(lambda p: 0.15 * (p - CENTER)))
    turn = found.moving_from_fixed.rotation
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert np.linalg.norm(found.moving_from_fixed.apply(CENTER) - CENTER) < 0.2


def test_the_rigid_part_turns_and_never_mirrors() -> None:
    points = np.random.default_rng(0).normal(size=(40, 3)) * 9.0
    truth = rigid((20.0, -35.0, 50.0), (4.0, -7.0, 2.0))
    assert np.abs(rigid_part(points, truth.apply(points)).matrix - truth.matrix).max() < 1e-9
    mirrored = rigid_part(points, points * np.array([-1.0, 1.0, 1.0]))
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1.0)


# --- How sure it is


def require_covariance(found: LesionMotion) -> None:
    np.testing.assert_allclose(found.covariance_mm2, found.covariance_mm2.T, atol=1e-12)
    assert np.linalg.eigvalsh(found.covariance_mm2).min() > 0.0
    assert found.rotation_sd_deg > 0.0


def test_a_lung_that_wiggles_is_less_sure_than_a_stiff_one() -> None:
    stiff, gentle, wild = (
        predict(deformation(waving(1, length_mm), noise_mm=NOISE_MM)) for length_mm in (300.0, 110.0, 60.0)
    )
    for found in (stiff, gentle, wild):
        require_covariance(found)
    assert 1.5 * sd_mm(stiff) < sd_mm(gentle) < sd_mm(wild) / 1.5
    assert stiff.hole_error_mm < gentle.hole_error_mm < wild.hole_error_mm
    assert stiff.stiffness > gentle.stiffness >= wild.stiffness


@pytest.mark.parametrize("length_mm", [110.0, 70.0])
def test_the_error_is_foreseen(length_mm: float) -> None:
    """Root mean square over patients: what was off, and what was said to be."""
    off, said = [], []
    for seed in range(6):
        motion = waving(seed, length_mm)
        found = predict(deformation(motion, noise_mm=NOISE_MM, seed=seed))
        truth = rigid_part(tumor(), tumor() + motion(tumor()))
        error = found.moving_from_fixed.apply(CENTER) - truth.apply(CENTER)
        off.append(float((error**2).sum()))
        said.append(float(np.trace(found.covariance_mm2)))
    assert 0.4 < np.sqrt(np.mean(off) / np.mean(said)) < 1.4


def test_the_direction_that_nothing_shows_is_the_least_sure() -> None:
    """Gradients hardly ever along one axis: the uncertainty must lie along that axis of LPS."""
    for axis in range(3):
        along = [1.0, 1.0, 1.0]
        along[axis] = 0.01
        found = predict(deformation(still, noise_mm=NOISE_MM, along_xyz=tuple(along)))  # type: ignore[arg-type] # three
        variance = np.diag(found.covariance_mm2)
        assert int(np.argmax(variance)) == axis
        assert variance[axis] > 2.0 * np.delete(variance, axis).max()


def test_a_larger_void_is_less_sure() -> None:
    narrow = predict_lesion_motion(deformation(still, void_mm=12.0, noise_mm=NOISE_MM), tumor(), 12.0)
    wide = predict_lesion_motion(deformation(still, void_mm=22.0, noise_mm=NOISE_MM), tumor(), 22.0)
    assert sd_mm(wide) > sd_mm(narrow)


def test_without_holes_the_inflation_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lung as stiff as this one has earned less, but nothing here says so."""
    found = deformation(still, noise_mm=NOISE_MM)
    monkeypatch.setattr(lesion_motion, "STIFFNESS_FACTORS", (1.0,))
    learned = predict(found)
    monkeypatch.setattr(lesion_motion, "_MAX_HOLES", 0)
    assumed = predict(found)
    require_covariance(assumed)
    assert assumed.hole_error_mm == 0.0
    assert assumed.stiffness == STIFFNESS
    assert sd_mm(assumed) > 1.2 * sd_mm(learned)


def test_a_region_too_small_for_holes_still_gets_an_answer() -> None:
    truth = rigid((2.0, 0.0, 1.0), (1.0, 2.0, -1.0))
    tiny = deformation(lambda p: truth.apply(p) - p, lattice=lattice_of(9), void_mm=14.0)
    found = predict_lesion_motion(tiny, tumor(), 60.0)
    require_covariance(found)
    assert found.hole_error_mm == 0.0
    assert found.stiffness == STIFFNESS
    assert np.abs(found.moving_from_fixed.apply(tumor()) - truth.apply(tumor())).max() < 0.1


def test_no_evidence_at_all_is_very_unsure() -> None:
    nothing = deformation(still, void_mm=1e3)
    found = predict(replace(nothing, tensor=nothing.tensor + 1e-6 * np.array([1.0, 0, 0, 1.0, 0, 1.0])))
    assert sd_mm(found) > 5.0


def test_the_same_deformation_gives_the_same_motion() -> None:
    found = deformation(waving(3, 80.0), noise_mm=NOISE_MM)
    one, other = predict(found), predict(found)
    assert one.moving_from_fixed == other.moving_from_fixed
    assert np.array_equal(one.covariance_mm2, other.covariance_mm2)


# --- The field around a rigid tumor


@pytest.mark.parametrize("strain", [0.15, -0.12])
def test_the_warped_tumor_has_the_volume_of_the_planned_one(strain: float) -> None:
    """The surroundings shrink or swell by an eighth along every axis; the tumor does not."""
    found = deformation(lambda p: strain * (p - CENTER) + np.array([2.0, -1.0, 3.0]))
    motion = predict(found).moving_from_fixed
    grid = centered_grid((1.5, 1.5, 1.5), 45.0)
    x, y, z = (float(v) for v in CENTER + np.array(grid.origin_lps_mm))
    grid = replace(grid, origin_lps_mm=(x, y, z))
    mask = ball(grid, CENTER + np.array([2.0, -1.0, 3.0]), 8.0, "tumor")
    field = field_with_rigid_tumor(found, grid, motion, mask)
    draws = CENTER + np.random.default_rng(0).uniform(-14.0, 14.0, (60_000, 3))

    def count(moved: Float64Array) -> int:
        index = np.round(grid.to_index(moved)).astype(int)
        return int(mask.voxels[tuple(index.T)].sum())

    planned = count(draws + np.array([2.0, -1.0, 3.0]))
    assert count(draws + field.at(draws)) == pytest.approx(planned, rel=0.01)
    free = field_of(found, grid)
    assert abs(count(draws + free.at(draws)) / planned - 1.0) > 0.25
    assert field.jacobian_determinant().min() > 0.0
    corner = grid.corners_lps_mm()
    assert np.array_equal(field.at(corner), free.at(corner))
    assert field.at(tumor()) + tumor() == pytest.approx(motion.apply(tumor()), abs=1e-3)
