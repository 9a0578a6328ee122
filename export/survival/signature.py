"""The Radscore's signature: chosen, fitted and judged inside the training folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError
from engine.progress import ItemProgress
from export.survival.follow_up import checked_covariates, checked_follow_up
from export.survival.lasso_cox import (
    FOLDS,
    CrossValidation,
    LassoCoxFit,
    LassoPath,
    Rule,
    event_stratified_folds,
    fit_lasso_cox,
)
from export.survival.redundancy import CORRELATION_LIMIT, prepare

REPEATS = 5
_REFERENCE_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, eq=False)
class SignatureFit:
    """A signature with what is known about it.

    The Radscore of a case is ``intercept + sum(coefficients * (x - means) / sds)``. A signature of no
    feature is a valid outcome: its Radscore is the same for everybody.

    Attributes
    ----------
    names : tuple of str
        Chosen features, in the order of the table.
    coefficients, means, sds, reference_low, reference_high : ndarray of float, (chosen,)
        Log hazard ratio per standard deviation; of the training cases mean, standard deviation and the
        range that holds 99 of 100.
    intercept : float
        0: a Cox model has none, and z-scores have mean 0.
    radscore : ndarray of float, (case,)
        Of the training cases themselves: too good, for no second model.
    out_of_fold_radscore : ndarray of float, (case,)
        Of each case by a signature that was chosen and fitted without it.
    stability : Mapping of str to float
        Share of the outer folds that chose a feature; of all that were ever chosen, the most often first.
    kept_names : tuple of str
        Features that passed the redundancy filter: the columns of ``path``.
    path : LassoPath
    validation : CrossValidation
    chosen : int
        Index of the penalty.
    outer_folds : int
    """

    names: tuple[str, ...]
    coefficients: Float64Array
    means: Float64Array
    sds: Float64Array
    reference_low: Float64Array
    reference_high: Float64Array
    intercept: float
    radscore: Float64Array
    out_of_fold_radscore: Float64Array
    stability: Mapping[str, float]
    kept_names: tuple[str, ...]
    path: LassoPath
    validation: CrossValidation
    chosen: int
    outer_folds: int


def fit_signature(
    features: npt.ArrayLike,
    names: Sequence[str],
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    seed: int,
    repeats: int = REPEATS,
    folds: int = FOLDS,
    correlation_limit: float = CORRELATION_LIMIT,
    rule: Rule = "one_standard_error",
    on_progress: ItemProgress | None = None,
) -> SignatureFit:
    """Choose and fit a signature: z-score, Pearson filter, LASSO-Cox.

    The whole choice, the penalty included, is repeated without each fold of cases in turn; the cases
    left out get their Radscore from it.

    Parameters
    ----------
    features : array_like of float, (case, feature)
        In the extractor's units.
    names : sequence of str, (feature,)
    months, event : array_like, (case,)
    seed : int
        Of all folds; the same seed gives the same bits on one machine.
    repeats : int
        Of the cross-validation that chooses the penalty.
    folds : int
        Of that, and of the outer folds.
    correlation_limit : float
    rule : {"one_standard_error", "minimum"}
    on_progress : callable, optional
        Called with fits done and fits in all.

    Raises
    ------
    InvalidRequestError
        If shapes differ, a name repeats, or a value is not finite.
    EstimationError
        If there are too few events for the folds.
    """
    times, events = checked_follow_up(months, event)
    raw = _checked_features(features, names, times.size)
    outer = event_stratified_folds(events, folds, np.random.default_rng(seed))
    report = on_progress or _silent
    choose = partial(
        fit_lasso_cox,
        folds=folds,
        repeats=repeats,
        rule=rule,
        preparation=partial(prepare, correlation_limit=correlation_limit),
    )
    report(0, folds + 1)
    out_of_fold, votes = np.zeros(times.size), Counter[int]()
    for fold in range(folds):
        training = outer != fold
        fit = choose(raw[training], times[training], events[training], seed=seed + fold + 1)
        out_of_fold[~training] = _radscore(fit, raw[~training])
        votes.update(map(int, np.flatnonzero(fit.coefficients)))
        report(fold + 1, folds + 1)
    final = choose(raw, times, events, seed=seed)
    report(folds + 1, folds + 1)
    for column in map(int, np.flatnonzero(final.coefficients)):
        votes.setdefault(column, 0)
    ranking = sorted(votes, key=lambda column: (-votes[column], column))
    stability = {names[column]: votes[column] / folds for column in ranking}
    return _described(final, raw, names, out_of_fold, stability, folds)


def _checked_features(features: npt.ArrayLike, names: Sequence[str], cases: int) -> Float64Array:
    """Features as an array; names the feature that holds something that is no number."""
    raw = np.asarray(features, dtype=np.float64)
    if raw.ndim == 2 and raw.shape[1] != len(names):
        raise InvalidRequestError(f"{len(names)} names for {raw.shape[1]} features: give one each", "names")
    if len(set(names)) != len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise InvalidRequestError(f"feature {repeated} is named twice", "names")
    if raw.ndim == 2 and not np.isfinite(raw).all():
        case, column = np.argwhere(~np.isfinite(raw))[0]
        raise InvalidRequestError(
            f"feature {names[column]} of case {case} (from 0) is not a finite number: leave the case out",
            "features",
        )
    return checked_covariates(raw, cases)


def _radscore(fit: LassoCoxFit, raw: Float64Array) -> Float64Array:
    """Radscore (case,) of features in the extractor's units."""
    prepared = fit.preparation
    weights = fit.coefficients[prepared.columns]
    score = np.zeros(raw.shape[0])
    # Feature by feature, as the engine adds them: a matrix product would depend on the library.
    for index in np.flatnonzero(weights):
        z_score = (raw[:, prepared.columns[index]] - prepared.means[index]) / prepared.sds[index]
        score += weights[index] * z_score
    return score


def _described(
    final: LassoCoxFit,
    raw: Float64Array,
    names: Sequence[str],
    out_of_fold: Float64Array,
    stability: Mapping[str, float],
    folds: int,
) -> SignatureFit:
    """Put the chosen features together with what the report shows."""
    prepared = final.preparation
    columns = list(map(int, np.flatnonzero(final.coefficients)))
    indices = np.searchsorted(prepared.columns, columns)
    low, high = np.percentile(raw[:, columns], _REFERENCE_PERCENTILES, axis=0)
    return SignatureFit(
        names=tuple(names[column] for column in columns),
        coefficients=final.coefficients[columns],
        means=prepared.means[indices],
        sds=prepared.sds[indices],
        reference_low=low,
        reference_high=high,
        intercept=0.0,
        radscore=_radscore(final, raw),
        out_of_fold_radscore=out_of_fold,
        stability=stability,
        kept_names=tuple(names[column] for column in prepared.columns),
        path=final.path,
        validation=final.validation,
        chosen=final.chosen,
        outer_folds=folds,
    )


def _silent(_done: int, _of: int) -> None:
    """Ignore the progress of a fit."""
