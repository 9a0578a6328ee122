"""Coverage and margin from the measurement grid, as they are reported."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engine.coverage.grid import MeasurementField
from engine.coverage.interval import CoverageInterval
from engine.coverage.ratio import margin_shares, measure_coverage, not_assessable_share
from engine.findings import ContourOrigin, CoverageFinding, MarginFinding

MIN_PROBABILITY_COMPLETE: Final = 0.9
"""A zone or tumor that a model drew is called completely covered from this probability on."""


def find_coverage(
    grid: MeasurementField,
    *,
    target_margin_mm: float,
    zone_volume_ml: float,
    zone_origin: ContourOrigin,
    core_origin: ContourOrigin,
) -> tuple[CoverageFinding, MarginFinding]:
    """Measure coverage and margin, of the zone and of its dense core.

    Parameters
    ----------
    grid : MeasurementField
    target_margin_mm, zone_volume_ml : float
    zone_origin, core_origin : ContourOrigin

    Returns
    -------
    CoverageFinding, MarginFinding
        Without their intervals.
    """
    whole, in_lung = measure_coverage(
        grid, grid.zone, grid.distance_to_zone_mm, target_margin_mm=target_margin_mm
    )
    core = None
    if grid.core is not None and grid.distance_to_core_mm is not None:
        core, _ = measure_coverage(
            grid, grid.core, grid.distance_to_core_mm, target_margin_mm=target_margin_mm
        )
    coverage = CoverageFinding(
        tcr=whole.tcr,
        complete=whole.complete,
        lung_clipped_tcr=in_lung.tcr,
        not_assessable_share=not_assessable_share(grid, target_margin_mm),
        core_tcr=None if core is None else core.tcr,
        core_origin=core_origin,
        target_volume_ml=whole.target_ml,
        zone_volume_ml=zone_volume_ml,
        target_margin_mm=target_margin_mm,
        zone_origin=zone_origin,
    )
    margin = MarginFinding(
        minimal_mm=whole.minimal_mm,
        shares=margin_shares(grid),
        lung_clipped_minimal_mm=_finite(in_lung.minimal_mm),
        core_minimal_mm=None if core is None else core.minimal_mm,
    )
    return coverage, margin


def with_interval(
    coverage: CoverageFinding, margin: MarginFinding, interval: CoverageInterval, *, sure: bool
) -> tuple[CoverageFinding, MarginFinding]:
    """Add the ranges; completeness that is not sure is left open.

    Parameters
    ----------
    coverage, margin
    interval : CoverageInterval
    sure : bool
        Whether coverage may be called complete.

    Returns
    -------
    CoverageFinding, MarginFinding
    """
    unsure = coverage.complete and not sure
    return (
        replace(
            coverage,
            complete=None if unsure else coverage.complete,
            tcr_interval_90=interval.tcr_90,
            probability_complete=interval.probability_complete,
        ),
        replace(margin, minimal_interval_90_mm=interval.minimal_mm_90),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
