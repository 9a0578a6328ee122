"""Breslow's baseline and Harrell's concordance index, in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def breslow_cumulative_hazard(
    months: FloatArray,
    progressed: BoolArray,
    log_risk: FloatArray,
    at_months: FloatArray,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Cumulative baseline hazard at given times (Breslow 1972, discussion of Cox).

    Parameters
    ----------
    months, log_risk, weights : ndarray of float, (case,)
    progressed : ndarray of bool, (case,)
    at_months : ndarray of float, (time,)

    Returns
    -------
    ndarray of float, (time,)
        A step function of time, right-continuous; tied times share one risk set.
    """
    case_weights = np.ones_like(months) if weights is None else weights
    order = np.argsort(months, kind="stable")
    time, event = months[order], progressed[order]
    at_risk = np.cumsum((case_weights * np.exp(log_risk))[order][::-1])[::-1]
    first_tied = np.searchsorted(time, time, side="left")
    steps = np.where(event, case_weights[order] / at_risk[first_tied], 0.0)
    cumulative = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(cumulative[np.searchsorted(time, at_months, side="right")])


def concordance_index(months: FloatArray, progressed: BoolArray, log_risk: FloatArray) -> float:
    """Harrell's C: of all pairs whose order is known, the share that the log-risk orders rightly.

    A pair is comparable when the earlier time is a progression; equal log-risks count one half
    (Harrell et al. 1982).

    Raises
    ------
    ValueError
        If no pair is comparable.
    """
    concordant, comparable = 0.0, 0
    for case in np.flatnonzero(progressed):
        later = (months > months[case]) | ((months == months[case]) & ~progressed)
        comparable += int(np.count_nonzero(later))
        concordant += float(np.count_nonzero(log_risk[later] < log_risk[case]))
        concordant += 0.5 * float(np.count_nonzero(log_risk[later] == log_risk[case]))
    if comparable == 0:
        raise ValueError("no pair of cases is comparable; a C-index needs progressions before other times")
    return concordant / comparable
