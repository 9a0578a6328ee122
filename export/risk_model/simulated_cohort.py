"""A simulated cohort: nobody in it is a patient.

Covariates follow the marginal distributions of Table 1 of Wang et al. 2026 (DOI
10.13929/j.issn.1003-3289.2026.03.004), independently of each other; times to local tumor
progression follow its hazard ratios (section 2.3). What the paper leaves open is listed in
:data:`ASSUMPTIONS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from engine.arrays import BoolArray, Float64Array

COVARIATES = ("sex", "fibrinogen_g_per_l", "complete_coverage")

HAZARD_RATIO_SEX = 1.568
HAZARD_RATIO_FIBRINOGEN_PER_G_PER_L = 1.540
HAZARD_RATIO_COMPLETE_COVERAGE = 0.110

MALE_SHARE = 109 / 217
COMPLETE_COVERAGE_SHARE = 70 / 217

_QUARTILE_Z = 0.6744897501960817

FIBRINOGEN_MEDIAN_G_PER_L = 3.0
FIBRINOGEN_LOG_SD = math.log(3.5 / 2.6) / (2 * _QUARTILE_Z)
FOLLOW_UP_MEDIAN_MONTHS = 23.0
FOLLOW_UP_LOG_SD = math.log(37.0 / 13.2) / (2 * _QUARTILE_Z)
AGE_MEDIAN_YEARS = 65.0
AGE_SD_YEARS = (71.0 - 56.0) / (2 * _QUARTILE_Z)
LESION_DIAMETER_MEDIAN_MM = 18.0
LESION_DIAMETER_LOG_SD = math.log(23.0 / 14.0) / (2 * _QUARTILE_Z)

EVENT_SHARE = 90 / 217
"""Not reported; implied by the widths of the published confidence intervals: the variance of a
log hazard ratio is about 4 / events for sex (83 events) and 1 / (events x variance) for
fibrinogen (about 110)."""

ASSUMPTIONS = (
    (
        "The paper does not say which sex is coded 1: male is taken as 1, so that the hazard ratio 1.568 is "
        "male against female."
    ),
    "Sex, fibrinogen and coverage are independent of each other; the paper gives no correlations.",
    "Fibrinogen is lognormal through the training set's median 3.0 and quartiles 2.6 and 3.5 g/L.",
    (
        "The number of progressions is not reported: 90 of 217 is assumed, which the widths of the published "
        "confidence intervals imply. The baseline hazard is constant in time and set to reach it."
    ),
    (
        "The published follow-up, 23.0 (13.2, 37.0) months, is the distribution of censoring times "
        "(lognormal), independent of the covariates."
    ),
    "No Radscore is used: the paper gives neither its coefficients nor its hazard ratio.",
)

_CALIBRATION_CASES = 200_000


@dataclass(frozen=True, eq=False)
class SimulatedCohort:
    """Simulated cases, one array element each.

    Age and lesion diameter have no effect on the hazard: a model has to find that out.
    """

    male: BoolArray
    fibrinogen_g_per_l: Float64Array
    complete_coverage: BoolArray
    age_years: Float64Array
    lesion_diameter_mm: Float64Array
    months: Float64Array
    progressed: BoolArray
    true_log_risk: Float64Array

    @property
    def covariates(self) -> Float64Array:
        """Covariates (case, covariate) in the order of :data:`COVARIATES`; male and complete are 1."""
        return np.stack(
            [self.male.astype(float), self.fibrinogen_g_per_l, self.complete_coverage.astype(float)], axis=1
        )


def simulate_cohort(cases: int, seed: int) -> SimulatedCohort:
    """Draw a simulated cohort.

    Parameters
    ----------
    cases : int
    seed : int
        The same seed gives the same cohort.

    Returns
    -------
    SimulatedCohort
        With censored times in months and the log-risk that produced them.
    """
    rng = np.random.default_rng(seed)
    male = rng.random(cases) < MALE_SHARE
    fibrinogen = rng.lognormal(math.log(FIBRINOGEN_MEDIAN_G_PER_L), FIBRINOGEN_LOG_SD, cases)
    complete = rng.random(cases) < COMPLETE_COVERAGE_SHARE
    log_risk = true_log_risk(male, fibrinogen, complete)
    progression = rng.exponential(1.0, cases) / (baseline_hazard_per_month() * np.exp(log_risk))
    censoring = _censoring_months(rng, cases)
    return SimulatedCohort(
        male=male,
        fibrinogen_g_per_l=fibrinogen,
        complete_coverage=complete,
        age_years=np.clip(rng.normal(AGE_MEDIAN_YEARS, AGE_SD_YEARS, cases), 25.0, 86.0),
        lesion_diameter_mm=rng.lognormal(math.log(LESION_DIAMETER_MEDIAN_MM), LESION_DIAMETER_LOG_SD, cases),
        months=np.minimum(progression, censoring),
        progressed=progression <= censoring,
        true_log_risk=log_risk,
    )


def true_log_risk(
    male: BoolArray, fibrinogen_g_per_l: Float64Array, complete_coverage: BoolArray
) -> Float64Array:
    """Log hazard against a woman with median fibrinogen and incomplete coverage (section 2.3)."""
    log_risk = (
        math.log(HAZARD_RATIO_SEX) * male
        + math.log(HAZARD_RATIO_FIBRINOGEN_PER_G_PER_L) * (fibrinogen_g_per_l - FIBRINOGEN_MEDIAN_G_PER_L)
        + math.log(HAZARD_RATIO_COMPLETE_COVERAGE) * complete_coverage
    )
    return np.asarray(log_risk, dtype=np.float64)


@cache
def baseline_hazard_per_month() -> float:
    """Constant hazard per month at log-risk 0 that gives :data:`EVENT_SHARE` (bisection)."""
    rng = np.random.default_rng(217)
    male = rng.random(_CALIBRATION_CASES) < MALE_SHARE
    fibrinogen = rng.lognormal(math.log(FIBRINOGEN_MEDIAN_G_PER_L), FIBRINOGEN_LOG_SD, _CALIBRATION_CASES)
    complete = rng.random(_CALIBRATION_CASES) < COMPLETE_COVERAGE_SHARE
    exposure = np.exp(true_log_risk(male, fibrinogen, complete)) * _censoring_months(rng, _CALIBRATION_CASES)
    low, high = 1e-6, 1.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        if float(-np.expm1(-middle * exposure).mean()) < EVENT_SHARE:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _censoring_months(rng: np.random.Generator, cases: int) -> Float64Array:
    """Draw ends of follow-up, months."""
    return rng.lognormal(math.log(FOLLOW_UP_MEDIAN_MONTHS), FOLLOW_UP_LOG_SD, cases)
