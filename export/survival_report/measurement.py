"""Measuring predictions on a cohort: everything of a report that needs only risks and follow-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.brier import brier_scores, evaluation_months, integrated_brier
from export.survival.calibration import calibration_curve
from export.survival.calibration_slope import calibration_slope
from export.survival.concordance import concordance_index, concordance_interval
from export.survival.kaplan_meier import kaplan_meier
from export.survival.table import SurvivalTable
from export.survival_report.competing_accuracy import (
    competing_calibration,
    incidence_of_endpoint,
)
from export.survival_report.digits import rounded, rounded_all, rounded_or_none
from export.survival_report.evaluation import (
    BrierReport,
    CalibrationPoint,
    CalibrationReport,
    Evaluation,
    Role,
)
from export.survival_report.risk_groups import group_by_risk

SurvivalOfCases = Callable[[Float64Array], Float64Array]
"""Predicted survival (case, time) at given times."""


@dataclass(frozen=True, eq=False)
class CohortPrediction:
    """Predictions for the cases of one cohort, and their outcomes.

    Attributes
    ----------
    cohort : str
    role : str
        How the cohort stands to the fit.
    months, log_risk : ndarray of float, (case,)
    event : ndarray of bool, (case,)
    survival : callable, optional
        Predicted probability (case, time) of no endpoint by given times; without it there are no
        absolute risks.
    competing : ndarray of bool, (case,), optional
        Cases whom another event kept from the endpoint for good. Order and risk groups count them as lost,
        Brier score and calibration as free of the endpoint.
    known_slope : (slope, interval), optional
        Calibration slope, where it cannot be measured any more because the model was stretched by it.
    cox_log_risk, true_log_risk : ndarray of float, (case,), optional
        Of a Cox model under the same conditions; of the simulation that made the cases.
    true_survival : callable, optional
    """

    cohort: str
    role: Role
    months: Float64Array
    event: BoolArray
    log_risk: Float64Array
    survival: SurvivalOfCases | None = None
    competing: BoolArray | None = None
    known_slope: tuple[float, tuple[float, float]] | None = None
    cox_log_risk: Float64Array | None = None
    true_log_risk: Float64Array | None = None
    true_survival: SurvivalOfCases | None = None


def evaluate(
    prediction: CohortPrediction,
    *,
    horizons_months: Sequence[float],
    cut_offs: Float64Array,
    cut_offs_from: str,
    training: SurvivalTable,
    seed: int = 0,
) -> Evaluation:
    """Measure one cohort; of the fitted cases themselves the C-index alone, since figures of it would flatter.

    Parameters
    ----------
    prediction : CohortPrediction
    horizons_months : sequence of float
        For calibration; one with fewer than 15 at risk is left out.
    cut_offs : ndarray of float, (cut,)
        On the log-risk, from :func:`export.survival_report.risk_groups.risk_cut_offs` of the training cohort.
    cut_offs_from : str
        In words, for the caption.
    training : SurvivalTable
        Whose Kaplan–Meier curve (with competing events Aalen and Johansen's) is the null model.
    seed : int
        Of the bootstrap.

    Raises
    ------
    EstimationError
        If no pair of cases can be compared.
    """
    follow_up = (prediction.months, prediction.event)
    is_pictured = prediction.role != "apparent"
    ranked = concordance_interval(*follow_up, prediction.log_risk, seed=seed)
    slope = _slope(prediction)
    return Evaluation(
        cohort=prediction.cohort,
        role=prediction.role,
        cases=prediction.months.size,
        events=int(prediction.event.sum()),
        c_index=rounded(ranked.c_index),
        c_index_interval_95=(rounded(ranked.interval_95[0]), rounded(ranked.interval_95[1])),
        cox_c_index=_concordance(prediction, prediction.cox_log_risk),
        ceiling_c_index=_concordance(prediction, prediction.true_log_risk),
        calibration_slope=None if slope is None else slope[0],
        calibration_slope_interval_95=None if slope is None else slope[1],
        brier=_brier(prediction, training) if is_pictured else None,
        calibration=_calibration(prediction, horizons_months) if is_pictured else (),
        risk_groups=(
            group_by_risk(*follow_up, prediction.log_risk, cut_offs, cut_offs_from) if is_pictured else None
        ),
    )


def median_follow_up(months: Float64Array, event: BoolArray) -> float | None:
    """Median follow-up by the reverse Kaplan–Meier method, in which the end of follow-up is the event."""
    median = kaplan_meier(months, ~event).median()
    return rounded(median) if math.isfinite(median) else None


def _slope(prediction: CohortPrediction) -> tuple[float, tuple[float, float]] | None:
    """Calibration slope with its interval; of the fitted cases themselves it would say nothing."""
    if prediction.role == "apparent":
        return None
    if prediction.known_slope is not None:
        slope, (low, high) = prediction.known_slope
        return rounded(slope), (rounded(low), rounded(high))
    try:
        measured = calibration_slope(prediction.months, prediction.event, prediction.log_risk)
    except EstimationError:
        return None
    low, high = measured.interval_95
    return rounded(measured.slope), (rounded(low), rounded(high))


def _concordance(prediction: CohortPrediction, log_risk: Float64Array | None) -> float | None:
    if log_risk is None:
        return None
    return rounded(concordance_index(prediction.months, prediction.event, log_risk))


def _brier(prediction: CohortPrediction, training: SurvivalTable) -> BrierReport | None:
    if prediction.survival is None:
        return None
    try:
        months = evaluation_months(prediction.months)
        # A null model knows nothing beyond the follow-up that it was made of.
        months = np.linspace(0.0, min(float(months[-1]), float(training.months.max())), months.size)
        scores = _scores(prediction, prediction.survival(months), months)
        null = np.broadcast_to(_null_survival(training, months), (prediction.months.size, months.size))
        null_scores = _scores(prediction, null, months)
        ceiling = None
        if prediction.true_survival is not None:
            ceiling = rounded(
                integrated_brier(months, _scores(prediction, prediction.true_survival(months), months))
            )
    except EstimationError:
        return None
    return BrierReport(
        months=rounded_all(months),
        model=rounded_all(scores),
        null_model=rounded_all(null_scores),
        integrated=rounded(integrated_brier(months, scores)),
        null_integrated=rounded(integrated_brier(months, null_scores)),
        ceiling_integrated=ceiling,
    )


def _scores(
    prediction: CohortPrediction, without_endpoint: Float64Array, months: Float64Array
) -> Float64Array:
    return brier_scores(
        prediction.months, prediction.event, without_endpoint, months, competing=prediction.competing
    )


def _null_survival(training: SurvivalTable, months: Float64Array) -> Float64Array:
    """Probability (time,) of no endpoint that a model without covariates gives everybody."""
    if not _competes(training.competing):
        return kaplan_meier(training.months, training.event).at(months)
    return 1.0 - incidence_of_endpoint(training.months, training.event, training.competing, months)


def _competes(competing: BoolArray | None) -> TypeGuard[BoolArray]:
    return competing is not None and bool(competing.any())


def _calibration(
    prediction: CohortPrediction, horizons_months: Sequence[float]
) -> tuple[CalibrationReport, ...]:
    if prediction.survival is None:
        return ()
    reports = []
    for horizon in horizons_months:
        risk = 1.0 - prediction.survival(np.array([horizon]))[:, 0]
        try:
            observed_to_expected, groups = _calibrated_groups(prediction, risk, horizon)
        except EstimationError:
            continue
        points = tuple(
            CalibrationPoint(
                predicted=rounded(predicted),
                observed=rounded(observed),
                lower_95=rounded_or_none(low),
                upper_95=rounded_or_none(high),
                cases=cases,
                at_risk=at_risk,
            )
            for predicted, observed, low, high, cases, at_risk in groups
            if math.isfinite(observed)
        )
        if points:
            reports.append(
                CalibrationReport(
                    horizon_months=float(horizon),
                    observed_to_expected=rounded(observed_to_expected),
                    points=points,
                )
            )
    return tuple(reports)


def _calibrated_groups(
    prediction: CohortPrediction, risk: Float64Array, horizon: float
) -> tuple[float, Sequence[tuple[float, float, float, float, int, int]]]:
    """Observed to expected, and the figures of each group of ascending predicted risk."""
    if _competes(prediction.competing):
        return competing_calibration(prediction.months, prediction.event, prediction.competing, risk, horizon)
    curve = calibration_curve(prediction.months, prediction.event, risk, horizon)
    columns = (curve.predicted, curve.observed, curve.lower_95, curve.upper_95)
    figures = zip(*(map(float, column) for column in columns), strict=True)
    counts = zip(map(int, curve.cases), map(int, curve.at_risk), strict=True)
    return curve.observed_to_expected, [
        (*values, *count) for values, count in zip(figures, counts, strict=True)
    ]
