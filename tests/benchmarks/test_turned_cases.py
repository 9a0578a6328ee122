"""Pairs of turned patients: their closed-form truth, and what counts as a hidden miss."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.registration.turned import is_hidden_miss, table
from benchmarks.registration.turned_cases import Background, TurnedPair, descriptions, make_pair
from engine.findings import TARGET_MARGIN_MM
from tests.support.spheres import centered_grid, positions
from tests.support.textures import texture_hu

SEED = 5


@cache
def pair() -> TurnedPair:
    grid = centered_grid((3.0, 3.0, 3.0), 60.0)
    chest = Background("texture", texture_hu(1, positions(grid)).astype(np.float32), grid)
    described = list(descriptions(SEED, 3, [chest.name]))[1]
    return make_pair(chest, described, SEED)


@pytest.mark.parametrize("off_mm", [0.0, 3.0, 9.0, 40.0])
def test_the_truth_is_that_of_two_balls(off_mm: float) -> None:
    place = pair().center_lps_mm + off_mm * np.array([0.6, 0.0, 0.8])
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(200_000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    reach = pair().description.tumor_radius_mm + TARGET_MARGIN_MM
    target = pair().center_lps_mm + unit * reach * np.cbrt(rng.random((200_000, 1)))
    covered = np.linalg.norm(target - place, axis=1) < pair().zone_radius_mm
    assert pair().true_tcr(place) == pytest.approx(covered.mean(), abs=0.005)
    surface = pair().center_lps_mm + unit * pair().description.tumor_radius_mm
    margins = pair().zone_radius_mm - np.linalg.norm(surface - place, axis=1)
    assert pair().true_margin_mm(place) == pytest.approx(margins.min(), abs=0.05)


def test_the_scans_show_the_motion_and_the_zone_its_mask() -> None:
    case = pair()
    angle = case.planning_from_verification.rotation_deg
    assert angle == pytest.approx(case.description.angle_deg, abs=1e-6)
    center = case.planning_from_verification.apply(case.center_lps_mm)
    marked = case.tumor.geometry.to_lps(np.argwhere(case.tumor.voxels).astype(float))
    assert np.linalg.norm(marked.mean(axis=0) - center) < 0.3
    painted, zone = case.with_zone(case.center_lps_mm)
    assert painted.voxels_hu[zone.voxels].mean() > case.verification.voxels_hu[zone.voxels].mean() + 100
    assert (painted.voxels_hu == case.verification.voxels_hu)[~zone.voxels].all()


def test_angles_fill_their_range_evenly_whatever_their_number() -> None:
    angles = sorted(described.angle_deg for described in descriptions(1, 40, ["a", "b"]))
    assert 0.0 <= angles[0] < 1.5
    assert 28.5 < angles[-1] <= 30.0
    assert max(np.diff(angles)) < 1.5


@pytest.mark.parametrize(
    ("margin_mm", "plain", "in_lung", "miss"),
    [(3.0, 0.6, None, True), (-2.0, 0.1, 0.7, True), (3.1, 0.99, 0.99, False), (0.0, 0.5, 0.5, False)],
)
def test_a_hidden_miss_is_told_apart(
    margin_mm: float, plain: float, in_lung: float | None, miss: bool
) -> None:
    answer = {
        "true_margin_mm": margin_mm,
        "probability_complete": plain,
        "lung_clipped_probability_complete": in_lung,
    }
    assert is_hidden_miss(answer) is miss


def test_the_table_counts_refusals_and_wrong_poses_by_angle() -> None:
    answer = {
        "pose_error_mm": 3.5,
        "tcr": 0.9,
        "true_tcr": 0.8,
        "margin_mm": 2.0,
        "true_margin_mm": 1.0,
        "tcr_interval_90": (0.7, 0.95),
        "margin_interval_90_mm": (1.5, 2.5),
        "probability_complete": 0.6,
        "lung_clipped_probability_complete": None,
    }
    lines = [
        {"angle_deg": 5.0, "plain": answer, "adversarial": None},
        {"angle_deg": 15.0, "plain": {"refusal": {}}, "adversarial": {"refusal": {}}},
    ]
    rows = table(lines).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["0–10°", "10–20°", "all"]
    cells = [cell.strip() for cell in rows[-1].split("|")]
    assert cells[2:4] == ["2", "1"]
    assert cells[5] == "1"
    assert cells[8] == "100% · 0%"
    assert cells[9] == "1"
