"""The bench by condition: its cases, its results file, its table; two tiny cases end to end."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.calibration import __main__ as command_line
from benchmarks.calibration.by_condition import command
from benchmarks.calibration.by_condition.assessing import Segmenters, assess_case
from benchmarks.calibration.by_condition.cases import BenchCase, bench_cases, load_or_make
from benchmarks.calibration.by_condition.report import RESULTS, write_report
from benchmarks.calibration.by_condition.table import ALL, hidden_miss, table
from benchmarks.calibration.results import Row, append_result, read_results
from engine.phantoms.conditions import CONDITIONS
from tests.support.phantoms.small_procedures import PLAIN

EXACT = replace(PLAIN, conditions=("exact_zone",), zone="exact", margin_mm=5.3, place="central")
NEEDLES = replace(PLAIN, conditions=("needles",), needles=1, margin_mm=1.0)
TINY = [BenchCase("exact_zone-000", EXACT), BenchCase("needles-000", NEEDLES)]


@pytest.fixture(autouse=True)
def no_real_ct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)


def test_cases_are_counted_by_condition_and_two_may_be_combined() -> None:
    cases = bench_cases("all", 2, seed=5)
    assert len(cases) == 2 * len(CONDITIONS)
    assert len({case.key for case in cases}) == len(cases)
    # All conditions have their first case before one has its second: a run that is stopped has seen them all.
    assert {case.key[-3:] for case in cases[: len(CONDITIONS)]} == {"000"}
    (both,) = bench_cases("effusion+needles", 1, seed=5, first=7)
    assert both.key == "effusion+needles-007"
    assert both.description.needles
    assert both.description.effusion_mm


def test_two_tiny_cases_from_end_to_end(tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    for case in TINY:
        row = assess_case(case, "supplied", keep, Segmenters())
        append_result(tmp_path / RESULTS["supplied"], json.loads(json.dumps(row)))
    again = load_or_make(TINY[0], keep)
    assert again.made_s == 0.0
    rows = read_results(tmp_path / RESULTS["supplied"], "key")
    assert [row["key"] for row in rows] == ["exact_zone-000", "needles-000"]
    for row in rows:
        assert "error" not in row
        if row["measured"]["refusal"] is None:
            assert row["measured"]["tcr"] == pytest.approx(row["truth"]["tcr"], abs=0.06)
            assert not hidden_miss(row)
    write_report(tmp_path)
    page = (tmp_path / "conditions.md").read_text(encoding="utf-8")
    assert "| needles | 1 |" in page
    assert "2 cases; chest: 2 procedural." in page
    assert (tmp_path / "conditions.png").stat().st_size > 10_000
    with pytest.raises(SystemExit, match="another case of this name"):
        load_or_make(replace(TINY[0], description=replace(TINY[0].description, margin_mm=5.0)), keep)


def row_of(key: str, **measured: Any) -> Row:
    """A case whose truth is a margin of 2 mm, measured right."""
    return {
        "key": key,
        "conditions": [key.rpartition("-")[0]],
        "masks": "supplied",
        "description": {"background": "procedural"},
        "truth": {
            "tcr": 0.9,
            "minimal_margin_mm": 2.0,
            "complete": False,
            "lung_clipped_minimal_mm": 2.0,
            "planning_frame": {"tcr": 0.95, "minimal_margin_mm": 2.5},
        },
        "measured": {
            "refusal": None,
            "tcr": 0.9,
            "tcr_interval_90": [0.85, 0.95],
            "probability_complete": 0.0,
            "minimal_mm": 2.0,
            "minimal_interval_90_mm": [1.0, 3.0],
            "lung_clipped_probability_complete": None,
            "lung_clipped_minimal_mm": 2.0,
            "lung_clipped_minimal_interval_90_mm": None,
            "planning_frame": {"tcr": None, "tcr_interval_90": None},
            "uncovered": 1,
            "pose_error_mm": 0.5,
            **measured,
        },
        "timings_s": {"made": 1.0, "prepare": 0.5, "assess": 1.0},
    }


def test_the_table_counts_errors_intervals_and_refusals_by_condition() -> None:
    refusal = {"code": "lung_changed", "reason": "air beside the lung"}
    rows = [
        row_of("needles-000"),
        row_of("needles-001", tcr=0.94, tcr_interval_90=[0.92, 0.96], minimal_mm=3.5),
        row_of("effusion-000", refusal=refusal, tcr=None, minimal_mm=None),
    ]
    everything, effusion, needles = table(rows)
    assert everything["condition"] == ALL
    assert everything["refusals"] == effusion["refusals"] == {"lung_changed": 1}
    assert (needles["tcr"]["held"], needles["tcr"]["intervals"]) == (1, 2)
    assert needles["tcr"]["median_error"] == pytest.approx(0.02)
    assert needles["tcr"]["bias"] == pytest.approx(0.02)
    assert needles["margin_mm"]["p90_error"] == pytest.approx(1.35)
    assert needles["lung_margin_mm"]["intervals"] == 0
    assert effusion["margin_mm"]["median_error"] is None


@pytest.mark.parametrize(
    ("measured", "lung_true_mm"),
    [
        ({"probability_complete": 0.51}, 2.0),
        ({"lung_clipped_probability_complete": 0.9}, 2.0),
        ({"uncovered": 0}, -1.0),
    ],
)
def test_each_kind_of_hidden_miss_is_seen(measured: Row, lung_true_mm: float) -> None:
    row = row_of("needles-000", **measured)
    row["truth"]["lung_clipped_minimal_mm"] = lung_true_mm
    assert hidden_miss(row)
    honest = copy.deepcopy(row)
    honest["measured"] |= {
        "probability_complete": 0.5,
        "lung_clipped_probability_complete": 0.5,
        "uncovered": 1,
    }
    assert not hidden_miss(honest)


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fake(case: BenchCase, masks: str, keep: Path | None, segmenters: Segmenters) -> Row:
        asked.append(case.key)
        return {**row_of(case.key), "description": case.description.to_json()}

    monkeypatch.setattr(command, "assess_case", fake)
    line = ["calibration", "run", "--conditions", "needles,effusion", "--out", str(tmp_path), "--count"]
    monkeypatch.setattr("sys.argv", [*line, "1"])
    command_line.main()
    monkeypatch.setattr("sys.argv", [*line, "2"])
    command_line.main()
    assert asked == ["needles-000", "effusion-000", "needles-001", "effusion-001"]
    monkeypatch.setattr("sys.argv", [*line, "2", "--seed", "1"])
    with pytest.raises(SystemExit, match="holds another needles-000"):
        command_line.main()


def test_make_without_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["calibration", "make"])
    with pytest.raises(SystemExit, match="needs --keep"):
        command_line.main()
