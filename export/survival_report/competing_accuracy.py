"""Calibration where a competing event can rule the endpoint out.

A case that had the competing event is known never to reach the endpoint: it is neither lost nor still at
risk. Observed is the Aalen–Johansen incidence, predicted one minus the probability of no endpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.competing_risks import aalen_johansen
from export.survival.follow_up import MIN_AT_RISK
from export.survival.kaplan_meier import number_at_risk

_CALIBRATION_GROUPS: Final = 5


def causes(event: BoolArray, competing: BoolArray) -> Float64Array:
    """Cause (case,) as :func:`export.survival.competing_risks.aalen_johansen` takes it."""
    return np.where(event, 1.0, np.where(competing, 2.0, 0.0))


def incidence_of_endpoint(
    months: Float64Array, event: BoolArray, competing: BoolArray, at_months: Float64Array
) -> Float64Array:
    """Aalen–Johansen incidence (time,) of the endpoint."""
    if not event.any():
        return np.zeros(at_months.size)
    return np.asarray(aalen_johansen(months, causes(event, competing)).at(at_months)[0])


def competing_calibration(
    months: Float64Array,
    event: BoolArray,
    competing: BoolArray,
    predicted_risk: Float64Array,
    horizon_months: float,
) -> tuple[float, Sequence[tuple[float, float, float, float, int, int]]]:
    """Observed to expected, and of each group predicted, observed, interval, cases and at risk.

    Parameters
    ----------
    months, predicted_risk : ndarray of float, (case,)
    event, competing : ndarray of bool, (case,)
    horizon_months : float

    Raises
    ------
    EstimationError
        If fewer than 15 cases are at risk at the horizon.
    """
    watched = int(number_at_risk(months, [horizon_months])[0])
    if watched < MIN_AT_RISK:
        raise EstimationError(
            f"{watched} cases are at risk at {horizon_months:g} months: {MIN_AT_RISK} are needed"
        )
    edges = np.quantile(
        predicted_risk, np.arange(1, _CALIBRATION_GROUPS) / _CALIBRATION_GROUPS, method="inverted_cdf"
    )
    # Equal risks stay together, and every group that is left has a case.
    membership = np.unique(np.searchsorted(edges, predicted_risk, side="left"), return_inverse=True)[1]
    points = []
    for group in range(membership.max() + 1):
        inside = membership == group
        observed, low, high = _observed(months[inside], event[inside], competing[inside], horizon_months)
        at_risk = int(number_at_risk(months[inside], [horizon_months])[0])
        points.append((float(predicted_risk[inside].mean()), observed, low, high, int(inside.sum()), at_risk))
    overall = incidence_of_endpoint(months, event, competing, np.array([horizon_months]))[0]
    return float(overall / predicted_risk.mean()), points


def _observed(
    months: Float64Array, event: BoolArray, competing: BoolArray, horizon: float
) -> tuple[float, float, float]:
    """Incidence of the endpoint with its interval; NaN where nobody was followed for so long."""
    decided = (event | competing).all() or months.max() >= horizon
    if not decided:
        return float("nan"), float("nan"), float("nan")
    if not event.any():
        return 0.0, float("nan"), float("nan")
    curve = aalen_johansen(months, causes(event, competing))
    step = max(int(np.searchsorted(curve.months, horizon, side="right")) - 1, 0)
    return float(curve.incidence[0, step]), float(curve.lower_95[0, step]), float(curve.upper_95[0, step])
