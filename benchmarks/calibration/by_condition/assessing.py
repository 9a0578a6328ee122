"""One case through the assessment, and what the bench keeps of the answer."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.calibration.by_condition.cases import BenchCase, MadeCase, load_or_make
from benchmarks.calibration.results import Row
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import ColdspotError
from engine.structures.model_contour import StructureSegmenter

MaskSource = Literal["supplied", "none"]


@dataclass(frozen=True)
class Segmenters:
    """What draws where no masks are supplied."""

    tumor: StructureSegmenter | None = None
    zone: StructureSegmenter | None = None


def assess_case(case: BenchCase, masks: MaskSource, keep: Path | None, segmenters: Segmenters) -> Row:
    """Assess one case; returns its line of the results."""
    made = load_or_make(case, keep)
    row: Row = {
        "key": case.key,
        "conditions": list(case.description.conditions),
        "masks": masks,
        "description": case.description.to_json(),
        "truth": _truth_row(made),
    }
    supplied = masks == "supplied"
    procedure = made.procedure
    started = time.perf_counter()
    try:
        prepared = prepare_planning(
            procedure.planning,
            procedure.tumor if supplied else None,
            target_lps_mm=procedure.target_lps_mm,
            tumor_segmenter=segmenters.tumor,
        )
        prepared_s = time.perf_counter() - started
        assessment = assess_ablation(
            prepared,
            procedure.verification,
            procedure.zone if supplied else None,
            zone_segmenter=segmenters.zone,
        )
    except ColdspotError as error:
        return {**row, "error": f"{type(error).__name__}: {error}"}
    row["measured"] = _measured_row(made, assessment)
    row["timings_s"] = {
        "made": made.made_s,
        "prepare": prepared_s,
        "assess": time.perf_counter() - started - prepared_s,
    }
    return row


def _truth_row(made: MadeCase) -> Row:
    truth = made.procedure.truth
    return {
        "tcr": truth.tcr,
        "minimal_margin_mm": truth.minimal_margin_mm,
        "complete": truth.complete,
        "lung_clipped_tcr": truth.lung_clipped.tcr,
        "lung_clipped_minimal_mm": truth.lung_clipped.minimal_margin_mm,
        "not_assessable_share": truth.not_assessable_share,
        "planning_frame": made.planning_frame,
        "tumor_volume_ml": truth.tumor_volume_ml,
        "min_jacobian": truth.min_jacobian,
    }


def _measured_row(made: MadeCase, assessment: AblationAssessment) -> Row:
    coverage, margin, alignment = assessment.coverage, assessment.margin, assessment.alignment
    row: Row = {
        "refusal": None if assessment.refusal is None else asdict(assessment.refusal),
        "tcr": coverage.tcr,
        "tcr_interval_90": coverage.tcr_interval_90,
        "complete": coverage.complete,
        "probability_complete": coverage.probability_complete,
        "minimal_mm": margin.minimal_mm,
        "minimal_interval_90_mm": margin.minimal_interval_90_mm,
        "lung_clipped_tcr": coverage.lung_clipped_tcr,
        "lung_clipped_complete": coverage.lung_clipped_complete,
        "lung_clipped_probability_complete": coverage.lung_clipped_probability_complete,
        "lung_clipped_minimal_mm": margin.lung_clipped_minimal_mm,
        "lung_clipped_minimal_interval_90_mm": margin.lung_clipped_minimal_interval_90_mm,
        "planning_frame": asdict(assessment.planning_frame),
        "not_assessable_share": coverage.not_assessable_share,
        "uncovered": len(assessment.uncovered),
        "zone_parts": coverage.zone_parts,
        "quality": None if alignment.quality is None else asdict(alignment.quality),
        "pose_sd_mm": alignment.pose_sd_mm,
        "pose_error_mm": None,
        "warnings": list(assessment.warnings),
    }
    if alignment.planning_from_verification is not None:
        target = made.procedure.target_lps_mm
        measured = alignment.planning_from_verification.inverse.apply(target)
        true = made.procedure.truth.planning_from_verification.inverse.apply(target)
        row["pose_error_mm"] = float(np.linalg.norm(measured - true))
    return row
