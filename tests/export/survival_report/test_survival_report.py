"""Reports of fitted models: stored alike each time, and honest about their limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine.errors import ManifestError
from engine.manifest import SIMULATED_COHORT
from export.survival.table import SurvivalTable
from export.survival_report.build import build_fit_report
from export.survival_report.cautions import find_cautions
from export.survival_report.contributions import Explained
from export.survival_report.digits import rounded
from export.survival_report.figures.sheet import draw_figures
from export.survival_report.fit_report import parse_fit_report, read_fit_report
from tests.support.cohorts.fit_reports import full_report, smallest_report
from tests.support.cohorts.reported_models import cohorts, covariate, log_risk, table, true_model


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
