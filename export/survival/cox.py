"""Cox's proportional-hazards regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from engine.arrays import Float64Array
from engine.errors import CollinearityError, EstimationError, InvalidRequestError, SeparationError
from export.survival.follow_up import checked_covariates, checked_follow_up
from export.survival.partial_likelihood import (
    Derivatives,
    RiskSets,
    Ties,
    derivatives,
    log_partial_likelihood,
    risk_sets,
)

MOST_ITERATIONS = 60
_STEP_TOLERANCE = 1e-9
"""Newton has arrived when no case's log-risk moves by more than this."""
_COLLINEAR = 1e-9
"""Smallest eigenvalue that the correlation of the estimates may have."""
_UNBOUNDED_LOG_RISK = 100.0
"""A log-risk so far from the mean has no hazard ratio that anybody measured."""
_MOST_HALVINGS = 30
Z_95 = float(norm.ppf(0.975))


@dataclass(frozen=True, eq=False)
class CoxFit:
    """A fitted Cox model.

    Attributes
    ----------
    coefficients, standard_errors : ndarray of float, (p,)
        Log hazard ratio per unit of each covariate.
    covariance : ndarray of float, (p, p)
        Inverse of the observed information.
    means : ndarray of float, (p,)
        Of the covariates that were fitted; :meth:`log_risk` is 0 there.
    log_likelihood, null_log_likelihood : float
        Partial, at the coefficients and at none.
    iterations : int
        Newton steps.
    cases, events : int
    ties : str
    """

    coefficients: Float64Array
    standard_errors: Float64Array
    covariance: Float64Array
    means: Float64Array
    log_likelihood: float
    null_log_likelihood: float
    iterations: int
    cases: int
    events: int
    ties: Ties

    @property
    def hazard_ratios(self) -> Float64Array:
        """Hazard ratio per unit (p,)."""
        return np.asarray(np.exp(self.coefficients))

    @property
    def intervals_95(self) -> Float64Array:
        """Lower and upper end (p, 2) of the hazard ratios' Wald intervals."""
        half = Z_95 * self.standard_errors
        return np.exp(np.stack([self.coefficients - half, self.coefficients + half], axis=1))

    @property
    def z_scores(self) -> Float64Array:
        """Coefficients in their standard errors (p,)."""
        return np.asarray(self.coefficients / self.standard_errors)

    @property
    def p_values(self) -> Float64Array:
        """Two-sided Wald p-values (p,)."""
        return np.asarray(2.0 * norm.sf(np.abs(self.z_scores)))

    @property
    def likelihood_ratio_p(self) -> float:
        """P-value of the likelihood-ratio test of all covariates together."""
        statistic = 2.0 * (self.log_likelihood - self.null_log_likelihood)
        return float(chi2.sf(max(statistic, 0.0), self.coefficients.size))

    def log_risk(self, covariates: npt.ArrayLike) -> Float64Array:
        """Log-risk (case,) of covariates (case, p) against a case with the fitted cohort's means."""
        return np.asarray((np.asarray(covariates, dtype=np.float64) - self.means) @ self.coefficients)


