"""The calibration study: its cases, its results file, its verdicts."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.calibration import __main__ as command_line
from benchmarks.calibration import cases as calibration_cases
from benchmarks.calibration import study as calibration
from benchmarks.calibration.cases import (
    CLASSES_MM,
    CaseDescription,
    describe_case,
    keep_case,
    load_case,
    make_case,
)
from benchmarks.calibration.page import markdown
from benchmarks.calibration.report import write_report
from benchmarks.calibration.results import append_result, read_results
from benchmarks.calibration.summary import reliability, summarize, wilson_interval
from engine.geometry import RigidTransform
from engine.phantoms import PhantomProcedure

SEED = 7
Row = dict[str, Any]


# --- Cases


def test_a_case_follows_from_its_own_seed() -> None:
    assert describe_case(SEED, 12, real=True) == describe_case(SEED, 12, real=True)
    assert describe_case(SEED, 12, real=True) != describe_case(SEED + 1, 12, real=True)
    # Drawing others before it changes nothing: there is no state between cases.
    numbers = [9, 3, 12]
    assert [describe_case(SEED, n, real=True) for n in numbers][2] == describe_case(SEED, 12, real=True)


def test_cases_are_what_the_study_says() -> None:
    cases = [describe_case(SEED, number, real=True) for number in range(300)]
    low, high = CLASSES_MM[0]
    middle = [case for case in cases if low <= case.requested_margin_mm <= high]
    assert len(middle) == 150
    assert not any(case.pleural for case in middle)
    assert 10 <= sum(case.pleural for case in cases) <= 50
    assert 120 <= sum(case.source == "phantom" for case in cases) <= 180
    assert {case.deformation for case in cases} == {"stiff", "smooth", "sliding"}
    assert 0.0 <= min(case.contraction for case in cases) < 0.02
    assert 0.18 < max(case.contraction for case in cases) <= 0.2
    thick = sum(case.verification_spacing_zyx_mm[0] == 5.0 for case in cases)
    assert 0.08 <= thick / 300 <= 0.2
    assert all(0.8 <= case.planning_spacing_zyx_mm[0] <= 1.25 for case in cases)
    assert all(8.0 <= case.noise_hu <= 30.0 for case in cases)


def test_without_real_ct_every_case_is_a_phantom_and_otherwise_the_same() -> None:
    for number in range(40):
        real, bare = (describe_case(SEED, number, real=real) for real in (True, False))
        assert bare.source == "phantom"
        if real.source != "real_thick":
            assert (real.requested_margin_mm, real.noise_hu) == (bare.requested_margin_mm, bare.noise_hu)
            assert real.verification_spacing_zyx_mm == bare.verification_spacing_zyx_mm


@pytest.fixture(scope="module")
def small() -> tuple[CaseDescription, PhantomProcedure]:
    """A phantom case on small scans."""
    said = describe_case(SEED, 0, real=False)
    fields = {**vars(said), "tumor_volume_ml": 0.4, "deformation": "smooth", "real_shape": False}
    said = CaseDescription(**fields)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration_cases, "SIZE_MM", 60.0)
        return said, make_case(said, None)


def test_the_true_margin_is_the_one_asked_for(small: tuple[CaseDescription, PhantomProcedure]) -> None:
    said, case = small
    assert case.truth.minimal_margin_mm == pytest.approx(said.requested_margin_mm, abs=0.1)
    assert case.truth.tumor_volume_ml == pytest.approx(0.4, rel=1e-3)


def test_a_kept_case_is_read_back_whole(
    small: tuple[CaseDescription, PhantomProcedure], tmp_path: Path
) -> None:
    said, case = small
    keep_case(tmp_path / "one", said, case)
    said_again, again = load_case(tmp_path / "one")
    assert said_again == said
    assert again.truth == case.truth
    assert again.target_lps_mm == case.target_lps_mm
    for name in ("planning", "verification"):
        ours, theirs = getattr(case, name), getattr(again, name)
        assert np.array_equal(ours.voxels_hu, theirs.voxels_hu)
        assert ours.geometry == theirs.geometry
    for name in ("tumor", "zone", "core"):
        ours, theirs = getattr(case, name), getattr(again, name)
        assert np.array_equal(ours.voxels, theirs.voxels)
        assert (ours.geometry, ours.name) == (theirs.geometry, theirs.name)


def test_a_folder_of_another_case_is_not_taken_for_this_one(
    small: tuple[CaseDescription, PhantomProcedure], tmp_path: Path
) -> None:
    said, case = small
    keep_case(tmp_path / f"case-{said.number:04d}", said, case)
    assert calibration.load_or_make(said, tmp_path)[1] == 0.0
    other = CaseDescription(**{**vars(said), "noise_hu": said.noise_hu + 1.0})
    with pytest.raises(SystemExit, match="another case"):
        calibration.load_or_make(other, tmp_path)


def test_pose_error_is_the_distance_at_the_tumor(small: tuple[CaseDescription, PhantomProcedure]) -> None:
    _, case = small
    true = case.truth.planning_from_verification
    assert calibration._pose_error(case, true)["pose_error_mm"] == pytest.approx(0.0, abs=1e-9)
    off = RigidTransform.from_translation((0.0, 3.0, 4.0)) @ true
    found = calibration._pose_error(case, off)
    assert found["pose_error_mm"] == pytest.approx(5.0)
    assert found["rotation_error_deg"] == pytest.approx(0.0, abs=1e-4)


# --- Results


def test_a_torn_last_line_is_lost_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    assert read_results(path) == []
    append_result(path, {"number": 1})
    append_result(path, {"number": 0})
    with path.open("a") as content:
        content.write('{"number": 2, "descr')
    assert [row["number"] for row in read_results(path)] == [0, 1]
    append_result(path, {"number": 2, "again": True})
    assert [row["number"] for row in read_results(path)] == [0, 1, 2]
    append_result(path, {"number": 1, "newer": True})
    assert read_results(path)[1] == {"number": 1, "newer": True}


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fake(said: CaseDescription, keep: Path | None) -> Row:
        asked.append(said.number)
        return {**row_of(said.number, 5.5, 5.4, (4.5, 6.3), 0.6), "description": vars(said)}

    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    monkeypatch.setattr(calibration, "assess_case", fake)
    command = ["calibration", "study", "--cases", "6", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*command, "--only", "1:3"])
    command_line.main()
    assert asked == [1, 2]
    monkeypatch.setattr("sys.argv", command)
    command_line.main()
    assert sorted(asked) == [0, 1, 2, 3, 4, 5]
    assert len(read_results(tmp_path / "cases.jsonl")) == 6
    assert "phantoms only" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert (tmp_path / "calibration.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["cases"] == 6


def test_results_of_another_seed_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    tmp_path.mkdir(exist_ok=True)
    row = row_of(0, 5.5, 5.4, (4.5, 6.3), 0.6)
    append_result(tmp_path / "cases.jsonl", {**row, "description": {**row["description"], "seed": 1}})
    monkeypatch.setattr(
        "sys.argv", ["calibration", "study", "--cases", "1", "--seed", "2", "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit, match="other cases"):
        command_line.main()


# --- Verdicts


def row_of(
    number: int, true_mm: float, measured_mm: float, interval: tuple[float, float], probability: float
) -> Row:
    said = describe_case(SEED, number, real=False)
    return {
        "number": number,
        "description": vars(said) | {"requested_margin_mm": true_mm, "pleural": False},
        "truth": {"minimal_margin_mm": true_mm, "complete": true_mm >= 5.0, "tcr": 1.0},
        "measured": {
            "minimal_mm": measured_mm,
            "minimal_interval_90_mm": list(interval),
            "probability_complete": probability,
            "pose_error_mm": 0.5,
            "pose_sd_mm": 0.3,
            "refusal": None,
        },
        "timings_s": {"made": 1.0, "prepare": 0.5, "assess": 1.0},
    }


def honest(count: int = 300) -> list[Row]:
    """Rows of a measurement with Gaussian error of 0.5 mm that says so."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        low, high = CLASSES_MM[number % 4]
        true = float(rng.uniform(low, high))
        measured = float(true + rng.normal(0.0, 0.5))
        probability = 0.5 * (1.0 + math.erf((measured - 5.0) / 0.5 / math.sqrt(2.0)))
        rows.append(row_of(number, true, measured, (measured - 0.82, measured + 0.82), probability))
    return rows


