"""Whether hazards are proportional: the test of scaled Schoenfeld residuals against time, by lifelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lifelines.statistics import proportional_hazard_test
from scipy.stats import chi2

from engine.arrays import Float64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.cox import CoxFit, cohort_frame
from export.survival.follow_up import checked_covariates, checked_follow_up
from export.survival.kaplan_meier import kaplan_meier


@dataclass(frozen=True, eq=False)
class _ProportionalHazards:
    """Test of each covariate and of all together; a small p-value speaks against proportional hazards.

    Attributes
    ----------
    statistics, p_values : ndarray of float, (p,)
        Chi-square with one degree of freedom each.
    global_statistic, global_p_value : float
        With p degrees of freedom.
    """

    statistics: Float64Array
    p_values: Float64Array
    global_statistic: float
    global_p_value: float


def proportional_hazards_test(
    fit: CoxFit, covariates: npt.ArrayLike, months: npt.ArrayLike, event: npt.ArrayLike
) -> _ProportionalHazards:
    """Test a fitted Cox model in the cohort that it was fitted to.

    Time is taken on the scale of one minus the Kaplan–Meier survival, which does not let a few late events decide.

    Parameters
    ----------
    fit : CoxFit
    covariates, months, event
        As they were given to :func:`export.survival.cox.fit_cox`.

    Raises
    ------
    InvalidRequestError
        If the cohort is not the one of the fit.
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
    if np.unique(times[events]).size < 2:
        raise EstimationError("all events happened at one time: a drift over time cannot be seen")
    cohort = cohort_frame((x - fit.means) / x.std(axis=0), times, events)
    residuals = fit.fitter.compute_residuals(cohort, "scaled_schoenfeld")
    single = proportional_hazard_test(
        fit.fitter, cohort, time_transform="km", precomputed_residuals=residuals
    )
    drift = 1.0 - kaplan_meier(times, events).at(times[residuals.index])
    statistic = _global_statistic(fit, residuals.to_numpy(), drift - drift.mean())
    return _ProportionalHazards(
        statistics=np.atleast_1d(single.test_statistic),
        p_values=np.atleast_1d(single.p_value),
        global_statistic=statistic,
        global_p_value=float(chi2.sf(statistic, fit.coefficients.size)),
    )


def _global_statistic(fit: CoxFit, scaled_residuals: Float64Array, drift: Float64Array) -> float:
    """Test statistic of all covariates together, which lifelines does not give (Grambsch and Therneau, eq. 6)."""
    trend = drift @ scaled_residuals
    information = np.linalg.inv(fit.fitter.variance_matrix_.to_numpy())
    return float(trend @ information @ trend) / (fit.events * float(drift @ drift))
