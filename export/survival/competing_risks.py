"""Cumulative incidence of competing causes, by Aalen and Johansen.

Ours, because lifelines' AalenJohansenFitter moves tied times apart at random, so that follow-up in whole months gives
another curve each time, and it knows one cause at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from engine.arrays import Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import checked_follow_up, finite_array
from export.survival.kaplan_meier import number_at_risk

_Z_95 = float(norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class _CumulativeIncidence:
    """Probability of each competing cause as a right-continuous step function of time.

    Attributes
    ----------
    months : ndarray of float, (time,)
        Every distinct time of the cohort, ascending, 0 in front.
    incidence, lower_95, upper_95 : ndarray of float, (cause, time)
        Of cause 1 first. The interval is NaN where the incidence is 0.
    event_free : ndarray of float, (time,)
        Probability of none of the causes; with the incidences it sums to 1.
    at_risk : ndarray of int, (time,)
    """

    months: Float64Array
    incidence: Float64Array
    lower_95: Float64Array
    upper_95: Float64Array
    event_free: Float64Array
    at_risk: Int64Array

    def at(self, months: npt.ArrayLike) -> Float64Array:
        """Incidence (cause, time) at given times; after the last one it keeps the last value."""
        steps = np.searchsorted(self.months, np.asarray(months, dtype=np.float64), side="right") - 1
        return np.asarray(self.incidence[:, np.maximum(steps, 0)])


def aalen_johansen(months: npt.ArrayLike, cause: npt.ArrayLike) -> _CumulativeIncidence:
    """Cumulative incidence of competing causes.

    One minus Kaplan–Meier with deaths censored says what would happen if nobody died of anything else;
    this says what does happen. The interval is pointwise, 95 %, by the delta method on the log(-log) scale.

    Parameters
    ----------
    months : array_like of float, (case,)
    cause : array_like of int, (case,)
        0 is the end of follow-up; 1, 2, … are the causes.

    Raises
    ------
    InvalidRequestError
        If lengths differ or a cause is no whole number from 0 on.
    EstimationError
        If there is no event.

    References
    ----------
    Aalen and Johansen 1978, Scand J Stat 5:141; Marubini and Valsecchi 1995, section 10.3 (variance).
    """
    codes = finite_array(cause, "cause", dimensions=1)
    if (codes < 0).any() or (codes != np.round(codes)).any():
        raise InvalidRequestError("a cause is no whole number from 0 on: 0 is the end of follow-up", "cause")
    times, events = checked_follow_up(months, codes > 0)
    if not events.any():
        raise EstimationError("the cohort has no event of any cause")
    distinct, dying, _, at_risk = _counts(times, events)
    hazard = np.divide(dying, at_risk, out=np.zeros(distinct.size), where=at_risk > 0)
    event_free = np.asarray(np.cumprod(1.0 - hazard), dtype=np.float64)
    before = np.concatenate([[1.0], event_free[:-1]])
    incidence, error = [], []
    for code in range(1, int(codes.max()) + 1):
        of_cause = _counts(times, codes == code)[1]
        step = np.divide(of_cause, at_risk, out=np.zeros(distinct.size), where=at_risk > 0)
        incidence.append(np.cumsum(before * step))
        error.append(np.sqrt(_incidence_variance(incidence[-1], before, dying, of_cause, at_risk)))
    rising = np.stack(incidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = _Z_95 * np.stack(error) / np.abs(rising * np.log(rising))
        lower, upper = rising ** np.exp(width), rising ** np.exp(-width)
    lower[rising <= 0], upper[rising <= 0] = np.nan, np.nan
    return _CumulativeIncidence(distinct, rising, lower, upper, event_free, at_risk)


def _incidence_variance(
    incidence: Float64Array,
    before: Float64Array,
    dying: Int64Array,
    of_cause: Int64Array,
    at_risk: Int64Array,
) -> Float64Array:
    """Variance (time,) of a cumulative incidence; sums over earlier times, expanded about its square."""
    n, d, events_of_cause = np.maximum(at_risk, 1).astype(float), dying.astype(float), of_cause.astype(float)
    greenwood = np.divide(d, n * (n - d), out=np.zeros(n.size), where=n > d)
    cross = before * events_of_cause / n**2
    variance = (
        incidence**2 * np.cumsum(greenwood)
        - 2 * incidence * np.cumsum(incidence * greenwood)
        + np.cumsum(incidence**2 * greenwood)
        + np.cumsum(before**2 * (n - events_of_cause) * events_of_cause / n**3)
        - 2 * (incidence * np.cumsum(cross) - np.cumsum(incidence * cross))
    )
    return np.asarray(np.maximum(variance, 0.0))


def _counts(
    months: Float64Array, event: npt.NDArray[np.bool_]
) -> tuple[Float64Array, Int64Array, Int64Array, Int64Array]:
    """Distinct times with 0 in front; events, ends of follow-up and numbers at risk there."""
    distinct = np.unique(np.concatenate([[0.0], months]))
    step = np.searchsorted(distinct, months)
    dying = np.bincount(step[event], minlength=distinct.size).astype(np.int64)
    leaving = np.bincount(step[~event], minlength=distinct.size).astype(np.int64)
    return distinct, dying, leaving, number_at_risk(months, distinct)
