"""Are the intervals of a Cox fit honest, and how near does it come to what can be known?

``python -m benchmarks.survival.coverage [--json] [--cohorts 200] [--cases 217] [--seed 1]``: many simulated
cohorts of the published size and hazard ratios. Of each hazard ratio, in how many cohorts the 95 % interval
holds the true one; and the C-index and integrated Brier score of the fitted models in fresh cases, beside
those of the true risk, which no model can beat but by luck.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass

import numpy as np

from engine.arrays import Float64Array
from engine.errors import EstimationError
from export.risk_model.simulated_cohort import (
    COVARIATES,
    HAZARD_RATIO_COMPLETE_COVERAGE,
    HAZARD_RATIO_FIBRINOGEN_PER_G_PER_L,
    HAZARD_RATIO_SEX,
    SimulatedCohort,
    baseline_hazard_per_month,
    simulate_cohort,
)
from export.survival.breslow import breslow_cumulative_hazard, survival_curves
from export.survival.brier import brier_scores, integrated_brier
from export.survival.concordance import concordance_index
from export.survival.cox import CoxFit, fit_cox
from export.survival.kaplan_meier import kaplan_meier

TRUE_HAZARD_RATIOS = (HAZARD_RATIO_SEX, HAZARD_RATIO_FIBRINOGEN_PER_G_PER_L, HAZARD_RATIO_COMPLETE_COVERAGE)
COHORTS, CASES, SEED = 200, 217, 1
FRESH_CASES = 2000
SCORED_MONTHS = np.linspace(0.0, 36.0, 37)


@dataclass(frozen=True)
class Coverage:
    """One hazard ratio over all cohorts.

    Attributes
    ----------
    covariate : str
    true_hazard_ratio : float
    held : float
        Share of the cohorts whose 95 % interval holds the true one.
    median_hazard_ratio : float
    below, above : float
        Shares of the cohorts whose whole interval lies below or above it.
    """

    covariate: str
    true_hazard_ratio: float
    held: float
    median_hazard_ratio: float
    below: float
    above: float


@dataclass(frozen=True)
class CoverageStudy:
    """What the cohorts say together; means over the cohorts, in the same fresh cases."""

    simulated: bool
    cohorts: int
    cases: int
    seed: int
    refused: int
    mean_events: float
    hazard_ratios: tuple[Coverage, ...]
    c_index: float
    c_index_of_true_risk: float
    integrated_brier: float
    integrated_brier_of_true_risk: float
    integrated_brier_of_null_model: float


def study_coverage(cohorts: int = COHORTS, cases: int = CASES, seed: int = SEED) -> CoverageStudy:
    """Simulate, fit and count; the same seed gives the same study."""
    seeds = np.random.SeedSequence(seed).generate_state(cohorts + 1)
    fresh = simulate_cohort(FRESH_CASES, int(seeds[-1]))
    fits, events, scores, refused = [], [], [], 0
    for cohort_seed in seeds[:-1]:
        cohort = simulate_cohort(cases, int(cohort_seed))
        try:
            fit = fit_cox(cohort.covariates, cohort.months, cohort.progressed)
        except EstimationError:
            refused += 1
            continue
        fits.append(fit)
        events.append(fit.events)
        brier = _integrated_brier(fresh, _predicted(fit, cohort, fresh))
        null_brier = _integrated_brier(fresh, _null_survival(cohort))
        c_index = concordance_index(fresh.months, fresh.progressed, fit.log_risk(fresh.covariates))
        scores.append((c_index, brier, null_brier))
    true_risk = baseline_hazard_per_month() * np.exp(fresh.true_log_risk)
    ceiling = _integrated_brier(fresh, np.exp(-true_risk[:, None] * SCORED_MONTHS))
    c_index, integrated, null = np.mean(scores, axis=0)
    return CoverageStudy(
        simulated=True,
        cohorts=cohorts,
        cases=cases,
        seed=seed,
        refused=refused,
        mean_events=float(np.mean(events)),
        hazard_ratios=tuple(_coverage(index, fits, cohorts) for index in range(len(COVARIATES))),
        c_index=float(c_index),
        c_index_of_true_risk=concordance_index(fresh.months, fresh.progressed, fresh.true_log_risk),
        integrated_brier=float(integrated),
        integrated_brier_of_true_risk=ceiling,
        integrated_brier_of_null_model=float(null),
    )


def _coverage(index: int, fits: list[CoxFit], cohorts: int) -> Coverage:
    truth = TRUE_HAZARD_RATIOS[index]
    low, high = np.array([fit.intervals_95[index] for fit in fits]).T
    return Coverage(
        covariate=COVARIATES[index],
        true_hazard_ratio=truth,
        # A cohort without an answer holds nothing.
        held=float(np.count_nonzero((low <= truth) & (truth <= high)) / cohorts),
        median_hazard_ratio=float(np.median([fit.hazard_ratios[index] for fit in fits])),
        below=float(np.count_nonzero(high < truth) / cohorts),
        above=float(np.count_nonzero(low > truth) / cohorts),
    )


def _predicted(fit: CoxFit, cohort: SimulatedCohort, fresh: SimulatedCohort) -> Float64Array:
    hazard = breslow_cumulative_hazard(
        cohort.months, cohort.progressed, fit.log_risk(cohort.covariates), SCORED_MONTHS
    )
    return survival_curves(hazard, fit.log_risk(fresh.covariates))


def _integrated_brier(fresh: SimulatedCohort, survival: Float64Array) -> float:
    scores = brier_scores(fresh.months, fresh.progressed, survival, SCORED_MONTHS)
    return integrated_brier(SCORED_MONTHS, scores)


def _null_survival(cohort: SimulatedCohort) -> Float64Array:
    """Kaplan–Meier survival (case, time) of a cohort for every fresh case: what a model must beat."""
    curve = kaplan_meier(cohort.months, cohort.progressed).at(SCORED_MONTHS)
    return np.broadcast_to(curve, (FRESH_CASES, SCORED_MONTHS.size))


def _print(study: CoverageStudy) -> None:
    error = 100 * math.sqrt(0.95 * 0.05 / study.cohorts)
    print(
        f"{study.cohorts} simulated cohorts of {study.cases} cases, {study.mean_events:.0f} events on average"
    )
    print(f"95 % intervals that hold the true hazard ratio (counting error +-{error:.1f} points):")
    for row in study.hazard_ratios:
        print(
            f"  {row.covariate:<20} {row.true_hazard_ratio:.3f}: {row.held:.1%} "
            f"(below {row.below:.1%}, above {row.above:.1%}; median {row.median_hazard_ratio:.3f})"
        )
    print(
        f"C-index in {FRESH_CASES} fresh cases {study.c_index:.4f}, of the true risk {study.c_index_of_true_risk:.4f}"
    )
    print(
        f"integrated Brier to 36 months {study.integrated_brier:.4f}, of the true risk "
        f"{study.integrated_brier_of_true_risk:.4f}, of the null model {study.integrated_brier_of_null_model:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=COHORTS)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    study = study_coverage(arguments.cohorts, arguments.cases, arguments.seed)
    if arguments.json:
        print(json.dumps(asdict(study), indent=2))
    else:
        _print(study)


if __name__ == "__main__":
    main()
