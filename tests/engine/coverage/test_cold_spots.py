"""Uncovered regions: found, measured, ranked, named."""

from __future__ import annotations

import numpy as np
import pytest

from engine.arrays import BoolArray
from engine.coverage.cold_spots import directions_of, find_cold_spots
from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.ratio import uncovered_in_lung
from engine.findings import Direction
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
        ((0.5, 0.5, 0), ""),
        ((10, 1, 0), "left"),
    ],
)
def test_directions_are_named_as_radiologists_do(offset: tuple[float, float, float], words: str) -> None:
    assert " ".join(directions_of(np.array(offset, dtype=float))) == words


def shifted_zone() -> MeasurementField:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    tumor = ball(grid, (0.2, 0.3, 0.1), 7.0, "tumor")
    zone = ball(grid, (4.2, 0.3, 0.1), 12.0, "ablation zone")
    return build_measurement_field(
        StructureSurface(tumor), StructureSurface(zone), None, None, RigidTransform.identity()
    )


def nothing(field: MeasurementField) -> BoolArray:
    return np.zeros(field.geometry.shape_zyx, dtype=np.bool_)


def test_a_shifted_zone_leaves_one_spot_on_the_other_side() -> None:
    field = shifted_zone()
    (spot,) = find_cold_spots(field, uncovered_in_lung(field), nothing(field))
    target_ml = 4 / 3 * np.pi * 12.0**3 / 1000
    assert spot.rank == 1
    assert spot.directions == (Direction.RIGHT,)
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
    spots = find_cold_spots(field, uncovered, nothing(field))
    assert [s.rank for s in spots] == [1, 2]
    assert [s.volume_ml for s in spots] == pytest.approx([0.125, 0.125**2])
    assert np.allclose(spots[1].centroid_lps_mm, field.geometry.to_lps([7.0, 7.0, 7.0]))


def test_nothing_uncovered_is_no_spot() -> None:
    field = shifted_zone()
    assert find_cold_spots(field, nothing(field), nothing(field)) == ()


def test_the_pleura_is_measured_from_the_deepest_point() -> None:
    grid = centered_grid((1.0, 1.0, 1.0), 20.0)
    lung = np.ones(grid.shape_zyx, dtype=np.bool_)
    lung[:, :, : grid.shape_zyx[2] // 2 - 15] = False
    field = build_measurement_field(
        StructureSurface(ball(grid, (0.2, 0.3, 0.1), 7.0, "tumor")),
        StructureSurface(ball(grid, (4.2, 0.3, 0.1), 12.0, "ablation zone")),
        None,
        LabelMask(lung, grid, "lung"),
        RigidTransform.identity(),
    )
    (spot,) = find_cold_spots(field, uncovered_in_lung(field), nothing(field))
    assert spot.distance_to_pleura_mm == pytest.approx(spot.deepest_lps_mm[0] + 15.5, abs=0.6)


def test_eight_measurement_voxels_are_listed_and_seven_are_not() -> None:
    field = shifted_zone()
    uncovered = np.zeros(field.geometry.shape_zyx, dtype=np.bool_)
    uncovered[5:7, 5:7, 5:7] = True
    uncovered[20:30, 20:30, 20:30] = True
    _, spot = find_cold_spots(field, uncovered, nothing(field))
    assert spot.volume_ml == pytest.approx(0.001)
    uncovered[5, 5, 5] = False
    assert len(find_cold_spots(field, uncovered, nothing(field))) == 1


def test_however_small_the_largest_region_is_listed() -> None:
    field = shifted_zone()
    speck = nothing(field).copy()
    speck[5, 5, 5] = True
    (spot,) = find_cold_spots(field, speck, nothing(field))
    assert spot.in_lung
    assert spot.volume_ml == pytest.approx(0.000125)
    (spot,) = find_cold_spots(field, nothing(field), speck)
    assert (spot.rank, spot.in_lung) == (1, False)


def test_regions_in_lung_come_first_and_the_others_are_marked() -> None:
    field = shifted_zone()
    small, large = nothing(field).copy(), nothing(field).copy()
    small[5:8, 5:8, 5:8] = True
    large[20:30, 20:30, 20:30] = True
    spots = find_cold_spots(field, small, large)
    assert [(spot.rank, spot.in_lung) for spot in spots] == [(1, True), (2, False)]
    assert spots[0].volume_ml < spots[1].volume_ml


def test_the_deepest_point_of_each_spot_is_its_own() -> None:
    field = shifted_zone()
    uncovered = np.zeros(field.geometry.shape_zyx, dtype=np.bool_)
    uncovered[4:14, 20:24, 20:24] = True
    uncovered[6:9, 30:36, 6:12] = True
    for spot, part in zip(
        find_cold_spots(field, uncovered, nothing(field)),
        ((slice(4, 14), 20, 20), (slice(6, 9), 30, 6)),
        strict=True,
    ):
        z, y, x = part
        width = 4 if y == 20 else 6
        box = (z, slice(y, y + width), slice(x, x + width))
        depth = field.distance_to_zone_mm[box]
        assert spot.deepest_mm == depth.max()
        start = np.array([z.start, y, x])
        index = np.unravel_index(int(depth.argmax()), depth.shape) + start
        assert spot.deepest_lps_mm == pytest.approx(field.geometry.to_lps(index))
        middle = start + (np.array(depth.shape) - 1) / 2
        assert spot.centroid_lps_mm == pytest.approx(field.geometry.to_lps(middle))


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        ((0.99, 0.0, 0.0), ""),
        ((0.0, -1.0, 0.0), "anterior"),
        ((3.7, 10 * np.sqrt(1 - 0.37**2), 0.0), "posterior"),
        ((3.9, 10 * np.sqrt(1 - 0.39**2), 0.0), "left posterior"),
        ((-3.9, 0.0, 10 * np.sqrt(1 - 0.39**2)), "right superior"),
    ],
)
def test_an_axis_is_named_from_its_share_on(offset: tuple[float, float, float], words: str) -> None:
    assert " ".join(directions_of(np.array(offset))) == words
