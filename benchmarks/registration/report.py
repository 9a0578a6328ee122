"""The benchmark's runs as a table and as a picture of error against time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

LESION_TARGET_S: Final = 1.5
MIN_DRAWN_MM: Final = 0.005
"""A logarithmic axis has no zero."""

PANELS: Final = (
    ("landmark_mean_mm", "Mean landmark error, mm"),
    ("tumor_error_mm", "Mean error inside the tumor, mm"),
)
STYLES: Final = {
    "coldspot": ("#0072b2", "o"),
    "elastix": ("#d55e00", "s"),
    "convexadam": ("#009e73", "^"),
    "demons": ("#cc79a7", "D"),
}
"""Colors of Okabe and Ito: told apart with any color vision."""

COLUMNS: Final = (
    "case",
    "method",
    "n",
    "s (min–max)",
    "processor s",
    "load",
    "landmarks mm (p95)",
    "scored",
    "in the tumor mm (max)",
    "volume ratio",
    "TCR − true",
    "TCR by Coldspot − supplied",
    "folded",
)

NOTES: Final = """
Seconds are wall clock of the whole call without reading files, the median of n; processor seconds are of all
threads and say more where the load (before the first run) shows that others used the machine. Landmarks that lie
more than a voxel beyond a field are not scored. Errors in the tumor are against the true displacement at the true
tumor's voxels. Volume and "TCR − true" are counted from every method's field at 0.5 mm, masks linearly
interpolated, and compared with the same count by the tumor's true rigid motion: what is left is the
registration's own. "TCR by Coldspot" is what an assessment measures with the rigid motion of the tumor, against what it
measures with its true one. POPI has no tumor; of phantoms only the tumor's motion is known.
"""


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a case and method: median time, and the scores of the median run by landmarks or tumor."""
    rows = []
    for case, method in dict.fromkeys((run["case"], run["method"]) for run in runs):
        mine = [run for run in runs if (run["case"], run["method"]) == (case, method)]
        timed = [run for run in mine if "seconds" in run]
        row: dict[str, Any] = {
            "case": case,
            "method": method,
            "version": mine[-1]["version"],
            "runs": len(timed) or len(mine),
            "refusals": sum("refusal" in run for run in mine),
            "failures": [run["error"] for run in mine if "error" in run],
            "refusal": next((run["refusal"] for run in mine if "refusal" in run), None),
        }
        if timed:
            seconds = [run["seconds"] for run in timed]
            row |= {
                "seconds": statistics.median(seconds),
                "seconds_range": [min(seconds), max(seconds)],
                "processor_s": statistics.median(run["processor_s"] for run in timed),
                "load_before": [
                    min(run["load_before"] for run in timed),
                    max(r["load_before"] for r in timed),
                ],
                "scores": _medians([run["scores"] for run in timed]),
                "says": timed[-1]["says"],
            }
        rows.append(row)
    return rows


def paired_ratios(
    results: list[dict[str, Any]], ours: str = "coldspot", peer: str = "elastix"
) -> dict[str, float]:
    """How many times longer the peer took, case by case, from the medians of runs that took turns."""
    seconds = {(row["case"], row["method"]): row["seconds"] for row in results if "seconds" in row}
    return {
        case: seconds[case, peer] / own_seconds
        for (case, method), own_seconds in seconds.items()
        if method == ours and (case, peer) in seconds
    }


