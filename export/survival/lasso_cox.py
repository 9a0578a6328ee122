"""LASSO-Cox: the path over penalties, and the penalty by repeated cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.follow_up import checked_covariates, checked_follow_up, finite_array
from export.survival.lasso_loops import fit_path, gradient
from export.survival.partial_likelihood import (
    Ties,
    log_partial_likelihood,
    martingale_residuals,
    risk_sets,
)
from export.survival.redundancy import Preparation, prepare

FOLDS = 10
REPEATS = 10
_PATH_LENGTH = 60
_PATH_RATIO = 0.05
"""Smallest penalty of a path as a share of the one that lets nothing in."""

_MAX_FEATURES_PER_EVENT = 0.5
"""Where a path ends: with more features than this nothing that generalizes is ever fitted."""

Rule = Literal["one_standard_error", "minimum"]
Prepare = Callable[[Float64Array], Preparation]


@dataclass(frozen=True, eq=False)
class LassoPath:
    """Solutions from the largest penalty, which lets nothing in, to the smallest.

    Attributes
    ----------
    penalties, log_likelihoods : ndarray of float, (penalty,)
        The objective is ``-log-likelihood / cases + penalty * sum |coefficient|``.
    coefficients : ndarray of float, (penalty, feature)
    """

    penalties: Float64Array
    coefficients: Float64Array
    log_likelihoods: Float64Array


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Cross-validated partial-likelihood deviance along a path.

    Attributes
    ----------
    penalties, deviance, standard_error : ndarray of float, (penalty,)
        Deviance per event, lower is better; means over the repeats.
    at_minimum, at_one_standard_error : int
        Indices into them: the least deviance, and the largest penalty within its standard error.
    folds, repeats : int
    """

    penalties: Float64Array
    deviance: Float64Array
    standard_error: Float64Array
    at_minimum: int
    at_one_standard_error: int
    folds: int
    repeats: int


@dataclass(frozen=True, eq=False)
class LassoCoxFit:
    """A LASSO-Cox model at the penalty that cross-validation chose.

    Attributes
    ----------
    coefficients : ndarray of float, (feature,)
        Per standard deviation of each feature; exactly 0 for what was not chosen, which may be all.
    chosen : int
        Index of the penalty.
    path : LassoPath
        Its columns are those of ``preparation``.
    validation : CrossValidation
    preparation : Preparation
        Features that took part, with means and standard deviations.
    """

    coefficients: Float64Array
    chosen: int
    path: LassoPath
    validation: CrossValidation
    preparation: Preparation


def standardize(features: Float64Array) -> Preparation:
    """Keep all that vary: the preparation of features that need no filter."""
    return prepare(features, correlation_limit=1.0)


def lasso_path(
    standardized: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    penalties: npt.ArrayLike | None = None,
    length: int = _PATH_LENGTH,
    ratio: float = _PATH_RATIO,
    ties: Ties = "efron",
) -> LassoPath:
    """Fit the path of a LASSO-Cox model.

    Parameters
    ----------
    standardized : array_like of float, (case, feature)
        As they are penalized: of mean 0 and standard deviation 1.
    months, event : array_like, (case,)
    penalties : array_like of float, (penalty,), optional
        Descending, above 0; by default ``length`` of them, evenly in the logarithm, from the least that lets
        nothing in to ``ratio`` of it. The path ends early, before
        more than one feature for two events enters.
    ties : {"efron", "breslow"}

    Raises
    ------
    InvalidRequestError
        If shapes differ, a value is not finite or penalties do not descend.
    EstimationError
        If there is no event.

    References
    ----------
    Tibshirani 1997, Stat Med 16:385. Simon et al. 2011, J Stat Softw 39(5) (the path).
    """
    times, events = checked_follow_up(months, event)
    x = checked_covariates(standardized, times.size)
    risks = risk_sets(times, events, ties)
    ordered = np.asfortranarray(x[risks.order])
    if penalties is None:
        descending = _default_penalties(x, times, events, ties, length, ratio)
    else:
        descending = finite_array(penalties, "penalties", dimensions=1)
        if descending.size == 0 or descending[-1] <= 0 or (np.diff(descending) >= 0).any():
            raise InvalidRequestError("penalties do not descend, or reach 0", "penalties")
    sets = (risks.event, risks.begin, risks.group, risks.share, risks.last_group)
    most_active = max(1, int(_MAX_FEATURES_PER_EVENT * events.sum()))
    path, values, fitted = fit_path(ordered, sets, descending, most_active)
    if fitted == 0:
        raise EstimationError(
            "the largest penalty lets in more than one feature for two events: begin with a larger"
        )
    return LassoPath(descending[:fitted], path[:fitted], values[:fitted])


