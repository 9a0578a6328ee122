"""DeepSurv: likelihood, fit, robustness, and the same answers from its bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import EstimationError, InvalidRequestError, ManifestError, ModelInputError
from engine.manifest import RadiomicsSettings, SignatureFeature, SignatureSection, load_bundle
from engine.risk.incidence import cumulative_incidence
from engine.risk.model import SurvivalModel
from export.survival.concordance import concordance_index
from export.survival.partial_likelihood import log_partial_likelihood as exact_likelihood
from export.survival.partial_likelihood import risk_sets
from export.survival.table import SurvivalTable

torch = pytest.importorskip("torch", reason="training needs torch: make setup-export")

from export.deepsurv.baseline import choose_horizons  # noqa: E402 - after the check for torch
from export.deepsurv.ensemble import draw_member_cases  # noqa: E402
from export.deepsurv.fitting import fit_survival  # noqa: E402
from export.deepsurv.partial_likelihood import (  # noqa: E402
    log_partial_likelihood,
    weighted_risk_sets,
)
from export.deepsurv.settings import FitSettings, ltp_settings  # noqa: E402
from export.deepsurv.standardization import fit_standardization  # noqa: E402
from export.deepsurv.training import NetworkSettings, train  # noqa: E402
from export.risk_model.bundle import RiskModelDescription, export_survival  # noqa: E402
from tests.support.bundle_seals import sealed_anew  # noqa: E402

if TYPE_CHECKING:
    from export.deepsurv.fitted import FittedSurvival

SHORT = NetworkSettings(hidden=6, l2=1e-2, max_steps=120, patience_steps=40)
SETTINGS = FitSettings(candidates=(SHORT,), members=5, members_per_fold=1)
DESCRIBED = RiskModelDescription("drawn", "1.0.0", "cases that were drawn, simulated cohort", demo=True)


def drawn_table(cases: int = 90, seed: int = 0, *, competing: bool = False) -> SurvivalTable:
    """Two covariates that count, a collinear, a constant and a rare binary one; whole months, so ties."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=cases), rng.integers(0, 2, cases).astype(float)
    rare = (np.arange(cases) == 7).astype(float)
    x = np.column_stack([a, b, 2 * a + 1, np.full(cases, 0.3), rare])
    event_at = rng.exponential(25 / np.exp(1.2 * a - 0.8 * b))
    ended_at = rng.uniform(5, 60, cases)
    event = event_at <= ended_at
    other = ~event & (rng.random(cases) < 0.3)
    months = np.ceil(np.minimum(event_at, ended_at))
    names = ("a", "b", "twice a", "constant", "rare")
    return SurvivalTable(names, x, months, event, other if competing else None)


@pytest.fixture(scope="module")
def fitted() -> FittedSurvival:
    return fit_survival(drawn_table(), test=drawn_table(seed=1), seed=3, settings=SETTINGS)


def by_falling_time(*columns: npt.NDArray[np.float64]) -> list[Any]:
    order = np.argsort(-columns[0], kind="stable")
    return [torch.tensor(column[..., order], dtype=torch.float64) for column in columns]


def test_the_likelihood_is_efrons_with_ties() -> None:
    rng = np.random.default_rng(0)
    months, event = rng.integers(1, 9, 60).astype(float), rng.random(60) < 0.6
    log_risk = rng.normal(size=(2, 60)) * 30
    times, events, weights, risks = by_falling_time(months, event.astype(float), np.ones((2, 60)), log_risk)
    found = log_partial_likelihood(risks, weighted_risk_sets(times, events, weights))
    sets = risk_sets(months, event, "efron")
    np.testing.assert_allclose(found, [exact_likelihood(sets, one) for one in log_risk], rtol=1e-9)


