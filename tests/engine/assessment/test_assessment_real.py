"""Real CT with painted ablations: right numbers, honest ranges, and refusals where no number is right."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import AssessmentSettings, prepare_planning
from engine.assessment.verification import assess_ablation
from engine.coverage.figures import MIN_PROBABILITY_COMPLETE
from engine.errors import EmptyMaskError, GridMismatchError
from engine.geometry import VoxelBox
from engine.refusal import RefusalCode
from engine.stages import SilentListener, Stage
from engine.volume import CtVolume, LabelMask
from tests.support.ablation_cases import ALL, SOME, assessed, case, needs_real_ct

pytestmark = needs_real_ct

REAL_MISS_TCR = 0.995
RIGID = "lidc-rigid-under"


def crop(ct: CtVolume, mask: LabelMask, start: list[int], stop: list[int]) -> tuple[CtVolume, LabelMask]:
    box = VoxelBox.between(start, stop)
    return ct.crop(box), mask.crop(box)


def require_no_numbers(found: AblationAssessment) -> None:
    assert found.refusal is not None
    assert len(found.refusal.reason) > 30
    assert all(getattr(found.coverage, name) is None for name in COVERAGE_NUMBERS)
    assert all(value is None for value in astuple(found.margin))
    assert found.uncovered == ()
    assert found.risk is None
    assert found.maps is None
    assert found.lesion.volume_ml is None


COVERAGE_NUMBERS = (
    "tcr",
    "tcr_interval_90",
    "complete",
    "probability_complete",
    "lung_clipped_tcr",
    "not_assessable_share",
    "core_tcr",
    "target_volume_ml",
    "zone_volume_ml",
)


def test_the_rigid_case_gives_the_figures_of_its_masks() -> None:
    found, supplied = assessed(RIGID), case(RIGID).truth["of_supplied_masks"]
    assert found.coverage.tcr == pytest.approx(supplied["tcr"], abs=0.02)
    assert found.margin.minimal_mm == pytest.approx(supplied["minimal_margin_mm"], abs=0.5)


def require_honest(name: str) -> None:
    found, truth = assessed(name), case(name).truth
    assert found.refusal is None
    assert found.coverage.probability_complete is not None
    sure = found.coverage.probability_complete >= MIN_PROBABILITY_COMPLETE
    covered = found.coverage.tcr == 1.0
    assert found.coverage.complete is (None if covered and not sure else covered)
    if truth["tcr"] < REAL_MISS_TCR:
        assert found.coverage.complete is False
        assert found.coverage.probability_complete <= 0.5


@pytest.mark.parametrize("name", SOME)
def test_no_miss_is_called_complete(name: str) -> None:
    require_honest(name)


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ALL)
def test_no_miss_is_called_complete_on_any_case(name: str) -> None:
    require_honest(name)


@pytest.mark.acceptance
def test_the_interval_holds_the_true_coverage() -> None:
    held = 0
    for name in ALL:
        interval = assessed(name).coverage.tcr_interval_90
        assert interval is not None
        held += interval[0] - 5e-4 <= case(name).truth["tcr"] <= interval[1] + 5e-4
    assert held >= 7


def test_every_stage_is_timed_and_the_largest_miss_is_where_it_was_painted() -> None:
    found = assessed(RIGID)
    expected = ["locate_zone", "coarse_alignment", "registration", "coverage", "interval", "risk"]
    assert list(found.timings_s) == expected
    truth = case(RIGID).truth["cold_spots_in_lung"][0]
    assert found.uncovered[0].volume_ml == pytest.approx(truth["volume_ml"], rel=0.15)
    offset = np.array(found.uncovered[0].centroid_lps_mm) - truth["centroid_lps_mm"]
    assert np.linalg.norm(offset) < 2.0


@pytest.mark.parametrize(
    ("planned", "shown"), [(RIGID, "lung1-5mm-under"), ("lung1-5mm-under", "lidc-shell-complete")]
)
def test_another_patient_is_refused(planned: str, shown: str) -> None:
    other = case(shown)
    require_no_numbers(assess_ablation(case(planned).prepared, other.verification, other.zone))


def test_a_mirrored_scan_is_refused() -> None:
    it = case(RIGID)
    ct = CtVolume(it.verification.voxels_hu[:, :, ::-1].copy(), it.verification.geometry)
    zone = LabelMask(it.zone.voxels[:, :, ::-1].copy(), it.zone.geometry, it.zone.name)
    found = assess_ablation(it.prepared, ct, zone)
    require_no_numbers(found)
    assert found.refusal is not None
    assert found.refusal.code in (RefusalCode.WRONG_SIDE, RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH)


def test_a_zone_cut_by_the_field_of_view_is_refused() -> None:
    it = case(RIGID)
    start = it.zone.bounding_box().start_zyx
    ct, zone = crop(it.verification, it.zone, [start[0] + 3, 0, 0], list(it.zone.geometry.shape_zyx))
    found = assess_ablation(it.prepared, ct, zone)
    require_no_numbers(found)
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW


def test_a_target_beyond_the_verification_ct_is_refused() -> None:
    """The zone of this case ends inside the target: the scan is cut just past the zone."""
    it = case(RIGID)
    maps = assessed(RIGID).maps
    assert maps is not None
    target = it.verification.geometry.to_index(maps.geometry.to_lps(np.argwhere(maps.target).astype(float)))
    box = it.zone.bounding_box()
    start, stop = box.start_zyx, box.stop_zyx
    low, high = [0, 0, 0], list(it.zone.geometry.shape_zyx)
    beyond = np.concatenate([np.array(start) - target.min(axis=0), target.max(axis=0) - np.array(stop)])
    axis = int(np.argmax(beyond)) % 3
    if np.argmax(beyond) < 3:
        low[axis] = start[axis] - 1
    else:
        high[axis] = stop[axis] + 1
    found = assess_ablation(it.prepared, *crop(it.verification, it.zone, low, high))
    require_no_numbers(found)
    assert found.refusal is not None
    assert found.refusal.code in (
        RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
        RefusalCode.LESION_OUTSIDE_OVERLAP,
    )


def test_a_target_beyond_the_planning_ct_is_refused() -> None:
    it = case(RIGID)
    start = it.prepared.tumor.bounding_box().start_zyx
    cut = crop(
        it.prepared.planning, it.prepared.tumor, [start[0] - 2, 0, 0], list(it.prepared.tumor.voxels.shape)
    )
    prepared = prepare_planning(*cut)
    assert prepared.refusal is not None
    assert prepared.refusal.code is RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW
    require_no_numbers(assess_ablation(prepared, it.verification, it.zone))


def test_slices_above_the_limit_are_refused() -> None:
    it = case("lidc-5mm-under")
    found = assess_ablation(
        it.prepared, it.verification, it.zone, settings=AssessmentSettings(max_slice_mm=4.0)
    )
    require_no_numbers(found)
    assert found.refusal is not None
    assert found.refusal.code is RefusalCode.SLICES_TOO_THICK


def test_masks_that_are_empty_or_elsewhere_are_errors() -> None:
    it = case(RIGID)
    empty = LabelMask(np.zeros_like(it.zone.voxels), it.zone.geometry, "ablation zone")
    with pytest.raises(EmptyMaskError, match="ablation zone"):
        assess_ablation(it.prepared, it.verification, empty)
    with pytest.raises(GridMismatchError, match="tumor"):
        assess_ablation(it.prepared, it.verification, it.prepared.tumor)
    with pytest.raises(GridMismatchError, match="ablation zone"):
        prepare_planning(it.prepared.planning, it.zone)


class StopAt(SilentListener):
    def __init__(self, stage: Stage) -> None:
        self.stage, self.heard = stage, list[Stage]()

    def stage_started(self, stage: Stage) -> None:
        self.heard.append(stage)
        if stage is self.stage:
            raise InterruptedError(stage.value)

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        assert duration_s >= 0.0


def test_a_listener_stops_the_work_between_two_stages() -> None:
    it, stop = case(RIGID), StopAt(Stage.REGISTRATION)
    with pytest.raises(InterruptedError, match="registration"):
        assess_ablation(it.prepared, it.verification, it.zone, listener=stop)
    assert stop.heard == [Stage.LOCATE_ZONE, Stage.COARSE_ALIGNMENT, Stage.REGISTRATION]


def test_the_preliminary_answer_gives_ranges_only() -> None:
    it, heard = case(RIGID), list[AblationAssessment]()
    with pytest.raises(InterruptedError):
        assess_ablation(
            it.prepared,
            it.verification,
            it.zone,
            on_preliminary=heard.append,
            listener=StopAt(Stage.REGISTRATION),
        )
    (early,) = heard
    assert early.preliminary
    assert "not for decision" in early.summary
    assert early.coverage.complete is None
    assert early.coverage.tcr is None
    assert early.coverage.tcr_interval_90 is not None
