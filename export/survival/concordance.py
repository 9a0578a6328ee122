"""Harrell's concordance index, by lifelines, with its bootstrap interval.

lifelines has no interval. Counting the pairs of every resample anew with it takes minutes for a cohort of thousands;
here they are counted once, and a resample weighs each by how often it drew the two cases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lifelines import utils as lifelines_utils

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError
from export.survival.follow_up import checked_follow_up, checked_values

_BOOTSTRAPS = 1000
_PAIRS_AT_ONCE = 4_000_000
"""Bounds the memory of a large cohort: 32 MB for one array of pairs."""


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
    risks = checked_values(risk, times.size, "risk")
    try:
        return float(lifelines_utils.concordance_index(times, -risks, events))
    except ZeroDivisionError:
        raise EstimationError(
            "no pair of cases is comparable: a C-index needs events before the ends of other follow-ups"
        ) from None


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
    risks = checked_values(risk, times.size, "risk")
    order = np.lexsort((~events, times))
    rng = np.random.default_rng(seed)
    draws = np.array([_drawn_counts(times.size, rng) for _ in range(bootstraps)])
    twice_concordant, comparable = _count_pairs(times[order], events[order], risks[order], draws)
    indices = twice_concordant[comparable > 0] / (2 * comparable[comparable > 0])
    low, high = np.percentile(indices, [2.5, 97.5])
    return _ConcordanceInterval(c_index, (float(low), float(high)), indices.size)


def concordance_difference_error(
    months: npt.ArrayLike, event: npt.ArrayLike, risk: npt.ArrayLike, other_risk: npt.ArrayLike
) -> float:
    """Standard error of the difference of two C-indices of the same cases.

    Parameters
    ----------
    months, event, risk
        As for :func:`concordance_index`.
    other_risk : array_like of float, (case,)

    Returns
    -------
    float
        By the infinitesimal jackknife: what a case's weight changes the difference by, over all cases.

    Raises
    ------
    InvalidRequestError, EstimationError
        As for :func:`concordance_index`.

    References
    ----------
    Efron 1981, Can J Stat 9:139.
    """
    times, events = checked_follow_up(months, event)
    risks = [checked_values(values, times.size, "risk") for values in (risk, other_risk)]
    difference = concordance_index(times, events, risks[0]) - concordance_index(times, events, risks[1])
    gained, comparable = np.zeros((2, times.size))
    dying = np.flatnonzero(events)
    for block in np.array_split(dying, max(1, dying.size * times.size // _PAIRS_AT_ONCE)):
        pairs = _comparable(times, events, block)
        points = (_twice_points(risks[0], block) - _twice_points(risks[1], block)) / 2 * pairs
        gained += points.sum(axis=0)
        gained[block] += points.sum(axis=1)
        comparable += pairs.sum(axis=0)
        comparable[block] += pairs.sum(axis=1)
    influence = (gained - difference * comparable) / (comparable.sum() / 2)
    return float(np.sqrt(np.square(influence).sum()))


def _drawn_counts(cases: int, rng: np.random.Generator) -> Int64Array:
    """How often each case (case,) is in a resample."""
    return np.bincount(rng.integers(cases, size=cases), minlength=cases)


def _count_pairs(
    months: Float64Array, event: BoolArray, risk: Float64Array, draws: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Count twice the concordant pairs, and the comparable ones, of each resample (resample,).

    Whole numbers far below 2**53, so that the sums are exact in whatever order they are taken.
    """
    counts = draws.astype(np.float64)
    twice_concordant, comparable = np.zeros((2, counts.shape[0]))
    dying = np.flatnonzero(event)
    for block in np.array_split(dying, max(1, dying.size * months.size // _PAIRS_AT_ONCE)):
        is_comparable = _comparable(months, event, block)
        points = _twice_points(risk, block)
        comparable += np.einsum("re,re->r", counts[:, block], counts @ is_comparable.T.astype(np.float64))
        twice_concordant += np.einsum("re,re->r", counts[:, block], counts @ (points * is_comparable).T)
    return twice_concordant, comparable


def _comparable(months: Float64Array, event: BoolArray, dying: Int64Array) -> BoolArray:
    """Whether each case (dying, case) outlived each dying one for certain."""
    case_months = months[dying, None]
    return np.asarray((months > case_months) | ((months == case_months) & ~event))


def _twice_points(risk: Float64Array, dying: Int64Array) -> Float64Array:
    """2 where the dying case has the larger risk (dying, case), 1 where both have the same."""
    return np.asarray(2.0 * (risk < risk[dying, None]) + (risk == risk[dying, None]))