def verdicts(rows: list[Row]) -> list[bool]:
    return [bool(line["passed"]) for line in summarize(rows)["acceptance"]]


def test_an_honest_measurement_passes_and_is_calibrated() -> None:
    rows = honest()
    summary = summarize(rows)
    assert all(verdicts(rows))
    assert summary["median_interval_width_mm"] == pytest.approx(1.64)
    assert summary["requested_against_true_margin"]["correlation"] == pytest.approx(1.0)
    for row in reliability(rows):
        low, high = row["share_90"]
        assert low - 0.1 <= row["mean_probability"] <= high + 0.1
    assert sum(row["cases"] for row in summary["reliability"]) == 300
    assert summary["strata"][0]["interval_holds_truth"] == pytest.approx(0.9, abs=0.05)
    by_kind = [row for row in summary["strata"] if row["stratum"] == "deformation"]
    assert sum(row["cases"] for row in by_kind) == 300


def one_overconfident(rows: list[Row]) -> None:
    next(r for r in rows if r["truth"]["minimal_margin_mm"] <= 3.0)["measured"]["probability_complete"] = 0.51


def narrow(rows: list[Row]) -> None:
    for row in rows:
        measured = row["measured"]
        measured["minimal_interval_90_mm"] = [measured["minimal_mm"] - 0.3, measured["minimal_mm"] + 0.3]


