"""Tables and progress for a person at a terminal; programs read the JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine import DISCLAIMER
from engine.assessment.wording import volume_in_words
from engine.command_line import print_text
from engine.progress import TextProgress
from service.figures_in_words import NOT_GIVEN, alignment_line, number, position, with_interval, yes_or_no

_MIN_SHOWN_ML: Final = 0.01
"""Smaller uncovered regions are counted and summed; the JSON has each."""


@contextmanager
def progress_on_terminal() -> Iterator[TextProgress]:
    """Yield a function that shows what is being done, on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    with Console(stderr=True).status("connecting") as status:
        yield status.update


def fact_table(title: str, facts: Iterable[tuple[str, str]]) -> Table:
    """Return a table of names and values, with the disclaimer below it."""
    table = Table(title=Text(title), caption=DISCLAIMER, show_header=False, title_justify="left")
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, text in facts:
        table.add_row(Text(name), Text(text))  # as they are: a file's name may have brackets
    return table


def print_table(table: Table) -> None:
    """Print a table on stdout; narrow terminals wrap it, and nothing of it is cut."""
    console = Console()
    with console.capture() as printed:
        console.print(table)
    print_text(printed.get())


def summary_table(report: dict[str, Any]) -> Table:
    """Return the readable summary of one assessment.

    Parameters
    ----------
    report : dict
        As :func:`service.wire.report.assessment_json` makes it.
    """
    return fact_table(report["summary"] or "", _rows(report))


def comparison_table(truth: dict[str, Any], measured: dict[str, Any]) -> Table:
    """Return true and measured figures of a phantom side by side."""
    table = Table(title="Simulated phantom of known truth, not a patient", caption=DISCLAIMER)
    for column in ("", "true", "measured"):
        table.add_column(column, overflow="fold")
    coverage, margin = measured["coverage"], measured["margin"]
    in_lung = [region for region in measured["uncovered"] if region["in_lung"]]
    table.add_row(
        "TCR", number(truth["tcr"], 3), with_interval(coverage["tcr"], coverage["tcr_interval_90"], 3)
    )
    table.add_row("complete", yes_or_no(truth["complete"]), yes_or_no(coverage["complete"]))
    table.add_row(
        "minimal ablative margin, mm",
        number(truth["minimal_margin_mm"], 1),
        with_interval(margin["minimal_mm"], margin["minimal_interval_90_mm"], 1),
    )
    table.add_row("uncovered in lung, mL", _volumes(truth["uncovered"]), _volumes(in_lung))
    table.add_row("largest at, LPS mm", _largest_at(truth["uncovered"]), _largest_at(in_lung))
    return table


def _volumes(regions: list[dict[str, Any]]) -> str:
    return ", ".join(number(region["volume_ml"], 2) for region in regions) or "none"


def _largest_at(regions: list[dict[str, Any]]) -> str:
    return position(regions[0]["centroid_lps_mm"]) if regions else "none"


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if report["refusal"] is not None:
        yield "REFUSED", f"{report['refusal']['reason']} ({report['refusal']['code']})"
        for rank, candidate in enumerate(report["refusal"]["candidates"], 1):
            volume = number(candidate["volume_ml"], 2)
            yield f"Candidate {rank}", f"{volume} mL at LPS ({position(candidate['place_lps_mm'])}) mm"
    coverage, margin = report["coverage"], report["margin"]
    yield from _contour_rows(report)
    mark = _drawn_mark(report["lesion"]["origin"], coverage["zone_origin"])
    yield "Target coverage (TCR)", with_interval(coverage["tcr"], coverage["tcr_interval_90"], 3) + mark
    yield (
        "Complete",
        f"{yes_or_no(coverage['complete'])} (probability {number(coverage['probability_complete'], 2)}){mark}",
    )
    minimal = with_interval(margin["minimal_mm"], margin["minimal_interval_90_mm"], 1)
    yield "Minimal ablative margin", f"{minimal} mm{mark}"
    yield (
        "Without its narrowest 2 %",
        (
            f"{number(margin['quantile_2_mm'], 1)} mm; {number(margin['insufficient_surface_cm2'], 1)} cm² of the "
            f"tumor's surface below {number(coverage['target_margin_mm'], 0)} mm{mark}"
        ),
    )
    yield (
        "In lung only",
        _in_lung(coverage["lung_clipped"], margin["lung_clipped"]) + mark,
    )
    yield (
        "Dense core only",
        (
            f"TCR {number(coverage['core']['tcr'], 3)}, margin {number(margin['core']['minimal_mm'], 1)} mm{mark}"
        ),
    )
    yield from _region_rows(report["uncovered"], mark)
    alignment, quality = report["alignment"], report["alignment"]["quality"]
    yield (
        "Alignment",
        alignment_line(
            alignment["method"],
            alignment["residual_mm"],
            quality["inverse_consistency_mm"],
            quality["contraction"],
        ),
    )
    yield from _risk_rows(report["risk"])
    if report["risk_absence"] is not None:
        yield "Risk of local progression", f"none: {report['risk_absence']['reason']}"
    for warning in report["warnings"]:
        yield "Warning", warning
    yield "Latency", f"{number(report['latency_s'], 2)} s after the last byte of the last input"


