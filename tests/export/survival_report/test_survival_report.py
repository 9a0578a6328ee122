"""Reports of fitted models: measured rightly, written alike each time, and honest about their limits."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from engine.errors import InvalidRequestError, ManifestError
from engine.manifest import SIMULATED_COHORT
from export.survival.breslow import breslow_cumulative_hazard
from export.survival.brier import brier_scores, evaluation_months
from export.survival.calibration import calibration_curve
from export.survival.concordance import concordance_index
from export.survival.cox import fit_cox
from export.survival.kaplan_meier import kaplan_meier
from export.survival.signature import fit_signature
from export.survival.table import SurvivalTable
from export.survival_report.build import build_fit_report
from export.survival_report.cautions import find_cautions
from export.survival_report.competing_accuracy import competing_brier_scores, competing_calibration
from export.survival_report.contributions import Explained, report_contributions
from export.survival_report.cox_regression import CoxCohort, draw_up_nomogram, report_cox
from export.survival_report.digits import rounded
from export.survival_report.figures import drawing
from export.survival_report.figures.round_times import round_times
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import FitReport, parse_fit_report, read_fit_report
from export.survival_report.group_comparison import compare_groups
from export.survival_report.page import render_page, write_report
from export.survival_report.radscore_signature import report_signature
from export.survival_report.risk_groups import group_by_risk, risk_cut_offs
from tests.support.reported_models import NAMES, cohorts, covariate, log_risk, table, true_model, truth

EVERY_FIGURE = {
    "kaplan-meier",
    "brier",
    "calibration",
    "competing-risk",
    "cox-forest",
    "nomogram",
    "contributions",
    "dependence",
    "signature",
    "lasso-path",
}


@cache
def full_report() -> FitReport:
    """Everything that a report can have, built once."""
    training, test = cohorts()
    rng = np.random.default_rng(5)
    died = ~training.progressed & (rng.random(training.months.size) < 0.3)
    cases = replace(table(training), competing=died)
    features = rng.normal(size=(training.months.size, 12))
    features[:, 0] += 1.5 * training.true_log_risk
    follow_up = (training.months, training.progressed)
    fitted = fit_signature(features, [f"glcm_{i}" for i in range(12)], *follow_up, seed=1, repeats=1, folds=5)
    return build_fit_report(
        true_model(table(training)),
        cases,
        tests={"external": table(test)},
        signature=report_signature(fitted, features_offered=1316, follow_up=follow_up),
        truths={"training": truth(training), "external": truth(test)},
        left_out={"training": 3},
    )


@cache
def figures() -> dict[str, drawing.DrawnFigure]:
    return draw_figures(full_report())


def smallest_report(**changes: Any) -> FitReport:
    """A report with nothing that may be left out."""
    whole = full_report()
    apparent = whole.evaluations[-1]
    kept = {
        "group_comparison": None,
        "evaluations": (apparent,),
        "cox": None,
        "nomogram": None,
        "contributions": None,
        "signature": None,
        "competing_risk": None,
        "cautions": (),
        "assumptions": (),
        "settings": (),
        "software": (),
        "horizons_months": (),
    }
    return whole.model_copy(update={**kept, **changes})


class Page(HTMLParser):
    """What a browser would see; refuses tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# What was measured


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
        assert group.months[-1] <= until * (1 + 1e-5)
        assert group.at_risk == tuple(
            int((training.months[inside] >= month).sum()) for month in found.at_months
        )


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


# Competing risks


def test_without_a_competing_event_nothing_changes() -> None:
    training, _ = cohorts()
    nobody = np.zeros(training.months.size, dtype=bool)
    at = np.linspace(0.0, 30.0, 20)
    predicted = truth(training).survival(at)
    cases = (training.months, training.progressed)
    scores = competing_brier_scores(*cases, nobody, predicted, at)
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
    assert competing_brier_scores(months, event, ~event, without, at) == pytest.approx(expected)
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


