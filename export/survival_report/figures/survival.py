"""Kaplan–Meier curves by risk group with numbers at risk, and competing risks."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.survival_report.evaluation import Evaluation, RiskGroups, SurvivalStep
from export.survival_report.figures.drawing import (
    BLUE,
    GOLD,
    LINE_STYLES,
    QUIET,
    WINE,
    new_figure,
    p_value_words,
    probability_axis,
    quiet_grid,
    short_name,
)
from export.survival_report.figures.round_times import round_times
from export.survival_report.regression import CompetingRisk
from export.survival_report.risk_groups import MIN_AT_RISK_OF_GROUP

PANELS_ABREAST: Final = 2
_TITLE_CHARACTERS: Final = 46
_OTHER_LOOK: Final = (BLUE, LINE_STYLES[0])
_GROUP_LOOKS: Final = {
    "low risk": (BLUE, LINE_STYLES[0]),
    "middle risk": (GOLD, LINE_STYLES[1]),
    "high risk": (WINE, LINE_STYLES[2]),
}


def draw_risk_groups(evaluations: Sequence[Evaluation], endpoint: str, time_unit: str) -> Figure:
    """Kaplan–Meier curves by risk group with numbers at risk, one panel for each cohort, two side by side."""
    shown = [(item, item.risk_groups) for item in evaluations if item.risk_groups is not None]
    most = max(len(groups.groups) for _, groups in shown)
    columns = min(len(shown), PANELS_ABREAST)
    rows = -(-len(shown) // columns)
    table_height = 0.26 + 0.24 * most
    figure = new_figure(4.5 * columns + (2.0 if columns == 1 else 0.6), (3.7 + 0.24 * most) * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[3.1, table_height] * rows)
    for position, (item, groups) in enumerate(shown):
        row, column = divmod(position, columns)
        curves = figure.add_subplot(grid[2 * row, column])
        numbers = figure.add_subplot(grid[2 * row + 1, column], sharex=curves)
        _draw_curves(curves, groups)
        curves.tick_params(labelbottom=False)
        title = f"{item.title}, log-rank {p_value_words(groups.log_rank_p)}"
        curves.set_title(fill(title, _TITLE_CHARACTERS), fontsize=9, pad=22)
        probability_axis(curves, "y", f"free of {short_name(endpoint)}")
        _draw_numbers_at_risk(numbers, groups, time_unit, first=column == 0)
    return figure


def _draw_curves(axes: Axes, groups: RiskGroups) -> None:
    for group in groups.groups:
        color, style = _GROUP_LOOKS.get(group.label, _OTHER_LOOK)
        axes.step(
            group.months, group.survival, where="post", color=color, linestyle=style, linewidth=1.7,
            label=group.label,
        )  # fmt: skip
        axes.fill_between(
            group.months, _floats(group.lower_95), _floats(group.upper_95),
            step="post", color=color, alpha=0.13, linewidth=0,
        )  # fmt: skip
    quiet_grid(axes, "y")
    axes.set_xlim(0, _end(groups))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.1, columnspacing=1.4)


def _draw_numbers_at_risk(axes: Axes, groups: RiskGroups, time_unit: str, *, first: bool) -> None:
    for position, group in enumerate(groups.groups):
        color, _ = _GROUP_LOOKS.get(group.label, _OTHER_LOOK)
        for month, number in zip(groups.at_months, group.at_risk, strict=True):
            axes.text(
                month, position, str(number), ha="center", va="center", fontsize=8.5,
                color=color, clip_on=False,
            )  # fmt: skip
        axes.annotate(
            str(group.events), (1.0, position), xycoords=("axes fraction", "data"), xytext=(20, 0),
            textcoords="offset points", ha="center", va="center", fontsize=8.5, annotation_clip=False,
            color=color,
        )  # fmt: skip
    for words, end, offset, aligned in (("at risk", 0.0, 0, "left"), ("events", 1.0, 20, "center")):
        axes.annotate(
            words, (end, 1.0), xycoords="axes fraction", xytext=(offset, 3), textcoords="offset points",
            ha=aligned, va="bottom", fontsize=8.5, color=QUIET, annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(len(groups.groups) - 0.4, -0.6)
    axes.set_yticks(
        range(len(groups.groups)),
        [group.label for group in groups.groups] if first else [""] * len(groups.groups),
    )
    axes.tick_params(axis="y", length=0, labelsize=8.5, pad=14)
    axes.set_xticks(groups.at_months)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(time_unit)


def draw_competing_risk(competing: CompetingRisk, endpoint: str, time_unit: str) -> Figure:
    """Cumulative incidence of the endpoint and of what prevents it."""
    figure = new_figure(6.2, 3.6)
    axes = figure.subplots()
    lines = (
        (competing.one_minus_kaplan_meier, QUIET, LINE_STYLES[2], "1 − Kaplan–Meier (too high)"),
        (competing.endpoint, BLUE, LINE_STYLES[0], short_name(endpoint)),
        (competing.competing, WINE, LINE_STYLES[1], competing.competing_event),
    )
    for curve, color, style, label in lines:
        axes.step(
            competing.months, curve, where="post", color=color, linestyle=style, linewidth=1.7, label=label
        )
    axes.set_xlim(0, competing.months[-1])
    axes.set_xticks(round_times(competing.months[-1]))
    top = max(*competing.one_minus_kaplan_meier, *competing.competing, 0.05)
    axes.set_ylim(0, 1.1 * top)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    axes.set(xlabel=time_unit, ylabel="cumulative incidence, %")
    quiet_grid(axes, "y")
    axes.legend(loc="upper left")
    return figure


def risk_groups_in_words(evaluation: Evaluation, time_unit: str) -> str:
    """One sentence: each group's share without the event at the last time of the table."""
    groups = evaluation.risk_groups
    if groups is None:
        return ""
    shares = "; ".join(
        f"{group.label} {group.cases} cases, {group.events} events, "
        f"{_survival_words(group, groups.at_months, time_unit)}"
        for group in groups.groups
    )
    return f"{evaluation.title}: {shares}; log-rank {p_value_words(groups.log_rank_p)}."


def _survival_words(group: SurvivalStep, at_months: Sequence[float], time_unit: str) -> str:
    """Share still free of the event at the last time of the table that the curve reaches."""
    watched = [month for month in at_months if 0 < month <= group.months[-1]]
    if group.cases < MIN_AT_RISK_OF_GROUP or not watched:
        return "too few for a curve"
    last = watched[-1]
    step = max(int(np.searchsorted(group.months, last, side="right")) - 1, 0)
    return f"{100 * group.survival[step]:.0f} % free of it at {last:g} {time_unit}"


def _end(groups: RiskGroups) -> float:
    """Where the time axis ends: not before the last time of the table."""
    longest = max(group.months[-1] for group in groups.groups)
    return max(longest, groups.at_months[-1] if groups.at_months else 0.0, 1e-9) * 1.01


def _floats(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
