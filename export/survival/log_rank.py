"""The log-rank test, by lifelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lifelines.statistics import multivariate_logrank_test

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import checked_follow_up


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
    _refuse_incomparable(times, events, membership)
    test = multivariate_logrank_test(times, membership, events)
    return _LogRank(float(test.test_statistic), names.size - 1, float(test.p_value))


def _refuse_incomparable(months: Float64Array, event: BoolArray, membership: Int64Array) -> None:
    """Refuse groups of which lifelines would count one that says nothing as a degree of freedom.

    All are watched from 0 on: groups that are at risk at the first event are so together.
    """
    first = months[event].min() if event.any() else np.inf
    last = np.full(membership.max() + 1, -np.inf)
    np.maximum.at(last, membership, months)
    everybody_at_once = event[months >= first].all() and months[months >= first].max(initial=first) == first
    if last.min() < first or everybody_at_once:
        raise EstimationError(
            "a group is never at risk together with another at an event: nothing to compare"
        )
