"""Which covariates the network listens to, and in which direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.survival_report.explanation import Contribution, ContributionReport, Quantiles
from export.survival_report.figures.drawing import BLUE, INK, LIGHT_BLUE, QUIET, WINE, new_figure, quiet_grid
from export.survival_report.units import WITHOUT_UNIT

_MAX_PANELS: Final = 8


def draw_contributions(report: ContributionReport) -> Figure:
    """Attention, effective signal and permutation loss of every covariate, the strongest on top."""
    ordered = _by_strength(report)
    permuted = all(item.permutation_c_index_loss is not None for item in ordered)
    figure = new_figure(9.2, 1.25 + 0.42 * len(ordered))
    panels = figure.subplots(1, 3 if permuted else 2, sharey=True)
    for row, item in enumerate(ordered):
        _draw_spread(panels[0], row, item.attention)
        _draw_spread(panels[1], row, item.signal)
        if permuted:
            loss = item.permutation_c_index_loss or 0.0
            panels[2].barh(row, loss, height=0.5, color=LIGHT_BLUE if loss >= 0 else WINE)
    panels[0].axvline(1.0, color=QUIET, linewidth=0.9, linestyle=(0, (2, 1.2)))
    panels[0].set_title("attention coefficient")
    panels[0].set_xlabel("1: every covariate alike")
    panels[0].set_xlim(left=min(0.0, *(item.attention.p05 for item in ordered)))
    panels[1].axvline(0.0, color=QUIET, linewidth=0.9, linestyle=(0, (2, 1.2)))
    panels[1].set_title("weighted effective signal")
    panels[1].set_xlabel("attention × standardized covariate")
    if permuted:
        panels[2].axvline(0.0, color=INK, linewidth=0.9)
        panels[2].set_title("loss of C-index if shuffled")
        panels[2].set_xlabel("C-index")
        panels[2].margins(x=0.08)
    panels[0].set_yticks(range(len(ordered)), [item.covariate for item in ordered])
    panels[0].set_ylim(len(ordered) - 0.5, -0.5)
    for axes in panels:
        quiet_grid(axes, "x")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=6)
    return figure


def draw_dependence(report: ContributionReport) -> Figure:
    """Log-risk along each covariate, averaged over the others as the cohort has them."""
    shown = with_dependence(report)
    columns = min(len(shown), 4)
    rows = -(-len(shown) // columns)
    figure = new_figure(max(2.3 * columns + 0.5, 3.6), 2.35 * rows + 0.2)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, item in zip(panels.flat, shown, strict=False):
        _draw_dependence(axes, item)
    for row in panels:
        row[0].set_ylabel("log hazard ratio")
    return figure


def _by_strength(report: ContributionReport) -> list[Contribution]:
    """Covariates by falling mean absolute signal."""
    return sorted(report.covariates, key=lambda item: (-item.mean_absolute_signal, item.covariate))


def with_dependence(report: ContributionReport) -> Sequence[Contribution]:
    """Covariates that are drawn by :func:`draw_dependence`, the strongest first."""
    return [item for item in _by_strength(report) if len(item.dependence) > 1][:_MAX_PANELS]


def _draw_spread(axes: Axes, y: float, spread: Quantiles) -> None:
    axes.plot([spread.p05, spread.p95], [y, y], color=BLUE, linewidth=1.1)
    axes.plot([spread.p25, spread.p75], [y, y], color=LIGHT_BLUE, linewidth=7, solid_capstyle="butt")
    axes.plot(spread.p50, y, "|", color=INK, markersize=11, markeredgewidth=1.6)


def _draw_dependence(axes: Axes, item: Contribution) -> None:
    values = [point.value for point in item.dependence]
    axes.axhline(0.0, color=QUIET, linewidth=0.9, linestyle=(0, (2, 1.2)))
    axes.plot(
        values, [point.log_hazard_ratio for point in item.dependence], "o-", color=BLUE,
        markersize=3.5 if len(values) > 2 else 6, linewidth=1.4 if len(values) > 2 else 0.8,
    )  # fmt: skip
    if len(values) == 2:
        axes.set_xticks(values, [point.label for point in item.dependence])
        axes.set_xlim(values[0] - 0.5 * (values[1] - values[0]), values[1] + 0.5 * (values[1] - values[0]))
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_title(item.covariate, fontsize=9)
    axes.set_xlabel("" if len(values) == 2 or item.unit in WITHOUT_UNIT else item.unit)
    quiet_grid(axes, "y")
