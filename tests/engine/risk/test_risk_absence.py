"""What costs the risk costs the risk alone, and the answer says why."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.assessment.outcome import AblationAssessment
from engine.assessment.verification import assess_ablation
from engine.errors import InvalidRequestError
from engine.refusal import Refusal, RefusalCode
from engine.risk.absence import NO_MODEL, RiskAbsence, RiskAbsenceCode
from engine.risk.clinical_inputs import FIBRINOGEN_RANGE_G_PER_L, ClinicalInputs, require_possible_fibrinogen
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.risk.signature import risk_of
from service.pipeline.bundles import installed_bundles, load_risk_model
from service.record.report import assessment_report
from service.settings import Settings, default_models_dir
from service.wire.report import assessment_json, assessment_message
from tests.support.ablated_chest import prepared, verification

DEMO = SurvivalModel.load(default_models_dir() / "deepsurv-demo" / "1.0.0")
IMPOSSIBLE = (0.0, -3.1, 0.09, 20.5, 310.0, math.nan, math.inf)


def assessed(risk_model: SurvivalModel | RiskAbsence, clinical: ClinicalInputs) -> AblationAssessment:
    return assess_ablation(prepared(), *verification(0.0, 16.0), clinical=clinical, risk_model=risk_model)


@pytest.mark.parametrize("fibrinogen", IMPOSSIBLE)
def test_an_input_that_cannot_be_used_gives_no_risk(fibrinogen: float) -> None:
    risk = risk_of(DEMO, ClinicalInputs("f", fibrinogen), 0.5, None, include_if_complete=False)
    assert isinstance(risk, RiskAbsence)
    assert risk.code is RiskAbsenceCode.UNUSABLE_INPUT
    assert "fibrinogen_g_per_l" in risk.reason


def test_the_coverage_stands_whatever_happens_to_the_risk() -> None:
    good = assessed(DEMO, ClinicalInputs("f", 3.1))
    assert isinstance(good.risk, SurvivalRisk)
    assert good.risk_absence is None
    for model, clinical, code in (
        (DEMO, ClinicalInputs("f", 310.0), RiskAbsenceCode.UNUSABLE_INPUT),
        (NO_MODEL, ClinicalInputs("f", 3.1), RiskAbsenceCode.NO_MODEL),
    ):
        found = assessed(model, clinical)
        assert (found.coverage, found.margin) == (good.coverage, good.margin)
        assert found.risk is None
        assert found.risk_absence is not None
        told = assessment_json(assessment_message(assessment_report(found).content))
        assert told["risk_absence"] == {"code": code.value, "reason": found.risk_absence.reason}
        assert told["risk"]["probability"] == []
        assert told["coverage"]["tcr"] == good.coverage.tcr


def test_a_preliminary_and_a_refused_answer_say_why_they_have_no_risk() -> None:
    found = assessed(DEMO, ClinicalInputs())
    refused = replace(found, refusal=Refusal(RefusalCode.FOLDING, "folded"))
    for assessment, code in ((replace(found, preliminary=True), "preliminary"), (refused, "refused")):
        content = assessment_report(assessment).content
        assert content["risk_absence"]["code"] == code
        assert content["risk"]["probability"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"clinical_mode": True}, RiskAbsenceCode.DEMO_MODEL_IN_CLINICAL_MODE),
        ({"risk_model": "none"}, RiskAbsenceCode.NO_MODEL),
        ({"models_dir": Path(__file__).parent}, RiskAbsenceCode.NO_MODEL),
    ],
)
def test_why_no_model_is_used(changes: dict[str, object], code: RiskAbsenceCode) -> None:
    settings = Settings().model_copy(update=changes)
    absent = load_risk_model(settings, installed_bundles(settings.models_dir))
    assert isinstance(absent, RiskAbsence)
    assert absent.code is code


@pytest.mark.parametrize("fibrinogen", IMPOSSIBLE)
def test_an_impossible_fibrinogen_is_refused_at_the_door(fibrinogen: float) -> None:
    with pytest.raises(InvalidRequestError, match="g/L") as refused:
        require_possible_fibrinogen(fibrinogen)
    assert refused.value.field == "fibrinogen_g_per_l"


@given(st.floats(min_value=50.0, max_value=1000.0))
def test_milligrams_per_deciliter_are_recognized(mg_per_dl: float) -> None:
    with pytest.raises(InvalidRequestError, match="in mg/dL it would be"):
        require_possible_fibrinogen(mg_per_dl)


@given(st.floats(*FIBRINOGEN_RANGE_G_PER_L) | st.none())
def test_what_is_let_in_is_what_the_models_take(fibrinogen: float | None) -> None:
    require_possible_fibrinogen(fibrinogen)
    risk = risk_of(DEMO, ClinicalInputs("m", fibrinogen), 0.5, None, include_if_complete=False)
    assert isinstance(risk, SurvivalRisk)
