"""The simulated cohort has the marginals, hazard ratios and event share it says it has."""

from __future__ import annotations

import numpy as np
import pytest

from export.risk_model.simulated_cohort import (
    EVENT_SHARE,
    SimulatedCohort,
    baseline_hazard_per_month,
    simulate_cohort,
)


@pytest.fixture(scope="module")
def cohort() -> SimulatedCohort:
    return simulate_cohort(60_000, seed=7)


def cox_newton(cohort: SimulatedCohort) -> np.ndarray:
    """Cox regression by Newton's method, written apart from the library (no ties)."""
    order = np.argsort(-cohort.months)
    x, event = cohort.covariates[order], cohort.progressed[order]
    x = x - x.mean(axis=0)
    beta = np.zeros(x.shape[1])
    for _ in range(12):
        risk = np.exp(x @ beta)[:, None]
        total = np.cumsum(risk, axis=0)
        mean = np.cumsum(risk * x, axis=0) / total
        square = np.cumsum((risk * x)[:, :, None] * x[:, None, :], axis=0) / total[:, :, None]
        information = (square - mean[:, :, None] * mean[:, None, :])[event].sum(axis=0)
        beta = beta + np.linalg.solve(information, (x - mean)[event].sum(axis=0))
    return beta


def test_the_marginals_are_those_of_table_1(cohort: SimulatedCohort) -> None:
    assert cohort.male.mean() == pytest.approx(109 / 217, abs=0.01)
    assert cohort.complete_coverage.mean() == pytest.approx(70 / 217, abs=0.01)
    assert np.percentile(cohort.fibrinogen_g_per_l, [25, 50, 75]) == pytest.approx([2.6, 3.0, 3.5], abs=0.04)
    assert np.percentile(cohort.age_years, 50) == pytest.approx(65, abs=0.3)
    assert 25 <= cohort.age_years.min() <= cohort.age_years.max() <= 86
    assert np.percentile(cohort.lesion_diameter_mm, [25, 50, 75]) == pytest.approx([14, 18, 23], abs=0.3)


def test_the_share_of_progressions_is_the_assumed_one(cohort: SimulatedCohort) -> None:
    assert cohort.progressed.mean() == pytest.approx(EVENT_SHARE, abs=0.01)
    assert 0.005 < baseline_hazard_per_month() < 0.1


def test_an_independent_cox_regression_finds_the_published_hazard_ratios(cohort: SimulatedCohort) -> None:
    np.testing.assert_allclose(np.exp(cox_newton(cohort)), [1.568, 1.540, 0.110], rtol=0.07)


def test_covariates_do_not_move_together(cohort: SimulatedCohort) -> None:
    correlation = np.corrcoef(cohort.covariates.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.02


def test_the_same_seed_gives_the_same_cohort_and_another_does_not() -> None:
    one, same, other = simulate_cohort(50, 1), simulate_cohort(50, 1), simulate_cohort(50, 2)
    np.testing.assert_array_equal(one.covariates, same.covariates)
    np.testing.assert_array_equal(one.months, same.months)
    assert not np.array_equal(one.months, other.months)
