"""Cox's partial likelihood with its derivatives, ties by Efron or by Breslow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError

Ties = Literal["efron", "breslow"]


@dataclass(frozen=True, eq=False)
class RiskSets:
    """Who was at risk at each event of one stratum.

    Attributes
    ----------
    order : ndarray of int, (at risk,)
        Cases of the stratum by time, ascending; all other arrays are in this order.
    event : ndarray of bool, (at risk,)
    begin : ndarray of int, (event,)
        Of each event, the first position that is at risk with it.
    group : ndarray of int, (event,)
        Of each event, which of the distinct event times it has.
    share : ndarray of float, (event,)
        How much of its tied events' risk has left the risk set: l / d for the l-th of d (Efron), or 0.
    last_group : ndarray of int, (at risk,)
        Of each case, how many distinct event times it reached.
    """

    order: Int64Array
    event: BoolArray
    begin: Int64Array
    group: Int64Array
    share: Float64Array
    last_group: Int64Array


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Log partial likelihood at some coefficients, with gradient (p,) and information (p, p)."""

    log_likelihood: float
    gradient: Float64Array
    information: Float64Array


def risk_sets(
    months: Float64Array, event: BoolArray, ties: Ties, strata: npt.ArrayLike | None = None
) -> tuple[RiskSets, ...]:
    """Risk sets of every stratum that has an event.

    Raises
    ------
    InvalidRequestError
        If ties are to be handled in another way, or there is not one stratum per case.
    EstimationError
        If there is no event.
    """
    if ties not in ("efron", "breslow"):
        raise InvalidRequestError(f"ties {ties!r} are not known: give efron or breslow", "ties")
    if not event.any():
        raise EstimationError("the cohort has no event: there is nothing to estimate a hazard from")
    stratum = np.zeros(months.size, dtype=np.int64)
    if strata is not None:
        labels = np.asarray(strata)
        if labels.shape != months.shape:
            raise InvalidRequestError(
                f"strata {labels.shape} for {months.size} cases: one per case", "strata"
            )
        stratum = np.unique(labels, return_inverse=True)[1]
    cases = [np.flatnonzero(stratum == label) for label in range(int(stratum.max()) + 1)]
    return tuple(_of_stratum(months, event, ties, members) for members in cases if event[members].any())


def log_partial_likelihood(sets: tuple[RiskSets, ...], log_risk: Float64Array) -> float:
    """Log partial likelihood of log-risks (case,)."""
    return sum(_log_likelihood(one, log_risk[one.order])[0] for one in sets)


def derivatives(sets: tuple[RiskSets, ...], covariates: Float64Array, log_risk: Float64Array) -> Derivatives:
    """Log partial likelihood of log-risks (case,) with its derivatives by the coefficients of covariates."""
    width = covariates.shape[1]
    value, gradient, information = 0.0, np.zeros(width), np.zeros((width, width))
    for one in sets:
        x = covariates[one.order]
        likelihood, relative, denominator = _log_likelihood(one, log_risk[one.order])
        expected = _expected_events(one, relative, denominator)
        means = _risk_set_means(one, x, relative, denominator)
        value += likelihood
        gradient += x.T @ (one.event - expected)
        information += (x.T * expected) @ x - means.T @ means
    return Derivatives(value, gradient, information)


def martingale_residuals(sets: tuple[RiskSets, ...], log_risk: Float64Array) -> Float64Array:
    """Events less expected events of each case (case,): the gradient by the log-risk.

    Cases of a stratum without an event have 0.
    """
    residuals = np.zeros_like(log_risk)
    for one in sets:
        _, relative, denominator = _log_likelihood(one, log_risk[one.order])
        residuals[one.order] = one.event - _expected_events(one, relative, denominator)
    return residuals


def schoenfeld_residuals(
    sets: tuple[RiskSets, ...], covariates: Float64Array, log_risk: Float64Array
) -> tuple[Float64Array, Int64Array]:
    """Covariates of each event less their mean over its risk set (event, p); and the events' cases.

    Tied events share the mean of Efron's risk sets, so that their residuals do not depend on the order.
    """
    residuals, cases = [], []
    for one in sets:
        x = covariates[one.order]
        _, relative, denominator = _log_likelihood(one, log_risk[one.order])
        means = _risk_set_means(one, x, relative, denominator)
        ties = np.bincount(one.group)
        shared = np.add.reduceat(means, _first_of_group(one), axis=0) / ties[:, None]
        residuals.append(x[one.event] - shared[one.group])
        cases.append(one.order[one.event])
    return np.concatenate(residuals), np.concatenate(cases)


def _risk_set_means(
    one: RiskSets, covariates: Float64Array, relative: Float64Array, denominator: Float64Array
) -> Float64Array:
    """Weighted mean (event, p) of the covariates over the risk set of each event."""
    weighted = covariates * relative[:, None]
    at_risk = np.cumsum(weighted[::-1], axis=0)[::-1][one.begin]
    tied = np.add.reduceat(weighted[one.event], _first_of_group(one), axis=0)[one.group]
    return np.asarray((at_risk - one.share[:, None] * tied) / denominator[:, None])


def _of_stratum(months: Float64Array, event: BoolArray, ties: Ties, members: Int64Array) -> RiskSets:
    """Sort the cases of a stratum by time and number its event times."""
    order = members[np.argsort(months[members], kind="stable")]
    time, dying = months[order], event[order]
    event_times, group = np.unique(time[dying], return_inverse=True)
    within = np.arange(group.size) - np.searchsorted(group, group)  # 0, 1, … among tied events
    share = within / np.bincount(group)[group] if ties == "efron" else np.zeros(group.size)
    return RiskSets(
        order=order,
        event=dying,
        begin=np.searchsorted(time, event_times)[group],
        group=group,
        share=share,
        last_group=np.searchsorted(event_times, time, side="right"),
    )


def _log_likelihood(one: RiskSets, log_risk: Float64Array) -> tuple[float, Float64Array, Float64Array]:
    """Log-likelihood, risks relative to the largest (at risk,) and their sums over risk sets (event,)."""
    shifted = log_risk - log_risk.max()
    relative = np.exp(shifted)
    at_risk = np.cumsum(relative[::-1])[::-1][one.begin]
    tied = np.add.reduceat(relative[one.event], _first_of_group(one))[one.group]
    denominator = at_risk - one.share * tied
    with np.errstate(divide="ignore"):
        value = float(shifted[one.event].sum() - np.log(denominator).sum())
    return value, relative, denominator


def _expected_events(one: RiskSets, relative: Float64Array, denominator: Float64Array) -> Float64Array:
    """Events expected of each case until it leaves: its risk times the cumulative hazard."""
    first = _first_of_group(one)
    hazard = np.concatenate([[0.0], np.cumsum(np.add.reduceat(1.0 / denominator, first))])
    left = np.add.reduceat(one.share / denominator, first)
    expected = relative * hazard[one.last_group]
    expected[one.event] -= relative[one.event] * left[one.group]
    return np.asarray(expected)


def _first_of_group(one: RiskSets) -> Int64Array:
    """Where each distinct event time begins among the events."""
    return np.searchsorted(one.group, np.arange(one.group[-1] + 1))
