"""Two CTs in, everything out: the workflow and the service with stand-ins for the segmentation models."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.assessment.wording import contour_source, core_source
from engine.assessment.zone import LesionPlace, place_lesion
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE
from engine.errors import InvalidRequestError, PreconditionError
from engine.findings import READER_CONTOUR_SD_MM, SUPPLIED, ContourOrigin, Direction
from engine.geometry import RigidTransform
from engine.refusal import RefusalCode
from engine.stages import Stage
from service.commands.terminal import summary_table
from service.pipeline.sheet.drawing import sheet_figure
from service.record.report import assessment_report, planning_report
from service.wire.report import assessment_json, assessment_message, prepared_message
from tests.support.chest_without_masks import (
    GRID,
    OTHER,
    TUMOR,
    planning,
    prepared,
    tumor_model,
    verification,
    zone_model,
)
from tests.support.sheets import FACTS, sheet_text
from tests.support.spheres import ball, positions, true_coverage
from tests.support.stub_segmenter import StubSegmenter, model, section

DEMO = "demo model"

EARLY: list[AblationAssessment] = []
"""Preliminary answers of :func:`assessed`, in the order of its calls."""


@cache
def assessed(offset: float, radius: float, blur_mm: float = 0.0) -> AblationAssessment:
    return assess_ablation(
        prepared(),
        verification(offset, radius),
        None,
        zone_segmenter=zone_model(blur_mm),
        on_preliminary=EARLY.append,
    )


def test_two_cts_and_a_target_are_measured() -> None:
    found = assessed(6.0, 13.0)
    tcr, margin = true_coverage(8.0, 13.0, 6.0)
    assert found.refusal is None
    assert found.coverage.tcr == pytest.approx(tcr, abs=0.02)
    assert found.margin.minimal_mm == pytest.approx(margin, abs=0.5)
    assert found.coverage.complete is False
    assert found.coverage.core_origin == ContourOrigin.segmented_by(model("zone-demo"))
    assert core_source(found.coverage.core_origin) == "segmented"
    assert contour_source(found.lesion.origin) == f"segmented by tumor-demo 1.0.0 ({DEMO})"
    assert contour_source(found.coverage.zone_origin) == f"segmented by zone-demo 1.0.0 ({DEMO})"
    assert found.summary.count(DEMO) == 2
    assert Stage.SEGMENT_ZONE.value in found.timings_s
    assert Stage.SEGMENT_TUMOR.value in prepared().timings_s


def test_segmented_and_supplied_masks_give_the_same_figures_but_for_the_doubt() -> None:
    drawn = assessed(6.0, 13.0)
    ct = verification(6.0, 13.0)
    segmenter = zone_model()
    zone = ball(GRID, (TUMOR[0] + 6.0, TUMOR[1], TUMOR[2]), 13.0, "ablation zone")
    tumor = ball(GRID, TUMOR, 8.0, "tumor")
    planned = prepare_planning(planning(), tumor, tumor_segmenter=tumor_model())
    supplied = assess_ablation(planned, ct, zone, zone_segmenter=segmenter)
    assert segmenter.asked == [], "a supplied mask is taken as it is"
    assert DEMO not in supplied.summary
    assert (supplied.lesion.origin, supplied.coverage.zone_origin) == (SUPPLIED, SUPPLIED)
    assert supplied.lesion.contour_sd_mm == supplied.coverage.zone_contour_sd_mm == READER_CONTOUR_SD_MM
    assert (drawn.coverage.tcr, drawn.margin.minimal_mm) == (
        supplied.coverage.tcr,
        supplied.margin.minimal_mm,
    )
    assert _width(drawn) > 1.5 * _width(supplied)


def test_the_zone_that_was_measured_is_in_the_answer() -> None:
    found, ct = assessed(6.0, 13.0), verification(6.0, 13.0)
    zone = found.require_zone()
    assert (zone.voxels == (ct.voxels_hu >= 250)).all()
    assert zone.geometry == ct.geometry
    assert found.coverage.zone_volume_ml == zone.volume_ml
    assert EARLY[0].zone is not None
    refused = assess_ablation(prepared(), verification(0.0, 12.0, OTHER), None, zone_segmenter=zone_model())
    assert refused.zone is None
    with pytest.raises(PreconditionError):
        refused.require_zone()


def _width(found: AblationAssessment) -> float:
    interval = found.margin.minimal_interval_90_mm
    assert interval is not None
    return interval[1] - interval[0]


def test_complete_is_said_only_where_it_is_sure() -> None:
    ample, scarce = assessed(0.0, 18.0), assessed(0.0, 14.4)
    assert ample.coverage.complete is True
    assert ample.coverage.probability_complete is not None
    assert ample.coverage.probability_complete >= MIN_PROBABILITY_COMPLETE
    assert scarce.coverage.tcr == 1.0
    assert scarce.coverage.probability_complete is not None
    assert scarce.coverage.probability_complete < MIN_PROBABILITY_COMPLETE
    assert scarce.coverage.complete is None
    assert "not sure enough to be called complete" in scarce.summary
    message = assessment_message(assessment_report(scarce).content)
    assert not message.coverage.HasField("complete")


def test_a_zone_that_fills_the_view_does_not_hide_the_vessels_around_it() -> None:
    segmenter = zone_model()
    assert (
        assess_ablation(prepared(), verification(0.0, 18.0), None, zone_segmenter=segmenter).refusal is None
    )
    assert [box is None for box in segmenter.asked] == [False]


def test_a_zone_that_fills_the_view_is_left_out_of_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for evidence it makes the scans too unlike each other: the model then looks everywhere first."""
    monkeypatch.setattr("engine.registration.search.localization.MIN_SURE_SCORE", 1.1)  # vessels do not help
    segmenter = zone_model()
    found = assess_ablation(prepared(), verification(0.0, 18.0), None, zone_segmenter=segmenter)
    assert found.refusal is None
    assert [box is None for box in segmenter.asked] == [True, False]
    needy = replace(zone_model(), section=section("verification_ct", "planning_ct_warped", zone=1, core=2))
    blind = StubSegmenter(lambda ct: np.zeros(ct.geometry.shape_zyx), section=section(zone=1))
    for model_without_place in (blind, needy):
        refused = assess_ablation(
            prepared(), verification(0.0, 18.0), None, zone_segmenter=model_without_place
        )
        assert refused.refusal is not None
        assert refused.refusal.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH
    assert needy.asked == []


