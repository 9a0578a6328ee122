"""Coverage and margin from the measurement grid, as they are reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.coverage.grid import MeasurementField
from engine.coverage.interval import CoverageInterval
from engine.coverage.ratio import measure_coverage, not_assessable_share
from engine.coverage.surface_margin import measure_surface_margin
from engine.findings import ContourOrigin, CoverageFinding, MarginFinding

MIN_PROBABILITY_COMPLETE: Final = 0.9
"""A target is called completely covered from this probability on, whoever drew the contours."""

_LOW_QUANTILE: Final = 0.02
"""The margin's quantile that is given beside its minimum, which a single spicule decides."""


@dataclass(frozen=True)
class Confirmation:
    """Whether complete coverage holds on the contours that err to the safe side, too.

    Supplied contours have none: theirs is always confirmed.
    """

    whole: bool = True
    in_lung: bool = True


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
        Without their intervals; completeness as it was measured.
    """
    whole, in_lung = measure_coverage(
        grid, grid.zone, grid.distance_to_zone_mm, target_margin_mm=target_margin_mm
    )
    core = None
    if grid.core is not None and grid.distance_to_core_mm is not None:
        core, _ = measure_coverage(
            grid, grid.core, grid.distance_to_core_mm, target_margin_mm=target_margin_mm
        )
    surface = measure_surface_margin(grid)
    coverage = CoverageFinding(
        tcr=whole.tcr,
        complete=whole.complete,
        lung_clipped_tcr=in_lung.tcr,
        lung_clipped_complete=in_lung.complete,
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
        shares=surface.shares,
        lung_clipped_minimal_mm=_finite(in_lung.minimal_mm),
        core_minimal_mm=None if core is None else core.minimal_mm,
        quantile_2_mm=surface.quantile_mm(_LOW_QUANTILE),
        insufficient_surface_cm2=surface.area_below_cm2(target_margin_mm),
    )
    return coverage, margin


def with_interval(
    coverage: CoverageFinding,
    margin: MarginFinding,
    interval: CoverageInterval,
    confirmed: Confirmation,
) -> tuple[CoverageFinding, MarginFinding]:
    """Add the ranges; completeness that is not sure enough is left open.

    Parameters
    ----------
    coverage, margin
    interval : CoverageInterval
    confirmed : Confirmation

    Returns
    -------
    CoverageFinding, MarginFinding
    """
    coverage = replace(
        coverage,
        complete=_called_complete(coverage.complete, interval, confirmed=confirmed.whole),
        tcr_interval_90=interval.tcr_90,
        probability_complete=interval.probability_complete,
    )
    margin = replace(margin, minimal_interval_90_mm=interval.minimal_mm_90)
    in_lung = interval.in_lung
    if in_lung is None:  # nothing of the target can be assessed
        return replace(coverage, lung_clipped_tcr=None, lung_clipped_complete=None), replace(
            margin, lung_clipped_minimal_mm=None
        )
    coverage = replace(
        coverage,
        lung_clipped_complete=_called_complete(
            coverage.lung_clipped_complete, in_lung, confirmed=confirmed.in_lung
        ),
        lung_clipped_tcr_interval_90=in_lung.tcr_90,
        lung_clipped_probability_complete=in_lung.probability_complete,
    )
    seen = np.isfinite(in_lung.minimal_mm_90).all()
    return coverage, replace(
        margin, lung_clipped_minimal_interval_90_mm=in_lung.minimal_mm_90 if seen else None
    )


def _called_complete(measured: bool | None, interval: CoverageInterval, *, confirmed: bool) -> bool | None:
    """Completeness as it was measured; None where it was, and is not sure enough."""
    sure = confirmed and interval.probability_complete >= MIN_PROBABILITY_COMPLETE
    return None if measured and not sure else measured


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
