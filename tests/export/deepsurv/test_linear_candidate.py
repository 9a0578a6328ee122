"""Cox among the candidates of a fit: the same coefficients, the same form, chosen unless another is better."""

from __future__ import annotations

import numpy as np
import pytest

from export.survival.concordance import concordance_index
from export.survival.cox import fit_cox
from export.survival.table import SurvivalTable

torch = pytest.importorskip("torch", reason="training needs torch: make setup-export")

from export.deepsurv.ensemble import draw_member_cases, train_members  # noqa: E402 - after the check for torch
from export.deepsurv.fitting import fit_survival  # noqa: E402
from export.deepsurv.linear import LinearSettings, fit_coefficients, linear_ensemble  # noqa: E402
from export.deepsurv.network import evaluate  # noqa: E402
from export.deepsurv.settings import FitSettings  # noqa: E402
from export.deepsurv.training import NetworkSettings, train  # noqa: E402
from export.survival_report.fitted_model import reported_model  # noqa: E402

SHORT = NetworkSettings(hidden=6, l2=1e-2, max_steps=120, patience_steps=40)


def drawn(cases: int, seed: int, *, linear: bool) -> SurvivalTable:
    """Three covariates that count, in proportion or by their squares; whole months, so ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cases, 3))
    risk = x @ [1.0, -0.7, 0.4] if linear else 1.3 * (x**2 - 1) @ [1.0, -0.7, 0.4]
    event_at, ended_at = rng.exponential(20 / np.exp(risk)), rng.uniform(5, 60, cases)
    return SurvivalTable(("a", "b", "c"), x, np.ceil(np.minimum(event_at, ended_at)), event_at <= ended_at)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_coefficients_are_those_of_cox_and_weights_count_cases(seed: int) -> None:
    table = drawn(120, seed, linear=True)
    kept = np.random.default_rng(seed).random(120) < 0.7
    found = fit_coefficients(
        table.covariates,
        table.months,
        table.event,
        np.array([np.ones(120), kept.astype(float)]),
        LinearSettings(l2=0.0),
    )
    for coefficients, cases in zip(found, (np.ones(120, dtype=bool), kept), strict=True):
        cox = fit_cox(table.covariates[cases], table.months[cases], table.event[cases])
        np.testing.assert_allclose(coefficients, cox.coefficients, rtol=1e-4, atol=1e-5)


def test_covariates_that_repeat_each_other_have_an_answer() -> None:
    table = drawn(60, 3, linear=True)
    doubled = np.column_stack([table.covariates, table.covariates[:, 0]])
    found = fit_coefficients(doubled, table.months, table.event, np.ones((1, 60)), LinearSettings())
    assert found[0, 0] == pytest.approx(found[0, 3], abs=1e-6)


@pytest.mark.parametrize("hidden", [1, 5])
def test_a_linear_ensemble_computes_its_coefficients_with_even_attention(hidden: int) -> None:
    rng = np.random.default_rng(0)
    coefficients, rows = rng.normal(size=(4, 3)), rng.normal(size=(20, 3)).astype(np.float32)
    outputs = evaluate(linear_ensemble(coefficients, hidden), rows)
    np.testing.assert_allclose(outputs["log_risk"], rows @ coefficients.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["attention"], 1.0, rtol=1e-6)


def test_members_of_a_linear_ensemble_have_mean_0_over_their_cases() -> None:
    table = drawn(90, 4, linear=True)
    cases = draw_member_cases(table.event, 5, 5, bayesian_bootstrap=True, rng=np.random.default_rng(0))
    ensemble = train_members(
        table.covariates + 2.0, table.months, table.event, cases, LinearSettings(), seed=0
    )
    log_risk = evaluate(ensemble, (table.covariates + 2.0).astype(np.float32))["log_risk"]
    np.testing.assert_allclose((log_risk.T * cases.weights).sum(axis=1), 0.0, atol=1e-3)


def test_a_network_that_shrinks_hard_toward_cox_stays_it() -> None:
    table = drawn(120, 5, linear=False)
    held_out = (np.arange(120) % 4 == 0).astype(float)[None]
    settings = NetworkSettings(hidden=6, l2=1e4, learning_rate=1e-3, max_steps=60, shrunk_to_linear=True)
    x = table.covariates
    network = train(x, table.months, table.event, 1 - held_out, held_out, settings, seed=0)
    coefficients = fit_coefficients(x, table.months, table.event, 1 - held_out, LinearSettings())
    rows = x.astype(np.float32)
    found, linear = (
        evaluate(weights, rows)["log_risk"][:, 0] for weights in (network, linear_ensemble(coefficients))
    )
    assert np.std((found - linear) - (found - linear).mean()) < 0.1 * linear.std()


@pytest.mark.parametrize(("linear", "won"), [(True, LinearSettings), (False, NetworkSettings)])
def test_cox_is_chosen_where_effects_are_linear_and_a_network_where_they_are_not(
    linear: bool, won: type
) -> None:
    table, test = drawn(300, 6, linear=linear), drawn(600, 7, linear=linear)
    settings = FitSettings(candidates=(LinearSettings(), SHORT), members=5, members_per_fold=1)
    fitted = fit_survival(table, seed=0, settings=settings)
    assert isinstance(fitted.chosen.settings, won)
    cox = fit_cox(table.covariates, table.months, table.event).log_risk(test.covariates)
    ours = concordance_index(test.months, test.event, fitted.log_risk(test.covariates))
    assert ours >= concordance_index(test.months, test.event, cox) - 0.005
    said = reported_model(
        fitted, (), model_id="drawn", model_version="1.0.0", fitted_on="drawn cases", simulated=True
    ).settings
    assert said["won"].startswith(str(fitted.chosen.settings))
    assert ("Cox" in said["model"]) == linear