def test_the_figures_say_that_the_zone_changed() -> None:
    coverage = assessed(6.0, 13.0).coverage
    assert coverage.zone_parts == 1
    assert coverage.zone_changed_share is not None
    assert coverage.zone_changed_share > 0.9


def test_an_unsure_model_widens_the_interval() -> None:
    sure, unsure = assessed(0.0, 18.0), assessed(0.0, 18.0, blur_mm=3.0)
    assert _width(unsure) > 1.5 * _width(sure)
    assert sure.coverage.complete is True
    assert unsure.coverage.complete is None


def test_a_side_of_which_the_model_is_unsure_keeps_complete_from_being_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("engine.assessment.measuring", "engine.coverage.figures"):
        monkeypatch.setattr(f"{module}.MIN_PROBABILITY_COMPLETE", 0.0)
    segmenter = zone_model()
    assert assess_ablation(
        prepared(), verification(0.0, 16.0), None, zone_segmenter=segmenter
    ).coverage.complete
    right = positions(GRID)[..., 0] < TUMOR[0] - 11.0
    segmenter.doubt = lambda _: np.where(right, 0.6, 1.0)
    found = assess_ablation(prepared(), verification(0.0, 16.0), None, zone_segmenter=segmenter)
    assert found.coverage.tcr == 1.0
    assert found.coverage.complete is None


def test_a_half_that_the_model_misses_is_said_to_be_uncovered() -> None:
    right_half = positions(GRID)[..., 0] < TUMOR[0]
    segmenter = zone_model()
    whole = segmenter.draw
    segmenter.draw = lambda ct: np.where(right_half, 0, whole(ct))
    found = assess_ablation(prepared(), verification(0.0, 18.0), None, zone_segmenter=segmenter)
    assert found.coverage.complete is False
    assert found.coverage.tcr is not None
    assert found.coverage.tcr < 0.7
    assert found.uncovered[0].directions == (Direction.RIGHT,)


def test_a_zone_elsewhere_is_a_refusal_and_no_coverage_of_zero() -> None:
    found = assess_ablation(prepared(), verification(0.0, 12.0, OTHER), None, zone_segmenter=zone_model())
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.NO_ZONE
    assert found.coverage.tcr is None
    assert DEMO in found.summary


