"""Rigid transforms: composition, inverse, and what is no rigid motion."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.errors import InvalidGeometryError
from engine.geometry import RigidTransform

TURN = Rotation.from_euler("zyx", [20, -35, 50], degrees=True).as_matrix()
POINTS = np.random.default_rng(1).uniform(-200.0, 200.0, (5, 4, 3))


def planning_from_verification() -> RigidTransform:
    return RigidTransform.from_rotation(TURN, (3.0, -4.0, 5.0))


def test_points_are_turned_and_then_shifted() -> None:
    moved = planning_from_verification().apply(POINTS)
    assert moved.shape == POINTS.shape
    assert np.allclose(moved, POINTS @ TURN.T + np.array([3.0, -4.0, 5.0]))
    assert np.array_equal(RigidTransform.identity().apply(POINTS), POINTS)


def test_the_inverse_takes_points_back() -> None:
    there = planning_from_verification()
    assert np.allclose(there.inverse.apply(there.apply(POINTS)), POINTS)
    assert np.array_equal(there.inverse.matrix, np.linalg.inv(there.matrix))


def test_a_product_applies_its_right_side_first() -> None:
    shift = RigidTransform.from_translation((10.0, 0.0, 0.0))
    there = planning_from_verification()
    assert np.allclose((there @ shift).apply(POINTS), there.apply(shift.apply(POINTS)))
    assert not np.allclose((there @ shift).apply(POINTS), (shift @ there).apply(POINTS))


def test_parts_of_the_matrix_have_names() -> None:
    there = planning_from_verification()
    assert np.array_equal(there.rotation, TURN)
    assert there.translation_mm.tolist() == [3.0, -4.0, 5.0]


def test_the_matrix_is_a_copy_that_cannot_be_changed() -> None:
    matrix = np.eye(4)
    there = RigidTransform(matrix)
    matrix[0, 3] = 7.0
    assert there == RigidTransform.identity()
    with pytest.raises(ValueError, match="read-only"):
        there.matrix[0, 3] = 1.0


def test_transforms_are_compared_by_value() -> None:
    assert planning_from_verification() == planning_from_verification()
    assert hash(planning_from_verification()) == hash(planning_from_verification())
    assert planning_from_verification() != planning_from_verification().inverse
    assert planning_from_verification() != "a transform"


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(3),
        np.diag([1.0, 1.0, 1.1, 1.0]),
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([1.0, 1.0, 1.0, 2.0]),
        np.full((4, 4), np.nan),
    ],
    ids=["shape", "scale", "mirror", "projection", "nan"],
)
def test_what_is_not_rigid_is_an_error(matrix: np.ndarray) -> None:
    with pytest.raises(InvalidGeometryError, match=r"rigid"):
        RigidTransform(matrix)
