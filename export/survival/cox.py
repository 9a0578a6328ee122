"""Cox's proportional-hazards regression by lifelines, with a refusal of what has no answer.

lifelines maximizes the likelihood; it warns of, but does not refuse, covariates that repeat each other and hazard
ratios without a bound, and its estimates are then wherever the search stopped. Those are refused here and named.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning

from engine.arrays import BoolArray, Float64Array
from engine.errors import CollinearityError, EstimationError, InvalidRequestError, SeparationError
from export.survival.follow_up import checked_covariates, checked_follow_up

_SEARCH = {"precision": 1e-20, "r_precision": 0.0}
"""Ends lifelines' search when half the squared step, in standard errors, is below this: at 1e-10 of one."""

_STEP_SIZES = (0.95, 0.3, 0.1)
"""Tried in turn: lifelines never halves a step, and with its own, the first, strong effects make it leap too far."""

_COLLINEAR = 1e-9
"""Smallest eigenvalue that the correlation of the covariates at risk may have."""

_UNBOUNDED_LOG_RISK = 100.0
"""A log-risk so far from the mean has no hazard ratio that anybody measured."""

_UNBOUNDED_STANDARD_ERROR = 1000.0
"""Of a log hazard ratio per standard deviation; where a ratio has no bound, its information has vanished."""


@dataclass(frozen=True, eq=False)
class CoxFit:
    """A fitted Cox model, ties by Efron.

    Attributes
    ----------
    coefficients, standard_errors : ndarray of float, (p,)
        Log hazard ratio per unit of each covariate.
    intervals_95 : ndarray of float, (p, 2)
        Lower and upper end of the hazard ratios' Wald intervals.
    p_values : ndarray of float, (p,)
        Two-sided, Wald.
    covariance : ndarray of float, (p, p)
        Inverse of the observed information.
    means : ndarray of float, (p,)
        Of the covariates that were fitted; :meth:`log_risk` is 0 there.
    log_likelihood : float
        Partial, at the coefficients.
    likelihood_ratio_p : float
        P-value of the likelihood-ratio test of all covariates together.
    cases, events : int
    fitter : CoxPHFitter
        lifelines' own, for its residuals.
    """

    coefficients: Float64Array
    standard_errors: Float64Array
    intervals_95: Float64Array
    p_values: Float64Array
    covariance: Float64Array
    means: Float64Array
    log_likelihood: float
    likelihood_ratio_p: float
    cases: int
    events: int
    fitter: Any

    @property
    def hazard_ratios(self) -> Float64Array:
        """Hazard ratio per unit (p,)."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.coefficients))

    def log_risk(self, covariates: npt.ArrayLike) -> Float64Array:
        """Log-risk (case,) of covariates (case, p) against a case with the fitted cohort's means."""
        return np.asarray((np.asarray(covariates, dtype=np.float64) - self.means) @ self.coefficients)


def fit_cox(
    covariates: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
) -> CoxFit:
    """Maximize the partial likelihood, ties by Efron.

    Parameters
    ----------
    covariates : array_like of float, (case, p)
    months : array_like of float, (case,)
    event : array_like of bool, (case,)
    names : sequence of str, (p,), optional
        What messages call the covariates; otherwise they are numbered from 0.

    Raises
    ------
    InvalidRequestError
        If shapes differ or a value is not finite.
    EstimationError
        If there is no covariate or no event.
    CollinearityError
        If covariates cannot be told apart, or one is the same for everybody at risk.
    SeparationError
        If a hazard ratio has no bound.

    References
    ----------
    Cox 1972, J R Stat Soc B 34:187. Efron 1977, J Am Stat Assoc 72:557 (ties).
    """
    times, events = checked_follow_up(months, event)
    x = checked_covariates(covariates, times.size)
    if x.shape[1] == 0:
        raise EstimationError("there is no covariate: give at least one column")
    labels = _labels(names, x.shape[1])
    if not events.any():
        raise EstimationError("the cohort has no event: there is nothing to estimate a hazard from")
    means, scale = x.mean(axis=0), x.std(axis=0)
    flat = scale <= 1e-12 * np.maximum(np.abs(means), 1e-300)
    if flat.any():
        raise CollinearityError(f"covariate {_list(flat, labels)} is the same for every case: leave it out")
    standardized = (x - means) / scale
    _refuse_collinear(standardized[times >= times[events].min()], labels)
    _refuse_monotone(standardized, times, events, labels)
    fitter = _maximize(cohort_frame(standardized, times, events), labels)
    coefficients = fitter.params_.to_numpy()
    log_risk = standardized @ coefficients
    if (
        np.abs(log_risk).max() > _UNBOUNDED_LOG_RISK
        or not fitter.standard_errors_.max() < _UNBOUNDED_STANDARD_ERROR
    ):
        raise _separation(coefficients, labels)
    return _on_the_scale_of_the_covariates(fitter, means, scale, times.size, int(events.sum()))


