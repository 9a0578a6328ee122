"""What a report measures: accuracy by cohort, risk groups, competing risks, and a real network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from engine.manifest import SIMULATED_COHORT
from export.survival.brier import brier_scores, evaluation_months
from export.survival.calibration import calibration_curve
from export.survival.concordance import concordance_index
from export.survival.kaplan_meier import kaplan_meier
from export.survival_report.build import build_fit_report
from export.survival_report.competing_accuracy import competing_calibration
from export.survival_report.digits import rounded
from export.survival_report.figures.round_times import round_times
from export.survival_report.figures.survival import risk_groups_in_words
from export.survival_report.fit_report import parse_fit_report
from export.survival_report.risk_groups import group_by_risk, risk_cut_offs, watched_until
from tests.support.cohorts.fit_reports import figures, full_report
from tests.support.cohorts.reported_models import cohorts, covariate, table, truth


def test_the_report_measures_a_model_that_is_the_truth() -> None:
    report = full_report()
    assert [(item.cohort, item.role) for item in report.evaluations] == [
        ("external", "test"),
        ("training", "out_of_fold"),
        ("training", "apparent"),
    ]
    for item in report.evaluations:
        assert item.c_index == item.ceiling_c_index  # the model is the simulation's own
        assert item.c_index_interval_95 is not None
        assert item.c_index_interval_95[0] < item.c_index < item.c_index_interval_95[1]
    for item in report.evaluations[:2]:
        assert item.brier is not None
        assert item.brier.integrated == item.brier.ceiling_integrated
        assert item.brier.integrated < item.brier.null_integrated
        assert item.calibration_slope == pytest.approx(1.0, abs=0.5)


def test_fitted_cases_have_no_flattering_pictures() -> None:
    apparent = full_report().evaluations[-1]
    assert apparent.role == "apparent"
    assert apparent.brier is None
    assert apparent.risk_groups is None
    assert apparent.calibration == ()
    assert apparent.calibration_slope is None


def test_curves_of_risk_groups_are_kaplan_meiers_and_end_at_15_at_risk() -> None:
    training, _ = cohorts()
    risks = training.true_log_risk
    cut_offs = risk_cut_offs(risks)
    found = group_by_risk(training.months, training.progressed, risks, cut_offs, "thirds")
    assert sum(group.cases for group in found.groups) == training.months.size
    assert sum(group.events for group in found.groups) == training.progressed.sum()
    until = np.sort(training.months)[-15]
    low, high = -np.inf, np.inf
    edges = [low, *found.cut_offs, high]
    for at, group in enumerate(found.groups):
        inside = (risks > edges[at]) & (risks <= edges[at + 1])
        assert group.cases == inside.sum()
        curve = kaplan_meier(training.months[inside], training.progressed[inside])
        for month, survival in zip(group.months, group.survival, strict=True):
            assert survival == pytest.approx(curve.at([month + 1e-4])[0], abs=1e-5)
        of_group = np.sort(training.months[inside])[-5]
        assert group.months[-1] == pytest.approx(min(until, of_group), rel=1e-5)
        assert group.at_risk == tuple(
            int((training.months[inside] >= month).sum()) for month in found.at_months
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40))
def test_a_curve_ends_where_fewer_than_5_of_its_group_are_at_risk(seed: int, few: int, many: int) -> None:
    rng = np.random.default_rng(seed)
    months = np.round(rng.exponential(20.0, few + many), 1) + 0.1
    event = rng.random(months.size) < 0.5
    risks = np.repeat([0.0, 1.0], [few, many])
    found = group_by_risk(months, event, risks, np.array([0.5]), "the middle")
    for group, inside in zip(found.groups, (risks == 0, risks == 1), strict=True):
        at_risk = [int((months[inside] >= month * (1 - 1e-5)).sum()) for month in group.months]
        assert all(number >= 5 for number in at_risk[1:])
        assert group.cases == inside.sum()
        assert group.events == event[inside].sum()
        if inside.sum() < 5:
            assert (group.months, group.survival) == ((0.0,), (1.0,))
        # No step that 5 are at risk for is lost: neither of its own group nor of a cohort of 15.
        end = min(np.sort(months[inside])[-5] if inside.sum() >= 5 else 0.0, watched_until(months))
        assert group.months[-1] == pytest.approx(end, rel=1e-5)


def test_a_group_without_a_curve_says_so_in_words() -> None:
    months, event = np.arange(1.0, 41.0), np.arange(40) % 2 == 0
    risks = np.where(np.arange(40) >= 37, 1.0, 0.0)
    groups = group_by_risk(months, event, risks, np.array([0.5]), "the middle")
    whole = full_report().evaluations[0].model_copy(update={"risk_groups": groups})
    words = risk_groups_in_words(whole, "months")
    assert "high risk 3 cases, 1 events, too few for a curve" in words
    assert "low risk 37 cases" in words


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(1)
    months, event = rng.exponential(20.0, 5000), np.ones(5000, dtype=bool)
    group = group_by_risk(months, event, np.zeros(5000), np.array([]), "nowhere").groups[0]
    assert len(group.months) <= 243
    assert group.months[0] == 0.0
    assert group.months[-1] == pytest.approx(np.sort(months)[-15], rel=1e-5)
    assert group.survival[-1] == pytest.approx(14 / 5000, rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.integers(2, 150), elements=st.sampled_from([-1.0, 0.0, 0.5, 0.5000001, 2.0])))
def test_cut_offs_leave_no_group_empty(risks: Any) -> None:
    cut_offs = risk_cut_offs(risks)
    assert cut_offs.size <= (2 if risks.size >= 90 else 1)
    membership = np.searchsorted(cut_offs, risks, side="right")
    assert np.unique(membership).size == cut_offs.size + 1
    assert not np.isin(cut_offs, risks).any()


@settings(max_examples=80, deadline=None)
@given(st.floats(1e-3, 1e5))
def test_round_times_are_few_even_and_inside(longest: float) -> None:
    times = round_times(longest)
    assert times[0] == 0.0
    assert 2 <= len(times) <= 11
    assert times[-1] <= longest * (1 + 1e-9)
    assert np.ptp(np.diff(times)) <= 1e-9 * longest


def test_without_a_competing_event_nothing_changes() -> None:
    training, _ = cohorts()
    nobody = np.zeros(training.months.size, dtype=bool)
    at = np.linspace(0.0, 30.0, 20)
    predicted = truth(training).survival(at)
    cases = (training.months, training.progressed)
    scores = brier_scores(*cases, predicted, at, competing=nobody)
    assert scores == pytest.approx(brier_scores(*cases, predicted, at), rel=1e-12)
    risk = 1.0 - truth(training).survival(np.array([24.0]))[:, 0]
    ratio, groups = competing_calibration(*cases, nobody, risk, 24.0)
    curve = calibration_curve(*cases, risk, 24.0)
    assert ratio == pytest.approx(curve.observed_to_expected, rel=1e-9)
    columns = np.array(groups).T
    assert columns[0] == pytest.approx(curve.predicted)
    assert columns[1] == pytest.approx(curve.observed)
    assert list(columns[4]) == list(curve.cases)
    assert list(columns[5]) == list(curve.at_risk)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_with_complete_follow_up_scores_and_shares_are_those_anybody_would_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    months = rng.integers(1, 30, 80).astype(float)
    event = rng.random(80) < 0.5
    at, risk = np.array([5.0, 12.0, 20.0]), rng.choice([0.2, 0.5, 0.7], 80)
    without = np.repeat(1.0 - risk[:, None], 3, axis=1)
    happened = event[:, None] & (months[:, None] <= at)
    expected = ((~happened - without) ** 2).mean(axis=0)
    assert brier_scores(months, event, without, at, competing=~event) == pytest.approx(expected)
    ratio, groups = competing_calibration(months, event, ~event, risk, 12.0)
    assert ratio == pytest.approx(happened[:, 1].mean() / risk.mean())
    predicted, seen, _, _, cases, at_risk = np.array(groups).T
    assert (np.diff(predicted) > 0).all()
    assert cases @ predicted == pytest.approx(risk.sum())
    assert cases @ seen == pytest.approx(happened[:, 1].sum())
    assert at_risk.sum() == (months >= 12.0).sum()


def test_a_competing_event_is_said_in_the_captions() -> None:
    report = full_report()
    assert report.competing_risk is not None
    assert report.competing_risk.one_minus_kaplan_meier[-1] > report.competing_risk.endpoint[-1]
    for name in ("kaplan-meier", "brier", "calibration", "competing-risk"):
        assert "death without" in figures()[name].caption.lower()


def test_a_fitted_ensemble_is_reported_as_it_answers() -> None:
    pytest.importorskip("torch", reason="torch is not installed: make setup-export")
    from export.deepsurv.fitting import fit_survival
    from export.deepsurv.settings import FitSettings
    from export.deepsurv.training import NetworkSettings
    from export.survival_report.fitted_model import reported_model

    training, test = cohorts()
    settings = FitSettings(
        endpoint="local tumor progression (LTP)",
        candidates=(NetworkSettings(hidden=4, max_steps=40),),
        members=5,
        members_per_fold=1,
        horizons=(12, 24),
    )
    fitted = fit_survival(table(training), test=table(test), seed=3, settings=settings)
    covariates = tuple(covariate(name) for name in fitted.names)
    model = reported_model(
        fitted,
        covariates,
        model_id="ltp-small",
        model_version="1.0.0",
        fitted_on=SIMULATED_COHORT,
        simulated=True,
    )
    report = build_fit_report(model, fitted.table, tests={"test": table(test)})
    external, out_of_fold, apparent = report.evaluations
    assert external.c_index == rounded(
        concordance_index(test.months, test.progressed, fitted.log_risk(test.covariates))
    )
    assert out_of_fold.c_index == rounded(
        concordance_index(training.months, training.progressed, fitted.out_of_fold_log_risk.mean(axis=1))
    )
    measured = fitted.recalibration.measured
    assert measured is not None
    assert out_of_fold.calibration_slope == rounded(measured.slope)
    assert apparent.calibration_slope is None
    assert external.brier is not None
    at = evaluation_months(test.months)
    again = brier_scores(test.months, test.progressed, fitted.survival(test.covariates, at), at)
    assert external.brier.model == pytest.approx(again, abs=1e-5)
    assert report.contributions is not None
    # Attention coefficients of a case have the mean 1 over its covariates.
    assert np.mean([one.attention.p50 for one in report.contributions.covariates]) == pytest.approx(
        1, abs=0.3
    )
    assert {setting.name for setting in report.settings} >= {"seed", "L2", "recalibration"}
    assert any(setting.name == "torch" for setting in report.software)
    assert parse_fit_report(report.to_json()) == report
