"""The signature for a report: weights, stability, and the path of the LASSO."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.concordance import concordance_interval
from export.survival.redundancy import CORRELATION_LIMIT
from export.survival.signature import SignatureFit
from export.survival_report.digits import rounded
from export.survival_report.explanation import PenaltyPath, SignatureReport, SignatureWeight

_MAX_WEIGHTS: Final = 60
_MAX_PATHS: Final = 40


def report_signature(
    fitted: SignatureFit,
    *,
    features_offered: int,
    follow_up: tuple[Float64Array, BoolArray],
    redundancy_threshold: float = CORRELATION_LIMIT,
    seed: int = 0,
) -> SignatureReport:
    """Describe a fitted signature.

    Parameters
    ----------
    fitted : SignatureFit
    features_offered : int
        Before the redundancy filter.
    follow_up : (months, event)
        Of the training cases, in their order.
    redundancy_threshold : float
        Absolute correlation above which one of two features was dropped.
    seed : int
        Of the bootstrap of the out-of-fold C-index.
    """
    try:
        ranked = concordance_interval(*follow_up, fitted.out_of_fold_radscore, seed=seed)
    except EstimationError:
        ranked = None
    return SignatureReport(
        features_offered=features_offered,
        features_after_redundancy=len(fitted.kept_names),
        redundancy_threshold=redundancy_threshold,
        outer_folds=fitted.outer_folds,
        validation_folds=fitted.validation.folds,
        validation_repeats=fitted.validation.repeats,
        weights=_weights(fitted),
        path=_path(fitted),
        out_of_fold_c_index=None if ranked is None else rounded(ranked.c_index),
        out_of_fold_c_index_interval_95=(
            None if ranked is None else (rounded(ranked.interval_95[0]), rounded(ranked.interval_95[1]))
        ),
    )


def _weights(fitted: SignatureFit) -> tuple[SignatureWeight, ...]:
    """Chosen features by falling size, then those of single folds by falling share."""
    final = dict(zip(fitted.names, map(float, fitted.coefficients), strict=True))
    ordered = sorted(final, key=lambda name: (-abs(final[name]), name))
    of_some_folds = [name for name in fitted.stability if name not in final]
    of_some_folds.sort(key=lambda name: (-fitted.stability[name], name))
    return tuple(
        SignatureWeight(
            feature=name,
            coefficient=rounded(final.get(name, 0.0)),
            chosen_share=rounded(fitted.stability.get(name, 0.0)),
        )
        for name in [*ordered, *of_some_folds][: max(_MAX_WEIGHTS, len(ordered))]
    )


def _path(fitted: SignatureFit) -> PenaltyPath:
    """As much of the path as was cross-validated; of the features those that reach farthest."""
    validation = fitted.validation
    length = validation.penalties.size
    coefficients = fitted.path.coefficients[:length]
    reach = np.abs(coefficients).max(axis=0, initial=0.0)
    columns = [int(column) for column in np.argsort(-reach, kind="stable")[:_MAX_PATHS] if reach[column] > 0]
    return PenaltyPath(
        penalties=tuple(rounded(penalty) for penalty in validation.penalties),
        deviance=tuple(rounded(value) for value in validation.deviance),
        deviance_standard_error=tuple(rounded(value) for value in validation.standard_error),
        features_chosen=tuple(int(count) for count in (coefficients != 0.0).sum(axis=1)),
        chosen_penalty=rounded(validation.penalties[fitted.chosen]),
        least_deviance_penalty=rounded(validation.penalties[validation.at_minimum]),
        coefficients={
            fitted.kept_names[column]: tuple(rounded(value) for value in coefficients[:, column])
            for column in columns
        },
    )
