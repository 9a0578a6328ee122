"""Cox's partial likelihood with its derivatives, ties by Efron or by Breslow.

For the LASSO and the calibration slope; lifelines evaluates a likelihood at the coefficients of its own fits only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError

Ties = Literal["efron", "breslow"]


@dataclass(frozen=True, eq=False)
class RiskSets:
    """Who was at risk at each event.

    Attributes
    ----------
    order : ndarray of int, (case,)
        Cases by time, ascending; all other arrays are in this order.
    event : ndarray of bool, (case,)
    begin : ndarray of int, (event,)
        Of each event, the first position that is at risk with it.
    group : ndarray of int, (event,)
        Of each event, which of the distinct event times it has.
    share : ndarray of float, (event,)
        How much of its tied events' risk has left the risk set: l / d for the l-th of d (Efron), or 0.
    last_group : ndarray of int, (case,)
        Of each case, how many distinct event times it reached.
    """

    order: Int64Array
    event: BoolArray
    begin: Int64Array
    group: Int64Array
    share: Float64Array
    last_group: Int64Array


@dataclass(frozen=True, eq=False)
class _Derivatives:
    """Log partial likelihood at some coefficients, with gradient (p,) and information (p, p)."""

    log_likelihood: float
    gradient: Float64Array
    information: Float64Array


def risk_sets(months: Float64Array, event: BoolArray, ties: Ties) -> RiskSets:
    """Sort the cases by time and number the event times.

    Raises
    ------
    InvalidRequestError
        If ties are to be handled in another way.
    EstimationError
        If there is no event.
    """
    if ties not in ("efron", "breslow"):
        raise InvalidRequestError(f"ties {ties!r} are not known: give efron or breslow", "ties")
    if not event.any():
        raise EstimationError("the cohort has no event: there is nothing to estimate a hazard from")
    order = np.argsort(months, kind="stable")
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


def log_partial_likelihood(sets: RiskSets, log_risk: Float64Array) -> float:
    """Log partial likelihood of log-risks (case,)."""
    return _log_likelihood(sets, log_risk[sets.order])[0]


def derivatives(sets: RiskSets, covariates: Float64Array, log_risk: Float64Array) -> _Derivatives:
    """Log partial likelihood of log-risks (case,) with its derivatives by the coefficients of covariates (case, p)."""
    x = covariates[sets.order]
    likelihood, relative, denominator = _log_likelihood(sets, log_risk[sets.order])
    expected = _expected_events(sets, relative, denominator)
    means = _risk_set_means(sets, x, relative, denominator)
    return _Derivatives(likelihood, x.T @ (sets.event - expected), (x.T * expected) @ x - means.T @ means)


def martingale_residuals(sets: RiskSets, log_risk: Float64Array) -> Float64Array:
    """Events less expected events of each case (case,): the gradient by the log-risk."""
    _, relative, denominator = _log_likelihood(sets, log_risk[sets.order])
    residuals = np.empty_like(log_risk)
    residuals[sets.order] = sets.event - _expected_events(sets, relative, denominator)
    return residuals


def _log_likelihood(sets: RiskSets, log_risk: Float64Array) -> tuple[float, Float64Array, Float64Array]:
    """Log-likelihood, risks relative to the largest (case,) and their sums over risk sets (event,)."""
    shifted = log_risk - log_risk.max()
    relative = np.exp(shifted)
    at_risk = np.cumsum(relative[::-1])[::-1][sets.begin]
    tied = np.add.reduceat(relative[sets.event], _first_of_group(sets))[sets.group]
    denominator = at_risk - sets.share * tied
    with np.errstate(divide="ignore"):
        value = float(shifted[sets.event].sum() - np.log(denominator).sum())
    return value, relative, denominator


def _risk_set_means(
    sets: RiskSets, covariates: Float64Array, relative: Float64Array, denominator: Float64Array
) -> Float64Array:
    """Weighted mean (event, p) of the covariates over the risk set of each event."""
    weighted = covariates * relative[:, None]
    at_risk = np.cumsum(weighted[::-1], axis=0)[::-1][sets.begin]
    tied = np.add.reduceat(weighted[sets.event], _first_of_group(sets), axis=0)[sets.group]
    return np.asarray((at_risk - sets.share[:, None] * tied) / denominator[:, None])


def _expected_events(sets: RiskSets, relative: Float64Array, denominator: Float64Array) -> Float64Array:
    """Events expected of each case until it leaves: its risk times the cumulative hazard."""
    first = _first_of_group(sets)
    hazard = np.concatenate([[0.0], np.cumsum(np.add.reduceat(1.0 / denominator, first))])
    left = np.add.reduceat(sets.share / denominator, first)
    expected = relative * hazard[sets.last_group]
    expected[sets.event] -= relative[sets.event] * left[sets.group]
    return np.asarray(expected)


def _first_of_group(sets: RiskSets) -> Int64Array:
    """Where each distinct event time begins among the events."""
    return np.searchsorted(sets.group, np.arange(sets.group[-1] + 1))
