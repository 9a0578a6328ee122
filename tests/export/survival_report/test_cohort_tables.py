"""Cox tables, nomogram, groups, contributions and signature of a report."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.figures_in_words import compact_range, with_interval
from export.survival.breslow import breslow_cumulative_hazard
from export.survival.cox import fit_cox
from export.survival.signature import fit_signature
from export.survival_report.cautions import find_cautions
from export.survival_report.contributions import Explained, report_contributions
from export.survival_report.cox_regression import CoxCohort, draw_up_nomogram, report_cox
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.group_comparison import compare_groups
from export.survival_report.page import render_page
from export.survival_report.radscore_signature import report_signature
from export.survival_report.tables import cox_table
from tests.support.cohorts.fit_reports import Page, full_report, smallest_report
from tests.support.cohorts.reported_models import NAMES, cohorts, covariate


def cox_cohort(**changes: Any) -> CoxCohort:
    training, _ = cohorts()
    codings = tuple(covariate(name).coding for name in NAMES)
    units = ("coded", "g/L", "coded")
    cohort = CoxCohort(NAMES, units, codings, training.covariates, training.months, training.progressed)
    return replace(cohort, **changes)


def test_cox_table_is_the_fit_and_says_what_it_compares() -> None:
    cohort = cox_cohort()
    report, fit = report_cox(cohort)
    assert report is not None
    assert fit is not None
    again = fit_cox(cohort.covariates, cohort.months, cohort.event)
    for at, row in enumerate(report.multivariable):
        assert row.hazard_ratio == pytest.approx(again.hazard_ratios[at], rel=1e-5)
        assert row.interval_95 == pytest.approx(tuple(again.intervals_95[at]), rel=1e-5)
    assert [row.contrast for row in report.multivariable] == [
        "male against female",
        "per 1 g/L",
        "complete against incomplete",
    ]
    assert len(report.proportional_hazards) == 3


@pytest.mark.parametrize("scale", [1.0, 0.01, 88.0])
def test_a_measured_covariate_has_a_hazard_ratio_per_sd_whatever_its_unit(scale: float) -> None:
    """In units of the deviation the same model: Cox on standardized values is the oracle."""
    cohort = cox_cohort()
    values = cohort.covariates.copy()
    values[:, 1] *= scale
    report, _ = report_cox(replace(cohort, covariates=values))
    assert report is not None
    sex, fibrinogen, coverage = report.multivariable
    assert sex.per_sd is None
    assert coverage.per_sd is None
    assert fibrinogen.per_sd is not None
    sd = values[:, 1].std(ddof=1)
    assert fibrinogen.per_sd.sd == pytest.approx(sd, rel=1e-5)
    assert fibrinogen.per_sd.contrast == f"per SD, {sd:.4g} g/L"
    standardized = cohort.covariates.copy()
    standardized[:, 1] /= standardized[:, 1].std(ddof=1)
    again = fit_cox(standardized, cohort.months, cohort.event)
    assert fibrinogen.per_sd.hazard_ratio == pytest.approx(again.hazard_ratios[1], rel=1e-4)
    assert fibrinogen.per_sd.interval_95 == pytest.approx(tuple(again.intervals_95[1]), rel=1e-4)
    rows = {(row[0], row[1]): row for row in cox_table(report).rows}
    shown = rows["fibrinogen_g_per_l", fibrinogen.per_sd.contrast]
    assert shown[4].startswith(f"{fibrinogen.per_sd.hazard_ratio:.3f} (")


def test_ranges_are_worded_in_one_way() -> None:
    assert with_interval(0.66, (0.61, 0.72)) == "0.660 (0.610 to 0.720)"
    assert with_interval(0.66, (0.61, 0.72), 2, level=95) == "0.66 (95 % interval 0.61 to 0.72)"
    assert with_interval(0.66, None, 2, level=95) == "0.66"
    assert with_interval(-0.5, (-0.61, 0.0), 1) == "−0.5 (−0.6 to 0.0)"
    assert compact_range(2.6, 3.54321) == "2.6 to 3.543"


def test_a_covariate_without_a_hazard_ratio_is_reported_and_not_hidden() -> None:
    cohort = cox_cohort()
    flat = np.column_stack([cohort.covariates[:, :2], np.ones(cohort.months.size)])
    report, fit = report_cox(replace(cohort, covariates=flat))
    assert report is not None
    assert fit is None  # not of all covariates: no nomogram of a part
    assert len(report.multivariable) == 2
    assert any("complete_coverage" in reason for reason in report.not_estimable)
    twice = np.column_stack([cohort.covariates[:, :2], cohort.covariates[:, 0]])
    report, fit = report_cox(replace(cohort, covariates=twice))
    assert report is not None
    assert fit is None
    assert len(report.univariable) == 3
    assert report.multivariable == ()
    assert report.not_estimable


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([0.0, 1.0]), st.floats(2.0, 4.5), st.sampled_from([0.0, 1.0]))
def test_a_nomogram_read_with_a_ruler_gives_the_cox_models_probability(
    sex: float, fibrinogen: float, coverage: float
) -> None:
    cohort, fit, nomogram = _nomogram()
    points = 0.0
    for scale, value in zip(nomogram.scales, (sex, fibrinogen, coverage), strict=True):
        words = {"female": 0.0, "male": 1.0, "incomplete": 0.0, "complete": 1.0}
        ticks = sorted((words.get(t.label) or float(t.label if t.label[0].isdigit() else 0), t.points)
                       for t in scale.ticks)  # fmt: skip
        points += float(np.interp(value, [t[0] for t in ticks], [t[1] for t in ticks]))
    for horizon in nomogram.horizons:
        hazard = breslow_cumulative_hazard(
            cohort.months, cohort.event, fit.log_risk(cohort.covariates), [horizon.horizon_months]
        )[0]
        expected = 1 - np.exp(-hazard * np.exp(fit.log_risk([[sex, fibrinogen, coverage]])[0]))
        # Between ticks a ruler is straight on the scale of the log-hazard.
        known = [(t.points, float(t.label.removesuffix(" %")) / 100) for t in horizon.ticks]
        places, shares = np.array(known).T
        if places[0] <= points <= places[-1]:
            read = np.interp(points, places, np.log(-np.log1p(-shares)))
            assert 1 - np.exp(-np.exp(read)) == pytest.approx(expected, abs=2e-4)


@cache
def _nomogram() -> tuple[CoxCohort, Any, Any]:
    cohort = cox_cohort()
    fit = fit_cox(cohort.covariates, cohort.months, cohort.event)
    nomogram = draw_up_nomogram(cohort, fit, (12.0, 24.0))
    assert nomogram is not None
    assert max(tick.points for scale in nomogram.scales for tick in scale.ticks) == pytest.approx(100)
    return cohort, fit, nomogram


def test_groups_are_counted_or_have_medians() -> None:
    values = np.column_stack([[0.0, 1, 1, 1, 0, 1], [1.0, 2, 3, 10, 20, 30]])
    found = compare_groups(
        ("sex", "size"), ("coded", "mm"), (covariate("sex").coding, {}), values, [*"bbbaaa"]
    )
    assert found is not None
    assert found.groups == ("b", "a")
    assert found.cases == (3, 3)
    assert [(row.variable, row.values) for row in found.rows] == [
        ("sex: male", ("2 (67 %)", "2 (67 %)")),
        ("size, mm", ("2 (1.5 to 2.5)", "20 (15 to 25)")),
    ]
    assert compare_groups(("x",), ("",), ({},), values[:, :1], [*"aaaaaa"]) is None


def test_contributions_of_a_network_that_looks_at_one_covariate() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 2))
    months, event = np.exp(-x[:, 0]), np.ones(300, dtype=bool)

    def explain(rows: Any) -> Explained:
        attention = np.tile([2.0, 0.0], (len(rows), 1))
        return Explained(3.0 * rows[:, 0], attention, attention * rows)

    found = report_contributions(
        "training", ("used", "unused"), ("mm", "mm"), ({}, {}), x, explain, follow_up=(months, event)
    )
    used, unused = found.covariates
    assert unused.permutation_c_index_loss == 0.0
    assert unused.mean_absolute_signal == 0.0
    assert {point.log_hazard_ratio for point in unused.dependence} == {0.0}
    assert used.permutation_c_index_loss == pytest.approx(0.5, abs=0.05)
    slopes = np.diff([p.log_hazard_ratio for p in used.dependence]) / np.diff(
        [p.value for p in used.dependence]
    )
    assert slopes == pytest.approx(3.0, rel=1e-3)
    assert used.attention.p05 == used.attention.p95 == 2.0


def test_a_signature_is_reported_with_its_stability() -> None:
    signature = full_report().signature
    assert signature is not None
    assert signature.chosen
    assert signature.chosen[0].feature == "glcm_0"
    assert signature.chosen[0].chosen_share == 1.0
    assert signature.path is not None
    assert signature.path.chosen_penalty >= signature.path.least_deviance_penalty
    at = signature.path.penalties.index(signature.path.chosen_penalty)
    assert signature.path.features_chosen[at] == len(signature.chosen)
    assert signature.path.coefficients["glcm_0"][at] == signature.chosen[0].coefficient


def test_an_empty_signature_is_a_valid_outcome_and_said() -> None:
    training, _ = cohorts(120)
    noise = np.random.default_rng(3).normal(size=(120, 6))
    follow_up = (training.months, training.progressed)
    fitted = fit_signature(noise, [*"abcdef"], *follow_up, seed=1, repeats=1, folds=5)
    assert fitted.names == ()
    report = smallest_report(signature=report_signature(fitted, features_offered=6, follow_up=follow_up))
    assert any("signature is empty" in caution for caution in find_cautions(report))
    page = render_page(report, draw_figures(report))
    assert "An empty signature is a valid outcome" in Page(page).text