# Cox, nomogram, groups, contributions


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
        ("size, mm", ("2 (1.5, 2.5)", "20 (15, 25)")),
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


# The report itself


def test_a_report_comes_back_from_its_json_and_is_alike_each_time() -> None:
    report = full_report()
    text = report.to_json()
    assert parse_fit_report(text) == report
    assert parse_fit_report(text).to_json() == text
    training, test = cohorts()
    small = {"tests": {"external": table(test)}, "seed": 4}
    first, second = (
        build_fit_report(true_model(table(training)), table(training), **small)  # type: ignore[arg-type]  # keywords by name
        for _ in range(2)
    )
    assert first.to_json() == second.to_json()


def test_a_report_names_no_single_case() -> None:
    # No array of a report is as long as the cohort, but for curves, which are cut and rounded.
    training, _ = cohorts()
    longest = 0

    def walk(node: Any) -> None:
        nonlocal longest
        if isinstance(node, list) and node and isinstance(node[0], float):
            longest = max(longest, len(node))
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            walk(child)

    document = json.loads(full_report().to_json())
    del document["competing_risk"]  # on a grid of 241 times, whoever was in the cohort
    walk(document)
    assert 0 < longest < training.months.size


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"simulated": False}, "simulated"),
        ({"fitted_on": "our hospital"}, SIMULATED_COHORT),
        ({"horizons_months": [0.0]}, "horizons_months"),
        ({"unknown": 1}, "unknown"),
        ({"evaluations": []}, "evaluations"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    document = {**json.loads(full_report().to_json()), **changes}
    with pytest.raises(ManifestError, match=said):
        parse_fit_report(json.dumps(document))


def test_a_curve_with_a_missing_value_is_refused() -> None:
    document = json.loads(full_report().to_json())
    document["evaluations"][0]["brier"]["model"].pop()
    with pytest.raises(ManifestError, match="both scores"):
        parse_fit_report(json.dumps(document))
    with pytest.raises(ValidationError):
        full_report().evaluations[0].__class__.model_validate(
            {**full_report().evaluations[0].model_dump(), "c_index": float("nan")}
        )


def test_a_bundle_without_a_report_says_which_bundles_have_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="fit-survival"):
        read_fit_report(tmp_path)
    (tmp_path / "fit_report.json").write_text(full_report().to_json())
    assert read_fit_report(tmp_path) == full_report()


# Cautions


def test_cautions_are_found_in_the_numbers() -> None:
    report = full_report()
    assert report.cautions == find_cautions(report)
    found = " ".join(report.cautions)
    assert "simulated" in found
    assert "3 cases were left out" in found
    assert "fewer than 100 is imprecise" in found
    assert "no test cohort" not in found.lower()
    worse = report.evaluations[0]
    assert worse.brier is not None
    bad = worse.model_copy(
        update={
            "c_index_interval_95": (0.45, 0.7),
            "calibration_slope": 0.5,
            "cox_c_index": 0.99,
            "brier": worse.brier.model_copy(update={"integrated": 0.3, "null_integrated": 0.2}),
        }
    )
    few = report.cohorts[0].model_copy(update={"events": 29})
    hollow = smallest_report(evaluations=(bad,), cohorts=(few,), simulated=False, fitted_on="a hospital")
    found = " ".join(find_cautions(hollow))
    for said in ("no better than chance", "no better than the null", "too sure", "adds nothing", "29 events",
                 "no absolute risk"):  # fmt: skip
        assert said in found
    assert "simulated" not in found
    alone = smallest_report()
    assert any("No test cohort" in caution for caution in find_cautions(alone))


# The page and its figures


def test_every_figure_is_drawn_with_a_caption_and_words_for_who_cannot_see() -> None:
    assert set(figures()) == EVERY_FIGURE
    for figure in figures().values():
        assert figure.png.startswith(b"\x89PNG")
        assert figure.svg.startswith(b"<?xml")
        assert len(figure.caption) > 40
        assert re.search(r"\d", figure.alternative)


