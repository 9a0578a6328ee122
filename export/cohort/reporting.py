"""The report of a fit of local tumor progression: cohorts, signature, descriptive columns, known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from export.cohort.model_names import ModelNames
from export.cohort.radscore_stage import RadscoreStage
from export.cohort.simulation import ASSUMPTIONS, TRUE_LOG_RISK, baseline_hazard_per_month
from export.cohort.table import CohortTable
from export.cohort.usable import LeftOut, UsableCases
from export.deepsurv.fitted import FittedSurvival
from export.risk_model.covariates import describe_covariates
from export.survival_report.build import TRAINING, Truth, build_fit_report
from export.survival_report.fit_report import FitReport
from export.survival_report.fitted_model import reported_model
from export.survival_report.group_comparison import compare_groups
from export.survival_report.radscore_signature import report_signature
from export.survival_report.regression import GroupComparison

TEST: Final = "test"
_TRUTH: Final = "true_"
"""How the columns begin that no table of patients can have."""


@dataclass(frozen=True, eq=False)
class LtpCohorts:
    """Who took part in a fit, and who did not."""

    table: CohortTable
    train: UsableCases
    test: UsableCases
    left_out: tuple[LeftOut, ...]

    def left_out_of(self, split: str) -> int:
        """Number of cases of a split that took no part."""
        return sum(case.split == split for case in self.left_out)


def report_ltp(
    cohorts: LtpCohorts,
    stage: RadscoreStage,
    fitted: FittedSurvival,
    names: ModelNames,
    *,
    fitted_on: str,
    competing_event: str,
) -> FitReport:
    """Put the report together.

    Parameters
    ----------
    cohorts : LtpCohorts
    stage : RadscoreStage
    fitted : FittedSurvival
    names : ModelNames
    fitted_on, competing_event : str
        In words.
    """
    simulated, train = cohorts.table.simulated, cohorts.train
    model = reported_model(
        fitted,
        describe_covariates(fitted, required=stage.required(fitted.names)),
        model_id=names.model_id,
        model_version=names.version,
        fitted_on=fitted_on,
        simulated=simulated,
        competing_event=competing_event,
        assumptions=ASSUMPTIONS if simulated else (),
    )
    tests = {} if fitted.test is None else {TEST: fitted.test}
    members = {TRAINING: train} | ({} if fitted.test is None else {TEST: cohorts.test})
    report = build_fit_report(
        model,
        fitted.table,
        tests=tests,
        centers=[case.center for case in train.cases],
        signature=report_signature(
            stage.fit,
            features_offered=stage.offered,
            follow_up=(train.months, train.progressed),
            seed=fitted.seed,
        ),
        truths=_truths(members) if simulated else None,
        left_out={TRAINING: cohorts.left_out_of("train"), TEST: cohorts.left_out_of("test")},
        seed=fitted.seed,
    )
    comparison = _with_described(report.group_comparison, members)
    return report.model_copy(update={"group_comparison": comparison})


def _truths(members: dict[str, UsableCases]) -> dict[str, Truth] | None:
    """The risk by which the simulated cases of each cohort were made, where every cohort has it."""
    log_risks = {name: _column(cases, TRUE_LOG_RISK) for name, cases in members.items()}
    known = {name: _truth(log_risk) for name, log_risk in log_risks.items() if log_risk is not None}
    return known if len(known) == len(members) else None


def _truth(log_risk: Float64Array) -> Truth:
    def survival(at_months: Float64Array) -> Float64Array:
        return np.asarray(
            np.exp(-baseline_hazard_per_month() * np.exp(log_risk)[:, None] * np.asarray(at_months))
        )

    return Truth(log_risk, survival)


def _with_described(
    comparison: GroupComparison | None, members: dict[str, UsableCases]
) -> GroupComparison | None:
    """Table 1 with the numeric descriptive columns, where it compares the cohorts."""
    if comparison is None or set(comparison.groups) != set(members):
        return comparison
    first = next(iter(members.values())).cases[0]
    names, columns = [], []
    for name in first.described:
        by_cohort = [_column(cases, name) for cases in members.values()]
        values = [column for column in by_cohort if column is not None]
        if not name.startswith(_TRUTH) and len(values) == len(members):
            names.append(name)
            columns.append(np.concatenate(values))
    if not names:
        return comparison
    labels = np.repeat(list(members), [len(cases.cases) for cases in members.values()])
    nothing: list[dict[str, float]] = [{} for _ in names]
    more = compare_groups(names, ["as given"] * len(names), nothing, np.stack(columns, axis=1), labels)
    if more is None or more.groups != comparison.groups:
        return comparison
    return comparison.model_copy(update={"rows": (*comparison.rows, *more.rows)})


def _column(cases: UsableCases, name: str) -> Float64Array | None:
    """Numbers of a further column (case,); None if any is missing or not a number."""
    try:
        values = np.array([float(case.described[name]) for case in cases.cases], dtype=np.float64)
    except (KeyError, ValueError):
        return None
    return values if np.isfinite(values).all() else None
