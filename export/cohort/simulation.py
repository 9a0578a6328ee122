"""A simulated cohort with images, to run the whole path from images to a risk model: nobody in it is a patient.

Sex, fibrinogen, lesion size, coverage and follow-up are those of :mod:`export.risk_model.simulated_cohort`; three
centers differ in scanner, fibrinogen assay and hazard. The images are phantom procedures
(:func:`engine.phantoms.make_procedure`) whose zones leave the drawn coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int64Array
from engine.errors import InvalidRequestError
from engine.geometry import Vector3
from export.risk_model import simulated_cohort as published

TEXTURE_HAZARD_RATIO: Final = 2.0
"""Per standard deviation of the zone's simulated grain."""

TRUE_LOG_RISK: Final = "true_log_risk"
"""Column of a simulated table that no table of patients can have."""

_DIAMETER_RANGE_MM: Final = (8.0, 32.0)
_MAX_MONTHS: Final = 120.0
_CALIBRATION_CASES: Final = 100_000


ASSUMPTIONS: Final = (
    *published.ASSUMPTIONS[:-1],
    (
        f"The grain of the ablation zone on CT multiplies the hazard by {TEXTURE_HAZARD_RATIO:g} per standard "
        "deviation, so that a Radscore has something to find: the paper gives no hazard ratio of its Radscore."
    ),
    (
        "Three centers in the proportions of the paper's three sets (109, 46, 62) differ in scanner (noise, slice "
        "distance, HU), fibrinogen assay (factors 1, 1.05, 0.95) and hazard (factors 1, 1.15, 0.85); the third is "
        "the test cohort. The paper does not describe such differences."
    ),
)


@dataclass(frozen=True)
class Center:
    """A hospital with its scanner.

    Parameters
    ----------
    name : str
    share : int
        Of 217 cases.
    split : {'train', 'test'}
    fibrinogen_factor, hazard_factor : float
    spacing_zyx_mm : tuple of float
    noise_hu, offset_hu : float
    """

    name: str
    share: int
    split: Literal["train", "test"]
    fibrinogen_factor: float
    hazard_factor: float
    spacing_zyx_mm: Vector3
    noise_hu: float
    offset_hu: float


CENTERS: Final = (
    Center("A", 109, "train", 1.0, 1.0, (1.0, 0.8, 0.8), 18.0, 0.0),
    Center("B", 46, "train", 1.05, 1.15, (1.25, 0.75, 0.75), 24.0, 6.0),
    Center("C", 62, "test", 0.95, 0.85, (1.5, 0.85, 0.85), 14.0, -8.0),
)


@dataclass(frozen=True)
class SimulatedCase:
    """One drawn case: what the table says of it, and what is true of it.

    ``grain`` is the texture of its zone in standard deviations; ``true_log_risk`` is against a woman with
    median fibrinogen, incomplete coverage and median grain in center A.
    """

    case_id: str
    center: Center
    male: bool
    age_years: int
    fibrinogen_g_per_l: float
    lesion_diameter_mm: float
    complete: bool
    grain: float
    months: float
    progressed: bool
    true_log_risk: float


def draw_cases(cases: int, seed: int) -> tuple[SimulatedCase, ...]:
    """Draw a cohort; the same arguments give the same cases.

    Parameters
    ----------
    cases : int
        Centers and complete coverage take exactly their shares of it, 70 of 217 are complete.
    seed : int

    Raises
    ------
    InvalidRequestError
        If there is no case.
    """
    if cases < 1:
        raise InvalidRequestError(f"{cases} cases are no cohort: give 1 or more", "cases")
    rng = np.random.default_rng(seed)
    center = rng.permutation(_apportioned(cases, [c.share for c in CENTERS]))
    complete = rng.permutation(np.arange(cases) < round(cases * published.COMPLETE_COVERAGE_SHARE))
    male, fibrinogen, grain, log_risk = _traits(rng, center, complete)
    progression = rng.exponential(1.0, cases) / (baseline_hazard_per_month() * np.exp(log_risk))
    censoring = _ends_of_follow_up(rng, cases)
    age = np.clip(rng.normal(published.AGE_MEDIAN_YEARS, published.AGE_SD_YEARS, cases), 25.0, 86.0)
    size = math.log(published.LESION_DIAMETER_MEDIAN_MM)
    diameter = np.clip(rng.lognormal(size, published.LESION_DIAMETER_LOG_SD, cases), *_DIAMETER_RANGE_MM)
    return tuple(
        SimulatedCase(
            case_id=f"simulated-{k + 1:04d}",
            center=CENTERS[center[k]],
            male=bool(male[k]),
            age_years=round(float(age[k])),
            fibrinogen_g_per_l=float(fibrinogen[k]),
            lesion_diameter_mm=round(float(diameter[k]), 1),
            complete=bool(complete[k]),
            grain=float(grain[k]),
            months=max(round(float(min(progression[k], censoring[k])), 2), 0.01),
            progressed=bool(progression[k] <= censoring[k]),
            true_log_risk=float(log_risk[k]),
        )
        for k in range(cases)
    )


@cache
def baseline_hazard_per_month() -> float:
    """Constant hazard at log-risk 0 by which the published share progresses (bisection)."""
    rng = np.random.default_rng(217)
    center = _apportioned(_CALIBRATION_CASES, [c.share for c in CENTERS])
    complete = rng.random(_CALIBRATION_CASES) < published.COMPLETE_COVERAGE_SHARE
    *_, log_risk = _traits(rng, center, complete)
    exposure = np.exp(log_risk) * _ends_of_follow_up(rng, _CALIBRATION_CASES)
    low, high = 1e-6, 1.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        if float(-np.expm1(-middle * exposure).mean()) < published.EVENT_SHARE:
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


def _traits(
    rng: np.random.Generator, center: Int64Array, complete: BoolArray
) -> tuple[BoolArray, Float64Array, Float64Array, Float64Array]:
    """Sex, fibrinogen, grain and log-risk (case,)."""
    cases = center.size
    male = rng.random(cases) < published.MALE_SHARE
    median = math.log(published.FIBRINOGEN_MEDIAN_G_PER_L)
    factor = np.array([c.fibrinogen_factor for c in CENTERS])[center]
    fibrinogen = np.round(rng.lognormal(median, published.FIBRINOGEN_LOG_SD, cases) * factor, 2)
    grain = np.clip(rng.normal(size=cases), -2.0, 2.0)
    log_risk = published.true_log_risk(male, fibrinogen, complete) + math.log(TEXTURE_HAZARD_RATIO) * grain
    return male, fibrinogen, grain, log_risk + np.log([c.hazard_factor for c in CENTERS])[center]


def _ends_of_follow_up(rng: np.random.Generator, cases: int) -> Float64Array:
    """Censoring times, months."""
    ends_months = rng.lognormal(
        math.log(published.FOLLOW_UP_MEDIAN_MONTHS), published.FOLLOW_UP_LOG_SD, cases
    )
    return np.minimum(ends_months, _MAX_MONTHS)


def _apportioned(cases: int, shares: Sequence[int]) -> Int64Array:
    """Index of a share for each case, as evenly as whole cases allow."""
    ends = np.rint(np.cumsum(shares) / sum(shares) * cases).astype(int)
    return np.searchsorted(ends, np.arange(cases), side="right")
