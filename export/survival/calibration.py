"""Calibration: whether predicted risks are the shares that come to pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import MIN_AT_RISK, checked_follow_up, checked_values
from export.survival.kaplan_meier import kaplan_meier, number_at_risk

GROUPS = 5


@dataclass(frozen=True, eq=False)
class _CalibrationCurve:
    """Predicted against observed risk at one horizon, by groups of ascending predicted risk.

    Attributes
    ----------
    horizon_months : float
    predicted : ndarray of float, (group,)
        Mean predicted risk.
    observed, lower_95, upper_95 : ndarray of float, (group,)
        One minus Kaplan–Meier; NaN where nobody of the group was followed for so long.
    cases, at_risk : ndarray of int, (group,)
        All, and those still under observation at the horizon.
    observed_to_expected : float
        Observed risk of all over their mean predicted risk; 1 is calibrated in the large.
    """

    horizon_months: float
    predicted: Float64Array
    observed: Float64Array
    lower_95: Float64Array
    upper_95: Float64Array
    cases: Int64Array
    at_risk: Int64Array
    observed_to_expected: float


def calibration_curve(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    predicted_risk: npt.ArrayLike,
    horizon_months: float,
    *,
    groups: int = GROUPS,
) -> _CalibrationCurve:
    """Compare predicted risks at a horizon with what was observed.

    Parameters
    ----------
    months, event : array_like, (case,)
    predicted_risk : array_like of float, (case,)
        Probability of the event until the horizon.
    horizon_months : float
    groups : int
        At most; equal risks are never split, so that few distinct risks give fewer groups.

    Raises
    ------
    InvalidRequestError
        If a risk is no probability or the number of groups is below 1.
    EstimationError
        If fewer than 15 cases are at risk at the horizon.
    """
    times, events = checked_follow_up(months, event)
    risk = checked_values(predicted_risk, times.size, "predicted_risk")
    if risk.min() < -1e-9 or risk.max() > 1 + 1e-9:
        raise InvalidRequestError(
            "a predicted risk lies outside 0 to 1: give probabilities", "predicted_risk"
        )
    if groups < 1:
        raise InvalidRequestError(f"{groups} groups: give 1 or more", "groups")
    under_observation = int(number_at_risk(times, [horizon_months])[0])
    if under_observation < MIN_AT_RISK:
        raise EstimationError(
            f"{under_observation} cases are at risk at {horizon_months:g} months: {MIN_AT_RISK} are needed"
        )
    membership = _groups(risk, groups)
    rows = [
        _observed(times[membership == group], events[membership == group], horizon_months)
        for group in range(membership.max() + 1)
    ]
    observed, lower, upper, at_risk = (np.array(column) for column in zip(*rows, strict=True))
    cases = np.bincount(membership)
    return _CalibrationCurve(
        horizon_months=horizon_months,
        predicted=np.bincount(membership, weights=risk) / cases,
        observed=observed,
        lower_95=lower,
        upper_95=upper,
        cases=cases.astype(np.int64),
        at_risk=at_risk.astype(np.int64),
        observed_to_expected=_observed(times, events, horizon_months)[0] / float(risk.mean()),
    )


def _groups(risk: Float64Array, groups: int) -> Int64Array:
    """Group (case,) by ascending risk, of about equal size; equal risks stay together."""
    edges = np.quantile(risk, np.arange(1, groups) / groups, method="inverted_cdf")
    return np.unique(np.searchsorted(edges, risk, side="left"), return_inverse=True)[1]


def _observed(times: Float64Array, events: npt.NDArray[np.bool_], horizon: float) -> tuple[float, ...]:
    """Observed risk, its interval and the number at risk at a horizon."""
    curve = kaplan_meier(times, events)
    at_risk = int(number_at_risk(times, [horizon])[0])
    survival = float(curve.at([horizon])[0])
    if at_risk == 0 and survival > 0:
        return float("nan"), float("nan"), float("nan"), at_risk
    low, high = curve.interval_at([horizon])[0]
    return 1.0 - survival, 1.0 - float(high), 1.0 - float(low), at_risk