def fit_cox(
    covariates: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    ties: Ties = "efron",
    strata: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> CoxFit:
    """Maximize the partial likelihood by Newton's method with step halving.

    Parameters
    ----------
    covariates : array_like of float, (case, p)
    months : array_like of float, (case,)
    event : array_like of bool, (case,)
    ties : {"efron", "breslow"}
    strata : array_like, (case,), optional
        Cases of unlike strata are never compared: each has its own baseline hazard.
    names : sequence of str, (p,), optional
        What messages call the covariates; otherwise they are numbered from 0.

    Raises
    ------
    InvalidRequestError
        If shapes differ or a value is not finite.
    EstimationError
        If there is no covariate or no event, or Newton does not arrive.
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
    called = _names(names, x.shape[1])
    means, scale = x.mean(axis=0), x.std(axis=0)
    flat = scale <= 1e-12 * np.maximum(np.abs(means), 1e-300)
    if flat.any():
        raise CollinearityError(f"covariate {_list(flat, called)} is the same for every case: leave it out")
    standardized = (x - means) / scale
    sets = risk_sets(times, events, ties, strata)
    start = derivatives(sets, standardized, np.zeros(times.size))
    _refuse_collinear(start.information, called)
    coefficients, last, iterations = _newton(sets, standardized, start, called)
    covariance = np.linalg.inv(last.information) / np.outer(scale, scale)
    return CoxFit(
        coefficients=coefficients / scale,
        standard_errors=np.sqrt(np.diag(covariance)),
        covariance=covariance,
        means=means,
        log_likelihood=last.log_likelihood,
        null_log_likelihood=start.log_likelihood,
        iterations=iterations,
        cases=times.size,
        events=int(events.sum()),
        ties=ties,
    )


def _newton(
    sets: tuple[RiskSets, ...], x: Float64Array, current: Derivatives, called: Sequence[str]
) -> tuple[Float64Array, Derivatives, int]:
    """Climb from 0 to the maximum: coefficients, derivatives there, and steps taken."""
    coefficients = np.zeros(x.shape[1])
    for iteration in range(1, MOST_ITERATIONS + 1):
        step = _solve(current, coefficients, called)
        step = _halved(sets, x, coefficients, step, current.log_likelihood)
        coefficients = coefficients + step
        log_risk = x @ coefficients
        if np.abs(log_risk).max() > _UNBOUNDED_LOG_RISK:
            raise _separation(step, coefficients, called)
        current = derivatives(sets, x, log_risk)
        if np.abs(x @ step).max() < _STEP_TOLERANCE:
            return coefficients, current, iteration
    # At a finite maximum Newton's steps vanish; towards one at infinity each is about as long as the last.
    raise _separation(step, coefficients, called)


def _solve(current: Derivatives, coefficients: Float64Array, called: Sequence[str]) -> Float64Array:
    """Newton's step; an information that has vanished on the way is the mark of a separation."""
    spread = np.sqrt(np.diag(current.information).clip(0.0))
    if spread.min() <= 1e-7 * spread.max() or spread.max() < 1e-7:
        raise _separation(np.where(spread <= max(1e-7 * spread.max(), 1e-7), 1.0, 0.0), coefficients, called)
    correlation = current.information / np.outer(spread, spread)
    if np.linalg.eigvalsh(correlation)[0] < _COLLINEAR:
        raise _separation(coefficients, coefficients, called)
    return np.asarray(np.linalg.solve(correlation, current.gradient / spread) / spread)


def _halved(
    sets: tuple[RiskSets, ...], x: Float64Array, coefficients: Float64Array, step: Float64Array, least: float
) -> Float64Array:
    """Shorten a step until it does not lose likelihood (a rounding of it is forgiven)."""
    forgiven = 1e-12 * (1.0 + abs(least))
    for _ in range(_MOST_HALVINGS):
        reached = log_partial_likelihood(sets, x @ (coefficients + step))
        if np.isfinite(reached) and reached >= least - forgiven:
            return step
        step = step / 2.0
    raise EstimationError(
        "the partial likelihood does not rise along Newton's step: covariates differ too much in scale"
    )


def _refuse_collinear(information: Float64Array, called: Sequence[str]) -> None:
    """Refuse covariates that have no information of their own at the start."""
    own = np.diag(information)
    silent = own <= 1e-12
    if silent.any():
        raise CollinearityError(
            f"covariate {_list(silent, called)} is the same for everybody at risk at every event: leave it out"
        )
    spread = np.sqrt(own)
    values, vectors = np.linalg.eigh(information / np.outer(spread, spread))
    if values[0] < _COLLINEAR:
        involved = np.abs(vectors[:, 0]) > 0.05
        raise CollinearityError(
            f"covariates {_list(involved, called)} cannot be told apart (one follows from the others): leave one out"
        )


def _separation(step: Float64Array, coefficients: Float64Array, called: Sequence[str]) -> SeparationError:
    """Name the covariates that still move."""
    moving = np.abs(step) >= 0.1 * np.abs(step).max()
    direction = ", ".join("+" if value > 0 else "-" for value in coefficients[moving])
    return SeparationError(
        f"the hazard ratio of covariate {_list(moving, called)} has no bound (towards {direction} infinity): it orders "
        "the events completely, or one of its groups has no event; leave it out or join groups"
    )


def _names(names: Sequence[str] | None, count: int) -> Sequence[str]:
    """What messages call the covariates."""
    if names is None:
        return [str(index) for index in range(count)]
    if len(names) != count:
        raise InvalidRequestError(f"{len(names)} names for {count} covariates: give one each", "names")
    return names


def _list(chosen: npt.NDArray[np.bool_], called: Sequence[str]) -> str:
    """Name the chosen covariates."""
    return ", ".join(name for name, is_chosen in zip(called, chosen, strict=True) if is_chosen)
