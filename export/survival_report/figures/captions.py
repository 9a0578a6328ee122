"""The figures in words, for a reader who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence

from export.figures_in_words import with_interval
from export.survival_report.evaluation import Evaluation
from export.survival_report.explanation import ContributionReport, SignatureReport
from export.survival_report.figures.drawing import p_value_words
from export.survival_report.regression import CoxReport, Nomogram


def brier_alternative(evaluations: Sequence[Evaluation]) -> str:
    """Text alternative of the Brier curves: integrated scores of model and null model."""
    sentences = [
        f"{item.title}: integrated Brier score {item.brier.integrated:.3f}, null model "
        f"{item.brier.null_integrated:.3f}"
        for item in evaluations
        if item.brier is not None
    ]
    return "; ".join(sentences) + "."


def calibration_alternative(evaluations: Sequence[Evaluation], time_unit: str) -> str:
    """Text alternative of the calibration: predicted and observed risk of every group."""
    sentences = []
    for item in evaluations:
        for curve in item.calibration:
            points = ", ".join(
                f"{100 * point.predicted:.0f} and {100 * point.observed:.0f} %" for point in curve.points
            )
            sentences.append(
                f"{item.title}, {curve.horizon_months:g} {time_unit}, predicted and observed: {points}"
            )
    return "; ".join(sentences) + "."


def forest_alternative(cox: CoxReport) -> str:
    """Text alternative of the forest plot: hazard ratios, multivariable where there are some."""
    kind, rows = (
        ("Multivariable", cox.multivariable) if cox.multivariable else ("Univariable", cox.univariable)
    )
    ratios = "; ".join(
        f"{row.covariate} {with_interval(row.hazard_ratio, row.interval_95, 2)}, {p_value_words(row.p_value)}"
        for row in rows
    )
    return f"{kind} hazard ratios: {ratios}."


def nomogram_alternative(nomogram: Nomogram) -> str:
    """Text alternative of the nomogram: points at both ends of every scale."""
    scales = "; ".join(
        f"{scale.covariate}: "
        + ", ".join(f"{tick.label} {tick.points:.0f} points" for tick in (scale.ticks[0], scale.ticks[-1]))
        for scale in nomogram.scales
    )
    return f"{scales}; at most {nomogram.total_points:.0f} points in all."


def contributions_alternative(report: ContributionReport) -> str:
    """Text alternative of the contributions: median attention and mean absolute signal of every covariate."""
    sentences = (
        f"{item.covariate}: median attention {item.attention.p50:.2f}, mean absolute signal "
        f"{item.mean_absolute_signal:.2f}"
        for item in report.covariates
    )
    return "; ".join(sentences) + "."


def signature_alternative(signature: SignatureReport) -> str:
    """Text alternative of the signature: coefficients and stability of the chosen features."""
    if not signature.chosen:
        return "The final fit chose no feature."
    sentences = (
        f"{weight.feature} {weight.coefficient:+.3f}, chosen in {100 * weight.chosen_share:.0f} % of folds"
        for weight in signature.chosen
    )
    return "; ".join(sentences) + "."
