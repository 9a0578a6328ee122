"""The benchmark's own arithmetic, on a pair whose answer is known; the peers themselves are not run here."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.registration import __main__ as registration
from benchmarks.registration.__main__ import (
    Method,
    Registration,
    forget,
    measure,
    planned,
    read_runs,
    run,
    write_results,
)
from benchmarks.registration.cases import Case, all_cases, count_tumor, scores
from benchmarks.registration.peers import PEERS, Pair
from benchmarks.registration.report import paired_ratios, summary, table
from engine.arrays import Float64Array
from engine.geometry import RigidTransform
from engine.refusal import RefusalCode, RefusedError
from engine.registration.field import DisplacementField
from engine.volume import CtVolume
from service.commands.landmarks import LandmarkPairs
from tests.support.spheres import ball, centered_grid

GRID = centered_grid((1.0, 0.9, 0.9), 20.0)
SHIFT = np.array([2.3, -1.4, 0.6])
TUMOR_MM, ZONE_MM = 6.0, 9.0
CENTER = np.zeros(3)


@pytest.fixture(scope="module")
def case() -> Case:
    """A ball that moved by ``SHIFT``: in the fixed CT it is in the middle, as is the zone around it."""
    ct = CtVolume(np.full(GRID.shape_zyx, -800, dtype=np.int16), GRID)
    zone, tumor = ball(GRID, CENTER, [ZONE_MM] * 3, "zone"), ball(GRID, SHIFT, [TUMOR_MM] * 3, "tumor")
    in_moving = GRID.to_lps(np.argwhere(tumor.voxels).astype(float))
    inside = LandmarkPairs(in_moving - SHIFT, in_moving)
    return Case("balls", Pair(ct, ct, zone, tumor), inside, inside)


def field(shift: Float64Array, swelling: float = 0.0) -> DisplacementField:
    """A shift; with ``swelling`` the tumor comes out that much smaller along each axis."""
    points = GRID.to_lps(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1).astype(float))
    return DisplacementField((shift + swelling * points).astype(np.float32), GRID)


def test_the_true_field_scores_perfectly(case: Case) -> None:
    found = scores(case, field(SHIFT), RigidTransform.from_translation(SHIFT))
    assert found["landmark_mean_mm"] == pytest.approx(0, abs=1e-5)
    assert found["tumor_error_mm"] == pytest.approx(0, abs=1e-5)
    assert found["tumor_volume_ratio"] == pytest.approx(1, abs=1e-3)
    assert found["tcr_error"] == pytest.approx(0, abs=1e-3)
    assert found["tcr"] == pytest.approx((ZONE_MM / (TUMOR_MM + 5.0)) ** 3, abs=0.02)
    assert found["tcr_by_coldspot"] == pytest.approx((ZONE_MM / (TUMOR_MM + 5.0)) ** 3, abs=0.01)
    assert found["tcr_by_coldspot_error"] == pytest.approx(0, abs=1e-3)
    assert found["folding_share"] == 0


def test_a_wrong_field_scores_as_wrong_as_it_is(case: Case) -> None:
    off = scores(case, field(SHIFT + np.array([0.0, 3.0, 4.0])))
    assert off["landmark_mean_mm"] == pytest.approx(5, abs=1e-4)
    assert off["tumor_error_mm"] == pytest.approx(5, abs=1e-4)
    assert off["tumor_volume_ratio"] == pytest.approx(1, abs=0.01)
    assert off["tcr_error"] is not None
    assert off["tcr_error"] < -0.05
    shrunk = scores(case, field(SHIFT, swelling=0.1))
    assert shrunk["tumor_volume_ratio"] == pytest.approx(1.1**-3, abs=0.01)
    assert shrunk["tcr_error"] is not None
    assert shrunk["tcr_error"] > 0.05, "a shrunken tumor hides a miss"
    assert scores(case, field(SHIFT, swelling=-1.5))["folding_share"] == 1


def test_a_tumor_that_is_nowhere_is_not_covered(case: Case) -> None:
    assert count_tumor(case.pair, field(np.full(3, 500.0)).at, CENTER[None]) == (0, 0)


def by(shift: Float64Array) -> Any:
    return lambda _pair: Registration(field(shift))


def refuses(_pair: Pair) -> Registration:
    raise RefusedError(RefusalCode.WRONG_SIDE, "mirrored")


def breaks(_pair: Pair) -> Registration:
    raise RuntimeError("no memory")


METHODS = [
    Method("coldspot", "1", "", by(SHIFT)),
    Method("elastix", "2", "", by(SHIFT + 1.0)),
    Method("convexadam", None, "", breaks),
    Method("demons", "4", "", breaks),
]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that cost nothing."""
    told = {"landmark_mean_mm": 0.3, "landmark_p95_mm": 0.6, "folding_share": 0.0, "tcr_error": None}
    monkeypatch.setattr(registration, "scores", lambda *_given: told)