def test_a_weight_of_0_leaves_a_case_out_and_weights_count_untied_cases_as_often() -> None:
    rng = np.random.default_rng(1)
    months, event = rng.integers(1, 9, 40).astype(float), rng.random(40) < 0.6
    log_risk, kept = rng.normal(size=(1, 40)), rng.random(40) < 0.7
    times, events, weights, risks = by_falling_time(
        months, event.astype(float), kept[None].astype(float), log_risk
    )
    found = log_partial_likelihood(risks, weighted_risk_sets(times, events, weights))
    alone = exact_likelihood(risk_sets(months[kept], event[kept], "efron"), log_risk[0, kept])
    assert float(found) == pytest.approx(alone, rel=1e-12)
    months = rng.permutation(40).astype(float)
    own = rng.exponential(size=(1, 40))
    times, events, weights, risks = by_falling_time(months, event.astype(float), own, log_risk)
    found = log_partial_likelihood(risks, weighted_risk_sets(times, events, weights))
    terms = [
        own[0, i] * (log_risk[0, i] - np.log((own * np.exp(log_risk))[0, months >= months[i]].sum()))
        for i in np.flatnonzero(event)
    ]
    assert float(found) == pytest.approx(sum(terms), rel=1e-12)


def test_a_log_risk_that_no_float_can_raise_e_to_has_a_likelihood_and_a_gradient() -> None:
    times, events, weights = by_falling_time(np.arange(4.0), np.ones(4), np.ones((1, 4)))
    risks = torch.tensor([[-300.0, 300.0, 0.0, 200.0]], dtype=torch.float64, requires_grad=True)
    value = log_partial_likelihood(risks, weighted_risk_sets(times, events, weights)).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(risks.grad).all()


def test_every_case_is_held_out_equally_often_and_trains_no_member_that_it_stops() -> None:
    event = np.random.default_rng(0).random(50) < 0.4
    cases = draw_member_cases(event, 10, 5, bayesian_bootstrap=True, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(cases.held_out.sum(axis=0), 2)
    assert ((cases.training > 0) == (cases.held_out == 0)).all()
    assert (cases.weights > 0).all()


def test_held_out_cases_take_no_part_in_training_but_for_the_step_at_which_it_stops() -> None:
    table = drawn_table().with_covariates(["a", "b"])
    x = fit_standardization(table).standardized(table.covariates).astype(float)
    held_out = (np.arange(table.cases) % 4 == 0).astype(float)[None]
    settings = replace(SHORT, max_steps=30)
    shuffled = x.copy()
    shuffled[held_out[0] > 0] = np.random.default_rng(0).permutation(shuffled[held_out[0] > 0])
    # With no weight they do not stop it either.
    first, second = (
        train(rows, table.months, table.event, 1 - held_out, 0 * held_out, settings, seed=0)
        for rows in (x, shuffled)
    )
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], atol=1e-4)


def test_covariates_that_never_vary_are_left_out_and_outliers_are_clamped() -> None:
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(size=1000), np.full(1000, 0.1), rng.integers(0, 2, 1000)])
    values[0, 0] = 1e6
    table = SurvivalTable(("x", "c", "b"), values, np.ones(1000), np.ones(1000, dtype=bool))
    scaled = fit_standardization(table)
    assert scaled.names == ("x", "b")
    assert scaled.left_out == ("c",)
    assert scaled.high[0] < 5
    inside = scaled.standardized(values[:, [0, 2]])
    np.testing.assert_allclose(inside.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inside.std(axis=0), 1, atol=1e-5)
    assert inside.max() < 5


def test_a_fit_orders_new_cases_and_says_what_it_left_out(fitted: FittedSurvival) -> None:
    assert fitted.names == ("a", "b", "twice a", "rare")
    assert fitted.standardization.left_out == ("constant",)
    test = fitted.test
    assert test is not None
    assert concordance_index(test.months, test.event, fitted.log_risk(test.covariates)) > 0.65
    assert 0.6 < fitted.chosen.c_index < 0.9
    survival = fitted.survival(test.covariates, [0, 6, 12, 24, 600])
    assert (np.diff(survival, axis=1) <= 0).all()
    assert ((survival >= 0) & (survival <= 1)).all()
    assert all((fitted.table.months >= horizon).sum() >= 15 for horizon in fitted.horizons)


def test_out_of_fold_risks_are_calibrated_in_the_large(fitted: FittedSurvival) -> None:
    from export.survival.kaplan_meier import kaplan_meier

    predicted = 1 - fitted.out_of_fold_survival([24.0]).mean()
    observed = 1 - kaplan_meier(fitted.table.months, fitted.table.event).at([24.0])[0]
    assert predicted == pytest.approx(observed, abs=0.05)


