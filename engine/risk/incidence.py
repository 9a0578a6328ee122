"""Probability of the endpoint by a time, from hazards tabulated over time."""

from __future__ import annotations

import numpy as np

from engine.arrays import Float64Array

_CASES_AT_ONCE = 256


def cumulative_incidence(
    relative_hazard: Float64Array,
    months: Float64Array,
    cumulative_hazard: Float64Array,
    at_months: Float64Array,
    competing_hazard: Float64Array | None = None,
) -> Float64Array:
    """Risk of the endpoint by given times, in cases whom a competing event may take first.

    Without a competing event it is ``1 - exp(-H0(t) exp(log_risk))``. With one, the probability of leaving
    in each interval of the table is shared by the two hazards, which is exact where their ratio does
    not change within it.

    Parameters
    ----------
    relative_hazard : ndarray of float, (case, member)
        exp(log-risk).
    months : ndarray of float, (time,)
        Of the tables; each value holds until the next, before the first the hazard is 0.
    cumulative_hazard : ndarray of float, (member, time)
        Of log-risk 0.
    at_months : ndarray of float, (horizon,)
    competing_hazard : ndarray of float, (time,), optional
        Cumulative, the same for every case.

    Returns
    -------
    ndarray of float, (case, member, horizon)

    References
    ----------
    Kalbfleisch and Prentice 2002, The Statistical Analysis of Failure Time Data, 8.2.
    """
    index = np.searchsorted(months, at_months, side="right") - 1
    if competing_hazard is None:
        reached = np.where(index < 0, 0.0, cumulative_hazard[:, np.maximum(index, 0)])
        return np.asarray(-np.expm1(-reached * relative_hazard[:, :, None]))
    own = np.diff(cumulative_hazard, axis=1, prepend=0.0) * relative_hazard[:, :, None]
    both = own + np.diff(competing_hazard, prepend=0.0)
    untouched = np.exp(-np.concatenate([np.zeros_like(both[:, :, :1]), np.cumsum(both, axis=2)], axis=2))
    share = np.divide(own, both, out=np.zeros_like(own), where=both > 0)
    incidence = np.cumsum(share * -np.expm1(-both) * untouched[:, :, :-1], axis=2)
    return np.asarray(np.where(index < 0, 0.0, incidence[:, :, np.maximum(index, 0)]))


def mean_survival(
    log_risk: Float64Array,
    months: Float64Array,
    cumulative_hazard: Float64Array,
    at_months: Float64Array,
    competing_hazard: Float64Array | None = None,
) -> Float64Array:
    """Probability (case, time) of no endpoint by given times, the mean over the members.

    Parameters
    ----------
    log_risk : ndarray of float, (case, member)
    months, cumulative_hazard, at_months, competing_hazard
        As for :func:`cumulative_incidence`.
    """
    # A table of cases, members and times of a large cohort would not fit into memory.
    parts = [
        1.0
        - cumulative_incidence(
            np.exp(log_risk[begin : begin + _CASES_AT_ONCE]),
            months,
            cumulative_hazard,
            at_months,
            competing_hazard,
        ).mean(axis=1)
        for begin in range(0, len(log_risk), _CASES_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty((0, at_months.size))
