"""Radiomics signature as pictures: weights with their stability, and the LASSO's path."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.survival_report.explanation import PenaltyPath, SignatureReport
from export.survival_report.figures.drawing import (
    BLUE,
    GOLD,
    GRID,
    INK,
    LIGHT_BLUE,
    QUIET,
    WINE,
    new_figure,
    quiet_grid,
)

_MAX_FEATURES: Final = 25
_MAX_NAMED_LINES: Final = 6


def draw_signature(signature: SignatureReport) -> Figure:
    """Coefficient of every chosen feature, and the share of outer folds that chose it."""
    shown = signature.weights[:_MAX_FEATURES]
    figure = new_figure(8.8, 1.1 + 0.27 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.5, 1.0])
    for row, weight in enumerate(shown):
        final = weight.coefficient != 0.0
        left.barh(row, weight.coefficient, height=0.62, color=WINE if weight.coefficient > 0 else BLUE)
        right.plot([0, weight.chosen_share], [row, row], color=LIGHT_BLUE if final else GRID, linewidth=3)
        right.plot(
            weight.chosen_share,
            row,
            "o",
            color=BLUE,
            markersize=5,
            markerfacecolor=BLUE if final else "white",
        )
    left.axvline(0.0, color=INK, linewidth=0.9)
    left.set_yticks(range(len(shown)), [weight.feature for weight in shown], fontsize=8)
    left.set_ylim(len(shown) - 0.4, -0.6)
    left.set_xlabel("log hazard ratio per standard deviation")
    left.set_title("weight in the Radscore")
    left.margins(x=0.08)
    if not signature.chosen:
        left.set_xlim(-1, 1)
        left.set_xticks([0])
        left.text(0.04, 0, "none chosen in the final fit", va="center", fontsize=8.5, color=QUIET)
    right.set_xlim(0, 1.04)
    right.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    right.set_xlabel(f"of {signature.outer_folds} outer folds, %")
    right.set_title("chosen in")
    for axes in (left, right):
        quiet_grid(axes, "x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    return figure


def draw_penalty_path(path: PenaltyPath) -> Figure:
    """Cross-validated deviance along the penalty; above it the coefficients, where they are kept."""
    indices = 2 if path.coefficients else 1
    figure = new_figure(8.0, 2.9 * indices + 0.3)
    panels = figure.subplots(indices, 1, squeeze=False, sharex=True)[:, 0]
    if path.coefficients:
        _draw_coefficients(panels[0], path)
    _draw_deviance(panels[-1], path)
    for axes in panels:
        axes.axvline(path.chosen_penalty, color=WINE, linewidth=1.1)
        axes.axvline(path.least_deviance_penalty, color=QUIET, linewidth=1.0, linestyle=(0, (2, 1.2)))
        quiet_grid(axes, "y")
    ends = path.penalties[0] * 1.03, path.penalties[-1] / 1.03
    decades = 10.0 ** np.arange(np.floor(np.log10(ends[1])), np.ceil(np.log10(ends[0])))
    ticks = [tick for tick in np.outer(decades, [1, 2, 3, 5, 7]).ravel() if ends[1] <= tick <= ends[0]]
    panels[-1].set_xlim(*ends)
    panels[-1].set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    panels[-1].minorticks_off()
    panels[-1].set_xlabel("penalty λ  (weaker to the right)")
    return figure


def _draw_deviance(axes: Axes, path: PenaltyPath) -> None:
    penalties, deviance = np.array(path.penalties), np.array(path.deviance)
    spread = np.array(path.deviance_standard_error)
    axes.fill_between(penalties, deviance - spread, deviance + spread, color=BLUE, alpha=0.13, linewidth=0)
    axes.plot(penalties, deviance, color=BLUE, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_ylabel("cross-validated partial\nlikelihood deviance")
    axes.plot([], [], color=WINE, label="λ chosen: one standard error above the least")
    axes.plot([], [], color=QUIET, linestyle=(0, (2, 1.2)), label="λ of least deviance")
    axes.legend(loc="best", frameon=True, facecolor="white", edgecolor="none", framealpha=0.85)
    counts = axes.secondary_xaxis("top")
    indices = np.unique(np.linspace(0, len(penalties) - 1, 9).round().astype(int))
    counts.set_xticks(penalties[indices], [str(path.features_chosen[index]) for index in indices])
    counts.minorticks_off()
    counts.set_xlabel("features with a coefficient", fontsize=8.5, color=QUIET)


def _draw_coefficients(axes: Axes, path: PenaltyPath) -> None:
    chosen = int(np.argmin(np.abs(np.log(np.array(path.penalties) / path.chosen_penalty))))
    ordered = sorted(path.coefficients.items(), key=lambda item: (-abs(item[1][chosen]), item[0]))
    colors = (BLUE, WINE, GOLD)
    for index, (name, coefficients) in enumerate(ordered):
        named = index < _MAX_NAMED_LINES and coefficients[chosen] != 0.0
        axes.plot(
            path.penalties, coefficients, color=colors[index % 3] if named else "#bbbbbb",
            linestyle=("solid", (0, (5, 1.5)))[index // 3 % 2] if named else "solid",
            linewidth=1.4 if named else 0.7, label=name if named else None, zorder=3 if named else 2,
        )  # fmt: skip
    axes.axhline(0.0, color=INK, linewidth=0.8)
    axes.set_ylabel("log hazard ratio per\nstandard deviation")
    if any(coefficients[chosen] != 0.0 for _, coefficients in ordered):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5)
