"""Uncovered regions: found, measured, ranked, named."""

from __future__ import annotations

import numpy as np
import pytest

from engine.coverage.cold_spots import direction_in_words, find_cold_spots
from engine.coverage.grid import MeasurementField, lay_out
from engine.coverage.ratio import uncovered_in_lung
from engine.geometry import RigidTransform
from engine.structures.surface import StructureSurface
from engine.volume import LabelMask
from tests.support.spheres import ball, centered_grid, true_coverage


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        ((1, 0, 0), "left"),
        ((-5, 0, 0), "right"),
        ((0, 3, 0), "posterior"),
        ((0, -3, 0), "anterior"),
        ((0, 0, 2), "superior"),
        ((-2, -2, -2), "right anterior inferior"),
        ((0.5, 0.5, 0), "central"),
        ((10, 1, 0), "left"),
    ],
)
def test_directions_are_named_as_radiologists_do(offset: tuple[float, float, float], words: str) -> None:
    assert direction_in_words(np.array(offset, dtype=float)) == words


def shifted_zone() -> MeasurementField:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    tumor = ball(grid, (0.2, 0.3, 0.1), 7.0, "tumor")
    zone = ball(grid, (4.2, 0.3, 0.1), 12.0, "ablation zone")
    return lay_out(StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity())


def test_a_shifted_zone_leaves_one_spot_on_the_other_side() -> None:
    field = shifted_zone()
    (spot,) = find_cold_spots(field, uncovered_in_lung(field))
    target_ml = 4 / 3 * np.pi * 12.0**3 / 1000
    assert spot.rank == 1
    assert spot.direction == "right"
    assert spot.volume_ml == pytest.approx((1 - true_coverage(7, 12, 4)[0]) * target_ml, abs=0.01 * target_ml)
    assert spot.deepest_mm == pytest.approx(4.0, abs=0.5)
    assert spot.deepest_lps_mm[0] == pytest.approx(-11.8, abs=0.6)
    assert spot.distance_to_pleura_mm is None


def test_spots_are_ranked_by_volume_and_specks_are_not_listed() -> None:
    field = shifted_zone()
    uncovered = np.zeros(field.geometry.shape_zyx, dtype=np.bool_)
    uncovered[5:10, 5:10, 5:10] = True
    uncovered[30:40, 30:40, 30:40] = True
    uncovered[50, 50, 50] = True
    spots = find_cold_spots(field, uncovered)
    assert [s.rank for s in spots] == [1, 2]
    assert [s.volume_ml for s in spots] == pytest.approx([0.125, 0.125**2])
    assert np.allclose(spots[1].centroid_lps_mm, field.geometry.to_lps([7.0, 7.0, 7.0]))


def test_nothing_uncovered_is_no_spot() -> None:
    field = shifted_zone()
    assert find_cold_spots(field, np.zeros(field.geometry.shape_zyx, dtype=np.bool_)) == ()


def test_the_pleura_is_measured_from_the_deepest_point() -> None:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    lung = np.ones(grid.shape_zyx, dtype=np.bool_)
    lung[:, :, : grid.shape_zyx[2] // 2 - 15] = False
    field = lay_out(
        StructureSurface(ball(grid, (0.2, 0.3, 0.1), 7.0, "tumor")),
        StructureSurface(ball(grid, (4.2, 0.3, 0.1), 12.0, "ablation zone")),
        None,
        LabelMask(lung, grid, "lung"),
        RigidTransform.identity(),
    )
    (spot,) = find_cold_spots(field, uncovered_in_lung(field))
    assert spot.distance_to_pleura_mm == pytest.approx(spot.deepest_lps_mm[0] + 15.5, abs=0.6)
