"""Cox's model for a report: tables, the check of proportional hazards, and the nomogram."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.figures_in_words import compact
from export.survival.breslow import breslow_cumulative_hazard
from export.survival.cox import CoxFit, fit_cox
from export.survival.cox_tables import CoxRow, cox_tables
from export.survival.lasso_cox import event_stratified_folds
from export.survival.proportional_hazards import proportional_hazards_test
from export.survival_report.digits import rounded
from export.survival_report.regression import (
    CoxReport,
    HazardRatio,
    Nomogram,
    NomogramHorizon,
    NomogramScale,
    NomogramTick,
    ProportionalHazardsTest,
    StandardizedRatio,
)
from export.survival_report.units import WITHOUT_UNIT, with_unit

_MAX_NOMOGRAM_SCALES: Final = 12
_ROUND_PROBABILITIES: Final = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.98,
    0.99,
)
FOLDS: Final = 10
_MAX_RATIO: Final = 1e12


@dataclass(frozen=True, eq=False)
class CoxCohort:
    """The cohort that a Cox model is fitted to.

    Attributes
    ----------
    names : tuple of str, (p,)
        As they are printed.
    units : tuple of str, (p,)
    codings : tuple of mapping of str to float, (p,)
        Meaning of each code of a coded covariate; empty for a measured one.
    covariates : ndarray of float, (case, p)
    months : ndarray of float, (case,)
    event : ndarray of bool, (case,)
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    codings: tuple[Mapping[str, float], ...]
    covariates: Float64Array
    months: Float64Array
    event: BoolArray


def report_cox(cohort: CoxCohort) -> tuple[CoxReport | None, CoxFit | None]:
    """Fit each covariate alone and all together, and test whether hazards are proportional.

    Parameters
    ----------
    cohort : CoxCohort

    Returns
    -------
    CoxReport or None
        None if nothing at all can be estimated.
    CoxFit or None
        The multivariable model of all covariates; None if it has no bound or covariates repeat each other.
    """
    arguments = (cohort.names, cohort.covariates, cohort.months, cohort.event)
    refused: list[str] = []
    try:
        tables = cox_tables(*arguments)
        univariable, multivariable, fit = tables.univariable, tables.multivariable, tables.fit
        refused = [f"{covariate.name}: {covariate.reason}" for covariate in tables.refused]
    except EstimationError as error:
        # Together they cannot be fitted; each alone perhaps can.
        univariable, multivariable, fit = _each_alone(cohort), (), None
        refused = [str(error)]
    if not univariable:
        return None, None
    complete_fit = fit if fit is not None and len(multivariable) == len(cohort.names) else None
    contrasts = {
        name: _Contrast.of(unit, coding, column)
        for name, unit, coding, column in zip(
            cohort.names, cohort.units, cohort.codings, cohort.covariates.T, strict=True
        )
    }
    tests, global_p_value = _proportional(cohort, fit, [row.name for row in multivariable])
    report = CoxReport(
        cases=cohort.months.size,
        events=int(cohort.event.sum()),
        ties="efron",
        univariable=tuple(_ratio(row, contrasts[row.name]) for row in univariable),
        multivariable=tuple(_ratio(row, contrasts[row.name]) for row in multivariable),
        not_estimable=tuple(refused),
        proportional_hazards=tests,
        proportional_hazards_global_p=global_p_value,
    )
    return report, complete_fit


def out_of_fold_log_risk(cohort: CoxCohort, seed: int) -> Float64Array | None:
    """Log-risk (case,) of each case by a Cox model fitted without it; None where a fold has no fit."""
    try:
        assigned = event_stratified_folds(cohort.event, FOLDS, np.random.default_rng(seed))
        log_risk = np.zeros(cohort.months.size)
        for fold in range(FOLDS):
            inside = assigned != fold
            fit = fit_cox(cohort.covariates[inside], cohort.months[inside], cohort.event[inside])
            # Against one and the same reference in every fold, or folds could not be compared.
            log_risk[~inside] = cohort.covariates[~inside] @ fit.coefficients
    except EstimationError:
        return None
    return log_risk


def draw_up_nomogram(
    cohort: CoxCohort, fit: CoxFit | None, horizons_months: Sequence[float]
) -> Nomogram | None:
    """Turn a multivariable Cox model into scales of points.

    The covariate that moves the log-risk most over its range gets 100 points; each scale begins at 0
    where it lowers the risk most.

    Parameters
    ----------
    cohort : CoxCohort
    fit : CoxFit or None
        Of all covariates.
    horizons_months : sequence of float

    Returns
    -------
    Nomogram or None
        None without a fit, with more than 12 covariates, or where none moves the risk.
    """
    if fit is None or len(cohort.names) > _MAX_NOMOGRAM_SCALES:
        return None
    values = [
        _scale_values(column, coding)
        for column, coding in zip(cohort.covariates.T, cohort.codings, strict=True)
    ]
    spans = [
        abs(float(slope)) * (max(v for v, _ in ticks) - min(v for v, _ in ticks))
        for slope, ticks in zip(fit.coefficients, values, strict=True)
    ]
    if max(spans) <= 0:
        return None
    per_point = max(spans) / 100.0
    scales, lowest = [], 0.0
    slopes = map(float, fit.coefficients)
    for name, unit, slope, ticks in zip(cohort.names, cohort.units, slopes, values, strict=True):
        least = min(slope * value for value, _ in ticks)
        lowest += least
        scales.append(
            NomogramScale(
                covariate=with_unit(name, unit),
                ticks=tuple(
                    NomogramTick(label=label, points=rounded((slope * value - least) / per_point))
                    for value, label in ticks
                ),
            )
        )
    total = sum(spans) / per_point
    log_risk = cohort.covariates @ fit.coefficients
    hazards = breslow_cumulative_hazard(
        cohort.months, cohort.event, log_risk, np.array(horizons_months, float)
    )
    horizons = (
        _horizon(float(month), float(hazard), lowest, per_point, total)
        for month, hazard in zip(horizons_months, hazards, strict=True)
    )
    return Nomogram(
        scales=tuple(scales),
        total_points=rounded(total),
        horizons=tuple(horizon for horizon in horizons if horizon is not None),
    )


