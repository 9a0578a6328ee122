"""Choosing the settings by cross-validation on the training cohort, with the out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.progress import ShareProgress
from export.deepsurv.ensemble import MemberCases, draw_member_cases
from export.deepsurv.network import evaluate
from export.deepsurv.settings import FitSettings
from export.deepsurv.training import NetworkSettings, train
from export.survival.concordance import concordance_index
from export.survival.lasso_cox import event_stratified_folds


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings with what they reached on cases that were left out.

    Attributes
    ----------
    settings : NetworkSettings
    out_of_fold_log_risk : ndarray of float, (case, member)
        Of each case, by the members that were neither trained nor stopped on it.
    c_index : float
        Of their mean.
    """

    settings: NetworkSettings
    out_of_fold_log_risk: Float64Array
    c_index: float


def choose_settings(
    standardized: Float64Array,
    months: Float64Array,
    event: BoolArray,
    settings: FitSettings,
    *,
    seed: int,
    on_progress: ShareProgress | None = None,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Try every candidate on the same folds; the best out-of-fold C-index wins, of equals the stiffer.

    Parameters
    ----------
    standardized : ndarray of float, (case, covariate)
    months, event : ndarray, (case,)
    settings : FitSettings
    seed : int
    on_progress : callable, optional
        Called with what is done and a share from 0 to 1.

    Returns
    -------
    chosen : Candidate
    tried : tuple of Candidate

    Raises
    ------
    EstimationError
        If there are too few events for the folds.
    """
    folds = event_stratified_folds(event, settings.folds, np.random.default_rng(seed))
    cases = _cases_by_fold(event, folds, settings, seed)
    tried = []
    for number, candidate in enumerate(settings.candidates):
        label = f"cross-validation {number + 1} of {len(settings.candidates)}"
        ensemble = train(
            standardized,
            months,
            event,
            cases.training,
            cases.held_out,
            candidate,
            seed=seed,
            on_progress=None if on_progress is None else _labeled(on_progress, label),
        )
        log_risk = evaluate(ensemble, standardized.astype(np.float32))["log_risk"].astype(np.float64)
        by_fold = log_risk.reshape(event.size, settings.folds, settings.members_per_fold)
        left_out = by_fold[np.arange(event.size), folds]
        tried.append(Candidate(candidate, left_out, concordance_index(months, event, left_out.mean(axis=1))))
    return max(tried, key=lambda candidate: candidate.c_index), tuple(tried)


def _cases_by_fold(event: BoolArray, folds: Int64Array, settings: FitSettings, seed: int) -> MemberCases:
    """Cases of ``members_per_fold`` members for every fold, which never see that fold."""
    shape = (settings.folds * settings.members_per_fold, event.size)
    training, held_out, weights = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for fold in range(settings.folds):
        others = np.flatnonzero(folds != fold)
        drawn = draw_member_cases(
            event[others],
            settings.members_per_fold,
            min(settings.folds, int(event[others].sum())),
            bayesian_bootstrap=settings.bayesian_bootstrap,
            rng=np.random.default_rng([seed, fold]),
        )
        members = slice(fold * settings.members_per_fold, (fold + 1) * settings.members_per_fold)
        training[members, others], held_out[members, others] = drawn.training, drawn.held_out
        weights[members, others] = drawn.weights
    return MemberCases(training, held_out, weights)


def _labeled(report: ShareProgress, label: str) -> Callable[[float], None]:
    return lambda share: report(label, share)
