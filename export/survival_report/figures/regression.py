"""Cox model as pictures: forest plot and nomogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.figures_in_words import with_interval
from export.survival_report.figures.drawing import (
    BLUE,
    INK,
    QUIET,
    WINE,
    new_figure,
    p_value_words,
    quiet_grid,
    short_name,
)
from export.survival_report.regression import CoxReport, HazardRatio, Nomogram, NomogramTick

_MAX_RATIO: Final = 50.0
"""Hazard ratios beyond this, either way, end in an arrow."""
_LABEL_POINTS: Final = 1.25
"""Width of one character of a tick's label, in points of a nomogram 100 points wide."""


def draw_forest(cox: CoxReport) -> Figure:
    """Hazard ratios with 95 % intervals, multivariable above univariable, on a log axis."""
    names = [row.covariate for row in cox.multivariable] or [row.covariate for row in cox.univariable]
    univariable = {row.covariate: row for row in cox.univariable}
    multivariable = {row.covariate: row for row in cox.multivariable}
    figure = new_figure(8.6, 1.35 + 0.56 * len(names))
    axes = figure.subplots()
    for position, name in enumerate(names):
        if name in multivariable:
            _draw_ratio(axes, multivariable[name], position - 0.17, BLUE, "s")
        if name in univariable:
            _draw_ratio(axes, univariable[name], position + 0.17, QUIET, "o")
    _dress_forest(axes, names, {**univariable, **multivariable})
    ends = [end for row in (*cox.univariable, *cox.multivariable) for end in row.interval_95]
    low = max(min([*ends, 0.5]) / 1.25, 1 / _MAX_RATIO)
    high = min(max([*ends, 2.0]) * 1.25, _MAX_RATIO)
    axes.set_xlim(low, high)
    return figure


def _draw_ratio(axes: Axes, row: HazardRatio, y: float, color: str, marker: str) -> None:
    low, high = (min(max(end, 1 / _MAX_RATIO), _MAX_RATIO) for end in row.interval_95)
    middle = min(max(row.hazard_ratio, 1 / _MAX_RATIO), _MAX_RATIO)
    axes.plot([low, high], [y, y], color=color, linewidth=1.5, solid_capstyle="butt")
    axes.plot(
        middle, y, marker, color=color, markersize=5.5, markerfacecolor=color if marker == "s" else "white"
    )
    for end, edge, arrow in ((row.interval_95[0], low, "<"), (row.interval_95[1], high, ">")):
        if end != edge:
            axes.plot(edge, y, arrow, color=color, markersize=6, clip_on=False)
    words = f"{with_interval(row.hazard_ratio, row.interval_95, 2)},  {p_value_words(row.p_value)}"
    axes.annotate(
        words, (1.0, y), xycoords=("axes fraction", "data"), xytext=(10, 0), textcoords="offset points",
        va="center", fontsize=8.5, color=color if marker == "s" else QUIET, annotation_clip=False,
    )  # fmt: skip


def _dress_forest(axes: Axes, names: Sequence[str], rows: dict[str, HazardRatio]) -> None:
    axes.set_xscale("log")
    axes.axvline(1.0, color=INK, linewidth=0.9)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_yticks(range(len(names)), [f"{name}\n{rows[name].contrast}" for name in names])
    axes.tick_params(axis="y", length=0)
    ticks = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.spines["left"].set_visible(False)
    quiet_grid(axes, "x")
    axes.set_xlabel("hazard ratio with 95 % interval   (right of 1: earlier events)")
    axes.plot([], [], "s-", color=BLUE, markersize=5.5, label="multivariable")
    axes.plot([], [], "o-", color=QUIET, markersize=5.5, markerfacecolor="white", label="univariable")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


def draw_nomogram(nomogram: Nomogram, endpoint: str, time_unit: str) -> Figure:
    """Scales of points for each covariate, their sum, and the probabilities it stands for."""
    rows = 2 + len(nomogram.scales) + len(nomogram.horizons)
    figure = new_figure(8.6, 0.35 + 0.56 * rows)
    axes = figure.subplots()
    _draw_scale(
        axes,
        0,
        "points",
        [NomogramTick(label=f"{points}", points=points) for points in range(0, 101, 10)],
        1.0,
        INK,
    )
    for position, scale in enumerate(nomogram.scales, start=1):
        _draw_scale(axes, position, scale.covariate, scale.ticks, 1.0, BLUE)
    position = 1 + len(nomogram.scales)
    stretch = 100.0 / nomogram.total_points if nomogram.total_points else 1.0
    _draw_scale(axes, position, "total points", _round_ticks(nomogram.total_points), stretch, INK, to=100.0)
    for row, horizon in enumerate(nomogram.horizons, start=1):
        name = f"{short_name(endpoint)} by {horizon.horizon_months:g} {time_unit}"
        _draw_scale(axes, position + row, name, horizon.ticks, stretch, WINE)
    axes.axhline(position - 0.42, color=QUIET, linewidth=0.6, linestyle=(0, (1, 3)))
    axes.set_xlim(-2, 102)
    axes.set_ylim(rows - 0.3, -0.5)
    axes.set_yticks([])
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _draw_scale(
    axes: Axes,
    y: int,
    name: str,
    ticks: Sequence[NomogramTick],
    stretch: float,
    color: str,
    to: float = 0.0,
) -> None:
    """One scale; ``to`` draws its line farther than its last tick."""
    positions = [tick.points * stretch for tick in ticks]
    axes.plot([min(positions), max(*positions, to)], [y, y], color=color, linewidth=1.1)
    axes.annotate(
        name, (0, y), xycoords=("axes fraction", "data"), xytext=(-8, 0), textcoords="offset points",
        ha="right", va="center", color=color, annotation_clip=False,
    )  # fmt: skip
    taken = {"below": -1e9, "above": -1e9}
    for position, tick in sorted(zip(positions, ticks, strict=True), key=lambda pair: pair[0]):
        axes.plot([position, position], [y - 0.09, y + 0.09], color=color, linewidth=0.9)
        half = 0.5 * _LABEL_POINTS * len(tick.label) + 0.5
        side = next((side for side, end in taken.items() if position - half > end), None)
        if side is None:
            continue  # no room: the tick stands without a label
        taken[side] = position + half
        axes.text(
            position, y + (0.16 if side == "below" else -0.16), tick.label, ha="center",
            va="top" if side == "below" else "bottom", fontsize=8, color=color,
        )  # fmt: skip


def _round_ticks(total: float) -> list[NomogramTick]:
    """About ten round numbers from 0 on."""
    step = next((step for step in (5, 10, 20, 25, 50, 100) if total / step <= 12), 200)
    return [NomogramTick(label=f"{points}", points=points) for points in range(0, int(total) + 1, step)] or [
        NomogramTick(label="0", points=0.0)
    ]
