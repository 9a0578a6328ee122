"""Covariates as the network sees them: inside the training range, mean 0 and standard deviation 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import EstimationError
from export.survival.table import SurvivalTable

_RANGE_PERCENTILES: Final = (0.5, 99.5)
MAX_LEVELS: Final = 20
"""A covariate of no more distinct values is a code or a count: its range is from the least to the largest."""


@dataclass(frozen=True, eq=False)
class Standardization:
    """Ranges, means and standard deviations of the covariates that are used.

    Attributes
    ----------
    names : tuple of str
    low, high : ndarray of float, (covariate,)
        Training range, to which every value is clamped: one laboratory value of a hundred times the others
        would otherwise outweigh them all.
    mean, sd : ndarray of float, (covariate,)
        Of the clamped training values.
    left_out : tuple of str
        Covariates that are the same for (nearly) every case, and tell nothing.
    """

    names: tuple[str, ...]
    low: Float64Array
    high: Float64Array
    mean: Float64Array
    sd: Float64Array
    left_out: tuple[str, ...] = ()

    def standardized(self, covariates: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Standardized covariates (case, covariate), as the engine computes them."""
        clamped = np.clip(np.asarray(covariates, dtype=np.float64), self.low, self.high)
        return ((clamped - self.mean) / self.sd).astype(np.float32)


def fit_standardization(table: SurvivalTable) -> Standardization:
    """Learn the ranges and scales of a cohort.

    Raises
    ------
    EstimationError
        If every covariate is constant.
    """
    ranges = [_training_range(column) for column in table.covariates.T]
    low, high = (np.array(ends, dtype=np.float64) for ends in zip(*ranges, strict=True))
    clamped = np.clip(table.covariates, low, high)
    mean, sd = clamped.mean(axis=0), clamped.std(axis=0)
    # Relative to their size: the deviation of equal numbers is a rounding error, not 0.
    used = sd > 1e-9 * np.maximum(np.abs(clamped).max(axis=0), 1e-300)
    if not used.any():
        raise EstimationError("every covariate is the same for all cases: nothing can be learned from them")
    return Standardization(
        names=tuple(name for name, kept in zip(table.names, used, strict=True) if kept),
        low=low[used],
        high=high[used],
        mean=mean[used],
        sd=sd[used],
        left_out=tuple(name for name, kept in zip(table.names, used, strict=True) if not kept),
    )


def _training_range(values: Float64Array) -> tuple[float, float]:
    """Range that holds 99 of 100 cases, or all where there are few levels or one holds nearly all."""
    if np.unique(values).size > MAX_LEVELS:
        low, high = np.percentile(values, _RANGE_PERCENTILES)
        if low < high:
            return float(low), float(high)
    return float(values.min()), float(values.max())
