"""A fitted model whose every answer is known, for reports of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.arrays import Float64Array
from engine.manifest import SIMULATED_COHORT, Covariate
from export.risk_model.simulated_cohort import SimulatedCohort, baseline_hazard_per_month, simulate_cohort
from export.survival.table import SurvivalTable
from export.survival_report.build import ReportedModel, Truth
from export.survival_report.contributions import Explained

NAMES = ("sex", "fibrinogen_g_per_l", "complete_coverage")
COEFFICIENTS = np.log([1.568, 1.540, 0.110])


def covariate(name: str, **changes: Any) -> Covariate:
    coded = {"sex": {"female": 0.0, "male": 1.0}, "complete_coverage": {"incomplete": 0.0, "complete": 1.0}}
    return Covariate(
        name=name,
        description=f"{name} of the case",
        unit="coded" if name in coded else "g/L",
        coding=coded.get(name, {}),
        mean=0.5,
        sd=0.5,
        training_low=0.0,
        training_high=9.0,
        accepted_low=0.0,
        accepted_high=9.0,
    ).model_copy(update=changes)


def table(cohort: SimulatedCohort) -> SurvivalTable:
    return SurvivalTable(NAMES, cohort.covariates, cohort.months, cohort.progressed)


def log_risk(covariates: Float64Array) -> Float64Array:
    centered = covariates - [0.0, 3.0, 0.0]
    return np.asarray(centered @ COEFFICIENTS)


def survival(covariates: Float64Array, at_months: Float64Array) -> Float64Array:
    hazard = baseline_hazard_per_month() * at_months
    return np.asarray(np.exp(-np.exp(log_risk(covariates))[:, None] * hazard[None, :]))


def explain(covariates: Float64Array) -> Explained:
    attention = np.tile([0.5, 1.0, 1.5], (len(covariates), 1))
    return Explained(log_risk(covariates), attention, attention * (covariates - 0.5) / 0.5)


def true_model(training: SurvivalTable, **changes: Any) -> ReportedModel:
    """The simulation's own model, with the training cases' risks as if they were out of fold."""

    def out_of_fold(at_months: Float64Array) -> Float64Array:
        return survival(training.covariates, at_months)

    model = ReportedModel(
        model_id="ltp-known",
        model_version="1.0.0",
        endpoint="local tumor progression (LTP)",
        fitted_on=SIMULATED_COHORT,
        simulated=True,
        horizons_months=(12.0, 24.0),
        covariates=tuple(covariate(name) for name in NAMES),
        explain=explain,
        survival=survival,
        out_of_fold_log_risk=None if "explain" in changes else log_risk(training.covariates),
        out_of_fold_survival=out_of_fold,
        assumptions=("Male is coded 1.",),
        settings={"seed": "1"},
        software={"numpy": "2"},
    )
    return replace(model, **changes)


def truth(cohort: SimulatedCohort) -> Truth:
    return Truth(cohort.true_log_risk, lambda at_months: survival(cohort.covariates, at_months))


def cohorts(cases: int = 200) -> tuple[SimulatedCohort, SimulatedCohort]:
    return simulate_cohort(cases, seed=11), simulate_cohort(cases // 2, seed=12)
