"""Harrell's concordance index, with its bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError
from export.survival.compiled import compiled
from export.survival.follow_up import checked_follow_up, checked_values

_BOOTSTRAPS = 1000


@dataclass(frozen=True)
class _ConcordanceInterval:
    """A C-index with the percentiles of its bootstrap.

    Attributes
    ----------
    c_index : float
        Of the cohort itself.
    interval_95 : tuple of float
    bootstraps : int
        Resamples that had a comparable pair.
    """

    c_index: float
    interval_95: tuple[float, float]
    bootstraps: int


def concordance_index(months: npt.ArrayLike, event: npt.ArrayLike, risk: npt.ArrayLike) -> float:
    """Harrell's C: of all pairs whose order is known, the share that the risk orders rightly.

    A pair is comparable when the earlier time is an event; at equal times, when exactly one is an
    event (the other lived longer). Equal risks count one half. O(n log n).

    Parameters
    ----------
    months, risk : array_like of float, (case,)
        A larger risk means an earlier event.
    event : array_like of bool, (case,)

    Raises
    ------
    InvalidRequestError
        If lengths differ or a value is not finite.
    EstimationError
        If no pair is comparable.

    References
    ----------
    Harrell et al. 1982, JAMA 247:2543.
    """
    times, events = checked_follow_up(months, event)
    ranks = _ranks(checked_values(risk, times.size, "risk"))
    order = _by_time(times, events)
    twice_concordant, comparable = _count_pairs(times[order], events[order], ranks[order])
    if comparable == 0:
        raise EstimationError(
            "no pair of cases is comparable: a C-index needs events before the ends of other follow-ups"
        )
    return twice_concordant / (2 * comparable)


def concordance_interval(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    risk: npt.ArrayLike,
    *,
    seed: int = 0,
    bootstraps: int = _BOOTSTRAPS,
) -> _ConcordanceInterval:
    """C-index and its 95 % interval over resamples of the cases (percentile bootstrap).

    Parameters
    ----------
    months, event, risk
        As for :func:`concordance_index`.
    seed : int
        The same seed gives the same interval.
    bootstraps : int

    Raises
    ------
    InvalidRequestError, EstimationError
        As for :func:`concordance_index`.
    """
    c_index = concordance_index(months, event, risk)
    times, events = checked_follow_up(months, event)
    order = _by_time(times, events)
    times, events = times[order], events[order]
    ranks = _ranks(checked_values(risk, times.size, "risk"))[order]
    rng = np.random.default_rng(seed)
    indices = []
    for _ in range(bootstraps):
        # Ascending draws keep the order of time, so that nothing is sorted again.
        drawn = np.sort(rng.integers(times.size, size=times.size))
        twice_concordant, comparable = _count_pairs(times[drawn], events[drawn], ranks[drawn])
        if comparable:
            indices.append(twice_concordant / (2 * comparable))
    low, high = np.percentile(indices, [2.5, 97.5])
    return _ConcordanceInterval(c_index, (float(low), float(high)), len(indices))


def _ranks(risk: Float64Array) -> Int64Array:
    """Dense ranks from 1; equal risks share one."""
    return np.unique(risk, return_inverse=True)[1].astype(np.int64) + 1


def _by_time(months: Float64Array, event: BoolArray) -> Int64Array:
    """Order by time, events before ends of follow-up at the same time."""
    return np.lexsort((~event, months))


@compiled
def _count_pairs(months: Float64Array, event: BoolArray, ranks: Int64Array) -> tuple[int, int]:
    """Count twice the concordant pairs, and the comparable ones.

    Cases are entered from the latest time on into a Fenwick tree over the ranks, so that each event
    finds in it just those who are known to have lived longer. At one time the censored enter before
    the events look, and the events only after.
    """
    tree = np.zeros(ranks.max() + 1, dtype=np.int64)
    twice_concordant, comparable, entered = 0, 0, 0
    end = months.size
    while end > 0:
        begin = end - 1
        while begin > 0 and months[begin - 1] == months[begin]:
            begin -= 1
        first_censored = begin
        while first_censored < end and event[first_censored]:
            first_censored += 1
        for case in range(first_censored, end):
            _enter(tree, ranks[case])
        entered += end - first_censored
        for case in range(begin, first_censored):
            twice_concordant += _entered_up_to(tree, ranks[case] - 1) + _entered_up_to(tree, ranks[case])
            comparable += entered
        for case in range(begin, first_censored):
            _enter(tree, ranks[case])
        entered += first_censored - begin
        end = begin
    return twice_concordant, comparable


@compiled
def _enter(tree: Int64Array, rank: int) -> None:
    """Count one more case of a rank."""
    while rank < tree.size:
        tree[rank] += 1
        rank += rank & -rank


@compiled
def _entered_up_to(tree: Int64Array, rank: int) -> int:
    """How many cases of this rank or a lower one were entered."""
    count = 0
    while rank > 0:
        count += tree[rank]
        rank -= rank & -rank
    return count
