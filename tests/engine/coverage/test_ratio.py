"""Coverage and margin on fields that are made by hand, so that every voxel and every distance is known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.arrays import BoolArray, Float32Array
from engine.coverage.grid import MeasurementField
from engine.coverage.ratio import (
    measure_coverage,
    not_assessable_share,
    uncovered_in_lung,
)
from engine.coverage.surface_margin import measure_surface_margin
from engine.geometry import VolumeGeometry
from engine.kernels.backend import KernelBackend

SHAPE = (24, 30, 50)
GRID = VolumeGeometry(SHAPE, (0.5, 0.5, 0.5))
Z, Y, X = np.meshgrid(*(np.arange(n) * 0.5 for n in SHAPE), indexing="ij")


def ramp(depth_mm: npt.NDArray[np.float64]) -> Float32Array:
    """Occupancy that falls linearly through a flat surface: signed distances are exact at once."""
    return np.clip(0.5 + depth_mm, 0.0, 1.0).astype(np.float32)


def field(
    tumor_mm: float, zone_mm: float, *, wall_mm: float = np.inf, core_mm: float | None = None
) -> MeasurementField:
    """Everything with x below a plane, in mm: tumor, zone, core and lung."""
    return MeasurementField(
        GRID,
        ramp(tumor_mm - X),
        ramp(zone_mm - X),
        None if core_mm is None else ramp(core_mm - X),
        np.asarray(wall_mm > X),
        KernelBackend.CPU,
    )


def voxels_below(x_mm: float) -> int:
    """Voxels of the grid with a center nearer than this."""
    return int(np.count_nonzero(np.arange(SHAPE[2]) * 0.5 < x_mm - 1e-6)) * SHAPE[0] * SHAPE[1]


@cache
def measured(tumor_mm: float, zone_mm: float, margin_mm: float = 5.0, wall_mm: float = np.inf) -> Any:
    laid_out = field(tumor_mm, zone_mm, wall_mm=wall_mm)
    whole, _ = measure_coverage(
        laid_out, laid_out.zone, laid_out.distance_to_zone_mm, target_margin_mm=margin_mm
    )
    return whole


@pytest.mark.parametrize(("zone_mm", "margin_mm"), [(10.25, 5.0), (12.25, 5.0), (16.25, 5.0), (10.25, 2.0)])
def test_the_target_is_counted_voxel_by_voxel(zone_mm: float, margin_mm: float) -> None:
    coverage = measured(6.25, zone_mm, margin_mm)
    target, covered = voxels_below(6.25 + margin_mm), voxels_below(min(6.25 + margin_mm, zone_mm))
    assert coverage.tcr == pytest.approx(covered / target)
    assert coverage.target_ml == pytest.approx(target * 0.000125)
    assert coverage.covered_ml == pytest.approx(covered * 0.000125)
    assert coverage.complete is (covered == target)


@pytest.mark.parametrize("zone_mm", [8.25, 10.25, 13.25])
def test_the_margin_of_a_covered_tumor_ends_at_the_first_uncovered_point(zone_mm: float) -> None:
    coverage = measured(6.25, zone_mm)
    assert coverage.minimal_mm == pytest.approx(zone_mm + 0.25 - 6.25)


@pytest.mark.parametrize("zone_mm", [5.75, 4.25, 1.25])
def test_the_margin_of_a_tumor_that_lies_outside_reaches_to_its_surface(zone_mm: float) -> None:
    """Half a voxel beyond its outermost voxel center."""
    coverage = measured(6.25, zone_mm)
    assert coverage.minimal_mm == pytest.approx(zone_mm - 6.25, abs=1e-5)
    assert not coverage.complete


def test_the_farthest_point_is_one_of_the_tumor_that_is_uncovered() -> None:
    """A hole in the zone, deep in the tumor: its distance counts, not that of the tumor's covered surface."""
    laid_out = field(6.25, 12.25)
    zone = laid_out.zone.copy()
    distance = laid_out.distance_to_zone_mm.copy()
    hole = (slice(8, 11), slice(12, 15), slice(4, 7))
    zone[hole] = False
    distance[hole] = 0.7
    distance[9, 13, 5] = 1.2
    distance[0, 0, 12] = 9.0  # on the tumor's surface, but covered and far from the hole
    whole, in_lung = measure_coverage(laid_out, zone, distance)
    assert whole.minimal_mm == pytest.approx(-1.2)
    assert in_lung.minimal_mm == pytest.approx(-1.2)
    assert whole.covered_ml == pytest.approx(whole.target_ml - 27 * 0.000125)


