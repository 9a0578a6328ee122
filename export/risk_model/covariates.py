"""The covariates of a fitted model as its manifest describes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

import numpy as np

from engine.arrays import Float64Array
from engine.manifest import Bernoulli, Covariate, LogNormal, Normal
from engine.risk.clinical_inputs import FIBRINOGEN_RANGE_G_PER_L
from export.deepsurv.fitted import FittedSurvival
from export.deepsurv.standardization import MAX_LEVELS

Distribution: TypeAlias = Bernoulli | LogNormal | Normal

_ACCEPTED_RANGES: Final = 3.0
"""Another covariate is refused when it is so many training ranges away."""

_KNOWN: Final[Mapping[str, tuple[str, str, dict[str, float]]]] = {
    "sex": ("sex of the patient", "coded", {"female": 0.0, "male": 1.0}),
    "fibrinogen_g_per_l": ("plasma fibrinogen before ablation", "g/L", {}),
    "complete_coverage": (
        "whether the target coverage ratio is 1",
        "coded",
        {"incomplete": 0.0, "complete": 1.0},
    ),
    "radscore": ("radiomics score of the ablation zone, by the signature", "score", {}),
}


def describe_covariates(fitted: FittedSurvival, *, required: tuple[str, ...] = ()) -> tuple[Covariate, ...]:
    """Describe the inputs of a model, in the order of the network.

    Parameters
    ----------
    fitted : FittedSurvival
    required : tuple of str, optional
        Covariates of an LTP model that are never averaged over when they are missing, such as the features
        of a signature; ``complete_coverage`` is one anyway. A model of another purpose needs all.

    Returns
    -------
    tuple of Covariate
        Distributions and ranges are those of the training cohort.
    """
    scaled = fitted.standardization
    return tuple(
        _described(fitted, column, averaged=_averaged(fitted, name, required))
        for column, name in enumerate(scaled.names)
    )


def _averaged(fitted: FittedSurvival, name: str, required: tuple[str, ...]) -> bool:
    return fitted.settings.purpose == "ltp" and name not in {"complete_coverage", *required}


def _described(fitted: FittedSurvival, column: int, *, averaged: bool) -> Covariate:
    scaled, values = fitted.standardization, fitted.table.covariates[:, column]
    name, low, high = scaled.names[column], float(scaled.low[column]), float(scaled.high[column])
    known = _KNOWN.get(name) if fitted.settings.purpose == "ltp" else None
    description, unit, coding = known or (f"column {name} of the table", "as given", {})
    accepted_low, accepted_high = _accepted(name, values, low, high)
    return Covariate(
        name=name,
        description=description,
        unit=unit,
        coding=coding,
        mean=float(scaled.mean[column]),
        sd=float(scaled.sd[column]),
        training_low=low,
        training_high=high,
        accepted_low=accepted_low,
        accepted_high=accepted_high,
        distribution=_distribution(values, low, high) if averaged else None,
    )


def _accepted(name: str, values: Float64Array, low: float, high: float) -> tuple[float, float]:
    """Range of accepted values."""
    if name == "fibrinogen_g_per_l":
        lowest, highest = FIBRINOGEN_RANGE_G_PER_L
        return min(lowest, low), max(highest, high)
    if np.unique(values).size <= 2:
        return low, high
    reach = _ACCEPTED_RANGES * (high - low)
    # What was observed is accepted, too, and a quantity that is never negative stays so.
    lowest = min(low - reach, float(values.min()))
    return (max(lowest, 0.0) if values.min() >= 0 else lowest), max(high + reach, float(values.max()))


def _distribution(values: Float64Array, low: float, high: float) -> Distribution:
    """Distribution over which a missing value is averaged."""
    levels = np.unique(values)
    if set(levels) <= {0.0, 1.0}:
        return Bernoulli(probability_of_one=float(f"{values.mean():.6g}"))
    inside = np.clip(values, low, high)
    if levels.size > MAX_LEVELS and inside.min() > 0 and _skew(np.log(inside)) < _skew(inside):
        logarithm = np.log(inside)
        return LogNormal(
            median=_digits(math.exp(float(np.median(logarithm)))), log_sd=_digits(logarithm.std())
        )
    return Normal(mean=_digits(inside.mean()), sd=_digits(inside.std()))


def _skew(values: Float64Array) -> float:
    """Size of the third standardized moment."""
    return abs(float((((values - values.mean()) / values.std()) ** 3).mean()))


def _digits(value: float) -> float:
    """Six significant digits."""
    return float(f"{float(value):.6g}")
