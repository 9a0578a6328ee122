"""The risk of progression: arithmetic, bands, flags, words and refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidRequestError, ManifestError, ModelError, ModelInputError
from engine.manifest import Bundle, LogNormal, ModelManifest, Normal, SealedManifest, TensorSpec, load_bundle
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.runtime.onnx_session import OnnxSession

DEMO = Path(__file__).parents[3] / "models" / "deepsurv-demo" / "1.0.0"
BUNDLE = load_bundle(DEMO)
MODEL = SurvivalModel.load(DEMO)
SECTION = MODEL.section

sexes = st.sampled_from(["f", "m", None])
fibrinogens = st.one_of(st.none(), st.floats(0.1, 20.0))
probabilities = st.floats(0.0, 1.0)


def member_risks(sex: float, fibrinogen: float, complete: float) -> npt.NDArray[np.float64]:
    """Risk (member, horizon), written again from the manifest and the bare network."""
    raw = np.array([[sex, fibrinogen, complete]])
    scaled = (raw - [c.mean for c in SECTION.covariates]) / [c.sd for c in SECTION.covariates]
    with OnnxSession(BUNDLE.model_bytes) as session:
        log_risk = session.run({"covariates": scaled.astype(np.float32)})["log_risk"][0].astype(float)
    hazard = np.array(SECTION.baseline.cumulative_hazard)
    columns = [SECTION.baseline.months.index(month) for month in SECTION.horizons_months]
    return np.asarray(1 - np.exp(-hazard[:, columns] * np.exp(log_risk)[:, None]))


def width(risk: SurvivalRisk) -> npt.NDArray[np.float64]:
    return np.asarray(np.diff(np.array(risk.band_90), axis=1)[:, 0])


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("letter", "code"), [("f", 0.0), ("m", 1.0)])
def test_the_risk_is_the_mixture_over_coverage(
    letter: Literal["f", "m"], code: float, probability: float
) -> None:
    members = probability * member_risks(code, 3.4, 1) + (1 - probability) * member_risks(code, 3.4, 0)
    risk = MODEL.risk(letter, 3.4, probability, include_if_complete=True)
    np.testing.assert_allclose(risk.probability, members.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        risk.probability_if_complete, member_risks(code, 3.4, 1).mean(axis=0), rtol=1e-6
    )
    low, high = np.array(risk.band_90).T
    ranked = np.sort(members, axis=0)
    assert (ranked[0] <= low).all()
    assert (low <= ranked[1]).all()
    assert (ranked[-2] <= high).all()
    assert (high <= ranked[-1]).all()


def test_missing_inputs_are_averaged_over_their_distribution() -> None:
    sex_share = SECTION.covariates[0].distribution
    fibrinogen = SECTION.covariates[1]
    assert sex_share is not None
    assert isinstance(fibrinogen.distribution, LogNormal)
    rng = np.random.default_rng(0)
    draws = rng.lognormal(np.log(fibrinogen.distribution.median), fibrinogen.distribution.log_sd, 200_000)
    draws = np.clip(draws, fibrinogen.training_low, fibrinogen.training_high)
    levels = np.linspace(fibrinogen.training_low, fibrinogen.training_high, 60)
    curve = np.array([MODEL.risk("m", float(level), 0.2).probability for level in levels])
    expected = [np.interp(draws, levels, curve[:, t]).mean() for t in range(3)]
    np.testing.assert_allclose(MODEL.risk("m", None, 0.2).probability, expected, atol=2e-3)
    by_sex = [np.array(MODEL.risk(s, 3.0, 0.2).probability) for s in ("f", "m")]
    share = sex_share.model_dump()["probability_of_one"]
    np.testing.assert_allclose(
        MODEL.risk(None, 3.0, 0.2).probability, (1 - share) * by_sex[0] + share * by_sex[1], rtol=1e-6
    )


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_the_band_widens_with_every_missing_input(probability: float) -> None:
    full = [width(MODEL.risk(sex, 3.0, probability)) for sex in ("f", "m")]
    no_sex = width(MODEL.risk(None, 3.0, probability))
    no_fibrinogen = [width(MODEL.risk(sex, None, probability)) for sex in ("f", "m")]
    neither = width(MODEL.risk(None, None, probability))
    assert (no_sex > np.maximum(*full)).all()
    assert (no_fibrinogen[0] > full[0]).all()
    assert (no_fibrinogen[1] > full[1]).all()
    assert (neither > no_sex).all()
    assert (neither > np.minimum(*no_fibrinogen)).all()


@given(sex=sexes, fibrinogen=fibrinogens, probability=probabilities, if_complete=st.booleans())
def test_risks_are_probabilities_that_grow_with_time(
    sex: Literal["f", "m"] | None, fibrinogen: float | None, probability: float, if_complete: bool
) -> None:
    risk = MODEL.risk(sex, fibrinogen, probability, include_if_complete=if_complete)
    low, high = np.array(risk.band_90).T
    values = np.array(risk.probability)
    assert risk.months == (12, 24, 36)
    assert ((low >= 0) & (low <= values) & (values <= high) & (high <= 1)).all()
    for series in (values, low, high):
        assert (np.diff(series) >= 0).all()
    assert len(risk.probability_if_complete) == (3 if if_complete else 0)
    if if_complete:
        assert (np.array(risk.probability_if_complete) <= values + 1e-12).all()
    for text in (*risk.statements, *risk.flags, risk.model):
        assert "%" not in text or "simulated cohort" in text
    assert risk == MODEL.risk(sex, fibrinogen, probability, include_if_complete=if_complete)


@given(sex=sexes, fibrinogen=fibrinogens, low=probabilities, high=probabilities)
def test_likelier_complete_coverage_never_raises_the_risk(
    sex: Literal["f", "m"] | None, fibrinogen: float | None, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    worse, better = MODEL.risk(sex, fibrinogen, low), MODEL.risk(sex, fibrinogen, high)
    assert (np.array(better.probability) <= np.array(worse.probability) + 1e-12).all()


def test_the_network_has_the_published_directions_and_rough_sizes() -> None:
    def hazard_ratio(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
        survived = [np.log1p(-member_risks(*case)) for case in (one, other)]
        return float(np.exp(np.log(survived[0] / survived[1]).mean()))

    for sex in (0.0, 1.0):
        assert 0.05 < hazard_ratio((sex, 3.0, 1), (sex, 3.0, 0)) < 0.25
        assert 1.2 < hazard_ratio((sex, 3.5, 0), (sex, 2.5, 0)) < 2.0
    # Male is coded 1 by assumption; published 1.568.
    assert 1.2 < hazard_ratio((1, 3.0, 0), (0, 3.0, 0)) < 2.2


@pytest.mark.parametrize("sex", ["f", "m"])
@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_the_risk_grows_with_fibrinogen(sex: Literal["f", "m"], probability: float) -> None:
    risks = np.array([MODEL.risk(sex, f, probability).probability for f in np.arange(2.0, 5.01, 0.1)])
    assert (np.diff(risks, axis=0) > 0).all()


@pytest.mark.parametrize("value", [0.5, 1.0, 7.0, 20.0])
def test_a_value_outside_the_training_range_is_clamped_and_flagged(value: float) -> None:
    fibrinogen = SECTION.covariates[1]
    edge = fibrinogen.training_low if value < 3 else fibrinogen.training_high
    risk = MODEL.risk("f", value, 0.5)
    assert risk.probability == MODEL.risk("f", edge, 0.5).probability
    (flag,) = risk.flags
    assert all(
        f"{part:g}" in flag for part in (value, fibrinogen.training_low, fibrinogen.training_high, edge)
    )
    assert "fibrinogen" in flag
    assert "training range" in flag


def test_values_inside_the_training_range_leave_no_flag() -> None:
    fibrinogen = SECTION.covariates[1]
    for value in (fibrinogen.training_low, 3.0, fibrinogen.training_high):
        assert MODEL.risk("f", value, 0.5).flags == ()


def test_missing_inputs_and_an_unused_radscore_are_flagged() -> None:
    flags = MODEL.risk(None, None, 0.5, radscore=0.1).flags
    assert [flag.split()[0] for flag in flags] == ["radscore", "sex", "fibrinogen_g_per_l"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -3.0, 0.0, 300.0])
def test_fibrinogen_no_patient_can_have_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError, match="g/L") as refusal:
        MODEL.risk("f", value, 0.5)
    assert refusal.value.field == "fibrinogen_g_per_l"


@pytest.mark.parametrize("sex", ["", "F", "male", "x", 1])
def test_another_word_for_a_sex_is_refused(sex: Any) -> None:
    with pytest.raises(InvalidRequestError, match="sex"):
        MODEL.risk(sex, 3.0, 0.5)


@pytest.mark.parametrize("probability", [float("nan"), -1e-9, 1 + 1e-9, float("inf")])
def test_a_probability_that_is_none_is_refused(probability: float) -> None:
    with pytest.raises(ModelInputError):
        MODEL.risk("f", 3.0, probability)


def test_every_percentage_says_simulated_cohort_in_its_own_sentence() -> None:
    risk = MODEL.risk("m", None, 0.4, include_if_complete=True)
    with_percent = [s for text in risk.statements for s in re.split(r"(?<=\.)\s", text) if "%" in s]
    assert len(with_percent) == 6
    assert all(re.search(r"simulated cohort", sentence) for sentence in with_percent)
    assert "demo, simulated cohort" in risk.model


def test_the_risk_with_complete_coverage_is_worded_as_an_association() -> None:
    plain = MODEL.risk("m", 3.0, 0.4)
    asked = MODEL.risk("m", 3.0, 0.4, include_if_complete=True)
    assert plain.probability_if_complete == ()
    assert not any("ssociation" in text for text in plain.statements)
    extra = asked.statements[len(plain.statements) :]
    assert len(extra) == 3
    assert all("an association in that cohort, not the effect of ablating further" in text for text in extra)


def test_a_demo_model_is_off_in_clinical_mode() -> None:
    assert MODEL.usable(clinical=False)
    assert not MODEL.usable(clinical=True)


class FakeSession:
    """A session with a chosen log-risk."""

    backend = "fake"

    def __init__(self, manifest: ModelManifest, log_risk: float) -> None:
        self.inputs, self.outputs = manifest.inputs, manifest.outputs
        self.log_risk = log_risk

    def run(self, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        rows = len(next(iter(inputs.values())))
        return {"log_risk": np.full((rows, SECTION.members), self.log_risk, dtype=np.float32)}

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.mark.parametrize("log_risk", [1.0, float("nan"), float("inf")])
def test_a_network_that_computes_something_else_is_refused(log_risk: float) -> None:
    with pytest.raises(ModelError, match="do not use this backend"):
        SurvivalModel(BUNDLE, FakeSession(BUNDLE.manifest, log_risk))


def test_a_risk_that_is_not_a_number_is_an_error() -> None:
    model = SurvivalModel(BUNDLE, OnnxSession(BUNDLE.model_bytes))
    model.network = replace(model.network, session=FakeSession(BUNDLE.manifest, float("nan")))
    with pytest.raises(ModelError, match="not a number"):
        model.risk("f", 3.0, 0.5)


def with_manifest(**changes: Any) -> Bundle:
    return Bundle(SealedManifest.of(BUNDLE.manifest.model_copy(update=changes)), DEMO, BUNDLE.model_bytes)


def test_a_network_that_contradicts_its_manifest_is_refused() -> None:
    other = (TensorSpec(name="covariates", dtype="float32", shape=("batch", 4)),)
    with pytest.raises(ManifestError, match="other tensors"):
        SurvivalModel(with_manifest(inputs=other), OnnxSession(BUNDLE.model_bytes))
    renamed = tuple(spec.model_copy(update={"name": "hazard"}) for spec in BUNDLE.manifest.outputs)
    session = FakeSession(BUNDLE.manifest.model_copy(update={"outputs": renamed}), 0.0)
    with pytest.raises(ManifestError, match="log_risk"):
        SurvivalModel(with_manifest(outputs=renamed), session)


def test_a_model_with_a_radscore_takes_it_or_averages_over_it() -> None:
    """The same network with its fibrinogen renamed: the Radscore goes the same way."""
    score = SECTION.covariates[1].model_copy(
        update={"name": "radscore", "distribution": Normal(mean=3.0, sd=0.5)}
    )
    section = SECTION.model_copy(
        update={"uses_radscore": True, "covariates": (SECTION.covariates[0], score, SECTION.covariates[2])}
    )
    model = SurvivalModel(with_manifest(survival=section), OnnxSession(BUNDLE.model_bytes))
    assert model.risk("f", None, 0.5, radscore=3.3).probability == MODEL.risk("f", 3.3, 0.5).probability
    missing = model.risk("f", None, 0.5)
    assert "radscore is missing" in missing.flags[0]
    assert (width(missing) > width(model.risk("f", None, 0.5, radscore=3.0))).all()
    with pytest.raises(ModelInputError):
        model.risk("f", None, 0.5, radscore=float("nan"))


def test_a_missing_value_is_never_taken_from_outside_the_training_range() -> None:
    wide = SECTION.covariates[1].model_copy(update={"distribution": Normal(mean=3.0, sd=50.0)})
    section = SECTION.model_copy(update={"covariates": (SECTION.covariates[0], wide, SECTION.covariates[2])})
    risk = SurvivalModel(with_manifest(survival=section), OnnxSession(BUNDLE.model_bytes)).risk(
        "f", None, 0.0
    )
    least, most = (
        member_risks(0, wide.training_low, 0).min(axis=0),
        member_risks(0, wide.training_high, 0).max(axis=0),
    )
    for (low, high), lowest, highest in zip(risk.band_90, least, most, strict=True):
        assert lowest - 1e-6 <= low <= high <= highest + 1e-6


def test_a_fitted_model_names_its_cohort_instead() -> None:
    patients = with_manifest(demo=False, fitted_on="217 patients of two centers")
    model = SurvivalModel(patients, OnnxSession(BUNDLE.model_bytes))
    assert model.usable(clinical=True)
    risk = model.risk("f", 3.0, 0.5)
    assert all("217 patients" in text for text in risk.statements if "%" in text)
    assert "demo" not in risk.model.removeprefix("deepsurv-demo")


def test_extremes_are_never_said_as_certain() -> None:
    session = FakeSession(BUNDLE.manifest, 0.0)
    model = SurvivalModel(BUNDLE, OnnxSession(BUNDLE.model_bytes))
    model.network = replace(model.network, session=session)
    session.log_risk = 20.0
    assert "over 99 %" in model.risk("f", 3.0, 0.5).statements[0]
    session.log_risk = -20.0
    assert "under 1 %" in model.risk("f", 3.0, 0.5).statements[0]
