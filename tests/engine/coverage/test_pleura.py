"""At the pleura: a sliver that alignment and contours leave decides nothing, a lump of 2 mm always does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from engine.arrays import BoolArray, Float64Array
from engine.coverage.grid import MIN_PLEURAL_TOLERANCE_MM, MeasurementField, build_measurement_field
from engine.coverage.pleura import pleural_tolerance_mm
from engine.coverage.ratio import measure_coverage, uncovered_in_lung, uncovered_outside_lung
from engine.geometry import RigidTransform
from engine.structures.surface import StructureSurface
from tests.support.spheres import ball, centered_grid

WIDEST_MM = pleural_tolerance_mm(5.0, 5.0, (5.0, 5.0))
TUMOR_MM, ZONE_MM, PLEURA_MM = 6.0, 14.0, 8.0
WALLS = [(1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.48, 0.6, 0.64), (0.0, -0.28, -0.96)]


@cache
def spheres() -> MeasurementField:
    grid = centered_grid((1.0, 1.0, 1.0), 22.0)
    return build_measurement_field(
        StructureSurface(ball(grid, (0.0, 0.0, 0.0), TUMOR_MM, "tumor")),
        StructureSurface(ball(grid, (0.0, 0.0, 0.0), ZONE_MM, "ablation zone")),
        None,
        None,
        RigidTransform.identity(),
    )


def positions() -> Float64Array:
    field = spheres()
    return field.geometry.to_lps(np.argwhere(np.ones_like(field.lung))).reshape((*field.lung.shape, 3))


def at_a_wall(wall: tuple[float, float, float], tolerance_mm: float, missing: BoolArray) -> MeasurementField:
    """The spheres in a lung that ends at a plane, the zone without what is missing of it."""
    field = spheres()
    lung = (positions() @ np.array(wall) < PLEURA_MM) | field.tumor
    zone = np.where(lung & ~missing, field.zone_occupancy, np.float32(0.0))
    return replace(field, lung=lung, zone_occupancy=zone, pleural_tolerance_mm=tolerance_mm)


def depth_mm(wall: tuple[float, float, float]) -> Float64Array:
    return np.asarray(PLEURA_MM - positions() @ np.array(wall))


def beside_mm(wall: tuple[float, float, float]) -> Float64Array:
    """Distance from the line through the tumor's center along the wall's normal."""
    across = positions() - (positions() @ np.array(wall))[..., None] * np.array(wall)
    return np.asarray(np.linalg.norm(across, axis=-1))


@pytest.mark.parametrize("wall", WALLS)
def test_a_sliver_along_the_pleura_does_not_decide_the_margin(wall: tuple[float, float, float]) -> None:
    sliver = depth_mm(wall) < WIDEST_MM - 0.5
    field = at_a_wall(wall, WIDEST_MM, sliver)
    whole, in_lung = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert in_lung.tcr == 1.0
    assert in_lung.minimal_mm == pytest.approx(ZONE_MM - TUMOR_MM, abs=0.5)
    assert whole.minimal_mm < 2.5, "the plain margin has it"
    assert uncovered_outside_lung(field).any(), "and it is listed"


@pytest.mark.parametrize("wall", WALLS)
@pytest.mark.parametrize("thick_mm", [2.0, 2.5, 3.0])
def test_a_lump_of_two_millimeters_is_found_whatever_the_doubt(
    wall: tuple[float, float, float], thick_mm: float
) -> None:
    lump = (depth_mm(wall) < thick_mm) & (beside_mm(wall) < 6.0)
    field = at_a_wall(wall, WIDEST_MM, lump)
    _, in_lung = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert in_lung.tcr < 1.0
    assert not in_lung.complete
    assert in_lung.minimal_mm < 2.0
    assert uncovered_in_lung(field).any()


def test_with_a_wider_tolerance_the_lump_would_be_missed() -> None:
    """The guard is the bound: without it this test's lump vanishes."""
    lump = (depth_mm(WALLS[0]) < 2.0) & (beside_mm(WALLS[0]) < 6.0)
    field = at_a_wall(WALLS[0], 2.6, lump)
    _, in_lung = measure_coverage(field, field.zone, field.distance_to_zone_mm)
    assert in_lung.tcr == 1.0
    assert WIDEST_MM < 2.0


def test_the_tolerance_follows_what_is_uncertain_within_its_bounds() -> None:
    assert pleural_tolerance_mm(0.0, 0.0, (0.0, 0.0)) == MIN_PLEURAL_TOLERANCE_MM
    thin = pleural_tolerance_mm(0.2, 0.4, (0.6, 0.6))
    assert MIN_PLEURAL_TOLERANCE_MM < thin < WIDEST_MM
    assert pleural_tolerance_mm(0.3, 0.4, (0.6, 0.6)) > thin
    assert pleural_tolerance_mm(0.2, 0.5, (0.6, 0.6)) > thin
    assert pleural_tolerance_mm(0.2, 0.4, (1.0, 0.6)) > thin
