"""Breslow's cumulative baseline hazard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from export.survival.follow_up import checked_follow_up, checked_values, finite_array


def breslow_cumulative_hazard(
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    log_risk: npt.ArrayLike,
    at_months: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> Float64Array:
    """Cumulative baseline hazard, that of log-risk 0, at given times.

    Parameters
    ----------
    months, log_risk, weights : array_like of float, (case,)
        A weight counts a case as often; 0 leaves it out.
    event : array_like of bool, (case,)
    at_months : array_like of float, (time,)

    Returns
    -------
    ndarray of float, (time,)
        A step function of time, right-continuous; tied times share one risk set.

    Raises
    ------
    InvalidRequestError
        If lengths differ, or a value is not finite or a weight negative.

    References
    ----------
    Breslow 1972, in the discussion of Cox, J R Stat Soc B 34:216.
    """
    times, events = checked_follow_up(months, event)
    risks = checked_values(log_risk, times.size, "log_risk")
    horizons = finite_array(at_months, "at_months", dimensions=1)
    counts = np.ones_like(times) if weights is None else checked_values(weights, times.size, "weights")
    if counts.min() < 0:
        raise InvalidRequestError("a weight is negative: give 0 to leave a case out", "weights")
    order = np.argsort(times, kind="stable")
    times, events, counts = times[order], events[order], counts[order]
    # Relative to the largest, no risk can overflow; the shift is taken out of the result again.
    shift = risks.max()
    at_risk = np.cumsum((counts * np.exp(risks[order] - shift))[::-1])[::-1]
    first_tied = np.searchsorted(times, times, side="left")
    dying = events & (counts > 0)
    steps = np.zeros_like(times)
    steps[dying] = counts[dying] / at_risk[first_tied[dying]]
    cumulative = np.concatenate([[0.0], np.cumsum(steps)]) * np.exp(-shift)
    return np.asarray(cumulative[np.searchsorted(times, horizons, side="right")])


def survival_curves(cumulative_hazard: npt.ArrayLike, log_risk: npt.ArrayLike) -> Float64Array:
    """Survival (case, time) of cases under proportional hazards: exp(-H0(t) exp(log-risk)).

    Parameters
    ----------
    cumulative_hazard : array_like of float, (time,)
        Of log-risk 0, as :func:`breslow_cumulative_hazard` gives it.
    log_risk : array_like of float, (case,)
    """
    hazard = np.asarray(cumulative_hazard, dtype=np.float64)
    relative = np.exp(np.asarray(log_risk, dtype=np.float64))
    return np.asarray(np.exp(-relative[:, None] * hazard[None, :]))
