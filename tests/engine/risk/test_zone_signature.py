"""A risk model with a radiomics signature: Radscore, flags, and what the assessment does with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coldspot.v1 import assessment_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.assessment.outcome import AblationAssessment
from engine.assessment.verification import assess_ablation
from engine.errors import BackendError, RadiomicsError
from engine.manifest import Bundle, Normal, SealedManifest, load_bundle
from engine.manifest.signature import RadiomicsSettings, SignatureFeature, SignatureSection
from engine.radiomics import EXTRACTOR, Radscore, extract_features, radscore, zone_radscore
from engine.risk.absence import RiskAbsence, RiskAbsenceCode
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.risk.signature import radscore_for, require_computable, risk_of, signature_of
from engine.runtime.onnx_session import OnnxSession
from engine.stages import Stage
from service.commands.terminal import summary_table
from service.record.report import assessment_report
from service.wire.report import assessment_json, assessment_message
from tests.support.ablated_chest import prepared, verification
from tests.support.radiomics_zones import NO_EXTRACTOR, made_zone

pytest.importorskip("radiomics", reason=NO_EXTRACTOR)

DEMO = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"
BUNDLE = load_bundle(DEMO)
NAMES = ("original_firstorder_Skewness", "wavelet-HLL_glcm_Correlation", "original_shape_Sphericity")


def signature(features: dict[str, float], **changes: Any) -> SignatureSection:
    """A signature by which a zone of these features has the Radscore 3.0 + 0.1 = 3.1."""
    section = SignatureSection(
        settings=RadiomicsSettings(),
        extractor=EXTRACTOR,
        intercept=3.0,
        features=tuple(
            SignatureFeature(
                name=name,
                coefficient=coefficient,
                mean=value - 0.5,
                sd=0.25,
                reference_low=value - 1,
                reference_high=value + 1,
            )
            for coefficient, (name, value) in zip((0.05, -0.03, 0.03), features.items(), strict=True)
        ),
    )
    return section.model_copy(update=changes)


def model(section: SignatureSection | None, **changes: Any) -> SurvivalModel:
    """The demo model with its fibrinogen renamed to a Radscore, and a signature."""
    assert BUNDLE.manifest.survival is not None
    sex, fibrinogen, coverage = BUNDLE.manifest.survival.covariates
    score = fibrinogen.model_copy(update={"name": "radscore", "distribution": Normal(mean=3.0, sd=0.5)})
    survival = BUNDLE.manifest.survival.model_copy(
        update={"uses_radscore": True, "covariates": (sex, score, coverage), "signature": section, **changes}
    )
    manifest = BUNDLE.manifest.model_copy(update={"survival": survival})
    return SurvivalModel(
        Bundle(SealedManifest.of(manifest), DEMO, BUNDLE.model_bytes), OnnxSession(BUNDLE.model_bytes)
    )


def made_features() -> dict[str, float]:
    return extract_features(*made_zone(), RadiomicsSettings(), NAMES)


finite = st.floats(-1e3, 1e3)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(finite, finite, st.floats(0.01, 100), finite), max_size=5),
    finite,
)
def test_the_radscore_is_the_sum_of_what_stands_in_the_signature(
    rows: list[tuple[float, float, float, float]], intercept: float
) -> None:
    section = SignatureSection(
        settings=RadiomicsSettings(),
        extractor=EXTRACTOR,
        intercept=intercept,
        features=tuple(
            SignatureFeature(
                name=f"f{i}", coefficient=c, mean=mean, sd=sd, reference_low=-10.0, reference_high=10.0
            )
            for i, (c, mean, sd, _) in enumerate(rows)
        ),
    )
    values = {f"f{i}": value for i, (*_, value) in enumerate(rows)}
    found = radscore(values, section)
    expected = intercept + sum(c * (value - mean) / sd for c, mean, sd, value in rows)
    assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert found.features == values
    outside = [name for name, value in values.items() if not -10 <= value <= 10]
    assert [flag.split()[0] for flag in found.flags] == outside
    assert [one.name for one in found.contributions if not one.within_reference] == outside


def test_a_missing_feature_is_refused() -> None:
    section = signature(dict.fromkeys(NAMES, 1.0))
    for wrong in ({}, dict.fromkeys(NAMES, math.nan)):
        with pytest.raises(RadiomicsError, match="original_firstorder_Skewness"):
            radscore(wrong, section)


def test_an_empty_signature_is_its_intercept() -> None:
    empty = SignatureSection(settings=RadiomicsSettings(), extractor=EXTRACTOR, intercept=0.25)
    assert zone_radscore(*made_zone(), empty) == Radscore(0.25)
    require_computable(model(empty))


def test_a_signature_that_contradicts_itself_is_refused() -> None:
    feature = signature(dict.fromkeys(NAMES, 1.0)).features[0]
    with pytest.raises(ValidationError, match="twice"):
        SignatureSection(settings=RadiomicsSettings(), extractor=EXTRACTOR, features=(feature, feature))
    with pytest.raises(ValidationError, match="ends below its start"):
        SignatureFeature(name="a", coefficient=1.0, mean=0.0, sd=1.0, reference_low=1.0, reference_high=0.0)


def test_the_risk_takes_the_radscore_and_its_flags() -> None:
    features = made_features()
    section = signature(features)
    narrow = section.features[1].model_copy(update={"reference_high": section.features[1].reference_low})
    section = section.model_copy(update={"features": (section.features[0], narrow, section.features[2])})
    scored = model(section)
    score = radscore_for(scored, *made_zone())
    assert score.value == pytest.approx(3.1)
    assert score.features == features
    risk = risk_of(scored, ClinicalInputs("f"), 0.5, score, include_if_complete=False)
    plain = scored.risk("f", None, 0.5, radscore=score.value)
    assert isinstance(risk, SurvivalRisk)
    assert risk.probability == plain.probability
    assert risk.flags[: len(plain.flags)] == plain.flags
    assert risk.flags[-1].startswith("wavelet-HLL_glcm_Correlation")
    without = risk_of(scored, ClinicalInputs("f"), 0.5, None, include_if_complete=False)
    assert isinstance(without, RiskAbsence)
    assert without.code is RiskAbsenceCode.NO_SIGNATURE


def test_the_features_themselves_may_be_the_covariates() -> None:
    features = made_features()
    value = features[NAMES[0]]
    assert BUNDLE.manifest.survival is not None
    sex, fibrinogen, coverage = BUNDLE.manifest.survival.covariates
    skewness = fibrinogen.model_copy(update={"name": NAMES[0], "accepted_low": -9.0})
    skewness = skewness.model_copy(update={"training_low": -8.0})
    taken = model(
        signature(features),
        uses_radscore=False,
        uses_signature_features=True,
        covariates=(sex, skewness, coverage),
    )
    score = radscore_for(taken, *made_zone())
    risk = risk_of(taken, ClinicalInputs("f"), 0.5, score, include_if_complete=False)
    assert isinstance(risk, SurvivalRisk)
    assert risk.flags == ()
    assert risk.probability == taken.risk("f", None, 0.5, further={NAMES[0]: value}).probability


def test_a_radscore_that_the_model_does_not_accept_is_refused() -> None:
    far = signature(made_features(), intercept=500.0)
    with pytest.raises(RadiomicsError, match=r"radscore 500\.1 is outside"):
        radscore_for(model(far), *made_zone())


def test_another_extractor_is_refused_when_the_model_is_loaded() -> None:
    with pytest.raises(BackendError, match=r"pyradiomics 2\.2"):
        require_computable(model(signature(made_features(), extractor="pyradiomics 2.2")))


def assessed(risk_model: SurvivalModel) -> AblationAssessment:
    return assess_ablation(
        prepared(),
        *verification(0.0, 16.0),
        clinical=ClinicalInputs("m", 3.0),
        risk_model=risk_model,
    )


def test_an_assessment_computes_the_radscore_in_a_stage_of_its_own() -> None:
    ct, zone = verification(0.0, 16.0)
    features = extract_features(ct, zone, RadiomicsSettings(), NAMES)
    found = assessed(model(signature(features)))
    assert found.radscore is not None
    assert found.radscore.value == pytest.approx(3.1)
    assert list(found.timings_s)[-3:] == [Stage.INTERVAL.value, Stage.RADIOMICS.value, Stage.RISK.value]
    assert found.risk is not None
    message = assessment_message(assessment_report(found).content)
    report = assessment_json(message)["risk"]["radscore"]
    assert report["value"] == found.radscore.value
    assert {row["name"]: row["value"] for row in report["features"]} == features
    assert all(row["within_reference"] for row in report["features"])
    assert sum(row["contribution"] for row in report["features"]) == pytest.approx(0.1)
    shown = [str(cell) for column in summary_table(assessment_json(message)).columns for cell in column.cells]
    assert "3.100 from 3 features of the zone" in shown


def test_without_a_signature_nothing_changes() -> None:
    demo = SurvivalModel.load(DEMO)
    assert signature_of(demo) is None
    found = assessed(demo)
    assert found.radscore is None
    assert Stage.RADIOMICS.value not in found.timings_s
    assert found.risk == demo.risk("m", 3.0, found.coverage.probability_complete or 0.0)
    assert assessment_json(assessment_message(assessment_report(found).content))["risk"]["radscore"] is None
    assert assessment_json(assessment_pb2.Assessment())["risk"]["radscore"] is None


def test_a_zone_without_texture_has_its_coverage_and_no_risk() -> None:
    ct, zone = verification(0.0, 16.0)
    features = extract_features(ct, zone, RadiomicsSettings(), NAMES)
    collapsed = signature(features, settings=RadiomicsSettings(normalize_scale=1.0))
    found = assessed(model(collapsed))
    assert found.coverage.complete is True
    assert (found.risk, found.radscore) == (None, None)
    assert found.risk_absence is not None
    assert found.risk_absence.code is RiskAbsenceCode.NO_SIGNATURE
    (warning,) = [warning for warning in found.warnings if "Radscore" in warning]
    assert "its texture is collapsed" in warning
    assert np.isfinite(found.margin.minimal_mm or math.nan)
