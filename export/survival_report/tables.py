"""The tables of the page: what stands in their cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from export.figures_in_words import NONE, compact, compact_range, number, p_value, with_interval
from export.survival_report.evaluation import Evaluation
from export.survival_report.explanation import SignatureReport
from export.survival_report.fit_report import FitReport
from export.survival_report.regression import CoxReport, GroupComparison, HazardRatio


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Attributes
    ----------
    head : sequence of str
    rows : sequence of sequence of str
    numbers : collection of int
        Columns set flush right.
    caption : str
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()
    caption: str = ""


def performance_table(report: FitReport) -> Table:
    """Figures of every cohort side by side, the honest ones first."""
    shown = report.evaluations
    rows: list[tuple[str, Callable[[Evaluation], str]]] = [
        ("how it was measured", lambda item: item.role_words),
        ("cases", lambda item: str(item.cases)),
        ("events", lambda item: str(item.events)),
        ("C-index (95 % interval)", lambda item: with_interval(item.c_index, item.c_index_interval_95)),
        ("C-index of the Cox model", lambda item: number(item.cox_c_index)),
        ("C-index of the simulation's true risk", lambda item: number(item.ceiling_c_index)),
        ("integrated Brier score", lambda item: number(item.brier.integrated if item.brier else None)),
        ("… of the null model", lambda item: number(item.brier.null_integrated if item.brier else None)),
        (
            "… of the simulation's true risk",
            lambda item: number(item.brier.ceiling_integrated if item.brier else None),
        ),
        (
            "calibration slope (95 % interval)",
            lambda item: with_interval(item.calibration_slope, item.calibration_slope_interval_95, 2),
        ),
        ("observed to expected", _observed_to_expected),
    ]
    body = [[name, *(figure(item) for item in shown)] for name, figure in rows]
    body = [row for row in body if any(cell != NONE for cell in row[1:])]
    caption = (
        "C-index: 0.5 is chance, 1 a perfect order. Brier score: lower is better, and it must lie below the null "
        "model's. Calibration slope: 1 is right, below 1 the model is too sure; out of fold it is the one that the "
        "model was then stretched by. Observed to expected: 1 is right, above 1 the model says too little."
    )
    return Table(["", *(item.title for item in shown)], body, caption=caption)


def _observed_to_expected(item: Evaluation) -> str:
    """At every horizon that could be judged."""
    ratios = [
        f"{number(curve.observed_to_expected, 2)} at {curve.horizon_months:g}" for curve in item.calibration
    ]
    return ", ".join(ratios) or NONE


def cohort_table(report: FitReport) -> Table:
    """Cases, events and follow-up of every cohort."""
    competing = any(cohort.competing_events for cohort in report.cohorts)
    head = ["cohort", "cases", "events", *(["competing events"] if competing else [])]
    head += [f"median follow-up, {report.time_unit}", f"longest, {report.time_unit}", "left out"]
    body = [
        [
            cohort.name,
            str(cohort.cases),
            f"{cohort.events} ({100 * cohort.events / cohort.cases:.0f} %)",
            *([str(cohort.competing_events)] if competing else []),
            number(cohort.median_follow_up_months, 1),
            number(cohort.longest_follow_up_months, 1),
            str(cohort.left_out),
        ]
        for cohort in report.cohorts
    ]
    caption = f"Endpoint: {report.endpoint}. Follow-up by the reverse Kaplan–Meier method."
    return Table(head, body, numbers=range(1, len(head)), caption=caption)


def covariate_table(report: FitReport) -> Table:
    """What the model is given, as the training cohort has it."""
    body = [
        [
            item.name,
            item.description,
            item.unit,
            item.coding,
            compact(item.mean),
            compact(item.sd),
            compact_range(item.low, item.high),
        ]
        for item in report.covariates
    ]
    head = ("covariate", "what it is", "unit", "coding", "mean", "SD", "training range")
    return Table(head, body, numbers=(4, 5, 6))


def comparison_table(comparison: GroupComparison) -> Table:
    """Groups of cases side by side."""
    head = [
        "variable",
        *(f"{group} (n = {cases})" for group, cases in zip(comparison.groups, comparison.cases, strict=True)),
        "p",
        "test",
    ]
    body = [[row.variable, *row.values, p_value(row.p_value), row.test] for row in comparison.rows]
    caption = "Median (lower to upper quartile), or count (share of its group)."
    return Table(head, body, numbers=range(1, len(comparison.groups) + 2), caption=caption)


def cox_table(cox: CoxReport) -> Table:
    """Univariable and multivariable hazard ratios, with the test of proportional hazards."""
    multivariable = {row.covariate: row for row in cox.multivariable}
    tests = {row.covariate: row for row in cox.proportional_hazards}
    names = list(dict.fromkeys(row.covariate for row in (*cox.univariable, *cox.multivariable)))
    univariable = {row.covariate: row for row in cox.univariable}
    body = []
    for name in names:
        cells = [name, (multivariable.get(name) or univariable[name]).contrast]
        for row in (univariable.get(name), multivariable.get(name)):
            cells += (
                [NONE, NONE]
                if row is None
                else [with_interval(row.hazard_ratio, row.interval_95), p_value(row.p_value)]
            )
        test = tests.get(name)
        body.append([*cells, p_value(None if test is None else test.p_value)])
        body += _per_sd_rows(name, univariable.get(name), multivariable.get(name))
    head = (
        "covariate",
        "contrast",
        "univariable HR (95 % interval)",
        "p",
        "multivariable HR (95 % interval)",
        "p",
        "proportional: p",
    )
    everything = (
        f" Global test of proportional hazards: p {_equals(cox.proportional_hazards_global_p)}."
        if cox.proportional_hazards_global_p is not None
        else ""
    )
    caption = (
        f"{cox.cases} cases, {cox.events} events, {cox.ties.capitalize()} ties. A measured covariate has a second line "
        "with the hazard ratio of one standard deviation of this cohort; p is the same. Last column: Grambsch and "
        f"Therneau's test; a small p speaks against proportional hazards.{everything}"
    )
    return Table(head, body, numbers=range(2, 7), caption=caption)


def _per_sd_rows(
    name: str, univariable: HazardRatio | None, multivariable: HazardRatio | None
) -> list[list[str]]:
    """Hazard ratios of one standard deviation, by which covariates in different units can be compared."""
    ratios = [None if row is None else row.per_sd for row in (univariable, multivariable)]
    contrast = next((ratio.contrast for ratio in ratios if ratio is not None), None)
    if contrast is None:
        return []
    cells = [
        NONE if ratio is None else with_interval(ratio.hazard_ratio, ratio.interval_95) for ratio in ratios
    ]
    return [[name, contrast, cells[0], "", cells[1], "", ""]]


def _equals(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def signature_table(signature: SignatureReport) -> Table:
    """Every feature that the final fit or some fold chose."""
    body = [
        [
            weight.feature,
            NONE if weight.coefficient == 0.0 else number(weight.coefficient, 4),
            f"{100 * weight.chosen_share:.0f} %",
        ]
        for weight in signature.weights
    ]
    return Table(("feature", "weight per SD", "chosen in"), body, numbers=(1, 2))


def settings_table(report: FitReport) -> Table:
    """Choices of the fit, and the software that made it."""
    body = [[item.name, item.value] for item in (*report.settings, *report.software)]
    return Table(("setting", "value"), body)
