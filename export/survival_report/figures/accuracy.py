"""How near predictions come to what was seen: Brier score and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.survival_report.evaluation import BrierReport, CalibrationReport, Evaluation
from export.survival_report.figures.drawing import (
    BLUE,
    LINE_STYLES,
    QUIET,
    WINE,
    new_figure,
    probability_axis,
    quiet_grid,
    short_name,
)
from export.survival_report.figures.round_times import round_times

PANELS_ABREAST: Final = 2
_MAX_HORIZONS: Final = 3


def draw_brier(evaluations: Sequence[Evaluation], time_unit: str) -> Figure:
    """Brier score over time with the null model's, one panel for each cohort, two side by side."""
    shown = [(item, item.brier) for item in evaluations if item.brier is not None]
    columns = min(len(shown), PANELS_ABREAST)
    rows = -(-len(shown) // columns)
    figure = new_figure(4.2 * columns + (1.6 if columns == 1 else 0.4), 3.2 * rows + 0.1)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, (item, brier) in zip(panels.flat, shown, strict=False):
        _draw_brier_curve(axes, brier)
        axes.set_title(item.title)
        axes.set_xlabel(time_unit)
    highest = max(max(*brier.model, *brier.null_model) for _, brier in shown)
    panels[0, 0].set_ylim(0, 1.35 * max(highest, 0.05))
    for row in panels:
        row[0].set_ylabel("Brier score (lower is better)")
    return figure


def _draw_brier_curve(axes: Axes, brier: BrierReport) -> None:
    months, model, null = (np.array(column) for column in (brier.months, brier.model, brier.null_model))
    for where, color, alpha in ((model <= null, BLUE, 0.12), (model > null, WINE, 0.18)):
        axes.fill_between(
            months, model, null, where=where, color=color, alpha=alpha, linewidth=0, interpolate=True
        )
    axes.plot(
        months, null, color=QUIET, linestyle=LINE_STYLES[1], linewidth=1.5,
        label=f"null model, integrated {brier.null_integrated:.3f}",
    )  # fmt: skip
    axes.plot(months, model, color=BLUE, linewidth=1.8, label=f"model, integrated {brier.integrated:.3f}")
    axes.set_xlim(months[0], months[-1])
    axes.set_xticks(round_times(float(months[-1])))
    quiet_grid(axes, "y")
    axes.legend(loc="upper left")


def draw_calibration(evaluations: Sequence[Evaluation], endpoint: str, time_unit: str) -> Figure:
    """Predicted against observed probability of the endpoint; a row for each cohort, a column for each horizon."""
    shown = [item for item in evaluations if item.calibration]
    horizons = _calibrated_horizons(shown)
    figure = new_figure(2.75 * len(horizons) + 0.7, 2.95 * len(shown) + 0.25)
    panels = figure.subplots(len(shown), len(horizons), squeeze=False)
    for row, item in zip(panels, shown, strict=True):
        by_horizon = {curve.horizon_months: curve for curve in item.calibration}
        for axes, horizon in zip(row, horizons, strict=True):
            axes.set_title(f"{item.title}, {horizon:g} {time_unit}", fontsize=9)
            _draw_calibration_curve(axes, by_horizon.get(horizon))
        row[0].set_ylabel("observed, %")
    for axes in panels[-1]:
        axes.set_xlabel(f"predicted {short_name(endpoint)}, %")
    return figure


def _calibrated_horizons(evaluations: Sequence[Evaluation]) -> list[float]:
    """Horizons that are drawn: all, or three of many, the first and the last among them."""
    horizons = sorted({curve.horizon_months for item in evaluations for curve in item.calibration})
    if len(horizons) <= _MAX_HORIZONS:
        return horizons
    indices = np.linspace(0, len(horizons) - 1, _MAX_HORIZONS).round().astype(int)
    return [horizons[index] for index in indices]


def _draw_calibration_curve(axes: Axes, curve: CalibrationReport | None) -> None:
    for which in ("x", "y"):
        probability_axis(axes, which, "")
    axes.set(xlabel="", ylabel="")
    axes.set_aspect("equal")
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=LINE_STYLES[2])
    quiet_grid(axes)
    if curve is None:
        axes.text(0.5, 0.5, "fewer than 15\nat risk", ha="center", va="center", color=QUIET)
        return
    axes.plot(
        [point.predicted for point in curve.points], [point.observed for point in curve.points],
        color=BLUE, linewidth=0.9, alpha=0.6,
    )  # fmt: skip
    for point in curve.points:
        low = point.observed if point.lower_95 is None else point.lower_95
        high = point.observed if point.upper_95 is None else point.upper_95
        axes.plot([point.predicted] * 2, [low, high], color=BLUE, linewidth=1.6)
        axes.plot(point.predicted, point.observed, "o", color=BLUE, markersize=4.5)