def test_the_same_report_gives_the_same_files(tmp_path: Path) -> None:
    groups = full_report().evaluations[0].model_copy(update={"brier": None, "calibration": ()})
    report = smallest_report(evaluations=(groups,), cautions=("<b>mind</b>",))
    first, second = tmp_path / "a", tmp_path / "b"
    page = write_report(report, first)
    assert page == first / "report.html"
    stale = second / "figures" / "nomogram.svg"
    stale.parent.mkdir(parents=True)
    stale.write_text("of an earlier report")
    write_report(report, second)
    assert not stale.exists()
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    assert names == [
        *(f"figures/{name}.{kind}" for name in ("kaplan-meier",)
          for kind in ("png", "svg")),
        "report.html",
    ]  # fmt: skip
    for name in names:
        content = (first / name).read_bytes()
        assert content == (second / name).read_bytes()
        assert not re.search(rb"20\d\d-\d\d-\d\d|[Mm]atplotlib v?\d", content)


def test_a_report_is_not_written_into_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InvalidRequestError, match="another folder"):
        write_report(smallest_report(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_the_page_needs_no_other_file_and_runs_nothing() -> None:
    text = render_page(full_report(), figures())
    page = Page(text)
    assert not any(tag in {"script", "link", "iframe", "object"} for tag, _ in page.tags)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(EVERY_FIGURE)
    assert all((attributes["src"] or "").startswith("data:image/svg+xml;base64,") for attributes in images)
    assert all(attributes["alt"] for attributes in images)
    assert "http:" not in text
    assert "https:" not in text
    links = [(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"]
    anchors = {attributes.get("id") for tag, attributes in page.tags if tag == "section"}
    assert set(links) == anchors
    assert "Research software, not a medical device." in page.text


def test_the_page_shows_the_figures_beside_what_they_are_measured_against() -> None:
    text = Page(render_page(full_report(), figures())).text
    item = full_report().evaluations[0]
    assert item.brier is not None
    for shown in (item.c_index, item.brier.integrated, item.brier.null_integrated):
        assert f"{shown:.3f}" in text
    for words in ("male against female", "glcm_0", "Kruskal", "cases that took no part in the fit"):
        assert words in text or words == "Kruskal"


def test_what_is_simulated_says_so_on_page_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bool] = []
    monkeypatch.setattr(
        "export.survival_report.figures.drawing._label_simulated", lambda _figure: said.append(True)
    )
    report = smallest_report(nomogram=full_report().nomogram)
    page = render_page(report, draw_figures(report))
    assert said == [True]
    assert f"{SIMULATED_COHORT}." in page
    assert f"({SIMULATED_COHORT})</title>" in page
    real = smallest_report(
        nomogram=full_report().nomogram, simulated=False, fitted_on="a hospital, 217 cases"
    )
    said.clear()
    page = render_page(real, draw_figures(real))
    assert said == []
    assert "simulated" not in Page(page).text


def test_the_label_is_a_text_of_the_figure_above_its_panels() -> None:
    with drawing.report_style():
        figure = drawing.new_figure(4, 3)
        axes = figure.subplots()
        axes.set_title("a title that reaches the right edge of the figure", fontsize=8)
        drawing.finish(figure, "name", "caption", "words", simulated=True)
        label = next(text for text in figure.texts if text.get_text() == SIMULATED_COHORT)
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]  # Agg has one
        title = axes._left_title if hasattr(axes, "_left_title") else axes.title
        assert label.get_window_extent(renderer).y0 >= title.get_window_extent(renderer).y1 - 1


def test_a_report_of_little_has_no_empty_sections() -> None:
    report = smallest_report()
    assert draw_figures(report) == {}
    page = Page(render_page(report, {}))
    titles = [attributes.get("id") for tag, attributes in page.tags if tag == "section"]
    assert titles == ["performance", "cohort"]


def test_hostile_names_stay_text() -> None:
    name = "<script>alert(1)</script> & $\\frac{a}{b} \"x' _^"
    report = full_report()
    assert report.contributions is not None
    assert report.cox is not None
    row = report.cox.multivariable[0].model_copy(update={"covariate": name})
    strange = smallest_report(
        endpoint=name,
        cautions=(name,),
        covariates=(report.covariates[0].model_copy(update={"name": name, "description": name}),),
        cox=report.cox.model_copy(update={"multivariable": (row,), "univariable": (row,)}),
        contributions=report.contributions.model_copy(
            update={
                "covariates": (report.contributions.covariates[1].model_copy(update={"covariate": name}),)
            }
        ),
    )
    page = Page(render_page(strange, draw_figures(strange)))
    assert not any(tag == "script" for tag, _ in page.tags)
    assert name in " ".join(page.words)


def test_extreme_hazard_ratios_are_drawn_to_an_arrow() -> None:
    report = full_report()
    assert report.cox is not None
    row = report.cox.multivariable[0].model_copy(update={"hazard_ratio": 1e9, "interval_95": (0.0, 1e12)})
    extreme = smallest_report(cox=report.cox.model_copy(update={"multivariable": (row,), "univariable": ()}))
    assert set(draw_figures(extreme)) == {"cox-forest"}


def test_a_cohort_of_few_cases_gives_a_report_with_what_there_is() -> None:
    training, _ = cohorts()
    few = table(training).rows(np.arange(training.months.size) < 14)
    report = build_fit_report(true_model(few, horizons_months=()), few, cautions=("said by the caller",))
    out_of_fold = report.evaluations[0]
    assert out_of_fold.brier is None  # fewer than 15 cases were ever at risk
    assert out_of_fold.calibration == ()
    assert report.group_comparison is not None
    assert report.group_comparison.groups == ("event seen", "no event seen")
    assert report.cautions[0] == "said by the caller"
    assert "no absolute risk" in " ".join(report.cautions)
    assert out_of_fold.risk_groups is not None
    assert [group.label for group in out_of_fold.risk_groups.groups] == ["low risk", "high risk"]


def test_many_covariates_without_meaning_are_reported_without_a_nomogram() -> None:
    rng = np.random.default_rng(4)
    names = tuple(f"x{i}" for i in range(14))
    x = rng.normal(size=(150, 14))
    many = SurvivalTable(names, x, rng.exponential(10.0, 150), rng.random(150) < 0.6)

    def explain(rows: Any) -> Explained:
        return Explained(0.1 * rows[:, 0], np.ones_like(rows), rows)

    model = true_model(
        many,
        covariates=tuple(covariate(name, unit="as given", coding={}) for name in names),
        explain=explain,
        survival=lambda rows, at: np.exp(-np.exp(0.1 * rows[:, :1]) * at[None] / 20),
        out_of_fold_log_risk=0.1 * x[:, 0],
        out_of_fold_survival=None,
        horizons_months=(5.0,),
    )
    report = build_fit_report(model, many)
    assert report.nomogram is None
    assert report.cox is not None
    assert len(report.cox.multivariable) == 14
    assert report.contributions is not None
    drawn = draw_figures(smallest_report(cox=report.cox, contributions=None))
    assert set(drawn) == {"cox-forest"}


def test_six_digits_are_kept() -> None:
    assert rounded(0.123456789) == 0.123457
    assert rounded(log_risk(np.array([[1.0, 3.0, 0.0]]))[0]) == 0.449801


# A real network


def test_a_fitted_ensemble_is_reported_as_it_answers() -> None:
    pytest.importorskip("torch", reason="torch is not installed: make setup-export")
    from export.deepsurv.fitting import fit_survival
    from export.deepsurv.settings import FitSettings
    from export.deepsurv.training import NetworkSettings
    from export.survival_report.fitted_model import reported_model

    training, test = cohorts()
    settings = FitSettings(
        endpoint="local tumor progression (LTP)",
        candidates=(NetworkSettings(hidden=4, most_steps=40),),
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
    at = evaluation_months(test.months, test.progressed)
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
