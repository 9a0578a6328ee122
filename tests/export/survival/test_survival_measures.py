"""Concordance, Breslow's baseline and calibration, compared with their definitions and scikit-survival."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EstimationError, InvalidRequestError
from export.survival.breslow import breslow_cumulative_hazard, survival_curves
from export.survival.calibration import calibration_curve
from export.survival.calibration_slope import calibration_slope
from export.survival.concordance import concordance_difference_error, concordance_index, concordance_interval
from tests.support.cohorts.survival_cohorts import draw_cohort

ORACLE = "the oracles of the survival statistics: make setup-export"

cases_with_ties = st.lists(
    st.tuples(st.integers(1, 6), st.booleans(), st.floats(-2, 2)), min_size=2, max_size=12
)


@given(cases_with_ties)
@settings(deadline=None)  # the machine may be busy
def test_concordance_agrees_with_counting_pairs(cases: list[tuple[int, bool, float]]) -> None:
    score, pairs = 0.0, 0
    for i, (time, event, risk) in enumerate(cases):
        for j, (other_time, other_event, other_risk) in enumerate(cases):
            if i != j and event and (time < other_time or (time == other_time and not other_event)):
                pairs += 1
                score += 1.0 if risk > other_risk else 0.5 if risk == other_risk else 0.0
    months, events, risks = (np.array(column) for column in zip(*cases, strict=True))
    if pairs == 0:
        with pytest.raises(EstimationError, match="comparable"):
            concordance_index(months, events, risks)
    else:
        assert concordance_index(months, events, risks) == pytest.approx(score / pairs, abs=1e-12)


@pytest.mark.parametrize("censored", [0.0, 0.4, 0.95])
@pytest.mark.parametrize("tied", [False, True])
def test_concordance_equals_scikit_survival(tied: bool, censored: float) -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason=ORACLE)
    cohort = draw_cohort(700, seed=1, tied=tied, censored=censored)
    risk = np.round(cohort.log_risk, 1)
    expected = metrics.concordance_index_censored(cohort.event, cohort.months, risk)[0]
    assert concordance_index(cohort.months, cohort.event, risk) == pytest.approx(expected, abs=1e-12)


def test_concordance_of_extremes() -> None:
    months = np.arange(1.0, 9.0)
    assert concordance_index(months, np.ones(8), -months) == 1.0
    assert concordance_index(months, np.ones(8), months) == 0.0
    assert concordance_index(months, np.ones(8), np.zeros(8)) == 0.5
    with pytest.raises(InvalidRequestError, match="risk holds a value"):
        concordance_index(months, np.ones(8), np.full(8, np.nan))
    with pytest.raises(InvalidRequestError, match="there is no case"):
        concordance_index([], [], [])


def test_the_bootstrap_interval_repeats_and_covers() -> None:
    cohort = draw_cohort(200, seed=2)
    first = concordance_interval(cohort.months, cohort.event, cohort.log_risk, seed=3)
    assert first == concordance_interval(cohort.months, cohort.event, cohort.log_risk, seed=3)
    assert first != concordance_interval(cohort.months, cohort.event, cohort.log_risk, seed=4)
    low, high = first.interval_95
    assert low < first.c_index < high
    assert 0.05 < high - low < 0.2


def test_the_interval_of_95_percent_holds_the_truth_about_as_often() -> None:
    many = draw_cohort(40000, seed=5)
    truth = concordance_index(many.months, many.event, many.log_risk)
    held = 0
    for seed in range(100):
        cohort = draw_cohort(150, seed=100 + seed)
        interval = concordance_interval(cohort.months, cohort.event, cohort.log_risk, bootstraps=100)
        held += interval.interval_95[0] <= truth <= interval.interval_95[1]
    assert 88 <= held <= 99


def test_the_interval_equals_resampling_by_hand() -> None:
    cohort = draw_cohort(40, seed=6, tied=True)
    interval = concordance_interval(cohort.months, cohort.event, cohort.log_risk, seed=1, bootstraps=50)
    order = np.lexsort((~cohort.event, cohort.months))
    rng = np.random.default_rng(1)
    indices = [
        concordance_index(cohort.months[drawn], cohort.event[drawn], cohort.log_risk[drawn])
        for drawn in (order[rng.integers(40, size=40)] for _ in range(50))
    ]
    np.testing.assert_allclose(interval.interval_95, np.percentile(indices, [2.5, 97.5]), rtol=1e-12)


@given(cases_with_ties)
@settings(deadline=None)  # the machine may be busy
def test_breslow_agrees_with_its_definition(cases: list[tuple[int, bool, float]]) -> None:
    months, event, log_risk = (np.array(column) for column in zip(*cases, strict=True))
    at = np.arange(0.0, 8.0)
    expected = [
        sum(
            1 / sum(np.exp(g) for t, g in zip(months, log_risk, strict=True) if t >= time)
            for time, dies in zip(months, event, strict=True)
            if dies and time <= horizon
        )
        for horizon in at
    ]
    hazard = breslow_cumulative_hazard(months, event, log_risk, at)
    np.testing.assert_allclose(hazard, expected, rtol=1e-9)


def test_breslow_equals_scikit_survival_and_bears_any_scale() -> None:
    linear = pytest.importorskip("sksurv.linear_model", reason=ORACLE)
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    cohort = draw_cohort(120, seed=7)
    oracle = linear.CoxPHSurvivalAnalysis(tol=1e-12)
    oracle.fit(cohort.covariates, surv.from_arrays(cohort.event, cohort.months))
    log_risk = oracle.predict(cohort.covariates)
    curve = oracle.cum_baseline_hazard_
    hazard = breslow_cumulative_hazard(cohort.months, cohort.event, log_risk, curve.x)
    np.testing.assert_allclose(hazard, curve.y, rtol=1e-9)
    survival = survival_curves(hazard, log_risk[:4])
    expected = [one(curve.x) for one in oracle.predict_survival_function(cohort.covariates[:4])]
    np.testing.assert_allclose(survival, expected, rtol=1e-9)
    shifted = breslow_cumulative_hazard(cohort.months, cohort.event, log_risk + 600, curve.x)
    np.testing.assert_allclose(shifted * np.exp(600), hazard, rtol=1e-9)


def test_breslow_weights_count_as_repeated_cases() -> None:
    months, event, log_risk = np.array([2.0, 3, 5, 4]), np.array([1, 0, 1, 1]), np.array([0.1, 0, 1, 2])
    repeats, at = np.array([2, 1, 3, 0]), np.array([1.0, 2.0, 6.0])
    weighted = breslow_cumulative_hazard(months, event, log_risk, at, repeats)
    repeated = breslow_cumulative_hazard(
        np.repeat(months, repeats), np.repeat(event, repeats), np.repeat(log_risk, repeats), at
    )
    np.testing.assert_allclose(weighted, repeated)
    with pytest.raises(InvalidRequestError, match="negative"):
        breslow_cumulative_hazard(months, event, log_risk, at, -repeats)


def true_survival(log_risk: Any, at: Any) -> Any:
    return np.exp(-np.exp(log_risk)[:, None] * np.asarray(at) / 20)


def test_a_calibrated_model_lies_on_the_diagonal() -> None:
    cohort = draw_cohort(5000, (0.7,), seed=14)
    risk = 1 - true_survival(cohort.log_risk, [10.0])[:, 0]
    curve = calibration_curve(cohort.months, cohort.event, risk, 10.0)
    assert curve.cases.tolist() == [1000] * 5
    assert (np.diff(curve.predicted) > 0).all()
    np.testing.assert_allclose(curve.observed, curve.predicted, atol=0.04)
    assert ((curve.lower_95 < curve.observed) & (curve.observed < curve.upper_95)).all()
    assert curve.observed_to_expected == pytest.approx(1, abs=0.05)
    doubled = calibration_curve(cohort.months, cohort.event, risk / 2, 10.0)
    assert doubled.observed_to_expected == pytest.approx(2, abs=0.1)


def test_equal_risks_stay_together() -> None:
    cohort = draw_cohort(300, (0.7,), seed=15)
    risk = np.where(cohort.covariates[:, 0] > 0.4, 0.6, 0.2)
    curve = calibration_curve(cohort.months, cohort.event, risk, 5.0, groups=4)
    np.testing.assert_allclose(curve.predicted, [0.2, 0.6])
    assert curve.cases.sum() == 300


def test_a_group_that_nobody_saw_to_the_horizon_has_no_observed_risk() -> None:
    months = np.concatenate([np.full(20, 3.0), np.full(20, 30.0)])
    event = np.zeros(40)
    event[[0, 25]] = 1
    risk = np.repeat([0.2, 0.4], 20)
    curve = calibration_curve(months, event, risk, 12.0, groups=2)
    assert np.isnan(curve.observed[0])
    assert curve.observed[1] == 0
    assert curve.at_risk.tolist() == [0, 20]
    with pytest.raises(EstimationError, match="15 are needed"):
        calibration_curve(months, event, risk, 31.0)
    with pytest.raises(InvalidRequestError, match="outside 0 to 1"):
        calibration_curve(months, event, risk * 3, 12.0)
    with pytest.raises(InvalidRequestError, match="give 1 or more"):
        calibration_curve(months, event, risk, 12.0, groups=0)


def test_the_calibration_slope_says_how_overconfident_a_model_is() -> None:
    cohort = draw_cohort(4000, (0.7,), seed=16)
    slope = calibration_slope(cohort.months, cohort.event, cohort.log_risk)
    assert slope.interval_95[0] < 1 < slope.interval_95[1]
    twice = calibration_slope(cohort.months, cohort.event, 2 * cohort.log_risk)
    assert twice.slope == pytest.approx(slope.slope / 2)
    with pytest.raises(EstimationError, match="log-risk is the same"):
        calibration_slope(cohort.months, cohort.event, np.ones(4000))


@pytest.mark.parametrize("ties", [False, True])
def test_the_error_of_a_difference_of_c_indices_is_that_of_its_bootstrap(ties: bool) -> None:
    rng = np.random.default_rng(3)
    months, event = rng.exponential(10, 160), rng.random(160) < 0.6
    if ties:
        months = np.ceil(months)
    risk = -np.log(months) + rng.normal(0, 1, 160)
    other = risk + rng.normal(0, 0.8, 160)
    drawn = [rng.integers(160, size=160) for _ in range(400)]
    differences = [
        concordance_index(months[i], event[i], risk[i]) - concordance_index(months[i], event[i], other[i])
        for i in drawn
    ]
    found = concordance_difference_error(months, event, risk, other)
    assert found == pytest.approx(np.std(differences), rel=0.15)
    assert concordance_difference_error(months, event, risk, 2 * risk) == 0.0
