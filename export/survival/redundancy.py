"""Pearson filter: of features that say the same, one is kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import EstimationError, InvalidRequestError
from export.survival.compiled import compiled
from export.survival.follow_up import finite_array

CORRELATION_LIMIT = 0.9
FLAT = 1e-9
"""A standard deviation below this share of the largest value is rounding."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """What was learned from training cases about features before any model saw them.

    Attributes
    ----------
    columns : ndarray of int, (kept,)
        Ascending.
    means, sds : ndarray of float, (kept,)
        Population standard deviation (divided by n).
    """

    columns: Int64Array
    means: Float64Array
    sds: Float64Array

    def apply(self, features: Float64Array) -> Float64Array:
        """Z-scores (case, kept) of features (case, feature), contiguous by feature."""
        return np.asfortranarray((features[:, self.columns] - self.means) / self.sds)


def prepare(features: npt.ArrayLike, correlation_limit: float = CORRELATION_LIMIT) -> Preparation:
    """Drop features without variation, standardize, and drop those that repeat a kept one.

    Features are taken in the order of their mean absolute correlation with all others, the most
    independent first; one is kept unless its Pearson correlation with a kept one exceeds the limit.
    Times and events are not looked at.

    Parameters
    ----------
    features : array_like of float, (case, feature)
    correlation_limit : float
        On the absolute correlation; 1 keeps all that vary.

    Raises
    ------
    InvalidRequestError
        If a feature is not finite or the limit lies outside (0, 1].
    EstimationError
        If there are fewer than three cases.
    """
    x = finite_array(features, "features", dimensions=2)
    if not 0.0 < correlation_limit <= 1.0:
        raise InvalidRequestError(
            f"correlation limit {correlation_limit:g} is not above 0 and at most 1", "correlation_limit"
        )
    if x.shape[0] < 3:
        raise EstimationError(f"{x.shape[0]} cases: a correlation needs three or more")
    means, sds = x.mean(axis=0), x.std(axis=0)
    varying = np.flatnonzero(sds > FLAT * np.abs(x).max(axis=0, initial=0.0))
    columns = varying
    if correlation_limit < 1.0 and varying.size:
        z = (x[:, varying] - means[varying]) / sds[varying]
        columns = varying[_independent(np.abs(z.T @ z) / x.shape[0], correlation_limit)]
    return Preparation(columns, means[columns], sds[columns])


def _independent(correlation: Float64Array, limit: float) -> Int64Array:
    """Choose features (ascending) from their absolute correlations (feature, feature)."""
    # Rounded, so that the last bits of a sum cannot change the order; then by number.
    order = np.argsort(np.round(correlation.mean(axis=1), 9), kind="stable")
    return np.flatnonzero(_keep(correlation, order, limit))


@compiled
def _keep(correlation: Float64Array, order: Int64Array, limit: float) -> BoolArray:
    """Walk through the features and keep each that repeats none of the kept."""
    chosen = np.zeros(order.size, dtype=np.int64)
    count = 0
    kept = np.zeros(order.size, dtype=np.bool_)
    for candidate in order:
        repeats = False
        for index in range(count):
            if correlation[candidate, chosen[index]] > limit:
                repeats = True
                break
        if not repeats:
            kept[candidate] = True
            chosen[count] = candidate
            count += 1
    return kept
