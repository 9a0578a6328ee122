"""The workflow on a small made-up chest: stages, refusals, interruption, and what the sentences say."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from engine import DISCLAIMER
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import (
    AssessmentSettings,
    prepare_planning,
)
from engine.assessment.verification import assess_ablation
from engine.assessment.wording import slice_warning
from engine.errors import EmptyMaskError, InvalidRequestError
from engine.findings import THRESHOLDED, Direction
from engine.refusal import RefusalCode
from engine.stages import SilentListener, Stage, StageClock
from engine.structures.mask_warnings import inspected
from engine.volume import LabelMask
from tests.support.ablated_chest import GRID, prepared, verification
from tests.support.spheres import true_coverage


@cache
def assessed(offset: float, radius: float) -> AblationAssessment:
    return assess_ablation(prepared(), *verification(offset, radius))


def test_a_complete_ablation() -> None:
    found = assessed(0.0, 16.0)
    assert found.refusal is None
    assert found.coverage.complete is True
    assert found.coverage.tcr == 1.0
    assert found.margin.minimal_mm == pytest.approx(8.0, abs=0.5)
    assert found.uncovered == ()
    assert found.coverage.core_origin == THRESHOLDED
    assert found.margin.core_minimal_mm == pytest.approx(5.0, abs=0.8)
    assert "covers the whole target" in found.summary
    assert found.summary.endswith(DISCLAIMER)


def test_a_miss_is_a_miss() -> None:
    found = assessed(6.0, 13.0)
    tcr, margin = true_coverage(8.0, 13.0, 6.0)
    assert found.coverage.complete is False
    assert found.coverage.tcr == pytest.approx(tcr, abs=0.02)
    assert found.margin.minimal_mm == pytest.approx(margin, abs=0.5)
    assert found.uncovered[0].directions == (Direction.RIGHT,)
    assert "for review" in found.summary
    assert found.coverage.probability_complete == 0.0


def test_the_same_input_gives_the_same_answer() -> None:
    once, again = assessed(6.0, 13.0), assess_ablation(prepared(), *verification(6.0, 13.0))
    assert once.coverage == again.coverage
    assert once.margin == again.margin


class Heard(SilentListener):
    def __init__(self, stop_at: Stage | None = None) -> None:
        self.started: list[Stage] = []
        self.finished: list[Stage] = []
        self.stop_at = stop_at

    def stage_started(self, stage: Stage) -> None:
        self.started.append(stage)
        if stage is self.stop_at:
            raise InterruptedError(stage.value)

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        self.finished.append(stage)


STAGES = [Stage.LOCATE_ZONE, Stage.COARSE_ALIGNMENT, Stage.PRELIMINARY, Stage.REGISTRATION]
STAGES += [Stage.COVERAGE, Stage.INTERVAL, Stage.RISK]


def test_stages_are_announced_in_order_and_timed() -> None:
    heard, early = Heard(), list[AblationAssessment]()
    found = assess_ablation(prepared(), *verification(0.0, 16.0), on_preliminary=early.append, listener=heard)
    assert heard.started == heard.finished == STAGES
    assert list(found.timings_s) == [s.value for s in STAGES]
    assert early[0].preliminary
    assert early[0].coverage.complete is None
    assert "not for decision" in early[0].summary
    assert list(prepared().timings_s) == ["locate_lesion", "segment_lung", "registration_features"]


@pytest.mark.parametrize("stage", [STAGES[0], STAGES[4]])
def test_a_listener_stops_the_work_before_a_stage(stage: Stage) -> None:
    heard = Heard(stage)
    with pytest.raises(InterruptedError, match=stage.value):
        assess_ablation(prepared(), *verification(0.0, 16.0), listener=heard)
    assert heard.finished == [s for s in STAGES[: STAGES.index(stage)] if s is not Stage.PRELIMINARY]


def test_a_stage_that_fails_is_not_timed_and_one_that_runs_twice_is_summed() -> None:
    clock = StageClock()
    with pytest.raises(ZeroDivisionError), clock.stage(Stage.RISK):
        _ = 1 // 0
    assert clock.timings_s == {}
    for _ in range(2):
        with clock.stage(Stage.RISK):
            pass
    assert list(clock.timings_s) == ["risk"]


def test_what_is_left_out_is_asked_for() -> None:
    ct, zone = verification(0.0, 16.0)
    with pytest.raises(InvalidRequestError, match="send the zone"):
        assess_ablation(prepared(), ct, None)
    with pytest.raises(InvalidRequestError, match="send the contoured tumor"):
        prepare_planning(ct, None)
    with pytest.raises(EmptyMaskError):
        assess_ablation(prepared(), ct, LabelMask(np.zeros_like(zone.voxels), GRID, "ablation zone"))


def test_a_zone_at_the_edge_of_the_scan_is_refused_without_numbers() -> None:
    ct, zone = verification(0.0, 16.0)
    grown = zone.voxels.copy()
    grown[0, 20, 20] = True
    found = assess_ablation(prepared(), ct, LabelMask(grown, GRID, "ablation zone"))
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW
    assert found.coverage.tcr is None
    assert found.margin.minimal_mm is None
    assert found.refusal.reason in found.summary


@pytest.mark.parametrize("limit", [1.5, 1.6])
def test_slices_are_refused_above_the_limit_only(limit: float) -> None:
    settings = AssessmentSettings(max_slice_mm=limit)
    planned = prepare_planning(prepared().planning, prepared().tumor, settings=settings)
    assert (planned.refusal is not None) == (limit < 1.6)
    if planned.refusal is not None:
        assert planned.refusal.code is RefusalCode.SLICES_TOO_THICK


def test_thick_slices_are_warned_of_with_what_they_do_to_the_margin() -> None:
    assert slice_warning("planning", (2.4, 0.7, 0.7), 5.0) == ()
    (said,) = slice_warning("planning", (5.0, 0.7, 0.7), 5.0)
    assert "5.0 mm apart" in said
    assert "±2.5 mm" in said


def test_faults_of_a_mask_stand_in_the_first_sentences() -> None:
    scan, zone = verification(0.0, 16.0)
    voxels = zone.voxels.copy()
    z, y, x = (int(k) for k in np.argwhere(voxels).mean(axis=0))
    voxels[z, y, x + 12] = False
    faulty = inspected(LabelMask(voxels, zone.geometry, zone.name))
    answers: list[AblationAssessment] = []
    found = assess_ablation(prepared(), scan, faulty, on_preliminary=answers.append)
    for answer in (found, *answers):
        assert f"masks with faults, see the warnings: {zone.name}." in answer.summary
        assert any("1 hole that no anatomy has" in warning for warning in answer.warnings)
    assert "faults" not in assessed(0.0, 16.0).summary
