"""All figures of a report, each with its caption and its alternative text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from matplotlib.figure import Figure

from export.survival_report.figures.accuracy import draw_brier, draw_calibration
from export.survival_report.figures.captions import (
    brier_alternative,
    calibration_alternative,
    contributions_alternative,
    forest_alternative,
    nomogram_alternative,
    signature_alternative,
)
from export.survival_report.figures.contribution import (
    draw_contributions,
    draw_dependence,
    with_dependence,
)
from export.survival_report.figures.drawing import DrawnFigure, finish, report_style
from export.survival_report.figures.regression import draw_forest, draw_nomogram
from export.survival_report.figures.signature import draw_penalty_path, draw_signature
from export.survival_report.figures.survival import (
    draw_competing_risk,
    draw_risk_groups,
    risk_groups_in_words,
)
from export.survival_report.fit_report import FitReport
from export.survival_report.risk_groups import MIN_AT_RISK_OF_GROUP

_Drawing = tuple[Figure, str, str]

_KAPLAN_MEIER: Final = "kaplan-meier"
_BRIER: Final = "brier"
_CALIBRATION: Final = "calibration"
_COMPETING_RISK: Final = "competing-risk"
_FOREST: Final = "cox-forest"
_NOMOGRAM: Final = "nomogram"
_CONTRIBUTIONS: Final = "contributions"
_DEPENDENCE: Final = "dependence"
_SIGNATURE: Final = "signature"
_PENALTY_PATH: Final = "lasso-path"


def draw_figures(report: FitReport) -> dict[str, DrawnFigure]:
    """Draw every figure that the report has something for.

    Parameters
    ----------
    report : FitReport

    Returns
    -------
    dict of str to DrawnFigure
        By name, in the order of the page; the same report gives the same bytes on one machine.
    """
    figures = {}
    with report_style():
        for name, draw in DRAWINGS.items():
            drawing = draw(report)
            if drawing is not None:
                figure, caption, alternative = drawing
                figures[name] = finish(figure, name, caption, alternative, simulated=report.simulated)
    return figures


def _kaplan_meier(report: FitReport) -> _Drawing | None:
    shown = [item for item in report.evaluations if item.risk_groups is not None]
    if not shown:
        return None
    origin = next(item.risk_groups.cut_offs_from for item in shown if item.risk_groups is not None)
    caption = (
        f"Kaplan–Meier curves by predicted risk; bands are pointwise 95 % intervals (Greenwood, log-log). "
        f"Groups are cut at {origin}. A curve ends where fewer than 15 of its cohort, or fewer than "
        f"{MIN_AT_RISK_OF_GROUP} of its group, are at risk; events after that are counted, not drawn."
        + (
            f" {report.competing_risk.competing_event.capitalize()} counts as the end of follow-up here."
            if report.competing_risk
            else ""
        )
    )
    words = " ".join(risk_groups_in_words(item, report.time_unit) for item in shown)
    return draw_risk_groups(shown, report.endpoint, report.time_unit), caption, words


def _brier(report: FitReport) -> _Drawing | None:
    shown = [item for item in report.evaluations if item.brier is not None]
    if not shown:
        return None
    caption = (
        "Brier score over time, weighted by the inverse probability of being uncensored. The null model gives "
        "everybody the training cohort's Kaplan–Meier survival; where the model lies above it (red), it does harm. "
        f"The curve ends before the last follow-up, while 15 cases are at risk: {_ends_of_brier(report)}."
        + _with_competing(report)
    )
    return draw_brier(shown, report.time_unit), caption, brier_alternative(shown)


def _ends_of_brier(report: FitReport) -> str:
    """Where the curve of each cohort ends."""
    return ", ".join(
        f"{item.title} at {item.brier.months[-1]:g} {report.time_unit}"
        for item in report.evaluations
        if item.brier is not None
    )


def _calibration(report: FitReport) -> _Drawing | None:
    shown = [item for item in report.evaluations if item.calibration]
    if not shown:
        return None
    caption = (
        "Calibration: mean predicted against observed probability in groups of ascending predicted risk, with "
        "95 % intervals. On the dotted line the two agree; points below it were predicted too high."
        + _with_competing(report)
    )
    figure = draw_calibration(shown, report.endpoint, report.time_unit)
    return figure, caption, calibration_alternative(shown, report.time_unit)


def _with_competing(report: FitReport) -> str:
    """Say how the competing event was counted."""
    if report.competing_risk is None:
        return ""
    event = report.competing_risk.competing_event
    return f" A case with {event} counts as free of the endpoint for good; observed is Aalen and Johansen's incidence."


def _competing_risk(report: FitReport) -> _Drawing | None:
    competing = report.competing_risk
    if competing is None:
        return None
    caption = (
        f"Cumulative incidence (Aalen–Johansen) with {competing.competing_event} as a competing risk, which "
        f"happened {competing.competing_events} times. One minus Kaplan–Meier counts those cases as if they "
        "could still have the endpoint, and so lies too high."
    )
    alternative = (
        f"At {competing.months[-1]:g} {report.time_unit}: {report.endpoint} {100 * competing.endpoint[-1]:.0f} %, "
        f"{competing.competing_event} {100 * competing.competing[-1]:.0f} %, one minus Kaplan–Meier "
        f"{100 * competing.one_minus_kaplan_meier[-1]:.0f} %."
    )
    return draw_competing_risk(competing, report.endpoint, report.time_unit), caption, alternative


def _forest(report: FitReport) -> _Drawing | None:
    if report.cox is None or not (report.cox.univariable or report.cox.multivariable):
        return None
    caption = "Hazard ratios of the Cox model with 95 % Wald intervals, on a logarithmic axis."
    return draw_forest(report.cox), caption, forest_alternative(report.cox)


def _nomogram(report: FitReport) -> _Drawing | None:
    if report.nomogram is None:
        return None
    caption = (
        "Nomogram of the multivariable Cox model (not of the network). Read the points above each value, add "
        "them up, and read the probability below the total."
        + (
            f" {report.competing_risk.competing_event.capitalize()} counts as the end of follow-up here, so that "
            "the probabilities are too high."
            if report.competing_risk
            else ""
        )
    )
    figure = draw_nomogram(report.nomogram, report.endpoint, report.time_unit)
    return figure, caption, nomogram_alternative(report.nomogram)


def _contributions(report: FitReport) -> _Drawing | None:
    if report.contributions is None:
        return None
    caption = (
        f"What the network takes of each covariate ({report.contributions.cohort}, "
        f"{report.contributions.cases} cases): median (stroke), middle half (bar) and middle 90 % (line). "
        "Contributions describe the model, not causes."
    )
    return (
        draw_contributions(report.contributions),
        caption,
        contributions_alternative(report.contributions),
    )


def _dependence(report: FitReport) -> _Drawing | None:
    if report.contributions is None or not with_dependence(report.contributions):
        return None
    caption = (
        "Partial dependence: the network's mean log-risk if every case had the value on the axis and kept all "
        "else, against the mean as they are. An association as the model has it, not an effect of treatment."
    )
    lines = (
        f"{item.covariate}: from {item.dependence[0].log_hazard_ratio:+.2f} at {item.dependence[0].label} to "
        f"{item.dependence[-1].log_hazard_ratio:+.2f} at {item.dependence[-1].label}"
        for item in with_dependence(report.contributions)
    )
    return draw_dependence(report.contributions), caption, "Log hazard ratio of " + "; ".join(lines) + "."


def _signature(report: FitReport) -> _Drawing | None:
    signature = report.signature
    if signature is None or not signature.weights:
        return None
    caption = (
        "Features of the Radscore by their weight, and the share of outer folds whose own fit chose them. "
        "Empty circles: chosen in some folds, but not in the final fit."
    )
    return draw_signature(signature), caption, signature_alternative(signature)


def _penalty_path(report: FitReport) -> _Drawing | None:
    if report.signature is None or report.signature.path is None:
        return None
    path = report.signature.path
    caption = (
        "LASSO-Cox: deviance in cross-validation with its standard error along the penalty"
        + ("; above it the coefficients." if path.coefficients else ".")
        + " The penalty taken is the strongest within one standard error of the best."
    )
    alternative = (
        f"Chosen λ {path.chosen_penalty:.3g}, λ of least deviance {path.least_deviance_penalty:.3g}; "
        f"least deviance {min(path.deviance):.3f}."
    )
    return draw_penalty_path(path), caption, alternative


DRAWINGS: Final[dict[str, Callable[[FitReport], _Drawing | None]]] = {
    _KAPLAN_MEIER: _kaplan_meier,
    _BRIER: _brier,
    _CALIBRATION: _calibration,
    _COMPETING_RISK: _competing_risk,
    _FOREST: _forest,
    _NOMOGRAM: _nomogram,
    _CONTRIBUTIONS: _contributions,
    _DEPENDENCE: _dependence,
    _SIGNATURE: _signature,
    _PENALTY_PATH: _penalty_path,
}
"""By name, in the order of the page."""
