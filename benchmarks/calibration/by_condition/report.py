"""The written results of the bench: a table by condition, its figures as JSON, and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.calibration.by_condition.table import table
from benchmarks.calibration.page import markdown_table, number
from benchmarks.calibration.results import Cases, Row, read_results
from benchmarks.calibration.summary import reliability, wilson_interval
from engine.phantoms.conditions import CONDITIONS

RESULTS: Final = {"supplied": "conditions-supplied.jsonl", "none": "conditions-none.jsonl"}
_PICTURE: Final = "conditions.png"
_TITLES: Final = {
    "supplied": "Masks supplied",
    "none": "No masks: a target point, contours by the demo models",
}
_COLORS: Final = {"supplied": "#4477aa", "none": "#ee6677"}


_INTRODUCTION: Final = (
    "Simulated procedures of known truth (`python -m benchmarks.calibration run`), each condition a switch of its own.",
    "Not a clinical validation. Masks that are supplied have no contouring error.",
    "Errors are absolute: median and 90th percentile. *Held*: 90 % intervals that hold the truth. *Hidden*: a true",
    "margin of at most 3 mm, plain or in lung, called complete with P > ½, or tumor left over without a region.",
)


def write_report(folder: Path) -> None:
    """Write conditions.md, conditions.json and conditions.png from the results in a folder."""
    rows = {masks: read_results(folder / name, "key") for masks, name in RESULTS.items()}
    rows = {masks: found for masks, found in rows.items() if found}
    tables = {masks: table(found) for masks, found in rows.items()}
    (folder / "conditions.json").write_text(json.dumps(tables, indent=1), encoding="utf-8")
    (folder / "conditions.md").write_text(_page(rows, tables), encoding="utf-8")
    if rows:
        _draw(rows, tables, folder / _PICTURE)


def _page(rows: dict[str, list[Row]], tables: dict[str, list[Row]]) -> str:
    lines = [
        "# Calibration by condition",
        "",
        *_INTRODUCTION,
        "",
        f"![Reliability, and intervals by condition]({_PICTURE})",
    ]
    for masks, found in tables.items():
        lines += [
            "",
            f"## {_TITLES[masks]}",
            "",
            _sources(rows[masks]),
            "",
            *_errors(found),
            "",
            *_intervals(found),
        ]
        lines += ["", *_outside(rows[masks])]
    lines += ["", "## The conditions", ""]
    lines += markdown_table(
        ("condition", "what it changes"), [(name, c.says) for name, c in CONDITIONS.items()]
    )
    return "\n".join(lines) + "\n"


def _sources(rows: list[Row]) -> str:
    names = [row["description"]["background"] for row in rows]
    counts = ", ".join(f"{names.count(name)} {name.replace('_', ' ')}" for name in sorted(set(names)))
    return f"{len(rows)} cases; chest: {counts}."


def _errors(found: list[Row]) -> list[str]:
    head = ("condition", "cases", "refused", "TCR error", "TCR bias", "margin error, mm", "margin bias, mm",
            "hidden", "≥ 2 mm to spare, called", "95 % pose error, mm")  # fmt: skip
    body = [
        (
            row["condition"],
            str(row["cases"]),
            ", ".join(f"{count} `{code}`" for code, count in row["refusals"].items()) or "–",
            _both(row["tcr"], 3),
            number(row["tcr"]["bias"], 3),
            _both(row["margin_mm"], 2),
            number(row["margin_mm"]["bias"]),
            ", ".join(row["hidden_misses"]) or "0",
            f"{row['spare_called']} of {row['spare']}" if row["spare"] else "–",
            number(row["p95_pose_error_mm"]),
        )
        for row in found
    ]
    return markdown_table(head, body)


def _intervals(found: list[Row]) -> list[str]:
    head = ("condition", "TCR held", "width", "margin held", "width, mm", "margin in lung: error, mm", "held",
            "TCR of the tissue before: error", "held")  # fmt: skip
    body = [
        (
            row["condition"],
            _held(row["tcr"]),
            number(row["tcr"]["median_width"], 3),
            _held(row["margin_mm"]),
            number(row["margin_mm"]["median_width"]),
            _both(row["lung_margin_mm"], 2),
            _held(row["lung_margin_mm"]),
            _both(row["planning_frame_tcr"], 3),
            _held(row["planning_frame_tcr"]),
        )
        for row in found
    ]
    return markdown_table(head, body)


def _outside(rows: list[Row]) -> list[str]:
    """The answered cases whose intervals do not hold the truth, and the refusals, one line each."""
    lines = []
    for row in Cases(rows).answered:
        truth, measured = row["truth"]["minimal_margin_mm"], row["measured"]
        low, high = measured["minimal_interval_90_mm"]
        if not low <= truth <= high:
            lines.append(
                f"- {row['key']}: margin {truth:.2f} mm, measured {measured['minimal_mm']:.2f} "
                f"({low:.2f} to {high:.2f}), P {measured['probability_complete']:.2f}, "
                f"pose off by {number(measured['pose_error_mm'])} mm"
            )
    lines += [
        f"- {row['key']}: refused, {row['measured']['refusal']['reason']}" for row in Cases(rows).refused
    ]
    lines += [f"- {row['key']}: failed, {row['error']}" for row in Cases(rows).failed]
    return ["Margins outside their interval, refusals and failures:", "", *(lines or ["- none"])]


def _both(figures: Row, digits: int) -> str:
    return f"{number(figures['median_error'], digits)} / {number(figures['p90_error'], digits)}"


def _held(figures: Row) -> str:
    return f"{figures['held']} of {figures['intervals']}" if figures["intervals"] else "–"


def _draw(rows: dict[str, list[Row]], tables: dict[str, list[Row]], path: Path) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(16.5, 10.5), constrained_layout=True)
    panels[0].plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for masks, found in rows.items():
        _reliability(panels[0], reliability(Cases(found).answered), masks)
    panels[0].set(
        xlabel="P(complete)", ylabel="share truly complete", title="Reliability (bars: 90 % of the share)"
    )
    panels[0].legend(fontsize=8, frameon=False)
    for panel, quantity in ((panels[1], "tcr"), (panels[2], "margin_mm")):
        for shift, (masks, found) in enumerate(tables.items()):
            _coverage(panel, found, quantity, masks, 0.3 * shift)
        panel.set_title(
            f"90 % intervals that hold the truth: {quantity.removesuffix('_mm').replace('tcr', 'TCR')}"
        )
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _reliability(panel: Axes, bins: list[Row], masks: str) -> None:
    filled = [row for row in bins if row["cases"]]
    for row in filled:
        panel.plot([row["mean_probability"]] * 2, row["share_90"], color=_COLORS[masks], linewidth=2)
    panel.plot(
        [row["mean_probability"] for row in filled],
        [row["complete"] / row["cases"] for row in filled],
        "o-",
        color=_COLORS[masks],
        label=_TITLES[masks],
    )


def _coverage(panel: Axes, found: list[Row], quantity: str, masks: str, shift: float) -> None:
    panel.axvspan(0.85, 0.95, color="#eeeeee", zorder=0)
    for position, row in enumerate(found[::-1]):
        held, count = row[quantity]["held"], row[quantity]["intervals"]
        if count:
            panel.plot(
                wilson_interval(held, count), [position + shift] * 2, color=_COLORS[masks], linewidth=2
            )
            panel.plot(held / count, position + shift, "o", color=_COLORS[masks])
    panel.set_yticks(range(len(found)), [row["condition"] for row in found[::-1]], fontsize=8)
    panel.set(xlim=(0.0, 1.02))
