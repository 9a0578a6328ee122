"""The tumor's motion from its surroundings: exact where it must be, honest where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.geometry import FloatArray
from engine.registration.lesion_motion import predict_lesion_motion

CENTER = np.array([-60.0, 20.0, 400.0])


def shell(seed: int, count: int = 260, inner: float = 16.0, outer: float = 38.0) -> FloatArray:
    """Points around, never within, a lesion."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(count, 3))
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    return np.asarray(CENTER + unit * rng.uniform(inner, outer, (count, 1)))


def tumor(seed: int = 0) -> FloatArray:
    return CENTER + np.random.default_rng(seed).uniform(-7.0, 7.0, (80, 3))


def moved(matrix: FloatArray, points: FloatArray) -> FloatArray:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


@given(
    seed=st.integers(0, 20),
    shift=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    turn_deg=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
@settings(max_examples=15, deadline=None)
def test_a_rigid_motion_is_found_exactly(
    seed: int, shift: tuple[float, float, float], turn_deg: tuple[float, float, float]
) -> None:
    turn = Rotation.from_rotvec(np.deg2rad(turn_deg)).as_matrix()
    points = shell(seed)
    displacement = (points - CENTER) @ turn.T + CENTER + np.array(shift) - points
    found = predict_lesion_motion(points, displacement, tumor())
    true = (tumor() - CENTER) @ turn.T + CENTER + np.array(shift)
    assert np.abs(moved(found.motion, tumor()) - true).max() < 0.02
    assert np.sqrt(np.trace(found.covariance_mm2) / 3.0) < 0.05


def bend(points: FloatArray, seed: int) -> FloatArray:
    """A smooth displacement of a few millimeters: two broad bumps."""
    rng = np.random.default_rng(seed)
    out = np.zeros(points.shape)
    for _ in range(2):
        place, way = CENTER + rng.uniform(-40.0, 40.0, 3), rng.normal(size=3) * 3.0
        out += way * np.exp(-((points - place) ** 2).sum(axis=1) / (2.0 * 26.0**2))[:, None]
    return out


def test_a_smooth_bend_is_predicted_and_its_error_foreseen() -> None:
    errors, foreseen = [], []
    for seed in range(12):
        points = shell(seed)
        noise = np.random.default_rng(seed).normal(0.0, 0.15, points.shape)
        found = predict_lesion_motion(points, bend(points, seed) + noise, tumor())
        errors.append(moved(found.motion, CENTER[None])[0] - CENTER - bend(CENTER[None], seed)[0])
        foreseen.append(np.sqrt(np.trace(found.covariance_mm2) / 3.0))
    rms = float(np.sqrt(np.mean(np.square(errors))))
    assert rms < 0.4
    assert 0.4 < rms / float(np.sqrt(np.mean(np.square(foreseen)))) < 2.0


def test_the_tumor_keeps_its_size_in_a_converging_field() -> None:
    points = shell(3)
    found = predict_lesion_motion(points, -0.15 * (points - CENTER), tumor())
    turn = found.motion[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert np.linalg.norm(moved(found.motion, CENTER[None])[0] - CENTER) < 0.3


def test_points_that_slid_do_not_carry_the_tumor_along() -> None:
    points = shell(4)
    displacement = np.tile([1.0, -0.5, 0.5], (len(points), 1))
    slid = points[:, 0] > CENTER[0] + 28.0
    displacement[slid] += [0.0, 0.0, 9.0]
    assert 5 < np.count_nonzero(slid) < len(points) // 4
    found = predict_lesion_motion(points, displacement, tumor())
    assert np.linalg.norm(moved(found.motion, CENTER[None])[0] - CENTER - [1.0, -0.5, 0.5]) < 0.3


def test_evidence_on_one_side_alone_is_less_sure() -> None:
    points = shell(5, 400)
    noise = np.random.default_rng(5).normal(0.0, 0.15, points.shape)
    displacement = bend(points, 5) + noise
    one_side = points[:, 1] > CENTER[1] + 8.0
    around = predict_lesion_motion(points, displacement, tumor())
    aside = predict_lesion_motion(points[one_side], displacement[one_side], tumor())
    assert np.trace(aside.covariance_mm2) > np.trace(around.covariance_mm2)