def _in_lung(coverage: dict[str, Any], margin: dict[str, Any]) -> str:
    tcr = with_interval(coverage["tcr"], coverage["tcr_interval_90"], 3)
    minimal = with_interval(margin["minimal_mm"], margin["minimal_interval_90_mm"], 1)
    return (
        f"TCR {tcr}, margin {minimal} mm, complete {yes_or_no(coverage['complete'])} "
        f"(probability {number(coverage['probability_complete'], 2)}), "
        f"not assessable {number(coverage['not_assessable_share'], 3)}"
    )


def _contour_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield which model drew tumor and zone, where one did."""
    lesion, coverage = report["lesion"], report["coverage"]
    contours = (
        ("Tumor", lesion, "source", "origin", "volume_ml", "contour_sd_mm"),
        ("Ablation zone", coverage, "zone_source", "zone_origin", "zone_volume_ml", "zone_contour_sd_mm"),
    )
    for name, finding, *keys in contours:
        source, origin, volume_ml, sd_mm = (finding[key] for key in keys)
        if origin["model"] is not None:
            yield name, f"{source}; {number(volume_ml, 2)} mL, contour ± {number(sd_mm, 1)} mm"


def _drawn_mark(*origins: dict[str, Any]) -> str:
    """Return the label of a figure that rests on a model's contours; empty where all were supplied."""
    models = [origin["model"] for origin in origins if origin["model"] is not None]
    if not models:
        return ""
    demo = any(model["demo"] for model in models)
    return ", on contours of a demo model" if demo else ", on contours of a model"


def _risk_rows(risk: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the model's own statements, which say what it was fitted on; never a bare percentage."""
    for statement in risk["statements"]:
        yield "Risk of local progression", statement
    radscore = risk["radscore"]
    if radscore is not None:
        yield (
            "Radscore",
            f"{number(radscore['value'], 3)} from {len(radscore['features'])} features of the zone",
        )
    for flag in risk["flags"]:
        yield "Risk, flag", flag


def _region_rows(regions: list[dict[str, Any]], mark: str) -> Iterator[tuple[str, str]]:
    """The regions that a reader would look for, and how much the others are together: none is left out."""
    rest_ml: list[float] = []
    for region in regions:
        if region["rank"] == 1 or region["volume_ml"] >= _MIN_SHOWN_ML:
            yield f"Uncovered region {region['rank']}, for review", _region(region) + mark
        else:
            rest_ml.append(region["volume_ml"])
    if rest_ml:
        yield "Uncovered, smaller", f"{len(rest_ml)} more, {volume_in_words(sum(rest_ml))} together{mark}"


def _region(region: dict[str, Any]) -> str:
    beyond = (
        f"{number(region['distance_to_pleura_mm'], 1)} mm to the pleura"
        if region["in_lung"]
        else "outside the lung or at its edge: cannot be assessed"
    )
    return (
        f"{number(region['volume_ml'], 2)} mL, {region['direction'] or NOT_GIVEN}, "
        f"at LPS ({position(region['centroid_lps_mm'])}) mm, {beyond}"
    )
