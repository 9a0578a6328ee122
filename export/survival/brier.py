"""Brier score of predicted survival under censoring, with the null model beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import LEAST_AT_RISK, checked_follow_up, finite_array
from export.survival.kaplan_meier import kaplan_meier

_EVALUATION_TIMES = 100


@dataclass(frozen=True, eq=False)
class BrierCurve:
    """Brier score over time, lower is better; 0.25 is what a coin would get.

    Attributes
    ----------
    months, scores, null_scores : ndarray of float, (time,)
        The null model gives every case the Kaplan–Meier survival of the reference cohort.
    integrated, null_integrated : float
        Means over the time that the curve spans.
    """

    months: Float64Array
    scores: Float64Array
    null_scores: Float64Array
    integrated: float
    null_integrated: float

    @property
    def scaled(self) -> float:
        """Share of the null model's integrated score that the model saves; 0 is no better, below 0 worse."""
        return 1.0 - self.integrated / self.null_integrated


def brier_scores(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    survival: npt.ArrayLike,
    at_months: npt.ArrayLike,
    *,
    censoring: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Float64Array:
    """Brier score at given times, weighted by the inverse probability of being uncensored.

    At time t a case with an event until t counts with 1 / G(T-), one known to have lived longer with
    1 / G(t), one that was lost before with nothing; G is the Kaplan–Meier estimate of the censoring
    times. An event and an end of follow-up at one time: the event came first.

    Parameters
    ----------
    months : array_like of float, (case,)
    event : array_like of bool, (case,)
    survival : array_like of float, (case, time)
        Predicted probability of no event until each of the times.
    at_months : array_like of float, (time,)
    censoring : (months, event), optional
        The cohort in which censoring is estimated; by default the same.

    Raises
    ------
    InvalidRequestError
        If shapes differ or a probability is not one.
    EstimationError
        If nobody can be observed for so long.

    References
    ----------
    Graf et al. 1999, Stat Med 18:2529; Gerds and Schumacher 2006, Biom J 48:1029 (G just before T).
    """
    times, events = checked_follow_up(months, event)
    at = finite_array(at_months, "at_months", dimensions=1)
    predicted = finite_array(survival, "survival", dimensions=2)
    if predicted.shape != (times.size, at.size):
        raise InvalidRequestError(
            f"survival {predicted.shape} for {times.size} cases and {at.size} times: one row per case",
            "survival",
        )
    if predicted.size and (predicted.min() < -1e-9 or predicted.max() > 1 + 1e-9):
        raise InvalidRequestError("a survival lies outside 0 to 1: give probabilities", "survival")
    reference = (times, events) if censoring is None else checked_follow_up(*censoring)
    return _weighted_squares(times, events, predicted, at, reference)


def integrated_brier(at_months: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Mean of a Brier curve over the time that it spans (trapezoids).

    Raises
    ------
    InvalidRequestError
        If there are fewer than two times, or they do not ascend.
    """
    at = finite_array(at_months, "at_months", dimensions=1)
    values = finite_array(scores, "scores", dimensions=1)
    if at.size < 2 or at.size != values.size or (np.diff(at) <= 0).any():
        raise InvalidRequestError("a Brier score is integrated over two or more ascending times", "at_months")
    return float(np.trapezoid(values, at) / (at[-1] - at[0]))


def brier_curve(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    survival: npt.ArrayLike,
    at_months: npt.ArrayLike,
    *,
    reference: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> BrierCurve:
    """Brier scores of a model and of the null model over time.

    Parameters
    ----------
    months, event, survival, at_months
        As for :func:`brier_scores`; two times or more, ascending.
    reference : (months, event), optional
        The cohort whose Kaplan–Meier curve is the null model, that is the training cohort; by default
        the same. Censoring is always estimated in the cohort that is scored.

    Raises
    ------
    InvalidRequestError, EstimationError
        As for :func:`brier_scores`.
    """
    times, events = checked_follow_up(months, event)
    at = finite_array(at_months, "at_months", dimensions=1)
    scores = brier_scores(times, events, survival, at)
    null = kaplan_meier(*((times, events) if reference is None else reference)).at(at)
    null_scores = brier_scores(times, events, np.broadcast_to(null, (times.size, at.size)), at)
    return BrierCurve(
        at, scores, null_scores, integrated_brier(at, scores), integrated_brier(at, null_scores)
    )


def evaluation_months(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    count: int = _EVALUATION_TIMES,
    least_at_risk: int = LEAST_AT_RISK,
) -> Float64Array:
    """Times (count,) from 0 to the last one with enough cases at risk, evenly spaced.

    Raises
    ------
    EstimationError
        If the cohort is smaller than that, or all are lost at once.
    """
    times, _ = checked_follow_up(months, event)
    last = np.sort(times)[-least_at_risk] if times.size >= least_at_risk else 0.0
    if last <= 0:
        raise EstimationError(
            f"{times.size} cases: a Brier score needs {least_at_risk} under observation for some time"
        )
    return np.linspace(0.0, last, count)


def _weighted_squares(
    times: Float64Array,
    events: BoolArray,
    predicted: Float64Array,
    at: Float64Array,
    reference: tuple[Float64Array, BoolArray],
) -> Float64Array:
    """Weigh the squared errors (case, time) and average them over the cases."""
    uncensored = censoring_curve(*reference)
    until = np.concatenate([[1.0], uncensored[1]])[np.searchsorted(uncensored[0], times, side="left")]
    beyond = np.concatenate([[1.0], uncensored[1]])[np.searchsorted(uncensored[0], at, side="right")]
    died = events[:, None] & (times[:, None] <= at)
    lives = times[:, None] > at
    if (lives.any(axis=0) & (beyond <= 0)).any() or (died.any(axis=1) & (until <= 0)).any():
        raise EstimationError(
            "follow-up of the reference cohort is too short for these times: score earlier ones"
        )
    if not lives.any(axis=0).all() and (at[~lives.any(axis=0)] > times.max()).any():
        raise EstimationError(
            f"nobody was followed beyond {times.max():g} months: no Brier score at {at.max():g} months"
        )
    with np.errstate(divide="ignore"):
        weights = np.where(died, 1.0 / until[:, None], np.where(lives, 1.0 / beyond, 0.0))
    return np.asarray((weights * (lives - predicted) ** 2).mean(axis=0))


def censoring_curve(months: Float64Array, event: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Distinct times (time,) and the probability (time,) of being uncensored after each of them.

    Kaplan–Meier with the roles exchanged: at a time where both happen, those with an event have left
    the risk set before the others are lost.
    """
    distinct, step = np.unique(months, return_inverse=True)
    lost = np.bincount(step[~event], minlength=distinct.size)
    died = np.bincount(step[event], minlength=distinct.size)
    at_risk = months.size - np.searchsorted(np.sort(months), distinct, side="left") - died
    share = np.divide(lost, at_risk, out=np.zeros(distinct.size), where=at_risk > 0)
    return distinct, np.cumprod(1.0 - share)
