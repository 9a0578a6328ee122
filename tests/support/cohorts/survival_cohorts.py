"""Small random cohorts for the survival tests: ties, heavy censoring, known effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array


@dataclass(frozen=True, eq=False)
class Cohort:
    covariates: Float64Array
    months: Float64Array
    event: npt.NDArray[np.bool_]
    log_risk: Float64Array


def draw_cohort(
    cases: int = 150,
    coefficients: tuple[float, ...] = (0.6, 0.0, -0.4),
    *,
    seed: int = 0,
    tied: bool = False,
    censored: float = 0.4,
) -> Cohort:
    """Exponential times with proportional hazards; ``censored`` is about the share without an event."""
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(cases, len(coefficients)))
    log_risk = covariates @ np.array(coefficients)
    progression = rng.exponential(20 * np.exp(-log_risk))
    censoring = rng.exponential(20 * (1 - censored) / censored, cases) if censored else np.full(cases, np.inf)
    months = np.minimum(progression, censoring)
    if tied:
        months = np.ceil(months / 4)
    return Cohort(covariates, months, progression <= censoring, log_risk)
