"""The figure of the tissue that was there before stands beside the plain one, and decides nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.assessment.planning import prepare_planning
from engine.assessment.planning_frame import widened_by_contraction
from engine.assessment.verification import assess_ablation
from engine.coverage.interval import CoverageInterval
from engine.findings import PlanningFrameFinding
from engine.phantoms.procedure import make_procedure
from tests.support.ablation_cases import assessed, needs_real_ct

PLAIN = CoverageInterval((0.6, 0.8), (-1.0, 2.0), 0.1)


def before(contraction: float | None, tcr_high: float = 0.95, high_mm: float = 4.0) -> PlanningFrameFinding:
    return PlanningFrameFinding(0.9, (0.85, tcr_high), 3.0, (2.0, high_mm), contraction)


def test_contraction_opens_the_plain_interval_upwards_only() -> None:
    widened = widened_by_contraction(PLAIN, before(0.15))
    assert widened.tcr_90 == (0.6, 0.95)
    assert widened.minimal_mm_90 == (-1.0, 4.0)
    assert widened.probability_complete == PLAIN.probability_complete


@pytest.mark.parametrize("finding", [before(0.02), before(-0.1), PlanningFrameFinding()])
def test_without_contraction_it_stays(finding: PlanningFrameFinding) -> None:
    assert widened_by_contraction(PLAIN, finding) is PLAIN


def test_a_smaller_figure_narrows_nothing() -> None:
    widened = widened_by_contraction(PLAIN, before(0.15, tcr_high=0.7, high_mm=1.0))
    assert (widened.tcr_90, widened.minimal_mm_90) == (PLAIN.tcr_90, PLAIN.minimal_mm_90)


@pytest.mark.parametrize(("planning_mm", "verification_mm"), [(1.0, 1.0), (5.0, 1.0), (1.0, 5.0)])
def test_a_phantom_that_was_not_drawn_in_reads_the_same_in_both_frames(
    planning_mm: float, verification_mm: float
) -> None:
    procedure = make_procedure(
        3,
        kind="under",
        rigid_only=True,
        planning_spacing_zyx_mm=(planning_mm, 0.8, 0.8),
        verification_spacing_zyx_mm=(verification_mm, 0.75, 0.75),
    )
    answer = assess_ablation(
        prepare_planning(procedure.planning, procedure.tumor), procedure.verification, procedure.zone
    )
    finding = answer.planning_frame
    assert answer.coverage.tcr is not None
    assert answer.margin.minimal_mm is not None
    assert finding.tcr == pytest.approx(answer.coverage.tcr, abs=0.06)
    assert finding.minimal_mm == pytest.approx(answer.margin.minimal_mm, abs=1.0)
    assert finding.contraction == pytest.approx(0.0, abs=0.05)
    assert finding.tcr_interval_90 is not None
    assert finding.tcr_interval_90[0] <= procedure.truth.tcr <= finding.tcr_interval_90[1]


@needs_real_ct
def test_a_real_zone_that_was_drawn_in_was_larger_before() -> None:
    drawn_in, rigid = assessed("lidc-deep-complete"), assessed("lidc-rigid-under")
    assert drawn_in.planning_frame.contraction is not None
    assert 0.04 < drawn_in.planning_frame.contraction < 0.12
    low_mm, high_mm = drawn_in.planning_frame.minimal_interval_90_mm or (0.0, 0.0)
    assert low_mm < 7.18 < high_mm  # the zone's mask pulled back by the true displacement
    assert rigid.planning_frame.contraction == pytest.approx(0.0, abs=0.03)
    assert rigid.coverage.tcr is not None
    assert rigid.planning_frame.tcr == pytest.approx(rigid.coverage.tcr, abs=0.03)


def test_where_all_is_lung_both_are_widened_alike() -> None:
    widened = widened_by_contraction(replace(PLAIN, in_lung=PLAIN), before(0.15))
    assert widened.in_lung is not None
    assert widened.in_lung.minimal_mm_90 == widened.minimal_mm_90
    assert widened.in_lung.tcr_90 == widened.tcr_90
    assert widened.in_lung.probability_complete == PLAIN.probability_complete


@needs_real_ct
def test_thick_slices_have_figures_in_the_planning_frame_too() -> None:
    """Their surfaces lie on a finer grid than their masks."""
    found = assessed("lung1-5mm-under")
    assert found.planning_frame.tcr is not None
    assert found.planning_frame.tcr == pytest.approx(found.coverage.tcr, abs=0.15)