def wide(rows: list[Row]) -> None:
    for row in rows:
        row["measured"]["minimal_interval_90_mm"] = [-20.0, 20.0]


def refused(rows: list[Row]) -> None:
    for row in rows[::8]:
        row["measured"]["refusal"] = {"code": "alignment_residual_too_high", "reason": "5.9 mm off"}


def unexplained(rows: list[Row]) -> None:
    rows[0]["measured"]["refusal"] = {"code": "alignment_residual_too_high", "reason": ""}


def timid(rows: list[Row]) -> None:
    for row in rows[3::8]:
        row["measured"]["probability_complete"] = 0.4


def broken(rows: list[Row]) -> None:
    del rows[5]["measured"]
    rows[5]["error"] = "BackendError: out of memory"


@pytest.mark.parametrize(
    ("spoil", "failing"),
    [(one_overconfident, 0), (narrow, 1), (wide, 1), (refused, 2), (unexplained, 2), (timid, 3), (broken, 5)],
)
def test_each_demand_fails_on_what_it_is_for(spoil: Any, failing: int) -> None:
    rows = copy.deepcopy(honest())
    spoil(rows)
    found = verdicts(rows)
    assert not found[failing]
    assert sum(found) == len(found) - 1


def test_too_few_cases_near_the_target_margin_fail() -> None:
    rows = [row for row in honest() if not 3.0 <= row["truth"]["minimal_margin_mm"] <= 7.0]
    assert verdicts(rows)[4] is False


def test_a_refused_case_is_not_called_complete() -> None:
    rows = honest()
    spare = [row for row in rows if row["truth"]["minimal_margin_mm"] >= 7.0]
    for row in spare[: len(spare) // 3]:
        row["measured"]["refusal"] = {"code": "alignment_residual_too_high", "reason": "5.9 mm off"}
    assert verdicts(rows)[3] is False


def test_the_page_names_every_refusal_failure_and_miss(tmp_path: Path) -> None:
    rows = honest(40)
    rows[2]["measured"]["refusal"] = {"code": "wrong_side", "reason": "it fits the mirror image"}
    rows[3]["measured"]["minimal_interval_90_mm"] = [-9.0, -8.0]
    broken(rows)
    summary = summarize(rows)
    page = markdown(summary)
    assert "`wrong_side`: it fits the mirror image" in page
    assert "BackendError: out of memory" in page
    assert "-9.00 to -8.00" in page
    assert f"true margin {rows[2]['truth']['minimal_margin_mm']:.2f} mm" in page
    assert "phantoms only" in page
    assert "FAIL  no case fails: 1 of 40" in write_report(rows, tmp_path)


def test_nothing_assessed_is_no_report(tmp_path: Path) -> None:
    assert "nothing to report" in write_report([], tmp_path)
    rows = honest(3)
    refused_all = [
        {**r, "measured": {**r["measured"], "refusal": {"code": "c", "reason": "r"}}} for r in rows
    ]
    assert verdicts(refused_all) == [False]
    assert "FAIL" in write_report(refused_all, tmp_path)


def test_wilson_interval_is_the_textbook_one() -> None:
    # 15 of 100 at 95 %: Brown, Cai, DasGupta, Stat. Sci. 16:101 (2001), formula (4).
    assert wilson_interval(15, 100, 1.96) == pytest.approx((0.0931, 0.2328), abs=5e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0