@pytest.mark.usefixtures("_quick")
def test_every_method_has_its_row_whatever_happens(case: Case, tmp_path: Path) -> None:
    runs_file = tmp_path / "registration.jsonl"
    cases = {"balls": lambda: case, "refused": lambda: replace(case, name="refused")}
    run(cases, METHODS[:1] + METHODS[3:], runs_file, repeats=1, paired_repeats=2)
    run({"refused": cases["refused"]}, [replace_register(METHODS[1])], runs_file, repeats=1, paired_repeats=1)
    write_results(tmp_path, read_runs(runs_file), METHODS)
    text = (tmp_path / "registration.md").read_text("utf-8")
    assert "convexadam not installed" in text
    assert "| balls | demons | 1 | RuntimeError: no memory |" in text
    assert "| refused | elastix | 1 | wrong_side |" in text
    assert "| balls | coldspot | 2 | " in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert (tmp_path / "registration.png").stat().st_size
    results = json.loads((tmp_path / "registration.json").read_text("utf-8"))
    assert results["methods"]["convexadam"]["version"] == "not installed"
    assert {row["method"] for row in results["results"]} == {"coldspot", "demons", "elastix"}


def replace_register(method: Method) -> Method:
    return Method(method.name, method.version, method.settings, refuses)


@pytest.mark.usefixtures("_quick")
def test_what_is_there_is_not_run_again(case: Case, tmp_path: Path) -> None:
    runs_file = tmp_path / "registration.jsonl"
    made = []

    def make() -> Case:
        made.append(1)
        return case

    for _ in range(2):
        run({"balls": make}, METHODS[:2], runs_file, repeats=1, paired_repeats=2)
    assert len(made) == 1
    assert len(read_runs(runs_file)) == 4
    runs_file.write_text(runs_file.read_text("utf-8")[:-30], encoding="utf-8")
    forget(runs_file, [])
    run({"balls": make}, METHODS[:2], runs_file, repeats=1, paired_repeats=2)
    assert len(made) == 2
    assert len(read_runs(runs_file)) == 4
    run({"balls": make}, METHODS[3:], runs_file, repeats=1, paired_repeats=1)
    run({"balls": make}, METHODS[3:], runs_file, repeats=1, paired_repeats=1)
    assert [line["method"] for line in read_runs(runs_file)][4:] == ["demons"] * 2, "a failure is tried again"
    forget(runs_file, ["elastix", "demons"])
    assert {line["method"] for line in read_runs(runs_file)} == {"coldspot"}


def test_the_compared_take_turns() -> None:
    order = [method.name for _, method in planned(METHODS, repeats=1, paired_repeats=3)]
    assert order[:2] == ["coldspot", "elastix"]
    assert order[4:] == ["coldspot", "elastix", "coldspot", "elastix"]
    assert order.count("demons") == 1


def test_medians_and_the_paired_ratio() -> None:
    def line(method: str, seconds: float) -> dict[str, Any]:
        return {
            "case": "a",
            "method": method,
            "version": "1",
            "load_before": 0.1,
            "seconds": seconds,
            "processor_s": seconds,
            "scores": {"landmark_mean_mm": seconds, "landmarks_scored": None},
            "says": {},
        }

    rows = summary([line("coldspot", 1), line("coldspot", 9), line("coldspot", 2), line("elastix", 10)])
    assert [row["seconds"] for row in rows] == [2, 10]
    assert rows[0]["scores"] == {"landmark_mean_mm": 2, "landmarks_scored": None}
    assert paired_ratios(rows) == {"a": 5.0}


@pytest.mark.usefixtures("_quick")
def test_a_run_notes_time_load_and_version(case: Case) -> None:
    line = measure(METHODS[0], case)
    assert line["seconds"] > 0
    assert {"load_before", "processor_s", "version", "at", "threads"} <= set(line)


def test_peers_are_looked_up_by_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(_package: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert [peer.version for peer in PEERS] == [None, None, None]
    known = registration.methods()
    found = {"machine": "", "python": "", "threads": 2, "results": []}
    found["methods"] = {
        method.name: {"version": method.version or "not installed", "settings": ""} for method in known
    }
    assert table(found).count("not installed") == 3


def test_phantoms_are_there_without_any_data() -> None:
    assert all(name.startswith("phantom") for name in all_cases(None))
    assert len(all_cases(None)) >= 2
