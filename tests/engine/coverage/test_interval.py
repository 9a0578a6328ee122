"""The interval: narrow without uncertainty, wider with it, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.coverage.ratio import measure_coverage
from engine.geometry import RigidTransform
from engine.structures.surface import StructureSurface
from tests.support.spheres import ball, centered_grid

NO_SLICES = (np.array([0.0, 0.0, 1.0]), 0.0)


@pytest.fixture(scope="module")
def field() -> MeasurementField:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    tumor = ball(grid, (0.2, -0.1, 0.3), 7.0, "tumor")
    zone = ball(grid, (2.2, -0.1, 0.3), 12.0, "ablation zone")
    return build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )


def interval(
    field: MeasurementField, sd_mm: float, *, rotation: float = 0.0, slice_mm: float = 0.0, **more: float
) -> CoverageInterval:
    normal = (np.array([0.0, 0.0, 1.0]), slice_mm)
    return coverage_interval(
        field,
        PoseUncertainty(np.eye(3) * sd_mm**2, rotation),
        planning_slice=normal,
        verification_slice=normal,
        tumor_contour_sd_mm=more.get("contour_sd_mm", 0.25),
        zone_contour_sd_mm=more.get("contour_sd_mm", 0.25),
        draws=int(more.get("draws", 300)),
        seed=int(more.get("seed", 1)),
        target_margin_mm=more.get("target_margin_mm", 5.0),
    )


def test_without_uncertainty_it_is_the_point_estimate(
    field: MeasurementField,
) -> None:
    found = interval(field, 0.0, contour_sd_mm=0.0)
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert found.tcr_90[0] == found.tcr_90[1] == pytest.approx(whole.tcr, abs=0.005)
    assert found.minimal_mm_90 == pytest.approx((whole.minimal_mm,) * 2, abs=0.3)
    assert found.probability_complete == 0.0


def test_it_holds_the_point_estimate(field: MeasurementField) -> None:
    whole, _ = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    found = interval(field, 0.0)
    assert found.tcr_90[0] <= whole.tcr <= found.tcr_90[1]
    assert found.minimal_mm_90[0] <= whole.minimal_mm <= found.minimal_mm_90[1]
    assert found.tcr_90[1] - found.tcr_90[0] < 0.2


def width(found: CoverageInterval) -> float:
    return found.minimal_mm_90[1] - found.minimal_mm_90[0]


def test_more_uncertainty_is_a_wider_interval(field: MeasurementField) -> None:
    narrow = interval(field, 0.1)
    for wider in (interval(field, 1.5), interval(field, 0.1, slice_mm=10.0)):
        assert width(wider) > 1.1 * width(narrow)
        assert wider.tcr_90[1] - wider.tcr_90[0] > narrow.tcr_90[1] - narrow.tcr_90[0]


def test_rotation_about_the_tumor_does_not_move_a_sphere(field: MeasurementField) -> None:
    assert width(interval(field, 0.1, rotation=5.0)) == pytest.approx(width(interval(field, 0.1)), abs=0.3)


def test_the_same_seed_gives_the_same_draws(field: MeasurementField) -> None:
    assert interval(field, 1.0) == interval(field, 1.0) or same(interval(field, 1.0), interval(field, 1.0))
    assert not same(interval(field, 1.0), interval(field, 1.0, seed=2))


def same(one: CoverageInterval, other: CoverageInterval) -> bool:
    return (one.tcr_90, one.minimal_mm_90, one.probability_complete) == (
        other.tcr_90,
        other.minimal_mm_90,
        other.probability_complete,
    )


def test_probability_falls_with_the_margin_asked_for(field: MeasurementField) -> None:
    chances = [
        interval(field, 0.8, target_margin_mm=m).probability_complete for m in (0.5, 1.5, 2.5, 3.5, 4.5)
    ]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.9
    assert chances[-1] < 0.1


def test_tcr_and_margin_of_the_draws_agree(field: MeasurementField) -> None:
    sure = interval(field, 0.05, target_margin_mm=1.0)
    assert sure.minimal_mm_90[0] >= 1.0
    assert sure.tcr_90 == (1.0, 1.0)
    missed = interval(field, 0.05, target_margin_mm=6.0)
    assert missed.minimal_mm_90[1] < 6.0
    assert missed.tcr_90[1] < 1.0
    assert missed.probability_complete == 0.0


def test_pose_sd_is_the_root_mean_square_over_the_axes() -> None:
    assert PoseUncertainty(np.diag([1.0, 4.0, 4.0]), 0.0).sd_mm == pytest.approx(np.sqrt(3.0))
