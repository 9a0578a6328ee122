"""Brier score under censoring, compared with its definition and scikit-survival, and where it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import EstimationError, InvalidRequestError
from export.survival.brier import brier_scores, evaluation_months, integrated_brier
from export.survival.kaplan_meier import kaplan_meier
from tests.support.cohorts.survival_cohorts import Cohort, draw_cohort

ORACLE = "the oracles of the survival statistics: make setup-export"


def true_survival(log_risk: Any, at: Any) -> Any:
    return np.exp(-np.exp(log_risk)[:, None] * np.asarray(at) / 20)


def null_survival(cohort: Cohort, at: Any) -> Any:
    curve = kaplan_meier(cohort.months, cohort.event).at(at)
    return np.broadcast_to(curve, (cohort.months.size, np.size(at)))


@pytest.mark.parametrize("censored", [0.1, 0.5, 0.85])
def test_brier_equals_scikit_survival(censored: float) -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason=ORACLE)
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    cohort = draw_cohort(200, seed=9, censored=censored)
    at = np.linspace(cohort.months.min(), np.sort(cohort.months)[-15], 40)
    survival = true_survival(cohort.log_risk, at)
    outcomes = surv.from_arrays(cohort.event, cohort.months)
    _, expected = metrics.brier_score(outcomes, outcomes, survival, at)
    scores = brier_scores(cohort.months, cohort.event, survival, at)
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    whole = metrics.integrated_brier_score(outcomes, outcomes, survival, at)
    assert integrated_brier(at, scores) == pytest.approx(whole, rel=1e-10)
    null_scores = brier_scores(cohort.months, cohort.event, null_survival(cohort, at), at)
    assert integrated_brier(at, scores) < integrated_brier(at, null_scores)


def followed_for_36_months(cases: int = 300) -> Cohort:
    """A cohort in which whoever has no event until then is lost at 36 months, and nobody before."""
    cohort = draw_cohort(cases, (0.7,), seed=21, censored=0.0)
    return Cohort(cohort.covariates, np.minimum(cohort.months, 36.0), cohort.months <= 36.0, cohort.log_risk)


def test_where_all_are_censored_at_36_months_the_curve_ends_before_and_equals_scikit_survival() -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason=ORACLE)
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    cohort = followed_for_36_months()
    assert np.count_nonzero(cohort.months == 36.0) > 15
    at = evaluation_months(cohort.months)
    assert at[-1] == cohort.months[cohort.months < 36.0].max()
    survival = true_survival(cohort.log_risk, at)
    scores = brier_scores(cohort.months, cohort.event, survival, at)
    # scikit-survival defines it from the first time on that the cohort has.
    inside = at >= cohort.months.min()
    outcomes = surv.from_arrays(cohort.event, cohort.months)
    _, expected = metrics.brier_score(outcomes, outcomes, survival[:, inside], at[inside])
    np.testing.assert_allclose(scores[inside], expected, atol=1e-9)
    whole = metrics.integrated_brier_score(outcomes, outcomes, survival[:, inside], at[inside])
    assert integrated_brier(at[inside], scores[inside]) == pytest.approx(whole, abs=1e-9)


def test_the_last_score_is_not_pulled_down_by_those_who_leave_with_it() -> None:
    """Until the end nobody is lost: the score is the plain mean of squares."""
    cohort = followed_for_36_months()
    at = evaluation_months(cohort.months)[-1:]
    null = null_survival(cohort, at)
    scores = brier_scores(cohort.months, cohort.event, null, at)
    share = null[0, 0]
    assert scores[0] == pytest.approx(share * (1 - share), rel=1e-9)


@pytest.mark.parametrize("beyond", [0.0, 1e-9, 5.0])
@pytest.mark.parametrize("competing", [False, True])
def test_a_time_at_or_beyond_the_last_follow_up_is_refused(beyond: float, competing: bool) -> None:
    cohort = followed_for_36_months()
    others = ~cohort.event & (cohort.months < 36.0) if competing else None
    with pytest.raises(EstimationError, match=r"nobody was followed beyond 36 months: no Brier score at"):
        brier_scores(cohort.months, cohort.event, np.ones((300, 2)), [12.0, 36.0 + beyond], competing=others)


def test_without_censoring_brier_is_the_mean_square() -> None:
    cohort = draw_cohort(50, seed=10, censored=0.0, tied=True)
    at = np.array([0.5, 3.0, 4.0])
    survival = true_survival(cohort.log_risk, at)
    expected = ((cohort.months[:, None] > at) - survival) ** 2
    scores = brier_scores(cohort.months, cohort.event, survival, at)
    np.testing.assert_allclose(scores, expected.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_weighting_recovers_the_brier_score_that_censoring_hides(tied: bool) -> None:
    """In discrete time too: an event and a loss at one time, the event came first."""
    rng = np.random.default_rng(11)
    truth, lost = rng.exponential(20, 40000), rng.exponential(25, 40000)
    if tied:
        truth, lost = np.ceil(truth / 10), np.ceil(lost / 10)
    at = np.array([1.0, 2.0, 3.0]) * (1 if tied else 10)
    survival = np.full((40000, 3), [0.7, 0.4, 0.2])
    expected = (((truth[:, None] > at) - survival) ** 2).mean(axis=0)
    scores = brier_scores(np.minimum(truth, lost), truth <= lost, survival, at)
    np.testing.assert_allclose(scores, expected, atol=0.006)


def test_the_null_model_loses_against_the_truth_and_beats_a_wrong_model() -> None:
    cohort = draw_cohort(400, (1.0,), seed=12)
    at = evaluation_months(cohort.months)
    assert np.count_nonzero(cohort.months >= at[-1]) == 15
    right, wrong, null = (
        brier_scores(cohort.months, cohort.event, survival, at)
        for survival in (
            true_survival(cohort.log_risk, at),
            true_survival(-cohort.log_risk, at),
            null_survival(cohort, at),
        )
    )
    assert 1 - integrated_brier(at, right) / integrated_brier(at, null) > 0.1
    assert 1 - integrated_brier(at, wrong) / integrated_brier(at, null) < 0
    assert right[0] == 0
    assert null.max() < 0.3


def test_what_brier_cannot_say_is_refused() -> None:
    cohort = draw_cohort(60, seed=13)
    last = cohort.months.max()
    with pytest.raises(EstimationError, match="nobody was followed beyond"):
        brier_scores(cohort.months, cohort.event, np.ones((60, 1)), [last + 1])
    with pytest.raises(InvalidRequestError, match="one row per case"):
        brier_scores(cohort.months, cohort.event, np.ones((60, 2)), [1.0])
    with pytest.raises(InvalidRequestError, match="outside 0 to 1"):
        brier_scores(cohort.months, cohort.event, np.full((60, 1), 1.1), [1.0])
    with pytest.raises(EstimationError, match="needs 15"):
        evaluation_months(cohort.months[:14])
    with pytest.raises(EstimationError, match="needs 15"):
        evaluation_months(np.full(40, 12.0))
    for at in ([1.0], [2.0, 1.0], [1.0, 1.0]):
        with pytest.raises(InvalidRequestError, match="ascending"):
            integrated_brier(at, np.zeros(len(at)))
