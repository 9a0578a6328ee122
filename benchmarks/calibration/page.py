"""The calibration study's summary as a page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.calibration.results import Row


def markdown(summary: Row) -> str:
    """The summary as a page."""
    lines = [
        "# Calibration on simulated procedures",
        "",
        f"{summary['cases']} cases (seed {', '.join(map(str, summary['seeds']))}): "
        + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(summary["sources"].items()))
        + ".",
    ]
    if set(summary["sources"]) == {"phantom"}:
        lines += ["", "**No real CT took part (COLDSPOT_DATA was not set): phantoms only.**"]
    lines += [
        "",
        "Simulated with known truth; masks without contouring error. Not a clinical validation.",
        "",
        *markdown_table(
            ("", "demand", "found"),
            [
                ("pass" if line["passed"] else "**FAIL**", line["demand"], line["found"])
                for line in summary["acceptance"]
            ],
        ),
        "",
        f"Median width of the margin's 90 % interval: {number(summary['median_interval_width_mm'])} mm.",
        f"Brier score of P(complete): {number(summary['brier_score'], 3)}.",
        "",
        _requested(summary["requested_against_true_margin"]),
        "",
        "![Reliability, intervals and margins](calibration.png)",
        "",
        "Where the numbers hold under harder conditions, one by one: [calibration by condition](conditions.md).",
        "",
        "## Strata",
        "",
        *_strata_table(summary["strata"]),
        "",
        "## Refusals",
        "",
        *_refusal_lines(summary["refusals"]),
    ]
    if summary["failures"]:
        lines += ["", "## Failures", "", *(f"- {f['number']}: {f['error']}" for f in summary["failures"])]
    lines += ["", "## Truth outside the interval", "", *_outside_table(summary["outside_interval"])]
    return "\n".join(lines) + "\n"


def _requested(row: Row) -> str:
    return (
        f"The margin that was asked for against the true one, without cases at the pleura ({row['cases']}): "
        f"correlation {number(row['correlation'], 4)}, greatest difference "
        f"{number(row['greatest_difference_mm'])} mm."
    )


def _strata_table(rows: list[Row]) -> list[str]:
    head = (
        "stratum", "", "cases", "refused", "interval holds truth", "(90 %)", "median width, mm",
        "median pose error, mm", "95th percentile", "margin bias, mm", "RMS error, mm",
    )  # fmt: skip
    body = [
        (
            row["stratum"],
            row["value"],
            str(row["cases"]),
            str(row["refused"]),
            "–" if row["interval_holds_truth"] is None else f"{row['interval_holds_truth']:.1%}",
            "{:.0%} to {:.0%}".format(*row["interval_holds_truth_90"]),
            number(row["median_width_mm"]),
            number(row["median_pose_error_mm"]),
            number(row["p95_pose_error_mm"]),
            number(row["margin_bias_mm"]),
            number(row["margin_rms_error_mm"]),
        )
        for row in rows
    ]
    return markdown_table(head, body)


def _refusal_lines(rows: list[Row]) -> list[str]:
    if not rows:
        return ["None."]
    return [
        f"- {row['number']} ({row['source'].replace('_', ' ')}, {row['deformation']}, slices {row['slice_mm']:.2f} mm, "
        f"true margin {row['true_margin_mm']:.2f} mm): `{row['code']}`: {row['reason']}"
        for row in rows
    ]


def _outside_table(rows: list[Row]) -> list[str]:
    if not rows:
        return ["None."]
    head = (
        "case",
        "source",
        "deformation",
        "true, mm",
        "interval, mm",
        "P(complete)",
        "pose error, mm",
        "SD, mm",
    )
    body = [
        (
            str(row["number"]),
            row["source"].replace("_", " "),
            row["deformation"],
            number(row["true_margin_mm"]),
            "{:.2f} to {:.2f}".format(*row["interval_90_mm"]),
            number(row["probability_complete"]),
            number(row["pose_error_mm"]),
            number(row["pose_sd_mm"]),
        )
        for row in rows
    ]
    return markdown_table(head, body)


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(line) + " |" for line in body),
    ]


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"
