"""The interval of the part of the target that can be assessed in lung."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.geometry import RigidTransform
from engine.structures.surface import StructureSurface
from tests.support.spheres import ball, centered_grid

NO_SLICES = (np.array([0.0, 0.0, 1.0]), 0.0)
TUMOR_MM = 6.0
PLEURA_MM = 8.0
"""Where the lung ends along x; the tumor is centered at 0."""


def at_the_wall(zone_mm: float, zone_x_mm: float = 0.0, pleura_mm: float = PLEURA_MM) -> MeasurementField:
    """A tumor near a flat wall, and a zone that ends there."""
    grid = centered_grid((1.0, 1.0, 1.0), 24.0)
    zone = ball(grid, (zone_x_mm, 0.3, 0.1), zone_mm, "ablation zone")
    field = build_measurement_field(
        StructureSurface(ball(grid, (0.0, 0.3, 0.1), TUMOR_MM, "tumor")),
        StructureSurface(zone),
        None,
        None,
        RigidTransform.identity(),
    )
    x = field.geometry.to_lps(np.argwhere(np.ones_like(field.lung)))[:, 0].reshape(field.lung.shape)
    lung = field.tumor | (x < pleura_mm)
    clipped = np.where(lung, field.zone_occupancy, np.float32(0.0))
    return replace(field, lung=lung, zone_occupancy=clipped)


def drawn(field: MeasurementField, sd_mm: float = 0.3) -> CoverageInterval:
    return coverage_interval(
        field,
        PoseUncertainty(np.eye(3) * sd_mm**2, 1.0),
        planning_slice=NO_SLICES,
        verification_slice=NO_SLICES,
        tumor_contour_sd_mm=0.25,
        zone_contour_sd_mm=0.25,
        draws=400,
    )


def test_covered_up_to_the_pleura_is_complete_in_lung_and_nowhere_else() -> None:
    found = drawn(at_the_wall(14.0))
    assert found.probability_complete == 0.0
    assert found.in_lung is not None
    assert found.in_lung.probability_complete > 0.95
    assert found.in_lung.tcr_90 == (1.0, 1.0)
    low, high = found.in_lung.minimal_mm_90
    assert low < 14.0 - TUMOR_MM < high


@pytest.mark.parametrize("shift_mm", [-6.0, -9.0])
def test_a_miss_in_lung_stays_one(shift_mm: float) -> None:
    found = drawn(at_the_wall(12.0, shift_mm))
    assert found.in_lung is not None
    assert found.in_lung.probability_complete == 0.0
    low, high = found.in_lung.minimal_mm_90
    assert low < 12.0 - TUMOR_MM + shift_mm < high
    assert found.in_lung.tcr_90[1] < 1.0


def test_where_all_is_lung_both_are_the_same() -> None:
    found = drawn(at_the_wall(12.0, pleura_mm=100.0))
    assert found.in_lung is not None
    assert found.in_lung.minimal_mm_90 == found.minimal_mm_90
    assert found.in_lung.probability_complete == found.probability_complete


def test_where_nothing_can_be_assessed_there_is_no_range_in_lung() -> None:
    field = at_the_wall(12.0)
    assert drawn(replace(field, lung=np.zeros_like(field.lung))).in_lung is None


def test_nothing_uncovered_in_view_is_an_infinite_margin() -> None:
    field = at_the_wall(12.0)
    found = drawn(replace(field, lung=field.zone.copy()))
    assert found.in_lung is not None
    assert found.in_lung.minimal_mm_90[1] == float("inf")
    assert found.in_lung.probability_complete == 1.0
