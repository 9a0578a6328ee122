"""Survival by groups: Kaplan–Meier, the log-rank test, Aalen–Johansen for competing risks, numbers at risk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from engine.arrays import Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import checked_follow_up, finite_array

Z_95 = float(norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """Survival as a right-continuous step function of time.

    Attributes
    ----------
    months : ndarray of float, (time,)
        Every distinct time of the cohort, ascending, 0 in front.
    survival, lower_95, upper_95 : ndarray of float, (time,)
        From each time on. The interval is NaN where nobody survives.
    at_risk, events, censored : ndarray of int, (time,)
        Under observation just before each time; events and ends of follow-up at it.
    """

    months: Float64Array
    survival: Float64Array
    lower_95: Float64Array
    upper_95: Float64Array
    at_risk: Int64Array
    events: Int64Array
    censored: Int64Array

    def at(self, months: npt.ArrayLike) -> Float64Array:
        """Survival at given times; after the last one it keeps the last value."""
        return np.asarray(self.survival[self._steps(months)])

    def interval_at(self, months: npt.ArrayLike) -> Float64Array:
        """Lower and upper end (time, 2) of the 95 % interval at given times."""
        steps = self._steps(months)
        return np.stack([self.lower_95[steps], self.upper_95[steps]], axis=-1)

    def median(self) -> float:
        """First time at which at most half survive, months; infinite if more than half do to the end."""
        reached = np.flatnonzero(self.survival <= 0.5 + 1e-12)  # a half that rounding left above a half
        return float(self.months[reached[0]]) if reached.size else float("inf")

    def _steps(self, months: npt.ArrayLike) -> Int64Array:
        at = np.asarray(months, dtype=np.float64)
        return np.maximum(np.searchsorted(self.months, at, side="right") - 1, 0)


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


@dataclass(frozen=True)
class _LogRank:
    """Log-rank test of the hypothesis that groups have one hazard.

    Attributes
    ----------
    statistic : float
        Chi-square distributed with ``degrees_of_freedom``.
    degrees_of_freedom : int
    p_value : float
    """

    statistic: float
    degrees_of_freedom: int
    p_value: float


def kaplan_meier(months: npt.ArrayLike, event: npt.ArrayLike) -> KaplanMeier:
    """Estimate survival by the product limit.

    The interval is pointwise, 95 %, by Greenwood's variance on the log(-log) scale.

    Parameters
    ----------
    months : array_like of float, (case,)
    event : array_like of bool, (case,)

    Raises
    ------
    InvalidRequestError
        If times or events cannot be used.

    References
    ----------
    Kaplan and Meier 1958, J Am Stat Assoc 53:457; Kalbfleisch and Prentice 2002, section 1.4.1.
    """
    times, events = checked_follow_up(months, event)
    distinct, dying, leaving, at_risk = _counts(times, events)
    with np.errstate(divide="ignore", invalid="ignore"):
        hazard = np.where(at_risk > 0, dying / at_risk, 0.0)
        survival = np.asarray(np.cumprod(1.0 - hazard), dtype=np.float64)
        greenwood = np.cumsum(np.where(dying > 0, dying / (at_risk * (at_risk - dying)), 0.0))
        log_survival = np.log(survival)
        width = Z_95 * np.sqrt(greenwood) / np.abs(log_survival)
        lower, upper = survival ** np.exp(width), survival ** np.exp(-width)
    everybody = log_survival == 0
    lower[everybody] = upper[everybody] = 1.0
    nobody = survival == 0
    lower[nobody] = upper[nobody] = np.nan
    return KaplanMeier(distinct, survival, lower, upper, at_risk, dying, leaving)


def number_at_risk(months: npt.ArrayLike, at_months: npt.ArrayLike) -> Int64Array:
    """Cases under observation just before given times (time,), as written below a survival plot."""
    times = np.sort(finite_array(months, "months", dimensions=1))
    at = np.asarray(at_months, dtype=np.float64)
    return np.asarray(times.size - np.searchsorted(times, at, side="left"), dtype=np.int64)


def log_rank(months: npt.ArrayLike, event: npt.ArrayLike, groups: npt.ArrayLike) -> _LogRank:
    """Compare the survival of two or more groups.

    Parameters
    ----------
    months : array_like of float, (case,)
    event : array_like of bool, (case,)
    groups : array_like, (case,)
        One label per case.

    Raises
    ------
    InvalidRequestError
        If lengths differ.
    EstimationError
        If there are fewer than two groups, or no event while two are at risk.

    References
    ----------
    Mantel 1966, Cancer Chemother Rep 50:163; Peto and Peto 1972, J R Stat Soc A 135:185.
    """
    times, events = checked_follow_up(months, event)
    labels = np.asarray(groups)
    if labels.shape != times.shape:
        raise InvalidRequestError(f"groups {labels.shape} for {times.size} cases: one per case", "groups")
    names, membership = np.unique(labels, return_inverse=True)
    if names.size < 2:
        raise EstimationError("there is one group only: a log-rank test compares two or more")
    event_times = np.unique(times[events])
    at_risk, dying = np.zeros((2, names.size, event_times.size))
    for group in range(names.size):
        own, own_events = times[membership == group], events[membership == group]
        at_risk[group] = own.size - np.searchsorted(np.sort(own), event_times, side="left")
        dying[group] = np.bincount(np.searchsorted(event_times, own[own_events]), minlength=event_times.size)
    everybody, deaths = at_risk.sum(axis=0), dying.sum(axis=0)
    share = at_risk / everybody
    excess = (dying - deaths * share).sum(axis=1)[1:]
    # Hypergeometric: d (n - d) / (n - 1) times the multinomial covariance of the shares.
    spread = np.where(everybody > 1, deaths * (everybody - deaths) / np.maximum(everybody - 1, 1), 0.0)
    covariance = np.diag((share * spread).sum(axis=1)) - (share * spread) @ share.T
    if np.linalg.matrix_rank(covariance[1:, 1:]) < names.size - 1:
        raise EstimationError(
            "a group is never at risk together with another at an event: nothing to compare"
        )
    statistic = float(excess @ np.linalg.solve(covariance[1:, 1:], excess))
    return _LogRank(statistic, names.size - 1, float(chi2.sf(statistic, names.size - 1)))


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
        width = Z_95 * np.stack(error) / np.abs(rising * np.log(rising))
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
    n, d, own = np.maximum(at_risk, 1).astype(float), dying.astype(float), of_cause.astype(float)
    greenwood = np.divide(d, n * (n - d), out=np.zeros(n.size), where=n > d)
    cross = before * own / n**2
    variance = (
        incidence**2 * np.cumsum(greenwood)
        - 2 * incidence * np.cumsum(incidence * greenwood)
        + np.cumsum(incidence**2 * greenwood)
        + np.cumsum(before**2 * (n - own) * own / n**3)
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
