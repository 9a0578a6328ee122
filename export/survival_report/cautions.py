"""What a reader must know before using a number of a report, found in the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from export.survival_report.evaluation import Evaluation
from export.survival_report.figures.drawing import p_value_words
from export.survival_report.fit_report import FitReport

_EVENTS_PER_COVARIATE: Final = 10
"""Fewer, and coefficients are unstable (Peduzzi et al. 1995, J Clin Epidemiol 48:1503)."""
_SLOPE_TOO_SURE: Final = 0.8
_SLOPE_TOO_TIMID: Final = 1.25
_MIN_TEST_EVENTS: Final = 100
"""A validation needs about as many events (Collins et al. 2016, Stat Med 35:214)."""
_UNSTABLE_SHARE: Final = 0.5
_RECALIBRATED: Final = {
    "apparent": "",
    "out_of_fold": ", before it was recalibrated by that slope",
    "test": "",
}
_SIGNIFICANT: Final = 0.05
RADSCORE: Final = "Radscore"


def find_cautions(report: FitReport) -> tuple[str, ...]:
    """Derive the warnings that a reader of the report needs.

    Parameters
    ----------
    report : FitReport
        Its own ``cautions`` are not looked at.

    Returns
    -------
    tuple of str
        Sentences, the gravest first; empty where nothing was found.
    """
    return (
        *_of_the_cohort(report),
        *(caution for item in report.evaluations for caution in _of_an_evaluation(item)),
        *_of_the_cox_model(report),
        *_of_the_signature(report),
    )


def _of_the_cohort(report: FitReport) -> Iterator[str]:
    if report.simulated:
        yield "All cases are simulated: the figures show that the software works, and say nothing of patients."
    if not any(item.role == "test" for item in report.evaluations):
        yield "No test cohort was given: the figures are internal, and will be lower elsewhere."
    training = report.cohorts[0]
    inputs = len(report.covariates)
    if training.events < _EVENTS_PER_COVARIATE * inputs:
        yield (
            f"{training.events} events for {inputs} covariates: fewer than {_EVENTS_PER_COVARIATE} for each, so that "
            "coefficients and risks are unstable."
        )
    for cohort in report.cohorts:
        if cohort.left_out:
            yield f"{cohort.name}: {cohort.left_out} cases were left out because they could not be used."
    if not report.horizons_months:
        yield "No horizon has 15 cases at risk: the model gives no absolute risk."


def _of_an_evaluation(item: Evaluation) -> Iterator[str]:
    if item.role == "apparent":
        return
    if item.c_index_interval_95 is not None and item.c_index_interval_95[0] <= 0.5:
        yield f"{item.title}: the C-index's interval reaches 0.5; the model may order cases no better than chance."
    if item.brier is not None and item.brier.integrated >= item.brier.null_integrated:
        yield f"{item.title}: the Brier score is no better than the null model's; do not use the absolute risks."
    if item.cox_c_index is not None and item.c_index < item.cox_c_index:
        yield (
            f"{item.title}: the Cox model orders the cases better (C-index {item.cox_c_index:.3f} against "
            f"{item.c_index:.3f}); the network adds nothing there."
        )
    slope = item.calibration_slope
    if slope is not None and not _SLOPE_TOO_SURE <= slope <= _SLOPE_TOO_TIMID:
        fault = (
            "sure, its risks too far apart"
            if slope < _SLOPE_TOO_SURE
            else "timid, its risks too close together"
        )
        was = "was" if item.role == "out_of_fold" else "is"
        yield f"{item.title}: calibration slope {slope:.2f}; the model {was} too {fault}{_RECALIBRATED[item.role]}."
    if item.events < _MIN_TEST_EVENTS and item.role == "test":
        yield f"{item.title}: {item.events} events; a validation with fewer than {_MIN_TEST_EVENTS} is imprecise."


def _of_the_cox_model(report: FitReport) -> Iterator[str]:
    if report.cox is None:
        return
    for test in report.cox.proportional_hazards:
        if test.p_value < _SIGNIFICANT:
            yield (
                f"The hazard of {test.covariate} is not proportional over time ({p_value_words(test.p_value)}): its "
                "hazard ratio is an average over the follow-up."
            )
    for row in report.cox.multivariable:
        if row.covariate == RADSCORE and row.hazard_ratio < 1.0:
            yield (
                f"The Radscore's hazard ratio beside the other covariates is {row.hazard_ratio:.2f}: below 1 it turns "
                "its own meaning around, and says nothing that can be trusted."
            )
    for reason in report.cox.not_estimable:
        yield f"Cox regression: {reason}"


def _of_the_signature(report: FitReport) -> Iterator[str]:
    signature = report.signature
    if signature is None:
        return
    if not signature.chosen:
        yield "The signature is empty: no radiomics feature predicted well enough, and the Radscore is constant."
    shaky = [weight for weight in signature.chosen if weight.chosen_share < _UNSTABLE_SHARE]
    if shaky:
        yield (
            f"{len(shaky)} of {len(signature.chosen)} features of the signature were chosen in fewer than half of the "
            "outer folds: another cohort would give another signature."
        )
