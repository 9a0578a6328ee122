"""The planning side is either prepared, with all that an assessment needs, or refused with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.assessment.planning import (
    AssessmentSettings,
    PlanningOutcome,
    PreparedPlanning,
    RefusedPlanning,
    prepare_planning,
    require_prepared,
)
from engine.assessment.verification import assess_ablation
from engine.errors import NotCtError, PatientMismatchError
from engine.findings import NO_CONTOUR, SUPPLIED, ContourOrigin
from engine.geometry import Vector3
from engine.input_warning import InputWarning, InputWarningCode
from engine.refusal import RefusalCode, RefusedError
from engine.stages import Stage
from engine.unit_doubt import UNIT_CODES
from engine.volume import Acquisition, CtVolume, LabelMask
from tests.support.spheres import ball, centered_grid
from tests.support.stub_segmenter import StubSegmenter, model

GRID = centered_grid((2.0, 2.0, 2.0), 40.0)
INSIDE: Vector3 = (0.0, 0.0, 0.0)
AT_THE_EDGE: Vector3 = (33.0, 0.0, 0.0)


def ct(hu: int = -800, **acquisition: str) -> CtVolume:
    return CtVolume(
        np.full(GRID.shape_zyx, hu, dtype=np.int16),
        GRID,
        Acquisition(
            patient_id=acquisition.get("patient_id", ""),
            warnings=(InputWarning(InputWarningCode.OTHER, "of the header"),),
        ),
    )


def planned(center: Vector3, settings: AssessmentSettings | None = None) -> PlanningOutcome:
    return prepare_planning(ct(patient_id="A"), ball(GRID, center, 5.0, "tumor"), settings=settings)


def test_a_prepared_planning_has_all_that_an_assessment_needs() -> None:
    prepared = planned(INSIDE)
    assert isinstance(prepared, PreparedPlanning)
    assert require_prepared(prepared) is prepared
    assert prepared.refusal is None
    assert prepared.lesion.origin == SUPPLIED
    assert prepared.cautious_tumor is None
    assert "of the header" in prepared.warnings
    assert (prepared.lung.voxels & ball(prepared.lung.geometry, INSIDE, 3.0, "").voxels).any()


def test_a_tumor_that_is_cut_is_refused_with_what_is_known_of_it() -> None:
    refused = planned(AT_THE_EDGE)
    assert isinstance(refused, RefusedPlanning)
    assert refused.refusal.code is RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW
    assert refused.lesion.volume_ml is not None
    assert refused.warnings[0] == "of the header"
    assert list(refused.timings_s) == [Stage.LOCATE_LESION.value]
    with pytest.raises(RefusedError):
        require_prepared(refused)


def test_a_lung_that_leaves_out_air_at_the_tumor_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_lung(ct: CtVolume, tumor: LabelMask) -> LabelMask:
        return LabelMask(np.zeros(ct.geometry.shape_zyx, dtype=np.bool_), ct.geometry, "lung")

    monkeypatch.setattr("engine.assessment.planning.segment_lung", without_lung)
    refused = planned(INSIDE)
    assert isinstance(refused, RefusedPlanning)
    assert refused.refusal.code is RefusalCode.LUNG_DOUBTFUL
    assert refused.lesion.volume_ml is not None


def test_a_tumor_that_no_model_was_asked_for_has_its_origin_all_the_same() -> None:
    segmenter = StubSegmenter(lambda _: np.zeros(GRID.shape_zyx))
    refused = prepare_planning(
        ct(), None, tumor_segmenter=segmenter, settings=AssessmentSettings(max_slice_mm=1.0)
    )
    assert isinstance(refused, RefusedPlanning)
    assert refused.refusal.code is RefusalCode.SLICES_TOO_THICK
    assert segmenter.asked == []
    assert refused.lesion.origin == ContourOrigin.segmented_by(model("stub-demo"))
    assert refused.lesion.volume_ml is None


def test_what_was_refused_in_planning_is_refused_of_the_verification_ct_without_a_look_at_it() -> None:
    refused = planned(AT_THE_EDGE)
    answer = assess_ablation(refused, ct(patient_id="B"), ball(GRID, INSIDE, 9.0, "ablation zone"))
    assert answer.refusal == refused.refusal
    assert answer.coverage.zone_origin == NO_CONTOUR
    assert answer.warnings == refused.warnings, "each of them once"
    assert answer.lesion.volume_ml is None
    with pytest.raises(PatientMismatchError):
        assess_ablation(planned(INSIDE), ct(patient_id="B"), ball(GRID, INSIDE, 9.0, "ablation zone"))


@pytest.mark.parametrize(("limit_mm", "origin"), [(1.5, NO_CONTOUR), (2.0, SUPPLIED)])
def test_a_refusal_says_of_the_zone_what_was_known_by_then(limit_mm: float, origin: ContourOrigin) -> None:
    settings = AssessmentSettings(max_slice_mm=limit_mm)
    zone = ball(GRID, AT_THE_EDGE, 9.0, "ablation zone")
    answer = assess_ablation(planned(INSIDE), ct(-801, patient_id="A"), zone, settings=settings)
    assert answer.refusal is not None
    assert answer.coverage.zone_origin == origin


@pytest.mark.parametrize("code", sorted(UNIT_CODES))
def test_a_ct_in_a_wrong_unit_is_named_as_that_and_not_measured(code: InputWarningCode) -> None:
    doubtful = (InputWarning(code, "the CT has no voxel below -200 HU"),)
    wrong = replace(ct(-801, patient_id="A"), acquisition=Acquisition(patient_id="A", warnings=doubtful))
    with pytest.raises(
        NotCtError, match=r"the planning CT is not .* in Hounsfield units: the CT has no voxel"
    ):
        prepare_planning(wrong, ball(GRID, INSIDE, 5.0, "tumor"))
    with pytest.raises(NotCtError, match=r"the verification CT is not .* in Hounsfield units"):
        assess_ablation(planned(INSIDE), wrong, ball(GRID, INSIDE, 9.0, "ablation zone"))
    other = replace(wrong, acquisition=replace(wrong.acquisition, patient_id="B"))
    with pytest.raises(PatientMismatchError):
        assess_ablation(planned(INSIDE), other, ball(GRID, INSIDE, 9.0, "ablation zone"))
