"""Kaplan–Meier, log-rank, Aalen–Johansen and group comparisons, compared with their definitions and oracles."""

from __future__ import annotations

import lifelines
import numpy as np
import pytest
from scipy import stats

from engine.errors import EstimationError, InvalidRequestError
from export.survival.competing_risks import aalen_johansen
from export.survival.groups import compare_categorical, compare_continuous, group_labels
from export.survival.kaplan_meier import kaplan_meier, number_at_risk
from export.survival.log_rank import log_rank
from tests.support.cohorts.survival_cohorts import draw_cohort

ORACLE = "the oracles of the survival statistics: make setup-export"


@pytest.mark.parametrize("censored", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("tied", [False, True])
def test_kaplan_meier_and_its_interval_by_their_definition(tied: bool, censored: float) -> None:
    cohort = draw_cohort(90, seed=1, tied=tied, censored=censored)
    curve = kaplan_meier(cohort.months, cohort.event)
    np.testing.assert_array_equal(curve.months, np.unique([0.0, *cohort.months]))
    survival, greenwood = 1.0, 0.0
    for place, month in enumerate(curve.months):
        at_risk = np.count_nonzero(cohort.months >= month)
        dying = np.count_nonzero(cohort.event & (cohort.months == month))
        assert curve.at_risk[place] == at_risk
        assert curve.events[place] == dying
        assert curve.censored[place] == np.count_nonzero(~cohort.event & (cohort.months == month))
        survival *= 1 - dying / at_risk
        assert curve.survival[place] == pytest.approx(survival, abs=1e-12)
        if survival < 1e-12:
            assert np.isnan(curve.lower_95[place])
            assert np.isnan(curve.upper_95[place])
            continue
        greenwood += dying / (at_risk * (at_risk - dying))
        width = 0.0 if survival == 1 else stats.norm.ppf(0.975) * np.sqrt(greenwood) / abs(np.log(survival))
        assert curve.lower_95[place] == pytest.approx(survival ** np.exp(width), abs=1e-9)
        assert curve.upper_95[place] == pytest.approx(survival ** np.exp(-width), abs=1e-9)
    at = np.array([0.0, 0.1, 3.0, 7.5, 1e4])
    steps = [curve.survival[curve.months <= time][-1] for time in at]
    np.testing.assert_array_equal(curve.at(at), steps)


@pytest.mark.parametrize("tied", [False, True])
def test_kaplan_meier_equals_scikit_survival(tied: bool) -> None:
    nonparametric = pytest.importorskip("sksurv.nonparametric", reason=ORACLE)
    cohort = draw_cohort(90, seed=1, tied=tied)
    months, survival = nonparametric.kaplan_meier_estimator(cohort.event, cohort.months)
    curve = kaplan_meier(cohort.months, cohort.event)
    np.testing.assert_allclose(curve.at(months), survival, atol=1e-12)


def test_a_curve_by_hand() -> None:
    curve = kaplan_meier([1, 2, 2, 3, 5], [1, 1, 0, 0, 1])
    np.testing.assert_allclose(curve.survival, [1, 0.8, 0.6, 0.6, 0])
    assert curve.at_risk.tolist() == [5, 5, 4, 2, 1]
    assert curve.median() == 5
    assert kaplan_meier([1, 2], [0, 0]).median() == float("inf")
    np.testing.assert_allclose(kaplan_meier([0, 2], [1, 0]).at([0, 1]), 0.5)
    np.testing.assert_array_equal(curve.interval_at([0.5]), [[1, 1]])
    assert number_at_risk([1, 2, 2, 3, 5], [0, 2, 2.5, 6]).tolist() == [5, 4, 2, 0]


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_log_rank_equals_scikit_survival(tied: bool, groups: int) -> None:
    compare = pytest.importorskip("sksurv.compare", reason=ORACLE).compare_survival
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    cohort = draw_cohort(120, (1.0,), seed=2, tied=tied)
    labels = np.digitize(cohort.covariates[:, 0], np.linspace(-1, 1, groups - 1) if groups > 2 else [0])
    statistic, p_value = compare(surv.from_arrays(cohort.event, cohort.months), labels)
    test = log_rank(cohort.months, cohort.event, [f"group {label}" for label in labels])
    assert test.statistic == pytest.approx(statistic, rel=1e-9)
    assert test.p_value == pytest.approx(p_value, rel=1e-9)
    assert test.degrees_of_freedom == groups - 1


def test_log_rank_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(EstimationError, match="one group only"):
        log_rank([1, 2], [1, 1], ["a", "a"])
    with pytest.raises(EstimationError, match="never at risk together"):
        log_rank([1, 2, 8, 9], [0, 0, 1, 1], ["a", "a", "b", "b"])
    with pytest.raises(EstimationError, match="never at risk together"):
        log_rank([1, 2, 5, 5], [0, 0, 1, 1], ["a", "b", "a", "b"])
    with pytest.raises(EstimationError, match="never at risk together"):
        log_rank([1, 2], [0, 0], ["a", "b"])
    with pytest.raises(InvalidRequestError, match="one per case"):
        log_rank([1, 2], [1, 1], ["a"])


def test_aalen_johansen_equals_lifelines() -> None:
    rng = np.random.default_rng(3)
    months, cause = rng.exponential(10, 150), rng.integers(0, 3, 150)
    curves = aalen_johansen(months, cause)
    for code in (1, 2):
        oracle = lifelines.AalenJohansenFitter(calculate_variance=True).fit(
            months, cause, event_of_interest=code
        )
        expected = oracle.cumulative_density_.to_numpy()[:, 0]
        np.testing.assert_allclose(curves.incidence[code - 1], expected, atol=1e-12)
        some = expected > 0
        bounds = oracle.confidence_interval_.to_numpy()[some]
        inside = np.isfinite(bounds).all(axis=1)
        np.testing.assert_allclose(curves.lower_95[code - 1, some][inside], bounds[inside, 0], atol=1e-7)
        np.testing.assert_allclose(curves.upper_95[code - 1, some][inside], bounds[inside, 1], atol=1e-7)
    np.testing.assert_allclose(curves.incidence.sum(axis=0) + curves.event_free, 1, atol=1e-12)
    np.testing.assert_allclose(curves.at([1e3])[:, 0], curves.incidence[:, -1])


def test_one_cause_alone_is_one_minus_kaplan_meier_ties_too() -> None:
    cohort = draw_cohort(80, seed=4, tied=True)
    curves = aalen_johansen(cohort.months, cohort.event)
    curve = kaplan_meier(cohort.months, cohort.event)
    np.testing.assert_allclose(curves.incidence[0], 1 - curve.survival, atol=1e-12)


def test_competing_deaths_lower_the_incidence() -> None:
    curves = aalen_johansen([1, 2, 3, 4], [2, 1, 2, 1])
    np.testing.assert_allclose(curves.incidence[:, -1], [0.5, 0.5])
    assert 1 - kaplan_meier([1, 2, 3, 4], [0, 1, 0, 1]).survival[-1] == 1
    with pytest.raises(EstimationError, match="no event of any cause"):
        aalen_johansen([1, 2], [0, 0])
    for causes in ([0.5, 1], [-1, 1]):
        with pytest.raises(InvalidRequestError, match="whole number"):
            aalen_johansen([1, 2], causes)


def test_continuous_variables_are_compared_by_ranks() -> None:
    rng = np.random.default_rng(5)
    values, groups = rng.normal(size=60), np.repeat(["train", "external", "internal"], 20)
    row = compare_continuous("age", values, groups)
    assert group_labels(groups) == ("external", "internal", "train")
    assert row.groups[2].median == np.median(values[:20])
    assert (row.groups[0].q1, row.groups[0].q3) == tuple(np.percentile(values[20:40], [25, 75]))
    expected = stats.kruskal(values[:20], values[20:40], values[40:]).pvalue
    assert row.test == "Kruskal–Wallis"
    assert row.p_value == pytest.approx(expected)
    two = compare_continuous("age", values[:40], groups[:40])
    expected = stats.mannwhitneyu(values[:20], values[20:40]).pvalue
    assert two.test == "Mann–Whitney U"
    assert two.p_value == pytest.approx(expected)
    assert compare_continuous("constant", np.ones(60), groups).p_value == 1
    with pytest.raises(EstimationError, match="one group only"):
        compare_continuous("age", values[:20], groups[:20])
    with pytest.raises(InvalidRequestError, match="not a finite number"):
        compare_continuous("age", np.full(60, np.nan), groups)


def test_categories_are_compared_by_the_test_that_their_counts_allow() -> None:
    groups = ["a"] * 50 + ["b"] * 50
    row = compare_categorical("sex", ["f"] * 20 + ["m"] * 30 + ["f"] * 32 + ["m"] * 18, groups)
    assert row.counts == ((20, 32), (30, 18))
    expected = stats.chi2_contingency(np.array(row.counts), correction=False).pvalue
    assert row.test == "chi-square"
    assert row.p_value == pytest.approx(expected)
    rare = compare_categorical("stent", ["y"] * 3 + ["n"] * 97, groups)
    assert rare.test == "Fisher's exact"
    assert rare.p_value == pytest.approx(stats.fisher_exact(np.array([[47, 50], [3, 0]])).pvalue)
    sparse = compare_categorical("lobe", ["u"] * 3 + ["m"] * 47 + ["l"] * 50, groups)
    assert sparse.test == "chi-square (an expected count is below 5)"
    alike = compare_categorical("race", ["x"] * 100, groups)
    assert (alike.counts, alike.p_value) == (((50, 50),), None)
    with pytest.raises(InvalidRequestError, match="one each"):
        compare_categorical("sex", ["f"], groups)
    with pytest.raises(EstimationError, match="one group only"):
        compare_categorical("sex", ["f", "m"], ["a", "a"])
