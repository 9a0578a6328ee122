"""Brier score of predicted survival under censoring.

Ours, because of the maintained libraries only scikit-survival has it, which is GPL: tests compare with it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import MIN_AT_RISK, checked_follow_up, finite_array

_EVALUATION_TIMES = 100


def brier_scores(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    survival: npt.ArrayLike,
    at_months: npt.ArrayLike,
    *,
    competing: npt.ArrayLike | None = None,
) -> Float64Array:
    """Brier score (time,) by inverse probability of censoring weights; lower is better, a coin gets 0.25.

    At time t a case whose event came until t counts with 1 / G(T-), one known to have lived longer with
    1 / G(t), one that was lost before with nothing; G is the Kaplan–Meier estimate of the censoring
    times. An event and an end of follow-up at one time: the event came first.

    Parameters
    ----------
    months : array_like of float, (case,)
    event : array_like of bool, (case,)
    survival : array_like of float, (case, time)
        Predicted probability of no event until each of the times.
    at_months : array_like of float, (time,)
        All before the last follow-up: nobody is known to have lived beyond it, so that G says nothing there.
    competing : array_like of bool, (case,), optional
        Cases in which another event came first. They are known never to have the event: neither lost nor
        still at risk.

    Raises
    ------
    InvalidRequestError
        If shapes differ or a probability is not one.
    EstimationError
        If a time is not before the last follow-up.

    References
    ----------
    Graf et al. 1999, Stat Med 18:2529; Gerds and Schumacher 2006, Biom J 48:1029 (G just before T);
    Schoop et al. 2011, Biom J 53:88 (competing events).
    """
    times, events = checked_follow_up(months, event)
    horizons = finite_array(at_months, "at_months", dimensions=1)
    predicted = finite_array(survival, "survival", dimensions=2)
    if predicted.shape != (times.size, horizons.size):
        raise InvalidRequestError(
            f"survival {predicted.shape} for {times.size} cases and {horizons.size} times: one row per case",
            "survival",
        )
    if predicted.size and (predicted.min() < -1e-9 or predicted.max() > 1 + 1e-9):
        raise InvalidRequestError("a survival lies outside 0 to 1: give probabilities", "survival")
    if horizons.size and horizons.max() >= times.max():
        raise EstimationError(
            f"nobody was followed beyond {times.max():g} months: no Brier score at {horizons.max():g} months"
        )
    ended = events if competing is None else events | checked_follow_up(times, competing)[1]
    known = ended[:, None] & (times[:, None] <= horizons)
    with_event = known & events[:, None]
    return np.asarray((_weights(times, ended, known, horizons) * (~with_event - predicted) ** 2).mean(axis=0))


def integrated_brier(at_months: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Mean of a Brier curve over the time that it spans (trapezoids).

    Raises
    ------
    InvalidRequestError
        If there are fewer than two times, or they do not ascend.
    """
    times = finite_array(at_months, "at_months", dimensions=1)
    values = finite_array(scores, "scores", dimensions=1)
    if times.size < 2 or times.size != values.size or (np.diff(times) <= 0).any():
        raise InvalidRequestError("a Brier score is integrated over two or more ascending times", "at_months")
    return float(np.trapezoid(values, times) / (times[-1] - times[0]))


def evaluation_months(months: npt.ArrayLike, *, count: int = _EVALUATION_TIMES) -> Float64Array:
    """Times (count,) from 0 on, evenly spaced, at which a Brier score is defined and 15 cases or more are at risk.

    They end at the last time with 15 at risk; where that is the end of all follow-up, at the last time before it.

    Raises
    ------
    EstimationError
        If the cohort is smaller than that, or all are lost at once.
    """
    times = finite_array(months, "months", dimensions=1)
    last_month = np.sort(times)[-MIN_AT_RISK] if times.size >= MIN_AT_RISK else 0.0
    if last_month == times.max():
        last_month = times[times < last_month].max(initial=0.0)
    if last_month <= 0:
        raise EstimationError(
            f"{times.size} cases: a Brier score needs {MIN_AT_RISK} under observation for some time"
        )
    return np.linspace(0.0, last_month, count)


def _weights(times: Float64Array, ended: BoolArray, known: BoolArray, horizons: Float64Array) -> Float64Array:
    """Weight (case, time) of each case: the inverse probability that it could be seen."""
    distinct, uncensored = _censoring_curve(times, ended)
    probability = np.concatenate([[1.0], uncensored])
    uncensored_at_end = probability[np.searchsorted(distinct, times, side="left")]
    uncensored_at_horizon = probability[np.searchsorted(distinct, horizons, side="right")]
    # No division by 0: who is at risk at a time was not censored before it.
    weights = np.where(known, 1.0 / np.where(ended, uncensored_at_end, 1.0)[:, None], 0.0)
    return np.where(times[:, None] > horizons, 1.0 / uncensored_at_horizon, weights)


def _censoring_curve(months: Float64Array, ended: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Distinct times (time,) and the probability (time,) of being uncensored after each of them.

    Kaplan–Meier with the roles exchanged: at a time where both happen, those with an event have left
    the risk set before the others are lost.
    """
    distinct, time_index = np.unique(months, return_inverse=True)
    censored = np.bincount(time_index[~ended], minlength=distinct.size)
    events = np.bincount(time_index[ended], minlength=distinct.size)
    at_risk = months.size - np.searchsorted(np.sort(months), distinct, side="left") - events
    share = np.divide(censored, at_risk, out=np.zeros(distinct.size), where=at_risk > 0)
    return distinct, np.cumprod(1.0 - share)