def _horizon(
    month: float, hazard: float, lowest: float, per_point: float, total: float
) -> NomogramHorizon | None:
    """Total points at which the risk by a horizon is 1, 2, 5, 10, … percent."""
    if hazard <= 0:
        return None
    ticks = []
    for probability in _ROUND_PROBABILITIES:
        log_risk = math.log(-math.log1p(-probability)) - math.log(hazard)
        points = (log_risk - lowest) / per_point
        if 0.0 <= points <= total:
            ticks.append(NomogramTick(label=f"{100 * probability:g} %", points=rounded(points)))
    return NomogramHorizon(horizon_months=month, ticks=tuple(ticks)) if ticks else None


def _scale_values(values: Float64Array, coding: Mapping[str, float]) -> list[tuple[float, str]]:
    """Values of a scale with their labels: codes by meaning, else round numbers over the middle 98 %."""
    if coding:
        return sorted((code, meaning) for meaning, code in coding.items())
    distinct = np.unique(values)
    if distinct.size <= 4:
        return [(float(value), f"{value:g}".replace("-", "−")) for value in distinct]
    low, high = np.percentile(values, [1, 99])
    step = _round_step(float(high - low))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [(count * step, f"{count * step:g}".replace("-", "−")) for count in range(first, last + 1)]


def _round_step(span: float) -> float:
    """A step of 1, 2 or 5 times a power of ten that cuts a span into four to ten."""
    if span <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    return max(step for step in (magnitude, 2 * magnitude, 5 * magnitude) if step <= span / 4 * (1 + 1e-12))


def _proportional(
    cohort: CoxCohort, fit: CoxFit | None, entered: Sequence[str]
) -> tuple[tuple[ProportionalHazardsTest, ...], float | None]:
    if fit is None:
        return (), None
    columns = [cohort.names.index(name) for name in entered]
    try:
        test = proportional_hazards_test(fit, cohort.covariates[:, columns], cohort.months, cohort.event)
    except EstimationError:
        return (), None
    tests = tuple(
        ProportionalHazardsTest(covariate=name, chi_square=rounded(statistic), p_value=rounded(p_value))
        for name, statistic, p_value in zip(entered, test.statistics, test.p_values, strict=True)
    )
    return tests, rounded(test.global_p_value)


def _each_alone(cohort: CoxCohort) -> tuple[CoxRow, ...]:
    rows: list[CoxRow] = []
    for column, name in enumerate(cohort.names):
        try:
            rows += cox_tables(
                [name], cohort.covariates[:, [column]], cohort.months, cohort.event
            ).univariable
        except EstimationError:
            continue
    return tuple(rows)


@dataclass(frozen=True)
class _Contrast:
    """What a hazard ratio compares: ``male against female``, or ``per 1 g/L`` and one standard deviation."""

    words: str
    sd_words: str = ""
    sd: float | None = None

    @classmethod
    def of(cls, unit: str, coding: Mapping[str, float], values: Float64Array) -> Self:
        meanings = sorted(coding, key=lambda meaning: coding[meaning])
        if len(meanings) == 2 and coding[meanings[1]] - coding[meanings[0]] == 1.0:
            return cls(f"{meanings[1]} against {meanings[0]}")
        words = "per unit" if unit in WITHOUT_UNIT else f"per 1 {unit}"
        sd = float(values.std(ddof=1)) if values.size > 1 else 0.0
        # Of a code the deviation has no meaning, nor of a yes or no that has no names.
        if coding or sd <= 0 or np.isin(values, (0.0, 1.0)).all():
            return cls(words)
        return cls(words, f"per SD, {compact(sd)}{'' if unit in WITHOUT_UNIT else f' {unit}'}", sd)


def _ratio(row: CoxRow, contrast: _Contrast) -> HazardRatio:
    ends = (row.lower_95, row.hazard_ratio, row.upper_95)
    low, ratio, high = (rounded(min(value, _MAX_RATIO)) for value in ends)
    return HazardRatio(
        covariate=row.name,
        contrast=contrast.words,
        coefficient=rounded(row.coefficient),
        hazard_ratio=ratio,
        interval_95=(low, high),
        p_value=rounded(row.p_value),
        per_sd=None if contrast.sd is None else _standardized(ends, contrast.sd, contrast.sd_words),
    )


def _standardized(ends: tuple[float, float, float], sd: float, words: str) -> StandardizedRatio:
    """The hazard ratio and its interval to the power of the standard deviation."""
    with np.errstate(over="ignore"):
        low, ratio, high = (rounded(min(float(np.power(end, sd)), _MAX_RATIO)) for end in ends)
    return StandardizedRatio(contrast=words, sd=rounded(sd), hazard_ratio=ratio, interval_95=(low, high))
