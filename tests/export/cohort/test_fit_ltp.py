"""From a cohort to a bundle: killed and resumed, cases left out, the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.errors import EstimationError, InvalidRequestError
from engine.manifest import SIMULATED_COHORT, load_bundle
from export.cohort.case_job import CaseJob
from export.cohort.case_result import CaseResult
from export.cohort.model_names import ModelNames
from export.cohort.table import read_cohort_table
from export.cohort.usable import in_words, sort_out
from export.commands import cohort as cohort_cli
from export.commands.cli import app
from tests.support.cohorts.cohort_cases import NAMES, PAUSE_VARIABLE, stand_in, write_cohort

pytest.importorskip("torch", reason="torch is not installed: make setup-export")
fitting = pytest.importorskip("export.cohort.fitting", reason="no workshop: make setup-export")

ROOT = Path(__file__).parents[3]
CASES = 90


def quick() -> Any:
    from export.deepsurv.settings import ltp_settings
    from export.deepsurv.training import NetworkSettings

    network = replace(
        ltp_settings((12,)),
        candidates=(NetworkSettings(hidden=8, max_steps=40),),
        members=5,
        members_per_fold=1,
    )
    return fitting.LtpPlan(signature_repeats=1, network=network)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), CASES)


@pytest.fixture(scope="module")
def fitted(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("fit") / "bundle"
    return fitting.fit_ltp(cohort, out, measure=stand_in, plan=quick())


def test_the_bundle_says_what_it_is(fitted: Any) -> None:
    manifest = load_bundle(fitted.bundle).manifest
    assert manifest.demo
    assert SIMULATED_COHORT in manifest.fitted_on
    assert manifest.survival is not None
    names = [covariate.name for covariate in manifest.survival.covariates]
    assert names == ["sex", "fibrinogen_g_per_l", "complete_coverage", "radscore"]
    assert manifest.survival.signature is not None
    chosen = tuple(feature.name for feature in manifest.survival.signature.features)
    assert chosen == fitted.signature
    assert NAMES[5] in chosen  # the feature that the stand-ins' hazard depends on
    assert "fit_report.json" in manifest.files
    assert "No case was left out." in manifest.provenance


def test_the_report_has_the_ceiling_and_every_column(fitted: Any) -> None:
    report = fitted.report
    assert report.simulated
    assert {item.role for item in report.evaluations} == {"apparent", "out_of_fold", "test"}
    assert all(item.ceiling_c_index is not None for item in report.evaluations)
    variables = [row.variable for row in report.group_comparison.rows]
    assert "age_years" in variables
    assert not any(variable.startswith("true_") for variable in variables)
    assert report.signature.features_offered == len(NAMES)


PROGRAM = """
import sys
from pathlib import Path
from export.cohort.cohort_run import run_cohort
from export.cohort.runners import SerialRunner
from export.cohort.table import read_cohort_table
from tests.support.cohorts.cohort_cases import stand_in
run_cohort(read_cohort_table(Path(sys.argv[1])).cases, Path(sys.argv[2]), SerialRunner(), stand_in)
"""


def killed_after(results: int, table: Path, work: Path) -> None:
    environment = os.environ | {PAUSE_VARIABLE: "0.05", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(table), str(work)]
    running = subprocess.Popen(command, cwd=ROOT, env=environment)
    patience = time.monotonic() + 120
    while len(list(work.glob("[!.]*.json"))) < results and time.monotonic() < patience:
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL


def test_killed_twice_it_ends_with_the_same_bytes(cohort: Path, fitted: Any, tmp_path: Path) -> None:
    out, work = tmp_path / "bundle", tmp_path / "bundle.work"
    killed_after(20, cohort, work)
    killed_after(45, cohort, work)
    (tmp_path / ".bundle-x7").mkdir()  # a bundle that a kill left half written
    jobs: list[str] = []

    def counted(job: CaseJob) -> CaseResult:
        jobs.append(job.case_id)
        return stand_in(job)

    again = fitting.fit_ltp(cohort, out, measure=counted, plan=quick())
    assert 0 < len(jobs) <= CASES - 45
    assert contents(again.bundle) == contents(fitted.bundle)
    assert again.described()["test"] == fitted.described()["test"]


def refuse(path: Path) -> Callable[[CaseJob], CaseResult]:
    def never(_job: CaseJob) -> CaseResult:
        raise AssertionError(path)

    return never


def test_an_old_bundle_is_found_before_the_work(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="exists already"):
        fitting.fit_ltp(cohort, tmp_path, measure=refuse(tmp_path))


def test_who_is_left_out_and_why(tmp_path: Path) -> None:
    def spoiled(rows: list[dict[str, object]]) -> None:
        rows[0]["sex"] = ""
        rows[1]["sex"] = rows[1]["fibrinogen_g_per_l"] = ""
        rows[4]["event"] = 2

    table = read_cohort_table(write_cohort(tmp_path, 12, spoiled))
    results = {case.case_id: stand_in(job_of(case.case_id, case.images)) for case in table.cases}
    refused = table.cases[2].case_id
    results[refused] = CaseResult(
        case_id=refused, key="0" * 64, outcome="refused", code="no_zone", reason="there is none: look"
    )
    train, test, left_out = sort_out(table, results)
    assert [case.case_id for case in left_out] == [case.case_id for case in table.cases[:3]]
    assert in_words(left_out) == (
        "3 cases were left out: 1 refused by the assessment (no_zone); 1 without sex; 1 without sex and fibrinogen."
    )
    assert "there is none: look" in left_out[2].reason
    assert len(train.cases) + len(test.cases) == 9
    whole = next(cases for cases in (train, test) if table.cases[4] in cases.cases)
    competing = whole.table().competing
    assert competing is not None
    assert competing.sum() == 1


def job_of(case_id: str, images: Any) -> CaseJob:
    from export.cohort.case_job import CohortSettings

    return CaseJob(case_id, images, CohortSettings(), "0" * 64)


def test_too_few_cases_are_refused_with_the_reasons(tmp_path: Path) -> None:
    def spoiled(rows: list[dict[str, object]]) -> None:
        for row in rows[:25]:
            row["sex"] = ""

    path = write_cohort(tmp_path / "cohort", 45, spoiled)
    with pytest.raises(
        EstimationError, match=r"of 32 training cases 14 with .* 25 cases were left out: 25 without sex"
    ):
        fitting.fit_ltp(path, tmp_path / "bundle", measure=stand_in, plan=quick())


def test_what_the_network_gets_of_the_signature(fitted: Any, cohort: Path) -> None:
    from export.cohort.radscore_stage import RadscoreStage

    table = read_cohort_table(cohort)
    results = {case.case_id: stand_in(job_of(case.case_id, case.images)) for case in table.cases}
    train, test, _ = sort_out(table, results)
    stage = fitting.fit_radscore_stage(train, fitting.CohortSettings().radiomics, seed=1, repeats=1)
    assert stage.fit.names == fitted.signature
    assert stage.training_table(train).names[-1] == "radscore"
    inside = stage.table(train).covariates[:, -1]
    np.testing.assert_allclose(inside, stage.fit.radscore, rtol=1e-12)
    assert not np.allclose(stage.training_table(train).covariates[:, -1], inside)
    features = replace(stage, use="features")
    assert features.table(test).names[3:] == fitted.signature
    assert features.used_by(features.table(test).names)
    empty: RadscoreStage = replace(stage, section=None)
    assert empty.training_table(train).names == empty.table(test).names
    assert not empty.used_by(empty.table(test).names)
    lame = {name: value for name, value in test.results[0].features.items() if name != fitted.signature[0]}
    lacking = test.results[0].model_copy(update={"features": lame})
    kept, lost = stage.with_signature(replace(test, results=(lacking, *test.results[1:])))
    assert len(kept.cases) == len(test.cases) - 1
    assert fitted.signature[0] in lost[0].reason


@pytest.mark.parametrize(
    "names", [("LTP", "1.0.0", "x"), ("ltp_risk", "1.0.0", "x"), ("ltp", "1.0", "x"), ("ltp", "1.0.0", "")]
)
def test_names_are_checked_first(names: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidRequestError):
        ModelNames(*names)


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*(str(argument) for argument in arguments), "--json"])
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_fit_ltp_passes_on_what_it_is_told(
    fitted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def instead(*arguments: Any, **options: Any) -> Any:
        asked.update(options, arguments=arguments)
        return fitted

    monkeypatch.setattr(fitting, "fit_ltp", instead)
    said = run(
        "fit-ltp", "cohort.csv", "--out", tmp_path / "b", "--processes", "3", "--image-types", "wavelet_filters",
        "--signature", "features", "--seed", "9", "--id", "our-ltp", "--model-version", "2.0.0",
    )  # fmt: skip
    assert asked["arguments"] == (Path("cohort.csv"), tmp_path / "b")
    assert asked["seed"] == 9
    assert asked["runner"].processes == 3
    assert asked["settings"].radiomics.image_types == "wavelet_filters"
    assert asked["plan"].signature_use == "features"
    assert (asked["names"].model_id, asked["names"].version) == ("our-ltp", "2.0.0")
    assert said["left_out"] == []
    assert said["signature"] == list(fitted.signature)
    assert 0.5 < said["train"]["c_index"] <= 1.0
    shown = CliRunner().invoke(app, ["fit-ltp", "cohort.csv", "--out", str(tmp_path / "b")])
    assert "No case was left out." in shown.stdout
    assert "C-index" in shown.stdout


def write_survival_table(path: Path, cases: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cases, 2))
    progression, censoring = rng.exponential(20.0 * np.exp(-x[:, 0])), rng.uniform(5.0, 40.0, cases)
    rows = [
        f"{a:.3f},{b:.3f},{min(t, c):.2f},{int(t <= c)}"
        for (a, b), t, c in zip(x, progression, censoring, strict=True)
    ]
    path.write_text("\n".join(["age,size,months,event", *rows]) + "\n")
    return path


def test_fit_survival_and_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.cohort import table_fit
    from export.deepsurv.fitting import fit_survival

    whole = fit_survival

    def briefly(table: Any, **options: Any) -> Any:
        options["settings"] = replace(quick().network, purpose="other", horizons=None)
        return whole(table, **options)

    monkeypatch.setattr(table_fit, "fit_survival", briefly)
    train = write_survival_table(tmp_path / "train.csv", 120, 1)
    test = write_survival_table(tmp_path / "test.csv", 60, 2)
    columns = ("--time", "months", "--event", "event")
    said = run("fit-survival", train, *columns, "--test", test, "--out", tmp_path / "b")
    assert {"c_index"} <= set(said["train"])
    assert {"c_index", "c_index_interval_95", "integrated_brier"} <= set(said["test"])
    low, high = said["test"]["c_index_interval_95"]
    assert low < said["test"]["c_index"] < high
    assert 0.0 < said["test"]["integrated_brier"] < 0.25
    assert not load_bundle(tmp_path / "b").manifest.demo
    (page,) = run("report", tmp_path / "b")["written"]
    assert Path(page).parent == tmp_path / "b-report"
    assert "<svg" in Path(page).read_text() or "data:image" in Path(page).read_text()
    refused = CliRunner().invoke(app, ["fit-survival", str(train), *columns, "--out", str(tmp_path / "b")])
    assert refused.exit_code == 2


def test_who_runs_the_cases() -> None:
    assert type(cohort_cli.runner_of(1, None)).__name__ == "SerialRunner"
    assert type(cohort_cli.runner_of(2, None)).__name__ == "PoolRunner"
