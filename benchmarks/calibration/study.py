"""Is the answer as certain as it claims? Simulated procedures of known truth, assessed one by one.

``python -m benchmarks.calibration study --cases 300 --out benchmarks/results/calibration [--keep FOLDER]``

Every case is drawn from its own seed; what ``--keep`` holds is not made again, and what the results hold is
not assessed again, so a run that was stopped goes on where it was. ``--fresh`` assesses anew. With
``COLDSPOT_DATA`` about half of the cases are simulated in real CT; without it all are phantoms, and the
summary says so.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks.calibration.cases import (
    CaseDescription,
    RealMaterial,
    describe_case,
    description_of,
    keep_case,
    load_case,
    make_case,
    real_material,
)
from benchmarks.calibration.results import RESULTS, Row, append_result, read_results
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import ColdspotError
from engine.geometry import RigidTransform
from engine.phantoms.procedure import PhantomProcedure


def load_or_make(description: CaseDescription, keep: Path | None) -> tuple[PhantomProcedure, float]:
    """A case and the time it took to simulate, 0 if it was loaded."""
    folder = None if keep is None else keep / f"case-{description.number:04d}"
    if folder is not None and (folder / "case.json").is_file():
        stored, case = load_case(folder)
        if stored != description:
            raise SystemExit(
                f"{folder} holds another case than number {description.number} of this seed; empty it"
            )
        return case, 0.0
    started = time.perf_counter()
    case = make_case(description, real_material_once())
    duration_s = time.perf_counter() - started
    if folder is not None:
        keep_case(folder, description, case)
    return case, duration_s


@cache
def real_material_once() -> RealMaterial | None:
    """The real CTs, read once per process."""
    return real_material()


def assess_case(description: CaseDescription, keep: Path | None) -> Row:
    """Assess one case; returns its line of the results."""
    case, made_s = load_or_make(description, keep)
    row: Row = {"number": description.number, "description": asdict(description), "truth": _truth_row(case)}
    started = time.perf_counter()
    try:
        prepared = prepare_planning(case.planning, case.tumor, target_lps_mm=case.target_lps_mm)
        prepared_s = time.perf_counter() - started
        assessment = assess_ablation(prepared, case.verification, case.zone)
    except ColdspotError as error:
        return {**row, "error": f"{type(error).__name__}: {error}"}
    row["measured"] = _measured_row(case, assessment)
    row["timings_s"] = {
        **assessment.timings_s,
        "made": made_s,
        "prepare": prepared_s,
        "assess": time.perf_counter() - started - prepared_s,
    }
    return row


def _truth_row(case: PhantomProcedure) -> Row:
    truth = case.truth
    return {
        "tcr": truth.tcr,
        "minimal_margin_mm": truth.minimal_margin_mm,
        "complete": truth.complete,
        "lung_clipped_tcr": truth.lung_clipped.tcr,
        "lung_clipped_minimal_mm": truth.lung_clipped.minimal_margin_mm,
        "not_assessable_share": truth.not_assessable_share,
        "tumor_volume_ml": truth.tumor_volume_ml,
        "min_jacobian": truth.min_jacobian,
    }


def _measured_row(case: PhantomProcedure, assessment: AblationAssessment) -> Row:
    coverage, margin, alignment = assessment.coverage, assessment.margin, assessment.alignment
    row: Row = {
        "tcr": coverage.tcr,
        "tcr_interval_90": coverage.tcr_interval_90,
        "complete": coverage.complete,
        "probability_complete": coverage.probability_complete,
        "minimal_mm": margin.minimal_mm,
        "minimal_interval_90_mm": margin.minimal_interval_90_mm,
        "lung_clipped_minimal_mm": margin.lung_clipped_minimal_mm,
        "method": alignment.method,
        "similarity": alignment.similarity,
        "residual_mm": alignment.residual_mm,
        "pose_sd_mm": alignment.pose_sd_mm,
        "pose_error_lps_mm": None,
        "pose_error_mm": None,
        "rotation_error_deg": None,
        "refusal": None if assessment.refusal is None else asdict(assessment.refusal),
        "warnings": list(assessment.warnings),
    }
    if alignment.planning_from_verification is not None:
        row |= _pose_error(case, alignment.planning_from_verification)
    return row


def _pose_error(case: PhantomProcedure, planning_from_verification: RigidTransform) -> Row:
    """Error of the tumor's center and axes, verification frame."""
    measured, true = planning_from_verification.inverse, case.truth.planning_from_verification.inverse
    off = measured.apply(case.target_lps_mm) - true.apply(case.target_lps_mm)
    cosine = (np.trace(measured.rotation @ true.rotation.T) - 1.0) / 2.0
    return {
        "pose_error_lps_mm": off.tolist(),
        "pose_error_mm": float(np.linalg.norm(off)),
        "rotation_error_deg": float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))),
    }


def run(descriptions: list[CaseDescription], keep: Path | None, jobs: int) -> Iterator[Row]:
    """Assess cases; in ``jobs`` processes, in the order in which they finish."""
    if jobs <= 1:
        yield from (assess_case(description, keep) for description in descriptions)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(partial(assess_case, keep=keep), descriptions)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder for the simulated scans, about 10 MB a case")
    parser.add_argument("--only", default="", help="numbers of cases, FIRST:END")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--make-only", action="store_true", help="simulate into --keep, assess nothing")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")


def run_study(options: argparse.Namespace) -> None:
    """Assess what is missing, and write the report."""
    first, _, end = options.only.partition(":")
    numbers = range(int(first or 0), min(int(end or options.cases), options.cases))
    real = real_material() is not None
    if not real:
        print("COLDSPOT_DATA is not set or holds no CT: every case is a phantom")
    descriptions = [describe_case(options.seed, number, real=real) for number in numbers]
    if options.make_only:
        for description in descriptions:
            _, made_s = load_or_make(description, options.keep)
            print(
                f"case {description.number}: {description.source}, {description.deformation}, made in {made_s:.1f} s",
                flush=True,
            )
        return
    results = options.out / RESULTS
    options.out.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        results.unlink(missing_ok=True)
    missing = _without(descriptions, read_results(results), results)
    for row in run(missing, options.keep, options.jobs):
        append_result(results, row)
        print(_line(row), flush=True)
    from benchmarks.calibration.report import write_report

    print(write_report(read_results(results), options.out))


def _without(descriptions: list[CaseDescription], present: list[Row], results: Path) -> list[CaseDescription]:
    """The wanted cases that have no result yet."""
    known = {row["number"]: description_of(row["description"]) for row in present}
    mismatched = [
        description.number
        for description in descriptions
        if known.get(description.number, description) != description
    ]
    if mismatched:
        raise SystemExit(
            f"{results} holds other cases (number {mismatched[0]}: another seed, or with or without real CT); "
            "choose another --out, or --fresh"
        )
    return [description for description in descriptions if description.number not in known]


def _line(row: Row) -> str:
    description, measured = row["description"], row.get("measured")
    head = f"case {row['number']}: {description['source']}, {description['deformation']}, true margin "
    head += f"{row['truth']['minimal_margin_mm']:.2f}"
    if measured is None:
        return f"{head}: {row['error']}"
    if measured["refusal"]:
        return f"{head}: refused, {measured['refusal']['code']}"
    low, high = measured["minimal_interval_90_mm"]
    return (
        f"{head}, measured {measured['minimal_mm']:.2f} ({low:.2f} to {high:.2f}), "
        f"P {measured['probability_complete']:.2f}, off by {measured['pose_error_mm']:.2f}, "
        f"{row['timings_s']['assess']:.1f} s"
    )
