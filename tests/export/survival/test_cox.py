"""Cox regression, its tables and the proportional-hazards test, beside their definitions and scikit-survival."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from engine.errors import CollinearityError, EstimationError, InvalidRequestError, SeparationError
from export.survival.concordance import concordance_index
from export.survival.cox import CoxFit, fit_cox
from export.survival.cox_tables import cox_tables
from export.survival.kaplan_meier import kaplan_meier
from export.survival.partial_likelihood import (
    log_partial_likelihood,
    martingale_residuals,
    risk_sets,
)
from export.survival.proportional_hazards import proportional_hazards_test
from tests.support.cohorts.survival_cohorts import Cohort, draw_cohort

ORACLE = "the oracles of the survival statistics: make setup-export"
COHORTS = {
    "plain": draw_cohort(),
    "ties": draw_cohort(seed=1, tied=True),
    "heavy censoring": draw_cohort(400, seed=2, censored=0.9),
    "ties and heavy censoring": draw_cohort(400, seed=3, tied=True, censored=0.9),
    "no censoring": draw_cohort(60, seed=4, censored=0.0),
    "ten": draw_cohort(10, (0.5,), seed=5, tied=True, censored=0.3),
}


@pytest.mark.parametrize("name", COHORTS)
def test_the_search_comes_to_rest_at_the_maximum(name: str) -> None:
    cohort = COHORTS[name]
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    sets = risk_sets(cohort.months, cohort.event, "efron")
    at_rest = martingale_residuals(sets, fit.log_risk(cohort.covariates))
    np.testing.assert_allclose(at_rest @ (cohort.covariates - fit.means), 0, atol=1e-9)
    assert fit.log_likelihood == pytest.approx(
        log_partial_likelihood(sets, fit.log_risk(cohort.covariates)), rel=1e-12
    )


@pytest.mark.parametrize("name", COHORTS)
def test_cox_with_efron_ties_equals_scikit_survival(name: str) -> None:
    linear = pytest.importorskip("sksurv.linear_model", reason=ORACLE)
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    cohort = COHORTS[name]
    oracle = linear.CoxPHSurvivalAnalysis(ties="efron", tol=1e-14)
    oracle.fit(cohort.covariates, surv.from_arrays(cohort.event, cohort.months))
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    np.testing.assert_allclose(fit.coefficients, oracle.coef_, rtol=1e-6, atol=1e-8)


def test_standard_errors_and_tests_are_those_of_the_observed_information() -> None:
    cohort = COHORTS["ties"]
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    sets = risk_sets(cohort.months, cohort.event, "efron")
    steps = 1e-5 * np.eye(fit.coefficients.size)
    gradients = [
        cohort.covariates.T @ martingale_residuals(sets, cohort.covariates @ (fit.coefficients + step))
        for step in (*steps, *-steps)
    ]
    information = -(np.array(gradients[:3]) - np.array(gradients[3:])) / 2e-5
    np.testing.assert_allclose(fit.covariance, np.linalg.inv(information), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fit.standard_errors, np.sqrt(np.diag(fit.covariance)), rtol=1e-9)
    z = fit.coefficients / fit.standard_errors
    np.testing.assert_allclose(fit.p_values, 2 * stats.norm.sf(np.abs(z)), rtol=1e-9)
    ends = fit.coefficients[:, None] + stats.norm.ppf([0.025, 0.975]) * fit.standard_errors[:, None]
    np.testing.assert_allclose(np.log(fit.intervals_95), ends, rtol=1e-9)
    null = log_partial_likelihood(sets, np.zeros(cohort.months.size))
    expected = stats.chi2.sf(2 * (fit.log_likelihood - null), 3)
    assert fit.likelihood_ratio_p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_martingale_residuals_are_the_slope_of_the_likelihood(ties: Any) -> None:
    cohort = draw_cohort(12, seed=8, tied=True)
    sets = risk_sets(cohort.months, cohort.event, ties)
    residuals = martingale_residuals(sets, cohort.log_risk)
    slopes = [
        (
            log_partial_likelihood(sets, cohort.log_risk + step)
            - log_partial_likelihood(sets, cohort.log_risk - step)
        )
        / 2e-5
        for step in 1e-5 * np.eye(12)
    ]
    np.testing.assert_allclose(residuals, slopes, atol=1e-6)


def test_units_and_offsets_of_covariates_change_nothing() -> None:
    cohort = draw_cohort(seed=9)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    scaled = fit_cox(cohort.covariates * [1e6, 1e-6, 1] + [1e7, 3, -2e4], cohort.months * 1e-3, cohort.event)
    np.testing.assert_allclose(scaled.coefficients * [1e6, 1e-6, 1], fit.coefficients, rtol=1e-6)
    np.testing.assert_allclose(scaled.p_values, fit.p_values, rtol=1e-6)


def test_log_risks_too_large_for_exp_do_not_overflow() -> None:
    cohort = draw_cohort(30, seed=10)
    sets = risk_sets(cohort.months, cohort.event, "efron")
    here = log_partial_likelihood(sets, cohort.log_risk)
    assert log_partial_likelihood(sets, cohort.log_risk + 5000) == pytest.approx(here, rel=1e-9)


def test_a_strong_but_finite_effect_is_fitted() -> None:
    cohort = draw_cohort(300, (6.0, 0.0), seed=11, censored=0.2)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    assert abs(fit.coefficients[0] - 6.0) < 4 * fit.standard_errors[0]


def test_separation_is_refused_and_named() -> None:
    cohort = draw_cohort(80, seed=12)
    monotone = -np.argsort(np.argsort(cohort.months)).astype(float)
    with pytest.raises(SeparationError, match="covariate margin has no bound"):
        fit_cox(
            np.column_stack([cohort.covariates, monotone]),
            cohort.months,
            cohort.event,
            names=["a", "b", "c", "margin"],
        )


def test_a_group_without_an_event_is_a_separation() -> None:
    cohort = draw_cohort(80, seed=13)
    group = (np.arange(80) % 4 == 0).astype(float)
    event = cohort.event & (group == 0)
    with pytest.raises(SeparationError, match="covariate group has no bound \\(towards - infinity"):
        fit_cox(np.column_stack([cohort.covariates[:, 0], group]), cohort.months, event, names=["x", "group"])


def test_two_covariates_that_only_together_order_the_events_are_a_separation() -> None:
    cohort = draw_cohort(80, seed=13, censored=0.0)
    place = -np.argsort(np.argsort(cohort.months)).astype(float)
    noise = 30 * np.random.default_rng(13).normal(size=80)
    with pytest.raises(SeparationError, match=r"covariate (a, b|a|b) has no bound"):
        fit_cox(np.column_stack([place + noise, noise]), cohort.months, cohort.event, names=["a", "b"])


@pytest.mark.filterwarnings("error")
def test_strong_effects_over_which_a_long_step_leaps_are_fitted() -> None:
    cohort = draw_cohort(300, (8.0, -6.0, 3.0, 1.0, 1.0), seed=13, censored=0.1)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    assert (np.abs(fit.coefficients - [8, -6, 3, 1, 1]) < 4 * fit.standard_errors).all()


def test_a_rare_group_with_one_event_is_fitted() -> None:
    cohort = draw_cohort(120, seed=14)
    group = np.zeros(120)
    group[np.flatnonzero(cohort.event)[3]] = 1.0
    group[np.flatnonzero(~cohort.event)[:6]] = 1.0
    fit = fit_cox(np.column_stack([cohort.covariates, group]), cohort.months, cohort.event)
    assert np.isfinite(fit.standard_errors).all()
    assert fit.standard_errors[-1] > 0.8


def test_collinear_and_silent_covariates_are_refused_and_named() -> None:
    cohort = draw_cohort(60, seed=15)
    x = cohort.covariates
    with pytest.raises(CollinearityError, match="covariates 0, 2, 3 cannot be told apart"):
        fit_cox(np.column_stack([x, x[:, 0] - 2 * x[:, 2]]), cohort.months, cohort.event)
    with pytest.raises(CollinearityError, match="covariate 3 is the same for every case"):
        fit_cox(np.column_stack([x, np.full(60, 7.1)]), cohort.months, cohort.event)
    late_only = np.zeros(60)
    months, event = cohort.months.copy(), cohort.event.copy()
    late_only[np.argmin(months)] = 1.0
    event[np.argmin(months)] = False
    with pytest.raises(CollinearityError, match="everybody at risk at every event"):
        fit_cox(np.column_stack([x, late_only]), months, event)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"event": np.zeros(60)}, EstimationError, "no event"),
        ({"event": np.full(60, 2.0)}, InvalidRequestError, "neither 0 nor 1"),
        ({"event": np.ones(59)}, InvalidRequestError, "one event per time"),
        ({"months": np.full(60, np.nan)}, InvalidRequestError, "first at index 0"),
        ({"months": np.full(60, -1.0)}, InvalidRequestError, "count from 0 on"),
        ({"covariates": np.zeros((60, 0))}, EstimationError, "no covariate"),
        ({"covariates": np.full((60, 1), np.inf)}, InvalidRequestError, "first at index 0, 0"),
        ({"covariates": np.zeros((59, 1))}, InvalidRequestError, "one row per case"),
        ({"covariates": np.zeros(60)}, InvalidRequestError, "needs 2"),
        ({"names": ["a"]}, InvalidRequestError, "give one each"),
    ],
)
def test_hostile_input_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    cohort = draw_cohort(60, seed=16)
    arguments = {"covariates": cohort.covariates, "months": cohort.months, "event": cohort.event} | change
    with pytest.raises(error, match=message):
        fit_cox(**arguments)


def test_tables_hold_each_alone_and_those_that_entered_together() -> None:
    cohort = draw_cohort(200, (0.8, 0.0, -0.5), seed=17)
    silent = np.zeros(200)
    covariates = np.column_stack([cohort.covariates, silent])
    tables = cox_tables(["a", "b", "c", "flat"], covariates, cohort.months, cohort.event, enter_below_p=0.05)
    assert [row.name for row in tables.univariable] == ["a", "b", "c"]
    assert [refused.name for refused in tables.refused] == ["flat"]
    assert "covariate flat is the same" in tables.refused[0].reason
    assert [row.name for row in tables.multivariable] == ["a", "c"]
    alone = fit_cox(covariates[:, :1], cohort.months, cohort.event)
    assert tables.univariable[0].hazard_ratio == alone.hazard_ratios[0]
    together = fit_cox(covariates[:, [0, 2]], cohort.months, cohort.event)
    assert tables.multivariable[1].upper_95 == together.intervals_95[1, 1]
    assert tables.multivariable[1].lower_95 < tables.multivariable[1].hazard_ratio < 1
    nobody = cox_tables(["b"], covariates[:, [1]], cohort.months, cohort.event, enter_below_p=1e-9)
    assert nobody.multivariable == ()
    assert nobody.fit is None


def test_the_test_of_all_covariates_together_is_that_of_one_where_there_is_one() -> None:
    cohort = draw_cohort(150, (0.7,), seed=18, tied=True)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    test = proportional_hazards_test(fit, cohort.covariates, cohort.months, cohort.event)
    assert test.global_statistic == pytest.approx(test.statistics[0], rel=1e-9)
    assert test.global_p_value == pytest.approx(test.p_values[0], rel=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_the_proportional_hazards_test_by_its_definition(tied: bool) -> None:
    cohort = draw_cohort(150, seed=18, tied=tied)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    test = proportional_hazards_test(fit, cohort.covariates, cohort.months, cohort.event)
    residuals, drift = [], []
    relative = np.exp(fit.log_risk(cohort.covariates))
    for time in np.unique(cohort.months[cohort.event]):
        dying = cohort.event & (cohort.months == time)
        at_risk = cohort.months >= time
        # Efron: of tied events a growing share has left; their residuals share the mean.
        means = []
        for share in np.arange(dying.sum()) / dying.sum():
            weights = relative * at_risk * (1 - share * dying)
            means.append(weights @ cohort.covariates / weights.sum())
        residuals += list(cohort.covariates[dying] - np.mean(means, axis=0))
        drift += [1 - kaplan_meier(cohort.months, cohort.event).at([time])[0]] * int(dying.sum())
    centered = np.array(drift) - np.mean(drift)
    trend = centered @ np.array(residuals)
    spread = centered @ centered / fit.events
    scaled = trend @ fit.covariance
    np.testing.assert_allclose(test.statistics, scaled**2 / (np.diag(fit.covariance) * spread), rtol=1e-6)
    assert test.global_statistic == pytest.approx(trend @ fit.covariance @ trend / spread, rel=1e-6)
    np.testing.assert_allclose(test.p_values, stats.chi2.sf(test.statistics, 1), rtol=1e-9)


def test_a_drift_needs_events_at_two_times() -> None:
    cohort = draw_cohort(40, (0.3,), seed=18)
    months = np.where(cohort.event, 5.0, cohort.months + 5.0)
    fit = fit_cox(cohort.covariates, months, cohort.event)
    with pytest.raises(EstimationError, match="at one time"):
        proportional_hazards_test(fit, cohort.covariates, months, cohort.event)


def test_a_drifting_effect_is_found_and_a_constant_one_is_not() -> None:
    rng = np.random.default_rng(19)
    x = rng.integers(0, 2, (600, 2)).astype(float)
    early = rng.exponential(10 * np.exp(-1.5 * x[:, 0] - 0.7 * x[:, 1]))
    late = 8 + rng.exponential(10 * np.exp(1.0 * x[:, 0] - 0.7 * x[:, 1]))
    months = np.where(early < 8, early, late)
    fit = fit_cox(x, months, np.ones(600))
    test = proportional_hazards_test(fit, x, months, np.ones(600))
    assert test.p_values[0] < 1e-3
    assert test.p_values[1] > 0.01
    assert test.global_p_value < 1e-3
    one = proportional_hazards_test(fit_cox(x[:, :1], months, np.ones(600)), x[:, :1], months, np.ones(600))
    assert one.global_statistic == pytest.approx(one.statistics[0])


def test_another_cohort_than_the_fitted_one_is_refused() -> None:
    cohort = draw_cohort(60, seed=20)
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    with pytest.raises(InvalidRequestError, match="not the cohort"):
        proportional_hazards_test(fit, cohort.covariates[:50], cohort.months[:50], cohort.event[:50])


def published() -> Path:
    root = os.environ.get("COLDSPOT_DATA")
    if not root:
        pytest.skip("COLDSPOT_DATA is not set: no published survival data")
    return Path(root) / "survival-deepsurv"


PUBLISHED_COX = {
    # File, and the test C-index of a Cox model on these splits as it was measured independently.
    "whas_train_test.h5": 0.8159,
    "support_train_test.h5": 0.5831,
    "metabric_IHC4_clinical_train_test.h5": 0.6323,
    "gbsg_cancer_train_test.h5": 0.6563,
}


@pytest.mark.parametrize("name", PUBLISHED_COX)
def test_cox_on_published_data_reaches_the_maximum_and_the_known_c_index(name: str) -> None:
    h5py = pytest.importorskip("h5py", reason="reads the published data: make setup-export")
    with h5py.File(published() / name) as file:
        train, test = (
            Cohort(part["x"][()].astype(float), part["t"][()].astype(float), part["e"][()] > 0.5, np.zeros(0))
            for part in (file["train"], file["test"])
        )
    fit: CoxFit = fit_cox(train.covariates, train.months, train.event)
    at_rest = martingale_residuals(
        risk_sets(train.months, train.event, "efron"), fit.log_risk(train.covariates)
    )
    np.testing.assert_allclose(
        at_rest @ (train.covariates - fit.means) / train.covariates.std(axis=0), 0, atol=1e-5
    )
    c_index = concordance_index(test.months, test.event, fit.log_risk(test.covariates))
    assert c_index == pytest.approx(PUBLISHED_COX[name], abs=1e-3)
