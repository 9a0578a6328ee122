"""Calibration slope: by how much a log-risk has to be stretched.

A Cox model of one covariate, fitted here and not by lifelines: a network is multiplied by the slope, and a bundle holds
it to the last digit, while lifelines leaves its search some 1e-10 standard errors before the maximum. What has no
slope is refused by :func:`export.survival.cox.fit_cox`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from engine.arrays import Float64Array
from engine.errors import EstimationError
from export.survival.cox import fit_cox
from export.survival.follow_up import checked_follow_up, checked_values
from export.survival.partial_likelihood import RiskSets, derivatives, log_partial_likelihood, risk_sets

_Z_95 = float(norm.ppf(0.975))
_MAX_STEPS = 60
_MAX_HALVINGS = 30
_STEP_TOLERANCE = 1e-9
"""Newton has arrived when no case's log-risk moves by more than this; the next step would be of its square."""


@dataclass(frozen=True)
class CalibrationSlope:
    """By how much a log-risk has to be stretched: 1 is right, below 1 the model is overconfident (overfitted)."""

    slope: float
    interval_95: tuple[float, float]
    standard_error: float


def calibration_slope(
    months: npt.ArrayLike, event: npt.ArrayLike, log_risk: npt.ArrayLike
) -> CalibrationSlope:
    """Slope of the log-risk in a Cox model of a cohort that the model was not fitted to.

    Parameters
    ----------
    months, event, log_risk : array_like, (case,)
        Out-of-fold or of a test cohort: on the fitted cases themselves the slope is 1 or above.

    Raises
    ------
    InvalidRequestError, EstimationError
        As :func:`export.survival.cox.fit_cox`; also if the log-risk is the same for every case.

    References
    ----------
    van Houwelingen 2000, Stat Med 19:3401.
    """
    times, events = checked_follow_up(months, event)
    risks = checked_values(log_risk, times.size, "log_risk")
    fit_cox(risks[:, None], times, events, names=["log-risk"])
    scale = float(risks.std())
    coefficient, information = _maximize(
        risk_sets(times, events, "efron"), (risks - risks.mean())[:, None] / scale
    )
    slope, error = coefficient / scale, float(np.sqrt(1.0 / information / (scale * scale)))
    half = _Z_95 * error
    # Through the hazard ratio's interval, as it stands in every bundle to its last digit.
    low, high = np.log(np.exp(np.array([slope - half, slope + half])))
    return CalibrationSlope(slope, (float(low), float(high)), error)


def _maximize(sets: RiskSets, standardized: Float64Array) -> tuple[float, float]:
    """Climb from 0 to the maximum by Newton's method: the coefficient of a covariate (case, 1), and the information."""
    coefficient = 0.0
    current = derivatives(sets, standardized, np.zeros(standardized.shape[0]))
    for _ in range(_MAX_STEPS):
        spread = float(np.sqrt(current.information[0, 0]))
        # In standard errors first; in another order the last bit would not be that of the bundles there are.
        step = (
            float(current.gradient[0])
            / spread
            / (float(current.information[0, 0]) / (spread * spread))
            / spread
        )
        step = _halved(sets, standardized[:, 0], coefficient, step, current.log_likelihood)
        coefficient += step
        current = derivatives(sets, standardized, standardized[:, 0] * coefficient)
        if np.abs(standardized * step).max() < _STEP_TOLERANCE:
            return coefficient, float(current.information[0, 0])
    raise EstimationError("the slope of the log-risk does not come to rest")


def _halved(
    sets: RiskSets, covariate: Float64Array, coefficient: float, step: float, log_likelihood: float
) -> float:
    """Shorten a step until it does not lose likelihood (a rounding of it is forgiven)."""
    forgiven = 1e-12 * (1.0 + abs(log_likelihood))
    for _ in range(_MAX_HALVINGS):
        if log_partial_likelihood(sets, covariate * (coefficient + step)) >= log_likelihood - forgiven:
            return step
        step /= 2.0
    raise EstimationError("the partial likelihood does not rise along Newton's step")
