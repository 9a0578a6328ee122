"""Pearson filter, LASSO-Cox and the signature: optimality, oracles, and nothing seen out of its fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.errors import EstimationError, InvalidRequestError
from export.survival.concordance import concordance_index
from export.survival.cox import fit_cox
from export.survival.lasso_cox import (
    event_stratified_folds,
    fit_lasso_cox,
    lasso_path,
    standardize,
)
from export.survival.partial_likelihood import (
    Ties,
    log_partial_likelihood,
    martingale_residuals,
    risk_sets,
)
from export.survival.redundancy import prepare
from export.survival.signature import fit_signature
from tests.support.cohorts.survival_cohorts import Cohort, draw_cohort

ORACLE = "the oracles of the survival statistics: make setup-export"
WIDE = draw_cohort(120, (0.8, -0.7, 0.5, *[0.0] * 197), seed=1)
TIED = draw_cohort(120, (0.8, -0.7, 0.5, *[0.0] * 37), seed=2, tied=True)


def z_scores(cohort: Cohort) -> Any:
    return standardize(cohort.covariates).apply(cohort.covariates)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("cohort", [WIDE, TIED], ids=["wide", "tied"])
def test_every_solution_of_the_path_is_a_minimum(cohort: Cohort, ties: Ties) -> None:
    """Karush, Kuhn and Tucker: the slope is the penalty where a feature is in, and no more elsewhere."""
    x = z_scores(cohort)
    path = lasso_path(x, cohort.months, cohort.event, ties=ties)
    sets = risk_sets(cohort.months, cohort.event, ties)
    assert not path.coefficients[0].any()
    assert path.coefficients[1].any()
    for penalty, coefficients in zip(path.penalties, path.coefficients, strict=True):
        slope = x.T @ martingale_residuals(sets, x @ coefficients) / cohort.months.size
        active = coefficients != 0
        np.testing.assert_allclose(slope[active], penalty * np.sign(coefficients[active]), atol=1e-7)
        assert np.abs(slope).max() <= penalty + 2e-7


@pytest.mark.parametrize("cohort", [WIDE, TIED], ids=["wide", "tied"])
def test_the_path_equals_scikit_survival(cohort: Cohort) -> None:
    linear = pytest.importorskip("sksurv.linear_model", reason=ORACLE)
    surv = pytest.importorskip("sksurv.util", reason=ORACLE).Surv
    x = z_scores(cohort)
    path = lasso_path(x, cohort.months, cohort.event, ties="breslow")
    oracle = linear.CoxnetSurvivalAnalysis(l1_ratio=1.0, alphas=path.penalties, tol=1e-14, max_iter=1_000_000)
    oracle.fit(x, surv.from_arrays(cohort.event, cohort.months))
    # It ends its path by a rule of its own, and converges less far.
    reached = oracle.coef_.shape[1]
    assert reached > 5
    np.testing.assert_allclose(path.coefficients[:reached], oracle.coef_.T, atol=1e-4)


@pytest.mark.acceptance  # skglm compiles for half a minute
@pytest.mark.filterwarnings("ignore::numba.NumbaPerformanceWarning")
def test_the_path_equals_skglm() -> None:
    datafits = pytest.importorskip("skglm.datafits", reason=ORACLE)
    penalties = pytest.importorskip("skglm.penalties", reason=ORACLE)
    solvers = pytest.importorskip("skglm.solvers", reason=ORACLE)
    x = z_scores(TIED)
    path = lasso_path(x, TIED.months, TIED.event)
    outcomes = np.column_stack([TIED.months, TIED.event]).astype(float)
    likelihood = datafits.Cox(use_efron=True)
    solver = solvers.ProxNewton(fit_intercept=False, tol=1e-10, max_iter=200)
    coefficients = np.zeros(x.shape[1])
    for penalty, expected in zip(path.penalties, path.coefficients, strict=True):
        coefficients, _, _ = solver.solve(
            x, outcomes, likelihood, penalties.L1(penalty), coefficients.copy(), x @ coefficients
        )
        np.testing.assert_allclose(expected, coefficients, atol=1e-7)


def test_a_vanishing_penalty_is_no_penalty() -> None:
    cohort = draw_cohort(200, (0.5, -0.5, 0.2), seed=3, tied=True)
    x = z_scores(cohort)
    path = lasso_path(x, cohort.months, cohort.event, penalties=[1e-2, 1e-9])
    free = fit_cox(x, cohort.months, cohort.event)
    np.testing.assert_allclose(path.coefficients[-1], free.coefficients, atol=1e-6)
    assert path.log_likelihoods[-1] == pytest.approx(free.log_likelihood, rel=1e-9)


def test_a_path_ends_before_it_holds_more_than_one_feature_for_two_events() -> None:
    path = lasso_path(z_scores(WIDE), WIDE.months, WIDE.event)
    most = np.count_nonzero(path.coefficients, axis=1).max()
    assert most <= WIDE.event.sum() / 2
    assert path.penalties.size < 60


@pytest.mark.parametrize("penalties", [[], [0.1, 0.2], [0.1, 0.0], [0.1, 0.1]])
def test_penalties_that_do_not_descend_are_refused(penalties: list[float]) -> None:
    with pytest.raises(InvalidRequestError, match="do not descend"):
        lasso_path(z_scores(TIED), TIED.months, TIED.event, penalties=penalties)


def test_a_path_that_begins_too_low_is_refused() -> None:
    with pytest.raises(EstimationError, match="begin with a larger"):
        lasso_path(z_scores(WIDE), WIDE.months, WIDE.event, penalties=[0.03])


def test_folds_hold_events_and_others_evenly() -> None:
    event = np.arange(217) < 90
    folds = event_stratified_folds(event, 10, np.random.default_rng(0))
    assert set(np.bincount(folds[event])) == {9}
    assert set(np.bincount(folds)) == {21, 22}
    with pytest.raises(EstimationError, match="9 events for 10 folds"):
        event_stratified_folds(np.arange(30) < 9, 10, np.random.default_rng(0))
    with pytest.raises(InvalidRequestError, match="2 or more"):
        event_stratified_folds(event, 1, np.random.default_rng(0))


def test_the_penalty_of_one_standard_error_is_the_largest_within_it() -> None:
    fit = fit_lasso_cox(WIDE.covariates, WIDE.months, WIDE.event, seed=4, repeats=2)
    curve = fit.validation
    bound = curve.deviance[curve.at_minimum] + curve.standard_error[curve.at_minimum]
    assert fit.chosen == curve.at_one_standard_error <= curve.at_minimum
    assert curve.deviance[fit.chosen] <= bound
    assert (curve.deviance[: fit.chosen] > bound).all()
    assert {0, 1} <= set(np.flatnonzero(fit.coefficients))
    least = fit_lasso_cox(WIDE.covariates, WIDE.months, WIDE.event, seed=4, repeats=2, rule="minimum")
    assert least.chosen == curve.at_minimum
    assert np.count_nonzero(least.coefficients) >= np.count_nonzero(fit.coefficients)


def test_the_deviance_of_a_left_out_fold_by_hand() -> None:
    fit = fit_lasso_cox(TIED.covariates, TIED.months, TIED.event, seed=5, folds=3, repeats=1)
    folds = event_stratified_folds(TIED.event, 3, np.random.default_rng(5))
    place, total = 6, 0.0
    for fold in range(3):
        kept = folds != fold
        learned = standardize(TIED.covariates[kept])
        path = lasso_path(
            learned.apply(TIED.covariates[kept]),
            TIED.months[kept],
            TIED.event[kept],
            penalties=fit.path.penalties,
        )
        log_risk = learned.apply(TIED.covariates) @ path.coefficients[place]
        everybody = log_partial_likelihood(risk_sets(TIED.months, TIED.event, "efron"), log_risk)
        others = log_partial_likelihood(
            risk_sets(TIED.months[kept], TIED.event[kept], "efron"), log_risk[kept]
        )
        total += -2 * (everybody - others)
    assert fit.validation.deviance[place] == pytest.approx(total / TIED.event.sum(), rel=1e-9)


def test_of_features_that_say_the_same_one_is_kept() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 80))
    features = np.column_stack([a, -3 * a + 5, b, np.full(80, 1e6), a + 0.05 * rng.normal(size=80), a + b])
    learned = prepare(features)
    assert 2 in learned.columns
    assert 3 not in learned.columns
    assert len({0, 1, 4} & set(learned.columns.tolist())) == 1
    standardized = learned.apply(features)
    correlation = np.corrcoef(standardized.T) - np.eye(learned.columns.size)
    assert np.abs(correlation).max() <= 0.9
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(standardized.std(axis=0), 1, atol=1e-12)
    assert prepare(features, 1.0).columns.tolist() == [0, 1, 2, 4, 5]
    with pytest.raises(InvalidRequestError, match="correlation limit"):
        prepare(features, 0.0)
    with pytest.raises(EstimationError, match="three or more"):
        prepare(features[:2])


def wide_signature(cohort: Cohort, **settings: Any) -> Any:
    names = [f"feature-{index}" for index in range(cohort.covariates.shape[1])]
    defaults: dict[str, Any] = {"seed": 7, "repeats": 1, "folds": 5}
    return fit_signature(cohort.covariates, names, cohort.months, cohort.event, **(defaults | settings))


def test_a_signature_finds_the_features_that_act_and_says_how_stable_they_are() -> None:
    steps: list[tuple[int, int]] = []
    fit = wide_signature(WIDE, on_progress=lambda done, of: steps.append((done, of)))
    assert {"feature-0", "feature-1"} <= set(fit.names)
    assert fit.stability["feature-0"] >= 0.8
    assert list(fit.stability.values()) == sorted(fit.stability.values(), reverse=True)
    assert set(fit.names) <= set(fit.stability)
    assert steps == [(done, 6) for done in range(7)]
    columns = [int(name.removeprefix("feature-")) for name in fit.names]
    x = WIDE.covariates[:, columns]
    np.testing.assert_allclose(
        fit.radscore, fit.intercept + (x - fit.means) / fit.sds @ fit.coefficients, rtol=1e-12
    )
    assert ((fit.reference_low > x.min(axis=0)) & (fit.reference_high < x.max(axis=0))).all()
    apparent = concordance_index(WIDE.months, WIDE.event, fit.radscore)
    honest = concordance_index(WIDE.months, WIDE.event, fit.out_of_fold_radscore)
    assert 0.6 < honest < apparent


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    first, again, other = wide_signature(WIDE), wide_signature(WIDE), wide_signature(WIDE, seed=8)
    assert first.out_of_fold_radscore.tobytes() == again.out_of_fold_radscore.tobytes()
    assert first.coefficients.tobytes() == again.coefficients.tobytes()
    assert first.out_of_fold_radscore.tobytes() != other.out_of_fold_radscore.tobytes()


def test_noise_gives_an_empty_signature_and_an_out_of_fold_score_worth_nothing() -> None:
    noise = draw_cohort(100, (0.0,) * 200, seed=9)
    fit = wide_signature(noise)
    assert fit.names == ()
    assert fit.coefficients.size == fit.means.size == fit.reference_low.size == 0
    assert not fit.radscore.any()
    # The rule of the minimum overfits; its score must look good on the same cases only.
    greedy = wide_signature(noise, rule="minimum")
    assert concordance_index(noise.months, noise.event, greedy.out_of_fold_radscore) < 0.62


def test_the_radscore_of_a_fold_never_saw_that_fold() -> None:
    """Change the left-out cases' outcomes and their features' scale: the others' model must not move."""
    folds = event_stratified_folds(WIDE.event, 5, np.random.default_rng(7))
    left_out = folds == 2
    dying = np.flatnonzero(left_out & WIDE.event)
    months = WIDE.months.copy()
    months[dying] = months[dying[::-1]] * 1.7
    changed = Cohort(WIDE.covariates, months, WIDE.event, WIDE.log_risk)
    before = wide_signature(WIDE).out_of_fold_radscore
    after = wide_signature(changed).out_of_fold_radscore
    assert before[left_out].any()
    np.testing.assert_array_equal(before[left_out], after[left_out])
    assert (before[~left_out] != after[~left_out]).any()


def test_what_a_signature_cannot_be_fitted_to_is_refused_and_named() -> None:
    broken = WIDE.covariates.copy()
    broken[3, 5] = np.nan
    with pytest.raises(InvalidRequestError, match=r"feature feature-5 of case 3 \(from 0\)"):
        wide_signature(Cohort(broken, WIDE.months, WIDE.event, WIDE.log_risk))
    with pytest.raises(InvalidRequestError, match="feature a is named twice"):
        fit_signature(WIDE.covariates[:, :2], ["a", "a"], WIDE.months, WIDE.event, seed=0)
    with pytest.raises(InvalidRequestError, match="1 names for 200 features"):
        fit_signature(WIDE.covariates, ["a"], WIDE.months, WIDE.event, seed=0)
    with pytest.raises(InvalidRequestError, match="rule"):
        wide_signature(WIDE, rule="best")
    with pytest.raises(InvalidRequestError, match="repeats"):
        wide_signature(WIDE, repeats=0)
    few = Cohort(WIDE.covariates, WIDE.months, np.arange(120) < 4, WIDE.log_risk)
    with pytest.raises(EstimationError, match="4 events for 5 folds"):
        wide_signature(few)