def test_a_zone_that_ends_before_the_target_is_a_refusal_too() -> None:
    """Near enough to be taken for the zone, and yet it covers nothing: more likely another's, or half of it."""
    found = assess_ablation(prepared(), verification(27.0, 11.0), None, zone_segmenter=zone_model())
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.NO_ZONE
    assert "outside the target altogether" in found.refusal.reason
    assert found.coverage.zone_volume_ml is None


def test_a_place_that_moves_once_the_zone_is_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def misplaced(*given: Any) -> LesionPlace:
        place = place_lesion(*given)
        shift = RigidTransform.from_translation((12.0, 0.0, 0.0))
        shifted = place.alignment.planning_from_verification @ shift
        return replace(place, alignment=replace(place.alignment, planning_from_verification=shifted))

    monkeypatch.setattr("engine.assessment.verification.place_lesion", misplaced)
    found = assess_ablation(prepared(), verification(0.0, 16.0), None, zone_segmenter=zone_model())
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH
    assert "12 mm off" in found.refusal.reason


def test_several_candidates_are_refused_until_a_target_chooses() -> None:
    several = prepare_planning(planning(OTHER), None, tumor_segmenter=tumor_model())
    assert several.refusal is not None
    assert several.refusal.code is RefusalCode.SEVERAL_LESIONS
    assert several.lesion.volume_ml is None
    found = assess_ablation(several, verification(0.0, 16.0), None, zone_segmenter=zone_model())
    assert found.refusal == several.refusal
    refusal = assessment_json(assessment_message(assessment_report(found).content))["refusal"]
    assert len(refusal["candidates"]) == 2
    assert len(refusal["candidates"][0]["place_lps_mm"]) == 3
    assert len(prepared_message(planning_report(several)).refusal.candidates) == 2
    chosen = prepare_planning(
        planning(OTHER),
        None,
        target_lps_mm=several.refusal.candidates[0].place_lps_mm,
        tumor_segmenter=tumor_model(),
    )
    assert chosen.refusal is None


def test_one_candidate_without_a_target_is_said_in_the_answer() -> None:
    alone = prepare_planning(planning(), None, tumor_segmenter=tumor_model())
    assert alone.refusal is None
    assert any("only candidate" in warning for warning in alone.warnings)


def test_without_models_masks_are_asked_for() -> None:
    with pytest.raises(InvalidRequestError, match="send the contoured tumor"):
        prepare_planning(planning(), None)
    with pytest.raises(InvalidRequestError, match="send the zone"):
        assess_ablation(prepared(), verification(0.0, 16.0), None)


def test_the_preliminary_answer_says_who_drew_the_contours() -> None:
    assessed(6.0, 13.0)
    early = EARLY[0]
    assert early.preliminary
    assert early.summary.count(DEMO) == 2
    assert early.coverage.complete is None


def test_every_output_says_demo_model() -> None:
    from rich.console import Console

    found = assessed(6.0, 13.0)
    report = assessment_json(assessment_message(assessment_report(found).content))
    assert DEMO in report["summary"]
    assert DEMO in report["lesion"]["source"]
    assert DEMO in report["coverage"]["zone_source"]
    assert report["coverage"]["zone_contour_sd_mm"] > 0.7
    console = Console(width=200)
    with console.capture() as capture:
        console.print(summary_table(report))
    for name in (
        "Target coverage",
        "Complete",
        "Minimal ablative margin",
        "Dense core",
        "Uncovered region 1",
    ):
        (line,) = [line for line in capture.get().splitlines() if name in line]
        assert f"contours of a {DEMO}" in line
    page = sheet_text(sheet_figure(found, FACTS))
    assert "DEMO MODEL DREW TUMOR AND ABLATION ZONE: NEVER FOR A PATIENT" in page
    assert page.count(f"drawn by a {DEMO}") == 2


def test_a_model_of_a_site_is_named_but_no_demo() -> None:
    site = ContourOrigin.segmented_by(model("site-net", "2.1.0", demo=False))
    found = replace(assessed(6.0, 13.0), lesion=replace(assessed(6.0, 13.0).lesion, origin=site))
    coverage = replace(found.coverage, zone_origin=SUPPLIED)
    report = assessment_json(assessment_message(assessment_report(replace(found, coverage=coverage)).content))
    from rich.console import Console

    console = Console(width=160)
    with console.capture() as capture:
        console.print(summary_table(report))
    assert "on contours of a model" in capture.get()
    assert "site-net 2.1.0" in capture.get()
