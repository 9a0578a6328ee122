"""Whether hazards are proportional: the test of scaled Schoenfeld residuals against time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, rankdata

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.cox import CoxFit
from export.survival.follow_up import checked_covariates, checked_follow_up
from export.survival.kaplan_meier import kaplan_meier
from export.survival.partial_likelihood import risk_sets, schoenfeld_residuals

TimeScale = Literal["kaplan_meier", "rank", "identity", "log"]


@dataclass(frozen=True, eq=False)
class _ProportionalHazards:
    """Test of each covariate and of all together; a small p-value speaks against proportional hazards.

    Attributes
    ----------
    statistics, p_values : ndarray of float, (p,)
        Chi-square with one degree of freedom each.
    global_statistic, global_p_value : float
        With p degrees of freedom.
    event_months : ndarray of float, (event,)
    scaled_residuals : ndarray of float, (event, p)
        Added to the coefficient, an estimate of it at each event's time: for a plot.
    time_scale : str
    """

    statistics: Float64Array
    p_values: Float64Array
    global_statistic: float
    global_p_value: float
    event_months: Float64Array
    scaled_residuals: Float64Array
    time_scale: TimeScale


def proportional_hazards_test(
    fit: CoxFit,
    covariates: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    time_scale: TimeScale = "kaplan_meier",
    strata: npt.ArrayLike | None = None,
) -> _ProportionalHazards:
    """Test a fitted Cox model in the cohort that it was fitted to.

    Parameters
    ----------
    fit : CoxFit
    covariates, months, event, strata
        As they were given to :func:`export.survival.cox.fit_cox`.
    time_scale : {"kaplan_meier", "rank", "identity", "log"}
        Function of time against which the coefficients may drift. Kaplan–Meier's (one minus survival) does
        not let a few late events decide.

    Raises
    ------
    InvalidRequestError
        If the cohort is not the one of the fit, or the time scale is not known.
    EstimationError
        If all events happened at one time.

    References
    ----------
    Grambsch and Therneau 1994, Biometrika 81:515.
    """
    times, events = checked_follow_up(months, event)
    x = checked_covariates(covariates, times.size)
    if (times.size, int(events.sum()), x.shape[1]) != (fit.cases, fit.events, fit.coefficients.size):
        raise InvalidRequestError("this is not the cohort that the Cox model was fitted to", "covariates")
    sets = risk_sets(times, events, fit.ties, strata)
    residuals, cases = schoenfeld_residuals(sets, x, (x - fit.means) @ fit.coefficients)
    drift = _scaled_time(times, events, time_scale)[cases]
    drift = drift - drift.mean()
    spread = float(drift @ drift)
    if spread <= 0:
        raise EstimationError("all events happened at one time: a drift over time cannot be seen")
    scaled = fit.events * residuals @ fit.covariance
    trend = drift @ scaled
    statistics = trend**2 / (fit.events * np.diag(fit.covariance) * spread)
    raw = drift @ residuals
    together = float(raw @ fit.covariance @ raw) * fit.events / spread
    return _ProportionalHazards(
        statistics=statistics,
        p_values=np.asarray(chi2.sf(statistics, 1)),
        global_statistic=together,
        global_p_value=float(chi2.sf(together, fit.coefficients.size)),
        event_months=times[cases],
        scaled_residuals=scaled,
        time_scale=time_scale,
    )


def _scaled_time(months: Float64Array, event: BoolArray, scale: TimeScale) -> Float64Array:
    """Time of each case on the scale of the test."""
    if scale == "identity":
        return months
    if scale == "log":
        if months[event].min() <= 0:
            raise InvalidRequestError(
                "an event at time 0 has no logarithm: choose another scale", "time_scale"
            )
        return np.log(np.where(event, months, 1.0))
    if scale == "rank":
        ranks = np.zeros(months.size)
        ranks[event] = rankdata(months[event])
        return ranks
    if scale == "kaplan_meier":
        return 1.0 - kaplan_meier(months, event).at(months)
    raise InvalidRequestError(f"time scale {scale!r} is not known", "time_scale")
