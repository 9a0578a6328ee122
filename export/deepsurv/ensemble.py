"""Which cases each member of an ensemble learns from, and which only stop it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.arrays import BoolArray, Float64Array
from export.survival.lasso_cox import event_stratified_folds


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