def cohort_frame(covariates: Float64Array, months: Float64Array, event: BoolArray) -> pd.DataFrame:
    """A cohort as lifelines takes it: covariates numbered from 0, ``months`` and ``event``."""
    return pd.DataFrame(covariates).assign(months=months, event=event)


def _maximize(cohort: pd.DataFrame, labels: Sequence[str]) -> CoxPHFitter:
    """Fit by lifelines; a fit that converges with none of the step sizes has no maximum, and is refused."""
    fitter = CoxPHFitter()
    direction = np.ones(len(labels))
    for step_size in _STEP_SIZES:
        with warnings.catch_warnings(record=True) as issued:
            warnings.simplefilter("always", ConvergenceWarning)
            try:
                fitter.fit(cohort, "months", "event", fit_options={**_SEARCH, "step_size": step_size})
            except ConvergenceError:
                continue
        # Its other warnings are of data that only look difficult.
        if not any("Newton-Raphson" in str(warning.message) for warning in issued):
            return fitter
        direction = fitter.params_.to_numpy()
    raise _separation(direction, labels)


def _on_the_scale_of_the_covariates(
    fitter: CoxPHFitter, means: Float64Array, scale: Float64Array, cases: int, events: int
) -> CoxFit:
    """Take the standardization of the covariates out of an estimate."""
    with np.errstate(over="ignore"):  # per unit of a covariate in tiny units a ratio may be infinite
        intervals = np.exp(fitter.confidence_intervals_.to_numpy() / scale[:, None])
    return CoxFit(
        coefficients=fitter.params_.to_numpy() / scale,
        standard_errors=fitter.standard_errors_.to_numpy() / scale,
        intervals_95=intervals,
        p_values=fitter.summary["p"].to_numpy(),
        covariance=fitter.variance_matrix_.to_numpy() / np.outer(scale, scale),
        means=means,
        log_likelihood=float(fitter.log_likelihood_),
        likelihood_ratio_p=float(fitter.log_likelihood_ratio_test().p_value),
        cases=cases,
        events=events,
        fitter=fitter,
    )


def _refuse_collinear(at_risk: Float64Array, labels: Sequence[str]) -> None:
    """Refuse covariates without information of their own, from the largest risk set: that of the first event."""
    spread = at_risk.std(axis=0)
    silent = spread <= 1e-6
    if silent.any():
        raise CollinearityError(
            f"covariate {_list(silent, labels)} is the same for everybody at risk at every event: leave it out"
        )
    centered = (at_risk - at_risk.mean(axis=0)) / spread
    values, vectors = np.linalg.eigh(centered.T @ centered / at_risk.shape[0])
    if values[0] < _COLLINEAR:
        involved = np.abs(vectors[:, 0]) > 0.05
        raise CollinearityError(
            f"covariates {_list(involved, labels)} cannot be told apart (one follows from the others): leave one out"
        )


def _refuse_monotone(
    covariates: Float64Array, months: Float64Array, event: BoolArray, labels: Sequence[str]
) -> None:
    """Refuse a covariate that is largest, or smallest, in every case with an event of all who are at risk with it.

    The likelihood then rises along it without end (Bryson and Johnson 1981, Technometrics 23:381).
    """
    order = np.argsort(months, kind="stable")
    first_at_risk = np.searchsorted(months[order], months[event], side="left")
    ascending = covariates[order]
    largest = np.maximum.accumulate(ascending[::-1], axis=0)[::-1][first_at_risk]
    smallest = np.minimum.accumulate(ascending[::-1], axis=0)[::-1][first_at_risk]
    rising = (covariates[event] >= largest).all(axis=0)
    falling = (covariates[event] <= smallest).all(axis=0)
    if (rising | falling).any():
        raise _separation(rising.astype(float) - falling, labels)


def _separation(direction: Float64Array, labels: Sequence[str]) -> SeparationError:
    """Name the covariates along which the likelihood rises without end."""
    moving = np.abs(direction) >= 0.1 * np.abs(direction).max()
    signs = ", ".join("+" if value > 0 else "-" for value in direction[moving])
    return SeparationError(
        f"the hazard ratio of covariate {_list(moving, labels)} has no bound (towards {signs} infinity): it orders "
        "the events completely, or one of its groups has no event; leave it out or join groups"
    )


def _labels(names: Sequence[str] | None, count: int) -> Sequence[str]:
    """What messages call the covariates."""
    if names is None:
        return [str(index) for index in range(count)]
    if len(names) != count:
        raise InvalidRequestError(f"{len(names)} names for {count} covariates: give one each", "names")
    return names


def _list(chosen: BoolArray, labels: Sequence[str]) -> str:
    """Name the chosen covariates."""
    return ", ".join(label for label, is_chosen in zip(labels, chosen, strict=True) if is_chosen)