def test_an_uncovered_point_within_the_cover_by_its_distance_has_no_margin_left() -> None:
    laid_out = field(6.25, 12.25)
    zone = laid_out.zone.copy()
    zone[9, 13, 5] = False
    whole, _ = measure_coverage(laid_out, zone, laid_out.distance_to_zone_mm)
    assert whole.minimal_mm == 0.0


def test_in_lung_only_what_is_assessable_counts() -> None:
    laid_out = field(6.25, 9.25, wall_mm=9.0)
    whole, in_lung = measure_coverage(laid_out, laid_out.zone, laid_out.distance_to_zone_mm)
    assert whole.tcr < 1.0
    assert in_lung.tcr == 1.0
    assert in_lung.target_ml == pytest.approx(voxels_below(8.0) * 0.000125)
    assert in_lung.covered_ml == in_lung.target_ml
    assert np.isinf(in_lung.minimal_mm)


def test_where_nothing_is_assessable_nothing_is_claimed_to_be_covered() -> None:
    laid_out = field(6.25, 12.25, wall_mm=0.5)
    _, in_lung = measure_coverage(laid_out, laid_out.zone, laid_out.distance_to_zone_mm)
    assert (in_lung.tcr, in_lung.target_ml, in_lung.covered_ml) == (0.0, 0.0, 0.0)
    assert not in_lung.complete


def test_the_core_is_measured_by_its_own_voxels_and_distances() -> None:
    laid_out = field(6.25, 12.25, core_mm=8.25)
    assert laid_out.core is not None
    assert laid_out.distance_to_core_mm is not None
    core, _ = measure_coverage(laid_out, laid_out.core, laid_out.distance_to_core_mm)
    assert core.tcr == pytest.approx(voxels_below(8.25) / voxels_below(11.25))
    assert core.minimal_mm == pytest.approx(8.5 - 6.25)


@pytest.mark.parametrize(
    ("zone_mm", "band"), [(6.0, 0), (6.5, 1), (11.0, 1), (11.5, 2), (16.0, 2), (16.5, 3)]
)
def test_the_whole_surface_lies_in_the_band_of_its_margin(zone_mm: float, band: int) -> None:
    shares = measure_surface_margin(field(6.25, zone_mm)).shares
    assert shares == tuple(1.0 if k == band else 0.0 for k in range(4))


def test_the_bands_share_the_surface() -> None:
    slanted = MeasurementField(
        GRID, ramp(6.25 - X), ramp(4.25 + Y - X), None, np.ones(SHAPE, dtype=np.bool_), KernelBackend.CPU
    )
    margin = -slanted.distance_to_zone_mm[:, :, 12:14].mean(axis=2)
    expected = [
        np.mean(margin < 0),
        np.mean((margin >= 0) & (margin < 5)),
        np.mean((margin >= 5) & (margin < 10)),
        np.mean(margin >= 10),
    ]
    assert measure_surface_margin(slanted).shares == pytest.approx(expected, abs=0.05)
    assert sum(measure_surface_margin(slanted).shares) == pytest.approx(1.0)
    assert min(expected[:3]) > 0.1


def test_uncovered_in_lung_is_target_that_neither_the_zone_nor_the_wall_has() -> None:
    laid_out = field(6.25, 8.25, wall_mm=11.0)
    expected: BoolArray = (X < 10.0) & (X >= 8.25)
    assert np.array_equal(uncovered_in_lung(laid_out), expected)
    assert np.array_equal(uncovered_in_lung(laid_out, 2.75), (X < 9.0) & (X >= 8.25))


@pytest.mark.parametrize("margin_mm", [5.0, 3.0])
def test_what_lies_outside_the_lung_is_not_assessable(margin_mm: float) -> None:
    share = not_assessable_share(field(6.25, 8.25, wall_mm=8.0), margin_mm)
    target = voxels_below(6.25 + margin_mm)
    assert share == pytest.approx((target - voxels_below(8.0)) / target)
    assert not_assessable_share(field(6.25, 8.25), margin_mm) == 0.0
