"""Summary of the end-to-end runs: medians with minimum and maximum, ratios, and errors next to the times."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any, Final

NETWORK: Final = "31 M network"
CHAIN: Final = "existing tools"
OWN: Final = f"Coldspot, {NETWORK}"
TIMES: Final = ("total_s", "without_network_s", "network_s", "preliminary_s")

Row = dict[str, Any]


def summary(runs: list[Row]) -> list[Row]:
    """One row for each case.

    Parameters
    ----------
    runs : list of dict
        ``case``, ``contender``, ``true_tcr``, ``load``, and what a contender found: ``total_s``, ``steps_s``, ``tcr``,
        ``features`` …, or its ``refusal``.

    Returns
    -------
    list of dict
        ``case``, ``true_tcr``, ``contenders`` by name with ``runs``, times and steps as median, least and greatest,
        ``tcr`` and ``tcr_error``; where both took part ``times_faster`` (the chain's median over Coldspot's) and
        ``times_faster_without_network``, and ``features_differ_at_most`` (a share of the greater).
    """
    cases = []
    for case in dict.fromkeys(run["case"] for run in runs):
        case_runs = [run for run in runs if run["case"] == case]
        names = dict.fromkeys(run["contender"] for run in case_runs)
        rows = {name: together([run for run in case_runs if run["contender"] == name]) for name in names}
        cases.append(
            {"case": case, "true_tcr": case_runs[0]["true_tcr"], "contenders": rows, **_ratios(rows)}
        )
    return cases


def together(runs: list[Row]) -> Row:
    """One contender's runs on one case."""
    refused = next((run["refusal"] for run in runs if "refusal" in run), None)
    if refused is not None:
        return {"runs": len(runs), "refusal": refused}
    last = runs[-1]
    return {
        "runs": len(runs),
        "greatest_load": max(run["load"] for run in runs),
        **{name: spread(run[name] for run in runs) for name in TIMES if name in last},
        "steps_s": {name: spread(run["steps_s"][name] for run in runs) for name in last["steps_s"]},
        "tcr": last["tcr"],
        "tcr_error": last["tcr"] - last["true_tcr"],
        **{name: last[name] for name in ("features", "labels_differ_share") if name in last},
    }


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, least and greatest."""
    numbers = list(values)
    return {"median": statistics.median(numbers), "least": min(numbers), "greatest": max(numbers)}


def _ratios(rows: dict[str, Row]) -> Row:
    ours, chain = rows.get(OWN, {}), rows.get(CHAIN, {})
    if "total_s" not in ours or "total_s" not in chain:
        return {}
    pairs = [(ours["features"][name], value) for name, value in chain["features"].items()]
    return {
        "times_faster": chain["total_s"]["median"] / ours["total_s"]["median"],
        "times_faster_without_network": chain["without_network_s"]["median"]
        / ours["without_network_s"]["median"],
        "features_differ_at_most": max(abs(a - b) / max(abs(a), abs(b), 1e-9) for a, b in pairs),
    }


def table(report: Row) -> str:
    """Return a report as Markdown."""
    lines = [
        "| case | contender | runs | in all, s | without network, s | preliminary, s | TCR (error) |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for case in report["cases"]:
        for name, row in case["contenders"].items():
            start = f"| {case['case']} | {name} | {row['runs']} "
            if "refusal" in row:
                lines.append(f"{start}| refused: {row['refusal']} | | | |")
                continue
            times = [
                _range(row[key]) if key in row else ""
                for key in ("total_s", "without_network_s", "preliminary_s")
            ]
            lines.append(f"{start}| {' | '.join(times)} | {row['tcr']:.4f} ({row['tcr_error']:+.4f}) |")
    if report["not_installed"]:
        lines.append(f"\nNot installed, so the chain was not run: {', '.join(report['not_installed'])}.")
    for case in report["cases"]:
        if "times_faster" in case:
            lines.append(
                f"\n{case['case']}: the existing tools took {case['times_faster']:.2f} times as long, "
                f"{case['times_faster_without_network']:.2f} times without the network in both."
            )
        lines += [
            "",
            "| step | median, s | least | greatest |",
            "|---|---:|---:|---:|",
        ]
        for name in (OWN, CHAIN):
            for step, times in case["contenders"].get(name, {}).get("steps_s", {}).items():
                lines.append(f"| {name}: {step} | " + " | ".join(f"{t:.3f}" for t in times.values()) + " |")
    return "\n".join(lines)


def _range(times: Row) -> str:
    return f"{times['median']:.2f} ({times['least']:.2f}–{times['greatest']:.2f})"
