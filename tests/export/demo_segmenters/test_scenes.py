"""Scenes: the truth is the drawn one, whatever is drawn at random beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the workshop is not installed: make setup-export")

from engine.errors import InvalidRequestError
from export.demo_segmenters import TASKS
from export.demo_segmenters.scenes.backgrounds import (
    HELD_OUT,
    REAL_CHESTS,
    local_chest,
    procedural_background,
    read_real_backgrounds,
)
from export.demo_segmenters.scenes.burns import draw_burn, paint_burn, with_heat_sink
from export.demo_segmenters.scenes.fields import (
    PatchGrid,
    line_distance_mm,
    pulled,
    smooth_noise,
)
from export.demo_segmenters.scenes.motion import contraction_mm, registration_error_mm
from export.demo_segmenters.scenes.scanning import along_z, draw_slices
from export.demo_segmenters.scenes.scene import EDGE, Patch, draw_scene
from export.demo_segmenters.scenes.tumors import draw_tumor
from export.demo_segmenters.tasks import STEPS_PER_MM

GRID = PatchGrid(32, 1.5)
TUMOR_NUMBERS = (6, 7, 8, 9)


@pytest.fixture(scope="module")
def zones() -> list[Patch]:
    return [draw_scene(np.random.default_rng([1, number]), TASKS["zone"], []) for number in range(6)]


def test_scenes_hold_both_scans_the_distance_and_mostly_a_zone(zones: list[Patch]) -> None:
    assert all(it.channels.shape == (3, EDGE, EDGE, EDGE) for it in zones)
    assert sum(it.labels.any() for it in zones) > 3
    assert all(it.channels[:2].min() < -600 for it in zones)


def test_the_tumor_is_where_its_distance_says_up_to_the_registration(zones: list[Patch]) -> None:
    off = [np.abs(it.channels[2] - it.tumor_distance)[it.tumor_distance < 0] for it in zones]
    medians_mm = [float(np.median(it)) / STEPS_PER_MM for it in off if it.size]
    assert 0.2 < np.median(medians_mm) < 3.0


def test_a_zone_changes_the_verification_ct_and_not_the_planning_ct(zones: list[Patch]) -> None:
    rises = []
    for it in zones:
        ring = (it.labels > 0) & (it.tumor_distance > 3 * STEPS_PER_MM)
        if ring.sum() > 200:
            rises.append(float(np.median(it.channels[0][ring]) - np.median(it.channels[1][ring])))
    assert len(rises) > 2
    assert np.median(rises) > 100.0


def test_some_tumor_scenes_hold_nothing_and_most_hold_a_tumor() -> None:
    found = [
        draw_scene(np.random.default_rng([1, n]), TASKS["tumor"], []).labels.any() for n in TUMOR_NUMBERS
    ]
    assert 3 <= sum(found) < len(TUMOR_NUMBERS)


def test_a_folder_without_the_real_chests_is_refused_by_name(tmp_path: Path) -> None:
    assert read_real_backgrounds(None, "zone", held_out=False) == []
    with pytest.raises(InvalidRequestError, match="PartSolidLesionCropped"):
        read_real_backgrounds(tmp_path, "zone", held_out=True)
    assert not any("0314" in name or "lung1" in name or "cases" in name for name in REAL_CHESTS)
    assert set(HELD_OUT) < set(REAL_CHESTS)


@pytest.mark.parametrize("seed", range(4))
def test_zones_end_where_lung_and_tumor_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chest = local_chest(rng, procedural_background(rng), GRID)
    tumor = draw_tumor(rng, GRID, np.zeros(3, np.float32))
    allowed = np.maximum(chest.lung_depth_mm, -tumor.distance_mm)
    burn = draw_burn(rng, GRID, tumor.distance_mm, tumor.radius_mm, allowed)
    assert not (burn.labels[allowed < 0.0] > 0).any()
    vessel = (
        line_distance_mm(GRID.positions_mm(), np.zeros(3, np.float32), np.array([0, 0, 1], np.float32)) - 2.0
    )
    spared = with_heat_sink(rng, GRID, burn, vessel)
    assert not (spared.labels[vessel < -1.9] > 0).any()
    before = chest.hu.copy()
    after = paint_burn(rng, GRID, chest.hu, burn)
    assert np.array_equal(after[burn.depth_mm < -3.1], before[burn.depth_mm < -3.1])


@pytest.mark.parametrize("correlation_mm", [1.0, 6.0, 25.0])
def test_noise_is_as_smooth_as_asked_for(correlation_mm: float) -> None:
    noise = smooth_noise(np.random.default_rng(2), GRID, correlation_mm)
    assert noise.shape == (32, 32, 32)
    assert float(noise.std()) == pytest.approx(1.0, abs=1e-3)
    step = float(np.diff(noise, axis=0).std())
    assert step < 3.0 * GRID.spacing_mm / max(correlation_mm, GRID.spacing_mm)


def test_a_contraction_is_undone_by_a_registration_that_follows_it() -> None:
    rng = np.random.default_rng(4)
    drawn_in = [contraction_mm(rng, GRID, 10.0) for _ in range(12)]
    near = np.sqrt((GRID.positions_mm() ** 2).sum(axis=0)) < 8.0
    shares = [
        float(np.abs(it[:, near]).sum() / np.abs(GRID.positions_mm()[:, near]).sum()) for it in drawn_in
    ]
    assert min(shares) == 0.0
    assert 0.05 < max(shares) <= 0.3 / 0.7 + 1e-6
    lung = np.ones((32,) * 3, np.float32)
    errors = [registration_error_mm(rng, GRID, lung, np.zeros_like(drawn_in[0])) for _ in range(40)]
    sizes = [float(np.median(np.linalg.norm(it, axis=0))) for it in errors]
    assert np.median(sizes) < 3.0 < max(sizes)


def test_thick_slices_keep_the_mean_and_lose_the_detail() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(0.0, 100.0, (32, 8, 8)).astype(np.float32)
    drawn = [slices for _ in range(20) if (slices := draw_slices(rng, GRID)) is not None]
    assert 3 <= len(drawn) < 20
    for slices in drawn:
        assert slices.averaging.sum(axis=1) == pytest.approx(1.0, abs=1e-4)
        assert slices.back.sum(axis=1) == pytest.approx(1.0, abs=1e-4)
        seen = along_z(slices.back, along_z(slices.averaging, image))
        assert seen.shape == image.shape
        assert seen.std() < image.std()
        flat = np.full_like(image, 7.0)
        assert slices.seen_at_centers(flat) == pytest.approx(7.0, abs=1e-3)


def test_a_pulled_field_is_read_where_the_displacement_points() -> None:
    field = GRID.positions_mm()[2]
    shift = np.zeros((3, 32, 32, 32), np.float32)
    shift[2] = 3.0
    assert pulled(field, shift, GRID)[:, :, :28] == pytest.approx(field[:, :, :28] + 3.0, abs=1e-4)