def table(record: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [f"# Registration benchmark\n\n{record['machine']}, Python {record['python']}, "]
    lines.append(f"{record['threads']} threads.\n\n")
    for name, method in record["methods"].items():
        lines.append(f"- {name} {method['version']}: {method['settings']}\n")
    lines.append(f"\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    order = list(record["methods"])
    ranked = sorted(record["results"], key=lambda row: (_group(row["case"]), order.index(row["method"])))
    lines.extend(_line(row) for row in ranked)
    ratios = paired_ratios(record["results"])
    if ratios:
        listed = ", ".join(f"{case} {ratio:.1f}" for case, ratio in sorted(ratios.items()))
        lines.append(
            f"\nelastix took {statistics.median(ratios.values()):.1f} times as long as Coldspot "
            f"(median over cases; {listed}).\n"
        )
    lines.append(NOTES)
    return "".join(lines)


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw error against time, one panel for landmarks and one for the tumor; whole lungs hollow."""
    figure, panels = plt.subplots(1, 2, figsize=(11.5, 5.0), constrained_layout=True)
    for axes, (score, label) in zip(panels, PANELS, strict=True):
        for name in record["methods"]:
            color, marker = STYLES.get(name, ("0.3", "x"))
            points = list(_points(record["results"], name, score))
            axes.scatter(
                [seconds for _, seconds, _ in points],
                [error_mm for _, _, error_mm in points],
                facecolors=["white" if _is_whole_lung(case) else color for case, _, _ in points],
                edgecolors=color,
                marker=marker,
                s=42,
                alpha=0.85,
            )
        _lay_out(axes, label, record["threads"])
        values = [
            (seconds, error_mm)
            for name in record["methods"]
            for _, seconds, error_mm in _points(record["results"], name, score)
        ]
        axes.set_xlim(_limits([LESION_TARGET_S, *(seconds for seconds, _ in values)]))
        axes.set_ylim(_limits([0.2, 2.0, *(error_mm for _, error_mm in values)]))
    panels[0].annotate(
        f"goal at a lesion: {LESION_TARGET_S:g} s",
        (LESION_TARGET_S, 0.985),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color="0.4",
    )
    figure.legend(handles=_keys(record), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(
        "Registration: one point a case and method (hollow: whole lungs); lower left is better", fontsize=11
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _lay_out(axes: Axes, label: str, threads: int) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(f"Seconds for the whole call, {threads} threads")
    axes.set_ylabel(label)
    axes.axvline(LESION_TARGET_S, color="0.6", linewidth=1, linestyle="--")
    axes.grid(visible=True, color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())


def _keys(record: dict[str, Any]) -> list[Line2D]:
    """Legend entries, one per method, also for one without a point."""
    keys = []
    for name, method in record["methods"].items():
        color, marker = STYLES.get(name, ("0.3", "x"))
        label = f"{name} {method['version']}"
        if not any(row["method"] == name and "seconds" in row for row in record["results"]):
            label += " (no figure)"
        keys.append(Line2D([], [], color=color, marker=marker, linestyle="", label=label))
    return keys


def _limits(values: list[float]) -> tuple[float, float]:
    return 0.8 * min(values), 1.25 * max(values)


def _is_whole_lung(case: str) -> bool:
    return case.startswith("popi")


def _points(results: list[dict[str, Any]], method: str, score: str) -> Iterator[tuple[str, float, float]]:
    for row in results:
        if row["method"] == method and row.get("scores", {}).get(score) is not None:
            yield row["case"], row["seconds"], max(row["scores"][score], MIN_DRAWN_MM)


def _line(row: dict[str, Any]) -> str:
    if "seconds" not in row:
        outcome = row["refusal"]["code"] if row["refusal"] else "; ".join(dict.fromkeys(row["failures"]))
        return (
            f"| {row['case']} | {row['method']} | {row['runs']} | {outcome} |"
            + " – |" * (len(COLUMNS) - 4)
            + "\n"
        )
    low, high = row["seconds_range"]
    score = row["scores"]
    cells = (
        row["case"],
        row["method"],
        str(row["runs"]),
        f"{row['seconds']:.2f} ({low:.2f}–{high:.2f})",
        f"{row['processor_s']:.1f}",
        "–".join(f"{load:.1f}" for load in dict.fromkeys(row["load_before"])),
        _pair(score, "landmark_mean_mm", "landmark_p95_mm"),
        _scored(score),
        _pair(score, "tumor_error_mm", "tumor_error_max_mm"),
        _number(score, "tumor_volume_ratio", "{:.3f}"),
        _number(score, "tcr_error", "{:+.3f}"),
        _number(score, "tcr_by_coldspot_error", "{:+.3f}"),
        _number(score, "folding_share", "{:.3%}"),
    )
    return "| " + " | ".join(cells) + " |\n"


def _scored(score: dict[str, Any]) -> str:
    if score.get("landmarks_scored") is None:
        return "–"
    total = score["landmarks_scored"] + score["landmarks_outside"]
    return f"{score['landmarks_scored']:.0f} of {total:.0f}"


def _pair(score: dict[str, Any], first: str, second: str) -> str:
    if score.get(first) is None:
        return "–"
    return f"{score[first]:.2f} ({score[second]:.2f})"


def _number(score: dict[str, Any], name: str, form: str) -> str:
    return "–" if score.get(name) is None else form.format(score[name])


def _medians(scores: list[dict[str, Any]]) -> dict[str, float | None]:
    """Median of every score over the runs of one method."""
    medians = {}
    for name in scores[0]:
        values = [score[name] for score in scores if score.get(name) is not None]
        medians[name] = statistics.median(values) if values else None
    return medians


def _group(case: str) -> tuple[int, str]:
    """Lesions first, then whole lungs, then phantoms."""
    return (2 if case.startswith("phantom") else int(_is_whole_lung(case)), case)
