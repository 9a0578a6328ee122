"""The pictures of the calibration study, on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.calibration.results import (
    TARGET_MM,
    Cases,
    Row,
    holds_truth,
    probability,
    true_margin,
    width_mm,
)

COLORS: Final = {"stiff": "#4477aa", "smooth": "#228833", "sliding": "#ee6677"}
INK: Final = "#333333"


def draw(rows: list[Row], summary: Row, path: Path) -> None:
    """Draw six panels: reliability, coverage, widths, margins, P against truth, error against foreseen SD."""
    answered = Cases(rows).answered
    figure, panels = plt.subplots(2, 3, figsize=(15.5, 9.2), constrained_layout=True)
    _reliability(panels[0, 0], summary["reliability"])
    _coverage(panels[0, 1], summary["strata"])
    _widths(panels[0, 2], answered)
    _margins(panels[1, 0], answered)
    _probability(panels[1, 1], answered)
    _foreseen(panels[1, 2], answered)
    figure.suptitle(
        f"{len(rows)} simulated procedures of known truth, {len(answered)} answered, {len(Cases(rows).refused)} refused"
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _reliability(panel: Axes, bins: list[Row]) -> None:
    filled = [row for row in bins if row["cases"]]
    panel.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for row in filled:
        low, high = row["share_90"]
        share = row["complete"] / row["cases"]
        panel.plot([row["mean_probability"]] * 2, [low, high], color=COLORS["stiff"], linewidth=2)
        panel.plot(row["mean_probability"], share, "o", color=COLORS["stiff"])
        above = share < 0.85
        panel.annotate(
            f"{row['complete']}/{row['cases']}",
            (row["mean_probability"], high if above else low),
            xytext=(0, 4 if above else -4),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            color=INK,
        )
    panel.set(xlabel="P(complete)", ylabel="share truly complete", xlim=(-0.06, 1.06), ylim=(-0.04, 1.1))
    panel.set_title("Reliability (bars: 90 % of the share; counts complete/all)", fontsize=10)


def _coverage(panel: Axes, strata: list[Row]) -> None:
    listed = [row for row in strata if row["interval_holds_truth"] is not None][::-1]
    panel.axvspan(0.85, 0.95, color="#dddddd")
    panel.axvline(0.9, color="#999999", linewidth=1, linestyle="--")
    for position, row in enumerate(listed):
        low, high = row["interval_holds_truth_90"]
        color = INK if row["stratum"] == "all" else COLORS["stiff"]
        panel.plot([low, high], [position, position], color=color, linewidth=2)
        panel.plot(row["interval_holds_truth"], position, "o", color=color)
    panel.set_yticks(
        range(len(listed)),
        [
            f"{row['value'].replace('_', ' ')} ({row['cases'] - row['refused'] - row['failed']})"
            for row in listed
        ],
        fontsize=8,
    )
    panel.set(xlabel="share of 90 % intervals that hold the true margin", xlim=(0.4, 1.01))
    panel.set_title("Coverage of the interval (gray: 85 to 95 %)", fontsize=10)


def _widths(panel: Axes, answered: list[Row]) -> None:
    widths = [width_mm(row) for row in answered]
    thick = [width_mm(row) for row in answered if row["description"]["verification_spacing_zyx_mm"][0] > 2.0]
    edges = np.linspace(0.0, max([*widths, 1.0]), 31).tolist()
    panel.hist(widths, edges, color=COLORS["stiff"], label="all")
    panel.hist(thick, edges, color="#ccbb44", label="slices of 2.5 and 5 mm")
    if widths:
        panel.axvline(
            float(np.median(widths)), color=INK, linewidth=1.5, label=f"median {np.median(widths):.2f} mm"
        )
    panel.legend(fontsize=8, frameon=False)
    panel.set(xlabel="width of the 90 % interval, mm", ylabel="cases")
    panel.set_title("Width of the margin's interval", fontsize=10)


def _margins(panel: Axes, answered: list[Row]) -> None:
    for kind, color in COLORS.items():
        rows = [row for row in answered if row["description"]["deformation"] == kind]
        true = np.array([true_margin(row) for row in rows])
        panel.plot(
            true, [row["measured"]["minimal_mm"] for row in rows], "o", color=color, markersize=4, label=kind
        )
        for row in rows:
            line = "-" if holds_truth(row) else ":"
            panel.plot(
                [true_margin(row)] * 2,
                row["measured"]["minimal_interval_90_mm"],
                line,
                color=color,
                linewidth=0.8,
            )
    ends = panel.get_xlim()
    panel.plot(ends, ends, color="#999999", linewidth=1, linestyle="--")
    panel.axhline(TARGET_MM, color="#bbbbbb", linewidth=0.8)
    panel.axvline(TARGET_MM, color="#bbbbbb", linewidth=0.8)
    panel.legend(fontsize=8, frameon=False, loc="upper left")
    panel.set(xlabel="true minimal margin, mm", ylabel="measured, with its 90 % interval, mm", xlim=ends)
    panel.set_title("Minimal margin (dotted: truth outside the interval)", fontsize=10)


def _probability(panel: Axes, answered: list[Row]) -> None:
    for kind, color in COLORS.items():
        rows = [row for row in answered if row["description"]["deformation"] == kind]
        panel.plot(
            [true_margin(r) for r in rows], [probability(r) for r in rows], "o", color=color, markersize=4
        )
    panel.axhline(0.5, color="#999999", linewidth=1, linestyle="--")
    for margin_mm in (3.0, TARGET_MM, 7.0):
        panel.axvline(margin_mm, color="#bbbbbb", linewidth=0.8)
    panel.set(xlabel="true minimal margin, mm", ylabel="P(complete)")
    panel.set_title("P(complete) against truth (lines: 3, 5 and 7 mm)", fontsize=10)


def _foreseen(panel: Axes, answered: list[Row]) -> None:
    limit = 0.5
    for kind, color in COLORS.items():
        rows = [row for row in answered if row["description"]["deformation"] == kind]
        foreseen = [np.sqrt(3.0) * row["measured"]["pose_sd_mm"] for row in rows]
        error = [row["measured"]["pose_error_mm"] for row in rows]
        limit = max([limit, *foreseen, *error])
        panel.plot(foreseen, error, "o", color=color, markersize=4)
    panel.plot([0, limit], [0, limit], color="#999999", linewidth=1, linestyle="--")
    panel.set(
        xlabel="foreseen: √3 × SD per axis, mm",
        ylabel="true error of the tumor's center, mm",
        xlim=(0, None),
        ylim=(0, None),
    )
    panel.set_title("Place of the tumor: error against foreseen error", fontsize=10)