def fit_lasso_cox(
    features: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    seed: int,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    rule: Rule = "one_standard_error",
    preparation: Prepare = standardize,
    ties: Ties = "efron",
) -> LassoCoxFit:
    """Choose the penalty by cross-validation and fit all cases with it.

    Parameters
    ----------
    features : array_like of float, (case, feature)
        In their own units.
    months, event : array_like, (case,)
    seed : int
        Of the folds; the same seed gives the same fit.
    folds, repeats : int
    rule : {"one_standard_error", "minimum"}
    preparation : callable
        Learns from training cases what to keep and how to standardize; repeated inside every fold.
    ties : {"efron", "breslow"}

    Raises
    ------
    InvalidRequestError
        If shapes differ, a value is not finite or a setting is out of its range.
    EstimationError
        If there are fewer events than folds.
    """
    times, events = checked_follow_up(months, event)
    raw = checked_covariates(features, times.size)
    if rule not in ("one_standard_error", "minimum"):
        raise InvalidRequestError(f"rule {rule!r} is not known", "rule")
    if repeats < 1:
        raise InvalidRequestError(f"{repeats} repeats: give 1 or more", "repeats")
    prepared = preparation(raw)
    path = lasso_path(prepared.apply(raw), times, events, ties=ties)
    validation = _cross_validate(raw, times, events, path.penalties, folds, repeats, seed, preparation, ties)
    chosen = validation.at_minimum if rule == "minimum" else validation.at_one_standard_error
    coefficients = np.zeros(raw.shape[1])
    coefficients[prepared.columns] = path.coefficients[chosen]
    return LassoCoxFit(coefficients, chosen, path, validation, prepared)


def event_stratified_folds(event: npt.ArrayLike, folds: int, rng: np.random.Generator) -> Int64Array:
    """Assign every case to a fold (case,), events and others each spread evenly and at random.

    Raises
    ------
    InvalidRequestError
        If there are fewer than two folds.
    EstimationError
        If there are fewer events or fewer cases than folds.
    """
    events = np.asarray(event, dtype=bool)
    if folds < 2:
        raise InvalidRequestError(f"{folds} folds: give 2 or more", "folds")
    if events.sum() < folds:
        raise EstimationError(
            f"{int(events.sum())} events for {folds} folds: every fold needs one; follow up longer or use fewer folds"
        )
    assigned = np.empty(events.size, dtype=np.int64)
    dying, others = rng.permutation(np.flatnonzero(events)), rng.permutation(np.flatnonzero(~events))
    # The others go on where the events ended, so that folds are of equal size, too.
    together = np.concatenate([dying, others])
    assigned[together] = np.arange(events.size) % folds
    return assigned


def _default_penalties(
    x: Float64Array, months: Float64Array, event: BoolArray, ties: Ties, length: int, ratio: float
) -> Float64Array:
    """Penalties from the least that lets nothing in, evenly in the logarithm."""
    residual = martingale_residuals(risk_sets(months, event, ties), np.zeros(months.size))
    largest = gradient(np.asfortranarray(x), residual, np.empty(x.shape[1]))
    # A little above, so that rounding lets nothing in; of features that say nothing any penalty does.
    largest = max(largest * (1.0 + 1e-9), 1e-9)
    return np.geomspace(largest, largest * ratio, length)


def _cross_validate(
    features: Float64Array,
    months: Float64Array,
    event: BoolArray,
    penalties: Float64Array,
    folds: int,
    repeats: int,
    seed: int,
    preparation: Prepare,
    ties: Ties,
) -> CrossValidation:
    """Deviance of the left-out cases along the path, after Verweij and van Houwelingen 1993."""
    rng = np.random.default_rng(seed)
    means, errors = [], []
    for _ in range(repeats):
        assigned = event_stratified_folds(event, folds, rng)
        deviances = list(_fold_deviances(features, months, event, penalties, assigned, preparation, ties))
        weights = np.bincount(assigned[event], minlength=folds).astype(float)
        length = min(deviance.size for deviance in deviances)
        table = np.stack([deviance[:length] for deviance in deviances]) / weights[:, None]
        mean = np.average(table, axis=0, weights=weights)
        means.append(mean)
        errors.append(np.sqrt(np.average((table - mean) ** 2, axis=0, weights=weights) / (folds - 1)))
    length = min(mean.size for mean in means)
    # Repeats average the luck of the folds out; they add no cases, so the error is averaged, not divided.
    deviance = np.mean([mean[:length] for mean in means], axis=0)
    error = np.mean([fold_error[:length] for fold_error in errors], axis=0)
    least = int(np.argmin(deviance))
    within = int(np.flatnonzero(deviance <= deviance[least] + error[least])[0])
    return CrossValidation(penalties[:length], deviance, error, least, within, folds, repeats)


def _fold_deviances(
    features: Float64Array,
    months: Float64Array,
    event: BoolArray,
    penalties: Float64Array,
    assigned: Int64Array,
    preparation: Prepare,
    ties: Ties,
) -> Iterator[Float64Array]:
    """Of each fold, the deviance that its cases add to the likelihood of the others."""
    everybody = risk_sets(months, event, ties)
    for fold in range(int(assigned.max()) + 1):
        training = assigned != fold
        prepared = preparation(features[training])
        path = lasso_path(
            prepared.apply(features[training]),
            months[training],
            event[training],
            penalties=penalties,
            ties=ties,
        )
        log_risk = prepared.apply(features) @ path.coefficients.T
        with_fold = [log_partial_likelihood(everybody, column) for column in log_risk.T]
        yield -2.0 * (np.array(with_fold) - path.log_likelihoods)
