"""The members of an ensemble: which cases each learns from, which only stop it, and what each becomes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.arrays import BoolArray, Float64Array
from export.deepsurv.linear import LinearSettings, fit_coefficients, linear_ensemble
from export.deepsurv.network import Ensemble
from export.deepsurv.training import NetworkSettings, Progress, train
from export.survival.lasso_cox import event_stratified_folds

ModelSettings = NetworkSettings | LinearSettings


@dataclass(frozen=True, eq=False)
class MemberCases:
    """Weights of the cases (member, case): those that train, those that stop it, and all as it counts them."""

    training: Float64Array
    held_out: Float64Array
    weights: Float64Array


def draw_member_cases(
    event: BoolArray,
    members: int,
    folds: int,
    *,
    bayesian_bootstrap: bool,
    rng: np.random.Generator,
) -> MemberCases:
    """Hold one of ``folds`` parts out of each member, of every ``folds`` members another one.

    Parameters
    ----------
    event : ndarray of bool, (case,)
        Parts are stratified by it.
    members, folds : int
    bayesian_bootstrap : bool
        Whether cases have exponential weights, the members' own, or 1.
    rng : Generator

    Raises
    ------
    EstimationError
        If there are fewer events than folds.
    """
    shape = (members, event.size)
    weights = rng.exponential(1.0, shape) if bayesian_bootstrap else np.ones(shape)
    held_out = np.zeros(shape)
    fold_of_case = np.zeros(event.size, dtype=np.int64)
    for member in range(members):
        if member % folds == 0:
            fold_of_case = event_stratified_folds(event, folds, rng)
        held_out[member] = fold_of_case == member % folds
    return MemberCases(weights * (1 - held_out), held_out, weights)


def train_members(
    covariates: Float64Array,
    months: Float64Array,
    event: BoolArray,
    cases: MemberCases,
    settings: ModelSettings,
    *,
    seed: int,
    on_progress: Progress | None = None,
) -> Ensemble:
    """Train every member: a network until its held-out cases no longer gain, a linear model on all its cases.

    Parameters
    ----------
    covariates : ndarray of float, (case, covariate)
        Standardized.
    months, event : ndarray, (case,)
    cases : MemberCases
    settings : NetworkSettings or LinearSettings
    seed : int
    on_progress : callable, optional
        Called with a share from 0 to 1.

    Returns
    -------
    dict of str to ndarray of float32
        As :func:`export.deepsurv.onnx_graph.weight_shapes` names them; each member's log-risk has the mean 0 over its
        cases.
    """
    if isinstance(settings, NetworkSettings):
        return train(
            covariates,
            months,
            event,
            cases.training,
            cases.held_out,
            settings,
            seed=seed,
            on_progress=on_progress,
        )
    coefficients = fit_coefficients(covariates, months, event, cases.weights, settings)
    ensemble = linear_ensemble(coefficients)
    log_risk = coefficients @ covariates.T
    mean = (log_risk * cases.weights).sum(axis=1) / cases.weights.sum(axis=1)
    ensemble["log_risk_head.bias"] -= mean[:, None, None].astype(np.float32)
    return ensemble
