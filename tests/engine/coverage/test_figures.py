"""Coverage and margin as findings, and what their intervals leave open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.coverage.figures import Confirmation, find_coverage, with_interval
from engine.coverage.grid import MeasurementField, build_measurement_field
from engine.coverage.interval import CoverageInterval
from engine.coverage.ratio import not_assessable_share
from engine.findings import SUPPLIED, THRESHOLDED, CoverageFinding, MarginFinding
from engine.geometry import RigidTransform
from engine.structures.surface import StructureSurface
from tests.support.spheres import ball, centered_grid, true_coverage

GRID = centered_grid((1.0, 1.0, 1.0), 24.0)
INTERVAL = CoverageInterval((0.9, 1.0), (3.5, 6.5), 0.8)


def field(zone_mm: float, core_mm: float | None = None, shift_mm: float = 0.0) -> MeasurementField:
    def surface(radius: float, x: float, name: str) -> StructureSurface:
        return StructureSurface(ball(GRID, (x, 0.3, 0.1), radius, name))

    return build_measurement_field(
        surface(6.0, 0.2, "tumor"),
        surface(zone_mm, 0.2 + shift_mm, "ablation zone"),
        None if core_mm is None else surface(core_mm, 0.2 + shift_mm, "ablation core"),
        None,
        RigidTransform.identity(),
    )


def findings(grid: MeasurementField, margin_mm: float = 5.0) -> tuple[CoverageFinding, MarginFinding]:
    return find_coverage(
        grid,
        target_margin_mm=margin_mm,
        zone_volume_ml=7.5,
        zone_origin=SUPPLIED,
        core_origin=THRESHOLDED,
    )


def test_the_core_is_measured_beside_the_zone() -> None:
    coverage, margin = findings(field(13.0, 9.0, shift_mm=1.5))
    zone_tcr, zone_margin = true_coverage(6.0, 13.0, 1.5)
    core_tcr, core_margin = true_coverage(6.0, 9.0, 1.5)
    assert (coverage.tcr, coverage.core_tcr) == pytest.approx((zone_tcr, core_tcr), abs=0.01)
    assert (margin.minimal_mm, margin.core_minimal_mm) == pytest.approx((zone_margin, core_margin), abs=0.35)
    assert (coverage.zone_origin, coverage.core_origin) == (SUPPLIED, THRESHOLDED)
    assert (coverage.zone_volume_ml, coverage.target_margin_mm) == (7.5, 5.0)
    assert coverage.complete is True
    assert coverage.target_volume_ml == pytest.approx(5.575, rel=0.02)
    assert coverage.not_assessable_share == 0.0
    assert coverage.lung_clipped_tcr == 1.0
    assert margin.lung_clipped_minimal_mm == margin.minimal_mm
    assert margin.shares is not None
    assert sum(margin.shares[2:]) == pytest.approx(1.0)


def test_the_margin_asked_for_is_that_of_zone_and_core() -> None:
    coverage, _ = findings(field(13.0, 9.5), margin_mm=3.0)
    assert (coverage.tcr, coverage.core_tcr, coverage.complete) == (1.0, 1.0, True)
    coverage, _ = findings(field(13.0, 9.5), margin_mm=8.0)
    assert coverage.complete is False
    assert coverage.target_margin_mm == 8.0
    assert coverage.core_tcr is not None
    assert coverage.core_tcr < coverage.tcr < 1.0  # type: ignore[operator]


def test_a_tumor_outside_zone_and_core_has_the_margin_of_its_farthest_point() -> None:
    coverage, margin = findings(field(5.0, 4.0, shift_mm=3.0))
    assert (margin.minimal_mm, margin.core_minimal_mm) == pytest.approx((-4.0, -5.0), abs=0.4)
    assert coverage.complete is False


def test_what_the_wall_hides_is_not_assessable_within_the_margin_asked_for() -> None:
    laid_out = field(13.0)
    x = laid_out.geometry.to_lps(np.argwhere(np.ones_like(laid_out.lung)))[:, 0].reshape(laid_out.lung.shape)
    walled = replace(laid_out, lung=laid_out.tumor | (x < 8.0))
    shares = [findings(walled, margin_mm)[0].not_assessable_share for margin_mm in (3.0, 5.0)]
    assert shares == [not_assessable_share(walled, 3.0), not_assessable_share(walled, 5.0)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert 0.0 < shares[0] < shares[1]


def test_where_no_lung_is_uncovered_its_margin_has_no_number() -> None:
    """Nothing uncovered is left to measure to, and infinity is no figure of a report."""
    laid_out = field(13.0)
    nowhere = replace(laid_out, lung=np.zeros_like(laid_out.lung))
    assert findings(nowhere)[1].lung_clipped_minimal_mm is None


def test_without_a_core_nothing_is_said_of_one() -> None:
    coverage, margin = findings(field(13.0))
    assert (coverage.core_tcr, margin.core_minimal_mm) == (None, None)


@pytest.mark.parametrize(
    ("measured", "probability", "confirmed", "complete"),
    [
        (True, 0.9, True, True),
        (True, 0.89, True, None),
        (True, 0.41, True, None),
        (True, 1.0, False, None),
        (False, 1.0, True, False),
        (False, 0.1, False, False),
    ],
)
def test_completeness_that_is_not_sure_is_left_open_and_a_miss_never_is(
    measured: bool, probability: float, confirmed: bool, complete: bool | None
) -> None:
    coverage, margin = findings(field(13.0))
    before = replace(coverage, complete=measured, lung_clipped_complete=measured)
    whole = CoverageInterval((0.9, 1.0), (3.5, 6.5), probability, in_lung=INTERVAL)
    coverage, margin = with_interval(before, margin, whole, Confirmation(whole=confirmed))
    assert coverage.complete is complete
    assert coverage.lung_clipped_complete is (None if measured else False)
    assert coverage.tcr_interval_90 == (0.9, 1.0)
    assert coverage.probability_complete == probability
    assert margin.minimal_interval_90_mm == (3.5, 6.5)
    assert coverage.tcr == before.tcr


def test_in_lung_there_is_a_range_and_a_verdict_of_its_own() -> None:
    coverage, margin = findings(field(13.0))
    missed = replace(coverage, complete=False)
    in_lung = CoverageInterval((0.99, 1.0), (5.5, 8.0), 0.97)
    whole = CoverageInterval((0.8, 0.9), (-1.0, 1.0), 0.0, in_lung=in_lung)
    coverage, margin = with_interval(missed, margin, whole, Confirmation())
    assert (coverage.complete, coverage.lung_clipped_complete) == (False, True)
    assert coverage.lung_clipped_tcr_interval_90 == (0.99, 1.0)
    assert coverage.lung_clipped_probability_complete == 0.97
    assert margin.lung_clipped_minimal_interval_90_mm == (5.5, 8.0)
    coverage, _ = with_interval(missed, margin, whole, Confirmation(whole=True, in_lung=False))
    assert coverage.lung_clipped_complete is None


def test_where_nothing_can_be_assessed_nothing_is_said_in_lung() -> None:
    coverage, margin = findings(field(13.0))
    coverage, margin = with_interval(coverage, margin, INTERVAL, Confirmation())
    assert (coverage.lung_clipped_tcr, coverage.lung_clipped_complete) == (None, None)
    assert margin.lung_clipped_minimal_mm is None


def test_an_infinite_margin_in_lung_has_no_range() -> None:
    coverage, margin = findings(field(13.0))
    endless = CoverageInterval((1.0, 1.0), (9.0, float("inf")), 1.0)
    _, margin = with_interval(coverage, margin, replace(INTERVAL, in_lung=endless), Confirmation())
    assert margin.lung_clipped_minimal_interval_90_mm is None


def test_the_insufficient_surface_is_the_part_of_a_sphere_beyond_the_zone_less_the_margin() -> None:
    """Concentric zone 3 mm larger: all of the tumor's 4 pi r^2 has too little; 9 mm larger: none."""
    for zone_mm, area_cm2 in ((9.0, 4 * np.pi * 0.6**2), (15.0, 0.0)):
        _, margin = findings(field(zone_mm))
        assert margin.insufficient_surface_cm2 == pytest.approx(area_cm2, rel=0.02, abs=0.01)
        assert margin.quantile_2_mm == pytest.approx(zone_mm - 6.0, abs=0.2)
