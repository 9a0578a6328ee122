"""Building a report: every measurement of a fitted model on its training and test cohorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.manifest import Covariate
from export.survival.competing_risks import aalen_johansen
from export.survival.cox import CoxFit
from export.survival.kaplan_meier import kaplan_meier
from export.survival.table import SurvivalTable
from export.survival_report.cautions import RADSCORE, find_cautions
from export.survival_report.competing_accuracy import causes
from export.survival_report.contributions import Explain, report_contributions
from export.survival_report.cox_regression import (
    CoxCohort,
    draw_up_nomogram,
    out_of_fold_log_risk,
    report_cox,
)
from export.survival_report.digits import rounded, rounded_all
from export.survival_report.evaluation import Evaluation
from export.survival_report.explanation import SignatureReport
from export.survival_report.fit_report import CohortSummary, CovariateSummary, FitReport, Setting
from export.survival_report.group_comparison import compare_groups
from export.survival_report.measurement import (
    CohortPrediction,
    SurvivalOfCases,
    evaluate,
    median_follow_up,
)
from export.survival_report.regression import CompetingRisk, GroupComparison
from export.survival_report.risk_groups import risk_cut_offs, watched_until

TRAINING = "training"
_COMPETING_TIMES = 241
_COVARIATE_NAMES: Mapping[str, str] = {
    "fibrinogen_g_per_l": "fibrinogen",
    "complete_coverage": "complete coverage",
    "radscore": RADSCORE,
}
"""Names as they are printed; other covariates keep the name of their column."""
_THIRDS = {0: "nowhere", 1: "the middle", 2: "the thirds"}


@dataclass(frozen=True, eq=False)
class ReportedModel:
    """A fitted model, as far as a report needs it.

    Attributes
    ----------
    model_id, model_version, endpoint, fitted_on : str
    simulated : bool
    horizons_months : tuple of float
    covariates : tuple of Covariate
        As the manifest has them, in the order of the tables.
    explain : callable
        Log-risk, attention and effective signal of covariates (case, p).
    survival : callable
        Predicted survival (case, time) of covariates (case, p) at given times; with a competing event the
        probability of no endpoint, whatever else happens.
    out_of_fold_log_risk : ndarray of float, (case,), optional
        Of each training case, by a model that was fitted without it.
    out_of_fold_survival : callable, optional
        Predicted survival (case, time) of the training cases in the same way.
    out_of_fold_slope : (slope, interval), optional
        Calibration slope before the model was recalibrated by it; afterwards it is 1 by construction.
    competing_event : str
        What the table's competing events are.
    assumptions : tuple of str
    settings, software : mapping of str to str
    """

    model_id: str
    model_version: str
    endpoint: str
    fitted_on: str
    simulated: bool
    horizons_months: tuple[float, ...]
    covariates: tuple[Covariate, ...]
    explain: Explain
    survival: Callable[[Float64Array, Float64Array], Float64Array]
    out_of_fold_log_risk: Float64Array | None = None
    out_of_fold_survival: SurvivalOfCases | None = None
    out_of_fold_slope: tuple[float, tuple[float, float]] | None = None
    competing_event: str = "death without the endpoint"
    time_unit: str = "months"
    assumptions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Truth:
    """Risk by which a simulation made its cases: the ceiling of what a model can reach.

    Attributes
    ----------
    log_risk : ndarray of float, (case,)
    survival : callable
        True survival (case, time) at given times.
    """

    log_risk: Float64Array
    survival: SurvivalOfCases


def build_fit_report(
    model: ReportedModel,
    training: SurvivalTable,
    *,
    tests: Mapping[str, SurvivalTable] | None = None,
    centers: npt.ArrayLike | None = None,
    signature: SignatureReport | None = None,
    truths: Mapping[str, Truth] | None = None,
    left_out: Mapping[str, int] | None = None,
    cautions: Sequence[str] = (),
    seed: int = 0,
) -> FitReport:
    """Measure a fitted model and put everything together that a report shows.

    Parameters
    ----------
    model : ReportedModel
    training : SurvivalTable
        With the model's covariates, in its order.
    tests : mapping of str to SurvivalTable, optional
        Cohorts that took no part in the fit, by name.
    centers : array_like of str, (case,), optional
        Of the training cases: what Table 1 compares where there is no test cohort.
    signature : SignatureReport, optional
        From :func:`export.survival_report.radscore_signature.report_signature`.
    truths : mapping of str to Truth, optional
        Of simulated cohorts, by name; ``training`` is the training cohort.
    left_out : mapping of str to int, optional
        Cases of a cohort that could not be used.
    cautions : sequence of str
        What only the caller knows; said before those found by
        :func:`export.survival_report.cautions.find_cautions`.
    seed : int
        Of bootstraps, folds and permutations.

    Returns
    -------
    FitReport
        The same arguments give the same report on one machine.

    Raises
    ------
    InvalidRequestError
        If a table does not fit the model.
    EstimationError
        If the training cohort has no comparable pair of cases.
    """
    names = tuple(covariate.name for covariate in model.covariates)
    training = training.with_covariates(names)
    others = {name: table.with_covariates(names) for name, table in (tests or {}).items()}
    cohort = _cox_cohort(model, training)
    cox, cox_fit = report_cox(cohort)
    cohorts = {TRAINING: training, **others}
    report = FitReport(
        model_id=model.model_id,
        model_version=model.model_version,
        endpoint=model.endpoint,
        simulated=model.simulated,
        fitted_on=model.fitted_on,
        time_unit=model.time_unit,
        horizons_months=tuple(float(horizon) for horizon in model.horizons_months),
        cohorts=tuple(
            _summary(name, table, (left_out or {}).get(name, 0)) for name, table in cohorts.items()
        ),
        covariates=_covariates(model, training),
        group_comparison=_comparison(model, cohorts, centers),
        evaluations=_evaluations(model, cohorts, truths or {}, (cohort, cox_fit), seed),
        cox=cox,
        nomogram=draw_up_nomogram(cohort, cox_fit, model.horizons_months),
        contributions=report_contributions(
            TRAINING,
            cohort.names,
            cohort.units,
            cohort.codings,
            training.covariates,
            model.explain,
            follow_up=(training.months, training.event),
            seed=seed,
        ),
        signature=signature,
        competing_risk=_competing_risk(model, training),
        assumptions=model.assumptions,
        settings=_settings(model.settings),
        software=_settings(model.software),
    )
    return report.model_copy(update={"cautions": (*cautions, *find_cautions(report))})


def _evaluations(
    model: ReportedModel,
    cohorts: Mapping[str, SurvivalTable],
    truths: Mapping[str, Truth],
    cox: tuple[CoxCohort, CoxFit | None],
    seed: int,
) -> tuple[Evaluation, ...]:
    """Test cohorts first, then out of fold, apparent last."""
    training = cohorts[TRAINING]
    cox_cohort, cox_fit = cox
    fitted = model.explain(training.covariates).log_risk
    predictions = []
    for name, table in cohorts.items():
        log_risk = fitted if name == TRAINING else model.explain(table.covariates).log_risk
        predictions.append(
            CohortPrediction(
                cohort=name,
                role="apparent" if name == TRAINING else "test",
                months=table.months,
                event=table.event,
                log_risk=log_risk,
                survival=_survival_of(model, table),
                competing=table.competing,
                cox_log_risk=None if cox_fit is None else cox_fit.log_risk(table.covariates),
                **_truth(truths.get(name)),
            )
        )
    apparent, *held_out = predictions
    evaluations = [_evaluate(model, prediction, fitted, training, seed) for prediction in held_out]
    if model.out_of_fold_log_risk is not None:
        out_of_fold = CohortPrediction(
            cohort=TRAINING,
            role="out_of_fold",
            months=training.months,
            event=training.event,
            log_risk=model.out_of_fold_log_risk,
            survival=model.out_of_fold_survival,
            competing=training.competing,
            known_slope=model.out_of_fold_slope,
            cox_log_risk=out_of_fold_log_risk(cox_cohort, seed),
            **_truth(truths.get(TRAINING)),
        )
        evaluations.append(_evaluate(model, out_of_fold, model.out_of_fold_log_risk, training, seed))
    return (*evaluations, _evaluate(model, apparent, fitted, training, seed))


def _evaluate(
    model: ReportedModel,
    prediction: CohortPrediction,
    training_log_risk: Float64Array,
    training: SurvivalTable,
    seed: int,
) -> Evaluation:
    cut_offs = risk_cut_offs(training_log_risk)
    return evaluate(
        prediction,
        horizons_months=model.horizons_months,
        cut_offs=cut_offs,
        cut_offs_from=f"{_THIRDS[cut_offs.size]} of the training cohort's predicted risks",
        training=training,
        seed=seed,
    )


def _truth(truth: Truth | None) -> dict[str, Any]:
    if truth is None:
        return {}
    return {"true_log_risk": truth.log_risk, "true_survival": truth.survival}


def _survival_of(model: ReportedModel, table: SurvivalTable) -> SurvivalOfCases:
    def survival(at_months: Float64Array) -> Float64Array:
        return model.survival(table.covariates, at_months)

    return survival


def _cox_cohort(model: ReportedModel, training: SurvivalTable) -> CoxCohort:
    return CoxCohort(
        names=tuple(_COVARIATE_NAMES.get(covariate.name, covariate.name) for covariate in model.covariates),
        units=tuple(covariate.unit for covariate in model.covariates),
        codings=tuple(covariate.coding for covariate in model.covariates),
        covariates=training.covariates,
        months=training.months,
        event=training.event,
    )


def _summary(name: str, table: SurvivalTable, left_out: int) -> CohortSummary:
    return CohortSummary(
        name=name,
        cases=table.cases,
        events=table.events,
        competing_events=0 if table.competing is None else int(table.competing.sum()),
        median_follow_up_months=median_follow_up(table.months, table.event),
        longest_follow_up_months=rounded(table.months.max()),
        left_out=left_out,
    )


def _covariates(model: ReportedModel, training: SurvivalTable) -> tuple[CovariateSummary, ...]:
    return tuple(
        CovariateSummary(
            name=_COVARIATE_NAMES.get(covariate.name, covariate.name),
            description=covariate.description,
            unit=covariate.unit,
            coding=", ".join(f"{meaning} = {code:g}" for meaning, code in covariate.coding.items())
            or "as given",
            mean=rounded(values.mean()),
            sd=rounded(values.std()),
            low=rounded(values.min()),
            high=rounded(values.max()),
        )
        for covariate, values in zip(model.covariates, training.covariates.T, strict=True)
    )


def _comparison(
    model: ReportedModel, cohorts: Mapping[str, SurvivalTable], centers: npt.ArrayLike | None
) -> GroupComparison | None:
    """Compare the cohorts; without a test cohort the centers; in one center those with and without the event."""
    training = cohorts[TRAINING]
    covariates = np.concatenate([table.covariates for table in cohorts.values()])
    if len(cohorts) > 1:
        labels = np.repeat(list(cohorts), [table.cases for table in cohorts.values()])
    elif centers is not None and np.unique(np.asarray(centers).astype(str)).size > 1:
        labels = np.asarray(centers).astype(str)
    else:
        events_first = np.argsort(~training.event, kind="stable")
        covariates = covariates[events_first]
        labels = np.where(training.event[events_first], "event seen", "no event seen")
    cohort = _cox_cohort(model, training)
    return compare_groups(cohort.names, cohort.units, cohort.codings, covariates, labels)


def _competing_risk(model: ReportedModel, training: SurvivalTable) -> CompetingRisk | None:
    if training.competing is None or not training.competing.any() or not training.event.any():
        return None
    incidence = aalen_johansen(training.months, causes(training.event, training.competing))
    until = watched_until(training.months)
    months = np.linspace(0.0, until, _COMPETING_TIMES)
    endpoint, competing = incidence.at(months)
    alone = kaplan_meier(training.months, training.event).at(months)
    return CompetingRisk(
        competing_event=model.competing_event,
        competing_events=int(training.competing.sum()),
        months=rounded_all(months),
        endpoint=rounded_all(endpoint),
        competing=rounded_all(competing),
        one_minus_kaplan_meier=rounded_all(1.0 - alone),
    )


def _settings(settings: Mapping[str, str]) -> tuple[Setting, ...]:
    return tuple(Setting(name=name, value=value) for name, value in settings.items())
