"""Kaplan–Meier curves, by lifelines, and numbers at risk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lifelines import KaplanMeierFitter

from engine.arrays import Float64Array, Int64Array
from export.survival.follow_up import checked_follow_up, finite_array

_ROUNDING = 1e-12
"""Of a survival: lifelines takes it through its logarithm."""


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """Survival as a right-continuous step function of time.

    Attributes
    ----------
    months : ndarray of float, (time,)
        Every distinct time of the cohort, ascending, 0 in front.
    survival, lower_95, upper_95 : ndarray of float, (time,)
        From each time on. The interval is NaN where nobody survives.
    at_risk, events, censored : ndarray of int, (time,)
        Under observation just before each time; events and ends of follow-up at it.
    """

    months: Float64Array
    survival: Float64Array
    lower_95: Float64Array
    upper_95: Float64Array
    at_risk: Int64Array
    events: Int64Array
    censored: Int64Array

    def at(self, months: npt.ArrayLike) -> Float64Array:
        """Survival at given times; after the last one it keeps the last value."""
        return np.asarray(self.survival[self._steps(months)])

    def interval_at(self, months: npt.ArrayLike) -> Float64Array:
        """Lower and upper end (time, 2) of the 95 % interval at given times."""
        steps = self._steps(months)
        return np.stack([self.lower_95[steps], self.upper_95[steps]], axis=-1)

    def median(self) -> float:
        """First time at which at most half survive, months; infinite if more than half do to the end."""
        # With room for a half that rounding left above one half.
        at_most_half = np.flatnonzero(self.survival <= 0.5 + _ROUNDING)
        return float(self.months[at_most_half[0]]) if at_most_half.size else float("inf")

    def _steps(self, months: npt.ArrayLike) -> Int64Array:
        horizons = np.asarray(months, dtype=np.float64)
        return np.maximum(np.searchsorted(self.months, horizons, side="right") - 1, 0)


def kaplan_meier(months: npt.ArrayLike, event: npt.ArrayLike) -> KaplanMeier:
    """Estimate survival by the product limit.

    The interval is pointwise, 95 %, by Greenwood's variance on the log(-log) scale.

    Parameters
    ----------
    months : array_like of float, (case,)
    event : array_like of bool, (case,)

    Raises
    ------
    InvalidRequestError
        If times or events cannot be used.

    References
    ----------
    Kaplan and Meier 1958, J Am Stat Assoc 53:457; Kalbfleisch and Prentice 2002, section 1.4.1.
    """
    times, events = checked_follow_up(months, event)
    fitter = KaplanMeierFitter().fit(times, events)
    table = fitter.event_table
    survival = fitter.survival_function_.to_numpy()[:, 0]
    lower, upper = fitter.confidence_interval_survival_function_.to_numpy().T
    nobody = survival <= _ROUNDING
    return KaplanMeier(
        months=table.index.to_numpy(dtype=np.float64),
        survival=np.where(nobody, 0.0, survival),
        lower_95=np.where(nobody, np.nan, lower),
        upper_95=np.where(nobody, np.nan, upper),
        at_risk=table["at_risk"].to_numpy(dtype=np.int64),
        events=table["observed"].to_numpy(dtype=np.int64),
        censored=table["censored"].to_numpy(dtype=np.int64),
    )


def number_at_risk(months: npt.ArrayLike, at_months: npt.ArrayLike) -> Int64Array:
    """Cases under observation just before given times (time,), as written below a survival plot."""
    times = np.sort(finite_array(months, "months", dimensions=1))
    horizons = np.asarray(at_months, dtype=np.float64)
    return np.asarray(times.size - np.searchsorted(times, horizons, side="left"), dtype=np.int64)
