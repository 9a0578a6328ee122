"""Horizons, calibration and baseline hazards, from predictions of cases that were left out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.breslow import breslow_cumulative_hazard
from export.survival.calibration_slope import CalibrationSlope, calibration_slope
from export.survival.follow_up import MIN_AT_RISK
from export.survival.kaplan_meier import number_at_risk
from export.survival.table import SurvivalTable

LTP_HORIZONS: Final = (12, 24, 36)
"""Months."""
_HORIZON_SHARES: Final = (0.25, 0.5, 0.75)
"""Of the time for which 15 cases were followed, where no horizons were asked for."""
_MAX_TIMES: Final = 200
_SLOPES_APPLIED: Final = (0.1, 2.0)
"""A slope outside is a sign that nothing was learned, and is not followed further."""


@dataclass(frozen=True, eq=False)
class Recalibration:
    """Slope of the out-of-fold log-risk, and how far it was followed.

    Attributes
    ----------
    measured : CalibrationSlope, optional
        None where the log-risk has no slope, such as when it is the same for every case.
    applied : float
    """

    measured: CalibrationSlope | None
    applied: float


def choose_horizons(
    months: Float64Array, requested: tuple[int | float, ...] | None
) -> tuple[int | float, ...]:
    """Horizons in months at which a risk may be stated: 15 cases or more are under observation.

    Parameters
    ----------
    months : ndarray of float, (case,)
    requested : tuple of int or float, optional
        By default three round times are chosen.

    Raises
    ------
    EstimationError
        If there is none.
    """
    ordered = np.sort(months)
    longest = float(ordered[-MIN_AT_RISK]) if ordered.size >= MIN_AT_RISK else 0.0
    if requested is None:
        candidates = sorted({_rounded_down(share * longest) for share in _HORIZON_SHARES if longest > 0})
    else:
        candidates = sorted(set(requested))
    enough = tuple(h for h in candidates if h > 0 and number_at_risk(months, [h])[0] >= MIN_AT_RISK)
    if not enough:
        of_requested = "" if requested is None else f" of {', '.join(f'{h:g}' for h in requested)}"
        raise EstimationError(
            f"no horizon{of_requested} has {MIN_AT_RISK} cases at risk (so many were followed for {longest:g}): "
            "follow up longer, or ask for an earlier one"
        )
    return enough


def recalibrate(table: SurvivalTable, out_of_fold_log_risk: Float64Array) -> Recalibration:
    """Slope by which the log-risk (case,) is multiplied so that it is neither overconfident nor too timid."""
    try:
        slope = calibration_slope(table.months, table.event, out_of_fold_log_risk)
    except EstimationError:
        return Recalibration(None, 1.0)
    return Recalibration(slope, float(np.clip(slope.slope, *_SLOPES_APPLIED)))


def baseline_times(table: SurvivalTable, horizons: tuple[int | float, ...]) -> Float64Array:
    """Times of the baseline's table: 0, the event times (thinned if they are many), and the horizons."""
    ended = table.event if table.competing is None else table.event | table.competing
    times = np.unique(table.months[ended])
    if times.size > _MAX_TIMES:
        times = times[np.linspace(0, times.size - 1, _MAX_TIMES).round().astype(np.int64)]
    return np.unique(np.concatenate([[0.0], times, np.array(horizons, dtype=np.float64)]))


def member_baselines(
    table: SurvivalTable, log_risk: Float64Array, weights: Float64Array, times: Float64Array
) -> Float64Array:
    """Breslow's cumulative hazard (member, time) of out-of-fold log-risks (case, k), each with its weights.

    Member m takes the log-risks of the k-th of every fold, m modulo k: of single members, as the engine
    averages their risks.
    """
    columns = log_risk.shape[1]
    return np.array(
        [
            _cumulative(table.months, table.event, log_risk[:, member % columns], times, member_weights)
            for member, member_weights in enumerate(weights)
        ]
    )


def competing_baseline(table: SurvivalTable, times: Float64Array) -> Float64Array | None:
    """Cumulative hazard (time,) of the competing event in all cases (Nelson–Aalen); none without one."""
    if table.competing is None or not table.competing.any():
        return None
    return _cumulative(table.months, table.competing, np.zeros(table.cases), times, np.ones(table.cases))


def _cumulative(
    months: Float64Array, event: BoolArray, log_risk: Float64Array, times: Float64Array, weights: Float64Array
) -> Float64Array:
    """Rounded to six digits, as a manifest holds it."""
    hazard = breslow_cumulative_hazard(months, event, log_risk, times, weights)
    return np.array([float(f"{value:.6g}") for value in hazard])


def _rounded_down(value: float) -> int | float:
    """Two significant digits, a whole number where it is one."""
    scale = 10.0 ** (math.floor(math.log10(value)) - 1)
    rounded = float(f"{math.floor(value / scale) * scale:.6g}")
    return int(rounded) if rounded.is_integer() else rounded
