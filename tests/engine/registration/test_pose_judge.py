"""The judge of the tumor's place: matches that the deformation has not used, and what is made of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from engine.arrays import Float64Array
from engine.geometry import RigidTransform
from engine.refusal import RefusalCode, RefusedError
from engine.registration import acceptance as trust
from engine.registration.acceptance import require_confirmed_pose
from engine.registration.comparison import ScanComparison, compare_whole
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.judging.block_matches import BlockMatches, match_blocks
from engine.registration.judging.pose import PoseJudgement, judge_pose
from tests.support.spheres import ball, centered_grid
from tests.support.textures import Mapping, bump, scan, unmoved

GRID = centered_grid((1.5, 1.5, 1.5), 48.0)
CENTER = np.zeros(3)
ZONE_MM = 14.0
ONE_LEVEL = (Level(3.0, 12.0, 9.0, 1, 1000.0),)
GOOD = PoseJudgement(np.array([0.2, -0.1, 0.2]), 12.0, 0.6, 0.0)


@cache
def compared(motion: Mapping = unmoved, seed: int = 1) -> ScanComparison:
    zone = ball(GRID, CENTER, ZONE_MM, "ablation zone")
    return compare_whole(scan(1, GRID), scan(seed, GRID, motion), zone, RigidTransform.identity())


@cache
def undeformed() -> Deformation:
    at = compared().coarse
    found = deform(at.fixed, at.moving, at.evidence, RigidTransform.identity(), ONE_LEVEL)
    return replace(found, nodes_mm=np.zeros_like(found.nodes_mm))


def deformed_by(motion: Mapping) -> Deformation:
    """A deformation that was not found but made."""
    base = undeformed()
    places = positions(base.lattice)
    return replace(base, nodes_mm=np.asarray((motion(places) - places)[..., ::-1], dtype=np.float64))


shift = np.array([4.0, -3.0, 5.0])


def shifted(points: Float64Array) -> Float64Array:
    return np.asarray(points + shift, dtype=np.float64)


bend = bump(np.array([18.0, 10.0, -8.0]), np.array([4.0, -3.0, 3.0]), 24.0)


def bent(points: Float64Array) -> Float64Array:
    return np.asarray(points + bend(points), dtype=np.float64)


@pytest.mark.parametrize("motion", [unmoved, shifted, bent])
def test_matches_find_a_motion_that_nobody_told_them_and_the_judge_confirms_it(motion: Mapping) -> None:
    matches = match_blocks(compared(motion), CENTER)
    assert len(matches.points_lps_mm) > 20
    assert np.linalg.norm(matches.points_lps_mm, axis=1).min() > ZONE_MM
    off = matches.points_lps_mm + matches.shifts_mm - motion(matches.points_lps_mm)
    assert np.median(np.linalg.norm(off, axis=1)) < 0.8
    judged = require_confirmed_pose(judge_pose(matches, deformed_by(motion), CENTER))
    assert judged.disagreement_mm < 0.7
    assert np.trace(judged.doubt_mm2) == 0.0


@pytest.mark.parametrize("wrong_mm", [3.0, 5.0, 8.0])
def test_a_wrong_pose_is_seen_and_refused(wrong_mm: float) -> None:
    matches = match_blocks(compared(bent), CENTER)
    for direction in np.vstack([np.eye(3), -np.ones(3) / np.sqrt(3.0)]):
        right = deformed_by(bent)
        wrong = replace(right, nodes_mm=right.nodes_mm + wrong_mm * direction[::-1])
        judged = judge_pose(matches, wrong, CENTER)
        assert judged is not None
        assert judged.disagreement_mm == pytest.approx(wrong_mm, abs=0.8)
        with pytest.raises(RefusedError) as caught:
            require_confirmed_pose(judged)
        assert caught.value.refusal.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH
        assert "by eye" in caught.value.refusal.reason


@pytest.mark.parametrize("axis", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.5, 0.7, -0.5)])
def test_a_rotation_that_was_missed_is_refused_though_the_center_is_right(
    axis: tuple[float, float, float],
) -> None:
    turn = Rotation.from_rotvec(np.deg2rad(14.0) * np.array(axis) / np.linalg.norm(axis)).as_matrix()

    def turned(points: Float64Array) -> Float64Array:
        return np.asarray(points @ turn.T)

    judged = judge_pose(match_blocks(compared(turned), CENTER), undeformed(), CENTER)
    with pytest.raises(RefusedError):
        require_confirmed_pose(judged)
    require_confirmed_pose(judge_pose(match_blocks(compared(turned), CENTER), deformed_by(turned), CENTER))


def test_another_patient_has_no_matches() -> None:
    judged = judge_pose(match_blocks(compared(seed=2), CENTER), undeformed(), CENTER)
    with pytest.raises(RefusedError, match="too few places"):
        require_confirmed_pose(judged)


@pytest.mark.parametrize(
    ("worse", "at_limit"),
    [
        ({"support": 0.9}, {"support": trust.MIN_POSE_SUPPORT}),
        ({"typical_mm": 2.0}, {"typical_mm": trust.MAX_TYPICAL_DISAGREEMENT_MM}),
        ({"far_share": 0.21}, {"far_share": trust.MAX_FAR_SHARE}),
        (
            {"offset_mm": np.array([0.0, -2.6, 0.0])},
            {"offset_mm": np.array([0.0, 0.0, trust.MAX_POSE_DISAGREEMENT_MM])},
        ),
    ],
)
def test_every_limit_of_the_judge_refuses_beyond_it(worse: dict[str, Any], at_limit: dict[str, Any]) -> None:
    assert require_confirmed_pose(replace(GOOD, **at_limit)) is not None
    with pytest.raises(RefusedError):
        require_confirmed_pose(replace(GOOD, **worse))


def test_no_judgement_is_no_confirmation() -> None:
    with pytest.raises(RefusedError, match="too few places"):
        require_confirmed_pose(None)


@given(st.floats(0.0, 2.5), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_moderate_disagreement_widens_along_itself_and_never_narrows(length_mm: float, seed: int) -> None:
    direction = np.random.default_rng(seed).normal(size=3)
    direction /= np.linalg.norm(direction)
    doubt = replace(GOOD, offset_mm=length_mm * direction).doubt_mm2
    assert np.linalg.eigvalsh(doubt).min() >= -1e-9
    along = float(direction @ doubt @ direction)
    assert np.trace(doubt) == pytest.approx(along)
    assert along == 0.0 if length_mm <= 0.7 else 0.0 < along < length_mm**2


@given(st.integers(0, 10_000), st.floats(0.0, 0.3))
@settings(max_examples=30, deadline=None)
def test_outliers_do_not_move_the_judge(seed: int, wrong_share: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(60, 3)) * 18.0
    off = rng.normal(size=(60, 3)) * 0.4 + np.array([1.5, 0.0, -1.0])
    wrong = rng.random(60) < wrong_share
    off[wrong] = rng.uniform(-12.0, 12.0, (int(wrong.sum()), 3))
    judged = judge_pose(BlockMatches(points, off), undeformed(), CENTER)
    assert judged is not None
    assert np.linalg.norm(judged.offset_mm - [1.5, 0.0, -1.0]) < 0.8