def test_the_bundle_answers_as_torch_does(fitted: FittedSurvival, tmp_path: Path) -> None:
    model = SurvivalModel.load(export_survival(fitted, tmp_path / "drawn", DESCRIBED))
    rows = np.vstack([fitted.table.covariates, fitted.table.covariates + 40, fitted.table.covariates - 40])
    explained, outputs = model.explanation(rows), fitted.outputs(rows)
    np.testing.assert_allclose(explained.log_risk, outputs["log_risk"].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(explained.attention, outputs["attention"].mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(
        explained.effective_signal, outputs["effective_signal"].mean(axis=1), atol=1e-5
    )
    at = [0.0, 3.5, 12.0, 24.0, 1000.0]
    np.testing.assert_allclose(model.survival(rows, at), fitted.survival(rows, at), atol=1e-5)
    with pytest.raises(ModelInputError, match="not local tumor progression"):
        model.risk("f", 3.0, 0.5)
    with pytest.raises(ModelInputError, match="finite numbers"):
        model.survival(rows[:, :2], at)


def test_the_same_fit_gives_the_same_bytes(fitted: FittedSurvival, tmp_path: Path) -> None:
    again = fit_survival(drawn_table(), test=drawn_table(seed=1), seed=3, settings=SETTINGS)
    folders = [
        export_survival(one, tmp_path / name, DESCRIBED, files={"fit_report.json": b"{}"})
        for name, one in (("first", fitted), ("second", again))
    ]
    for path in sorted(folders[0].iterdir()):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name
    assert "fit_report.json" in load_bundle(folders[0]).contents
    with pytest.raises(InvalidRequestError, match="exists already"):
        export_survival(fitted, folders[0], DESCRIBED)


def test_too_few_cases_events_or_covariates_are_refused() -> None:
    table = drawn_table()
    with pytest.raises(EstimationError, match="at least 30 cases and 10 events"):
        fit_survival(table.rows(np.arange(table.cases) < 29))
    few = SurvivalTable(table.names, table.covariates, table.months, np.arange(table.cases) < 9)
    with pytest.raises(EstimationError, match="9 events"):
        fit_survival(few)
    with pytest.raises(EstimationError, match="every covariate is the same"):
        fit_survival(table.with_covariates(["constant"]))
    with pytest.raises(InvalidRequestError, match="lacks"):
        fit_survival(table, test=table.with_covariates(["a"]), settings=SETTINGS)


def test_no_horizon_has_fewer_than_15_at_risk() -> None:
    months = np.arange(1.0, 41.0)
    assert choose_horizons(months, (12, 24, 26, 27, 36)) == (12, 24, 26)
    assert choose_horizons(months, None) == (6.5, 13, 19)
    with pytest.raises(EstimationError, match="15 cases at risk"):
        choose_horizons(months, (36,))
    with pytest.raises(EstimationError, match="15 cases at risk"):
        choose_horizons(np.zeros(40), None)


@pytest.mark.parametrize("asked", [(1000,), (12, 1000), (1.5, 1000, 2000)])
def test_a_horizon_that_was_asked_for_is_never_left_out(asked: tuple[float, ...]) -> None:
    """Refused before anything is trained."""
    rng = np.random.default_rng(0)
    table = SurvivalTable(("x",), rng.normal(size=(60, 1)), rng.uniform(20, 40, 60), np.arange(60) % 2 == 0)
    with pytest.raises(EstimationError, match="1000"):
        fit_survival(table, settings=FitSettings(horizons=asked))


def test_the_incidence_under_constant_hazards_is_the_textbooks() -> None:
    months = np.linspace(0, 10, 41)
    own, other, relative = 0.05, 0.1, np.array([[0.5], [2.0]])
    found = cumulative_incidence(relative, months, own * months[None], np.array([4.0, 10.0]), other * months)
    for row, rate in enumerate(own * relative[:, 0]):
        expected = rate / (rate + other) * -np.expm1(-(rate + other) * np.array([4.0, 10.0]))
        np.testing.assert_allclose(found[row, 0], expected, rtol=1e-12)
    without = cumulative_incidence(relative, months, own * months[None], np.array([4.0]))
    np.testing.assert_allclose(without[:, 0, 0], -np.expm1(-4 * own * relative[:, 0]))
    none = cumulative_incidence(relative, months, own * months[None], np.array([4.0]), np.zeros(41))
    np.testing.assert_allclose(none, without, rtol=1e-12)


def test_a_competing_event_lowers_the_risk(tmp_path: Path) -> None:
    table = drawn_table(competing=True)
    with_death = fit_survival(table, seed=3, settings=SETTINGS)
    alone = replace(with_death, competing_hazard=None)
    rows = with_death.table.covariates
    assert (with_death.survival(rows, [24.0]) > alone.survival(rows, [24.0])).all()
    model = SurvivalModel.load(export_survival(with_death, tmp_path / "m", DESCRIBED))
    np.testing.assert_allclose(model.survival(rows, [24.0]), with_death.survival(rows, [24.0]), atol=1e-5)


@pytest.fixture(scope="module")
def ltp() -> FittedSurvival:
    from export.risk_model.simulated_cohort import simulate_cohort

    cohort = simulate_cohort(217, seed=4)
    score = np.random.default_rng(0).normal(size=(217, 1))
    table = SurvivalTable(
        ("sex", "fibrinogen_g_per_l", "complete_coverage", "wavelet-LLH_glcm_Contrast"),
        np.hstack([cohort.covariates, score]),
        cohort.months,
        cohort.progressed,
    )
    settings = replace(ltp_settings(), candidates=(SHORT,), members=5, members_per_fold=1)
    return fit_survival(table, seed=1, settings=settings)


def test_an_ltp_model_serves_the_signatures_features(ltp: FittedSurvival, tmp_path: Path) -> None:
    feature = SignatureFeature(
        name="wavelet-LLH_glcm_Contrast",
        coefficient=0.3,
        mean=0.0,
        sd=1.0,
        reference_low=-2.6,
        reference_high=2.6,
    )
    signature = SignatureSection(
        settings=RadiomicsSettings(), extractor="pyradiomics-bhklab 3.1.4", features=(feature,)
    )
    out = export_survival(ltp, tmp_path / "ltp", DESCRIBED, signature=signature, uses_signature_features=True)
    model = SurvivalModel.load(out)
    section = load_bundle(out).manifest.survival
    assert section is not None
    assert section.horizons_months == (12, 24, 36)
    assert section.calibration is not None
    assert section.covariates[3].distribution is None
    further = {"wavelet-LLH_glcm_Contrast": 0.4}
    risk = model.risk("m", 3.0, 1.0, further=further)
    rows = np.array([[1, 3.0, 1, 0.4]])
    np.testing.assert_allclose(risk.probability, 1 - ltp.survival(rows, [12, 24, 36])[0], atol=1e-5)
    assert model.risk(None, None, 0.5, further=further).flags
    with pytest.raises(ModelInputError, match="is required"):
        model.risk("m", 3.0, 1.0)
    card = (out / "MODEL_CARD.md").read_text()
    assert "the signature's features are covariates" in card
    assert "Calibration slope out of fold (5 folds)" in card


def test_a_manifest_that_contradicts_itself_is_refused(ltp: FittedSurvival, tmp_path: Path) -> None:
    out = export_survival(ltp, tmp_path / "ltp", DESCRIBED)
    text = (out / "manifest.json").read_text()
    for old, new in (
        ('"uses_radscore": false', '"uses_radscore": true'),
        ('"uses_radscore": false', '"uses_radscore": false, "uses_signature_features": true'),
        ('"uses_radscore": false', '"uses_radscore": false, "purpose": "other"'),
        ('"uses_radscore": false', '"uses_radscore": false, "time_unit": "days"'),
        ('"name": "complete_coverage"', '"name": "coverage"'),
    ):
        assert old in text
        (out / "manifest.json").write_text(text.replace(old, new, 1))
        sealed_anew(out)
        with pytest.raises(ManifestError):
            load_bundle(out)
