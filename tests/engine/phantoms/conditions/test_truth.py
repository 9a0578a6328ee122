"""The truth of a procedure, against what a brute-force search over a fine cloud of points finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.phantoms.chest import procedural_chest
from engine.phantoms.conditions import make_conditioned
from engine.phantoms.conditions.generator import scene_of
from engine.phantoms.conditions.scene import Scene
from engine.phantoms.conditions.truth import scene_truth
from tests.support.phantoms.small_procedures import PLAIN, made

_CLOUD_MM = 0.75
"""A cloud of points 0.6 mm apart, up to 25 % farther in the planning frame, knows a margin no better."""

CASES: list[dict[str, Any]] = [
    {"place": "central", "margin_mm": 3.0},
    {"place": "central", "zone": "left_over", "margin_mm": -2.0},
    {"place": "central", "zone": "burns_apart", "margin_mm": 1.0},
    {"place": "wall", "margin_mm": 5.0},
    {"place": "central", "contraction": 0.2, "tumor_contracts": True, "margin_mm": 2.0},
    {"effusion_mm": 10.0, "margin_mm": 4.0},
]


def cloud(scene: Scene, spacing_mm: float = 0.6) -> Float64Array:
    half = scene.tumor.max_radius_mm + 8.0
    axis = np.arange(-half, half, spacing_mm)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid + scene.motion.tumor.verification_center


def brute_force(scene: Scene, *, planning_frame: bool) -> tuple[float, float]:
    """TCR and margin by nearest neighbors among points that are in or out, without surfaces."""
    spacing = 0.6
    points = cloud(scene, spacing)
    tissue = scene.motion.lung_to_planning(points)
    in_tumor = scene.tumor.signed_distance_mm(scene.motion.tumor.apply(points)) <= 0.0
    allowed = in_tumor | (scene.lung_depth_mm(points) >= 0.0)
    distance_v = scene.motion.tumor_distance_mm(points)
    covered = (scene.zone_depth_mm(points, distance_v) >= 0.0) & allowed
    at = tissue if planning_frame else points
    weight = np.ones(len(points))
    if planning_frame:
        step = 0.05
        columns = [scene.motion.lung_to_planning(points + step * e) - tissue for e in np.eye(3)]
        weight = np.abs(np.linalg.det(np.stack(columns, axis=-1) / step))
    to_tumor = np.asarray(cKDTree(at[in_tumor]).query(at, distance_upper_bound=12.0)[0])
    target = to_tumor < 5.0 + 0.35 * spacing  # points lie inside the surface by about as much
    tcr = float(weight[target & covered].sum() / weight[target].sum())
    if (in_tumor & ~covered).any():
        to_zone, _ = cKDTree(at[covered]).query(at[in_tumor & ~covered])
        return tcr, -float(np.max(to_zone))
    return tcr, float(np.min(to_tumor[~covered]))


@pytest.mark.parametrize("switches", CASES)
def test_truth_is_what_a_cloud_of_points_says(switches: dict[str, Any]) -> None:
    scene = scene_of(replace(PLAIN, **switches))
    truth = scene_truth(scene)
    tcr, margin = brute_force(scene, planning_frame=False)
    assert truth.plain.tcr == pytest.approx(tcr, abs=0.015)
    assert truth.plain.minimal_margin_mm == pytest.approx(margin, abs=_CLOUD_MM)
    tcr, margin = brute_force(scene, planning_frame=True)
    assert truth.planning_frame.tcr == pytest.approx(tcr, abs=0.015)
    assert truth.planning_frame.minimal_margin_mm == pytest.approx(margin, abs=_CLOUD_MM)


@pytest.mark.parametrize("switches", CASES[:3])
def test_truth_does_not_look_at_scans_or_masks(switches: dict[str, Any]) -> None:
    coarse = made(**switches, planning_slice_mm=5.0, verification_slice_mm=5.0, verification_field_mm=50.0)
    assert coarse.procedure.truth == made(**switches).procedure.truth


def test_a_real_chest_is_asked_for_by_its_name() -> None:
    with pytest.raises(InvalidRequestError, match="pass that chest"):
        make_conditioned(replace(PLAIN, background="some_ct"))
    chest = procedural_chest(np.random.default_rng(0), np.zeros(3), 20.0)
    with pytest.raises(InvalidRequestError, match="and no other"):
        make_conditioned(PLAIN, chest)
