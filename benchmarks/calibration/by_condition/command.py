"""``make`` and ``run``: simulate cases under named conditions, and assess them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from benchmarks.calibration.by_condition.assessing import Segmenters, assess_case
from benchmarks.calibration.by_condition.cases import BenchCase, bench_cases, load_or_make
from benchmarks.calibration.by_condition.report import RESULTS, write_report
from benchmarks.calibration.results import Row, append_result, read_results
from engine.segmentation import open_segmenter

_MODELS: Final = Path(__file__).parents[3] / "models"


def add_make_options(parser: argparse.ArgumentParser) -> None:
    """Which cases, and where they are kept."""
    parser.add_argument(
        "--conditions", default="all", help="all, or names separated by commas; a+b is both at once"
    )
    parser.add_argument("--count", type=int, default=4, help="cases of each condition")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each condition")
    parser.add_argument("--seed", type=int, default=20261201)
    parser.add_argument("--keep", type=Path, help="folder for the simulated scans, about 10 MB a case")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What is assessed, and where the results go."""
    add_make_options(parser)
    parser.add_argument("--masks", choices=("supplied", "none"), default="supplied")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fresh", action="store_true", help="forget earlier results with these masks")
    for structure in ("tumor", "zone"):
        parser.add_argument(
            f"--{structure}-model", type=Path, help="bundle; the demo model's newest version otherwise"
        )


def make(options: argparse.Namespace) -> None:
    """Simulate what is not kept yet."""
    if options.keep is None:
        raise SystemExit("make needs --keep, or it would throw away what it makes")
    for case in _cases(options):
        made = load_or_make(case, options.keep)
        print(f"{case.key}: {case.description.background}, made in {made.made_s:.1f} s", flush=True)


def run(options: argparse.Namespace) -> None:
    """Assess what has no result yet, and write the report."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / RESULTS[options.masks]
    if options.fresh:
        path.unlink(missing_ok=True)
    cases = _without_results(_cases(options), path)
    segmenters = _segmenters(options) if options.masks == "none" and cases else Segmenters()
    for case in cases:
        row = assess_case(case, options.masks, options.keep, segmenters)
        append_result(path, row)
        print(_line(row), flush=True)
    write_report(options.out)


def _cases(options: argparse.Namespace) -> list[BenchCase]:
    return bench_cases(options.conditions, options.count, options.seed, options.first)


def _without_results(cases: list[BenchCase], path: Path) -> list[BenchCase]:
    known = {row["key"]: row["description"] for row in read_results(path, "key")}
    for case in cases:
        if known.get(case.key, case.description.to_json()) != case.description.to_json():
            raise SystemExit(
                f"{path} holds another {case.key} (another seed, version or COLDSPOT_DATA); "
                "choose another --out, or --fresh"
            )
    return [case for case in cases if case.key not in known]


def _segmenters(options: argparse.Namespace) -> Segmenters:
    """The models that draw the masks."""
    folders = [
        chosen or max((_MODELS / f"{structure}-demo").iterdir())
        for structure, chosen in (("tumor", options.tumor_model), ("zone", options.zone_model))
    ]
    return Segmenters(*(open_segmenter(folder) for folder in folders))


def _line(row: Row) -> str:
    truth, measured = row["truth"], row.get("measured")
    head = f"{row['key']}: true {truth['tcr']:.3f}/{truth['minimal_margin_mm']:.2f}"
    if measured is None:
        return f"{head}: {row['error']}"
    if measured["refusal"]:
        return f"{head}: refused, {measured['refusal']['code']}"
    low, high = measured["minimal_interval_90_mm"]
    return (
        f"{head}, measured {measured['tcr']:.3f}/{measured['minimal_mm']:.2f} ({low:.2f} to {high:.2f}), "
        f"P {measured['probability_complete']:.2f}, off by {measured['pose_error_mm']:.2f}, "
        f"{row['timings_s']['made']:.1f} + {row['timings_s']['assess']:.1f} s"
    )
