"""How results of the benchmarks are kept, compared and written down; nothing is timed here."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import chosen, compare, judge, machine_drift
from benchmarks.compare import main as compare_results
from benchmarks.end_to_end.report import CHAIN, OWN, summary
from benchmarks.machine import VECTORS, machine, machine_name, version
from benchmarks.measurements import READERS, Measurement, measurements
from benchmarks.result_folders import folder_for, result_folders
from benchmarks.results_page import BEGIN, END, page, put_between, seconds, table
from benchmarks.run import BENCHMARKS

MACHINE = "amd-epyc-avx2-2-cores"
ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 23)


def measured(own_s: float, *, spread: float = 0.05, **peers_s: float) -> Measurement:
    return Measurement("distance", own_s, own_s * (1 - spread), own_s * (1 + spread), peers_s)


def kernels(own_ms: float, peer_ms: float = 100.0, versions: str = "1") -> dict[str, Any]:
    """A record of three kernels."""
    rows = [
        {
            "kernel": name,
            "size": "8^3",
            "coldspot_ms": own_ms,
            "others_ms": {"scipy": peer_ms},
            "spread_ms": {"coldspot": [0.95 * own_ms, 1.05 * own_ms]},
            "not_installed": ["edt"],
        }
        for name in ("a", "b", "c")
    ]
    described = {
        "processor": "EPYC",
        "vectors": "avx2",
        "cores": 2,
        "threads": 2,
        "memory_gib": 24.0,
        "load_before": 0.1,
        "python": "3.11",
        "measured_at": "2026-11-23T10:00:00+00:00",
        "versions": {"scipy": versions},
    }
    return {"arguments": [], "machine": described, "report": {"rows": rows}}


@pytest.mark.parametrize(
    ("old_s", "new_s", "drift", "slower"),
    [
        (1.0, 1.25, 1.0, False),  # within the noise
        (1.0, 1.4, 1.0, True),
        (1.0, 1.4, 1.4, False),  # the peers took longer too: it is the machine
        (1.0, 1.1, 0.8, True),  # it did not get faster with the machine
        (1.0, 0.5, 1.0, False),
        (0.001, 0.0019, 1.0, False),  # less than a millisecond
    ],
)
def test_slower_is_what_grew_by_more_than_the_noise(
    old_s: float, new_s: float, drift: float, slower: bool
) -> None:
    assert judge("kernels", measured(old_s), measured(new_s), drift).slower is slower


def test_runs_that_overlap_are_not_slower() -> None:
    assert not judge("kernels", measured(1.0, spread=0.3), measured(1.4, spread=0.3), 1.0).slower


def test_the_drift_is_the_median_of_what_the_peers_took_more() -> None:
    old = {"distance": measured(1.0, scipy=1.0, edt=2.0, itk=3.0)}
    new = {"distance": measured(1.0, scipy=1.5, edt=2.4, itk=30.0)}
    assert machine_drift(old, new) == pytest.approx(1.5)
    assert machine_drift({"distance": measured(1.0, scipy=1.0)}, new) == 1.0


def test_only_alike_records_are_compared() -> None:
    old, new = kernels(10.0), kernels(20.0)
    changes, left_out = compare({"kernels": old, "growth": old}, {"kernels": new})
    assert [change.slower for change in changes] == [True] * 3
    assert left_out == ["growth: only in the older result"]
    changes, left_out = compare({"kernels": old}, {"kernels": {**new, "arguments": ["--quick"]}})
    assert not changes
    assert "other arguments" in left_out[0]
    # A machine that is half as fast for everybody; unless the peers are others.
    assert not any(c.slower for c in compare({"kernels": old}, {"kernels": kernels(20.0, 200.0)})[0])
    assert all(
        c.slower for c in compare({"kernels": old}, {"kernels": kernels(20.0, 200.0, versions="2")})[0]
    )


def write(root: Path, name: str, record: dict[str, Any]) -> None:
    (root / name).mkdir(parents=True)
    (root / name / "kernels.json").write_text(json.dumps(record))


def test_the_exit_code_tells_of_a_slowdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, f"2026-11-09-{MACHINE}", kernels(10.0))
    monkeypatch.setattr(sys, "argv", ["compare", "--results", str(tmp_path)])
    assert compare_results() == 2
    write(tmp_path, f"2026-11-23-{MACHINE}", kernels(10.0))
    write(tmp_path, f"2026-11-23.2-{MACHINE}", kernels(20.0))
    assert compare_results() == 1
    named = [f"2026-11-09-{MACHINE}", f"2026-11-23-{MACHINE}"]
    monkeypatch.setattr(sys, "argv", ["compare", *named, "--results", str(tmp_path)])
    assert compare_results() == 0


def test_folders_sort_by_age_and_machines_are_kept_apart(tmp_path: Path) -> None:
    for name in (
        f"2026-11-23.10-{MACHINE}",
        f"2026-11-23.2-{MACHINE}",
        "2026-12-01-arm-4-cores",
        "calibration",
    ):
        (tmp_path / name).mkdir()
    assert [folder.number for folder in result_folders(tmp_path, MACHINE)] == [2, 10]
    assert chosen(tmp_path, []) is None  # the machine that measured last did so once
    with pytest.raises(SystemExit, match="name two of"):
        chosen(tmp_path, ["2026-11-23"])
    assert result_folders(tmp_path / "absent") == []


def test_no_result_is_overwritten(tmp_path: Path) -> None:
    first = folder_for(tmp_path, MACHINE, ["kernels"], TODAY)
    assert first.name == f"2026-11-23-{MACHINE}"
    write(tmp_path, first.name, kernels(1.0))
    assert folder_for(tmp_path, MACHINE, ["growth"], TODAY) == first
    assert folder_for(tmp_path, MACHINE, ["growth", "kernels"], TODAY).name == f"2026-11-23.2-{MACHINE}"


def test_the_table_names_peers_by_speed_and_those_that_are_not_there() -> None:
    one = Measurement("growth", 0.01, 0.009, 0.012, {"scipy": 1.0, "edt": 0.03}, ("fastmorph",), "exact")
    line = table([one])[-1]
    assert line == (
        "| growth | 10 ms (9 ms–12 ms) | edt 30 ms (×3.0), scipy 1 s (×100.0), fastmorph: not installed | exact |"
    )
    assert seconds(1.2345) == "1.23 s"


def test_the_page_stands_between_its_markers_and_nothing_else_changes() -> None:
    content = page({"kernels": kernels(10.0)}, {"kernels": "results/x"}, "results/x/ratios.png")
    text = put_between(f"before\n{BEGIN}\nwas here\n{END}\nafter\n", content)
    assert text.startswith(f"before\n{BEGIN}\n\nEPYC (avx2), 2 cores")
    assert text.endswith(f"{END}\nafter\n")
    assert "was here" not in text
    assert "results/x/kernels.json" in text
    assert put_between(text, content) == text
    with pytest.raises(ValueError, match="once each"):
        put_between("no markers", content)


def test_the_readme_has_the_markers() -> None:
    assert put_between((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), "")


def test_every_benchmark_of_the_run_can_be_read_and_is_there() -> None:
    assert set(BENCHMARKS) == set(READERS)
    for benchmark in BENCHMARKS.values():
        path = ROOT / "benchmarks" / benchmark.module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_kept_results_can_be_read() -> None:
    for folder in result_folders(ROOT / "benchmarks" / "results"):
        for name, record in folder.reports().items():
            assert measurements(name, record["report"])


def test_end_to_end_rows_are_medians_with_errors_and_ratios() -> None:
    def run(name: str, total_s: float, tcr: float) -> dict[str, Any]:
        features = {"Skewness": 2.0 if name == OWN else 1.0}
        timed = {"total_s": total_s, "network_s": 1.0, "without_network_s": total_s - 1.0}
        told = {"case": "half", "contender": name, "true_tcr": 0.5, "load": total_s}
        return {**told, **timed, "steps_s": {"risk": total_s}, "tcr": tcr, "features": features}

    runs = [run(OWN, s, 0.51) for s in (2.0, 5.0, 3.0)] + [
        run(CHAIN, 9.0, 0.4),
        {**run("x", 1, 0), "refusal": "no"},
    ]
    (case,) = summary(runs)
    own = case["contenders"][OWN]
    assert own["total_s"] == {"median": 3.0, "least": 2.0, "greatest": 5.0}
    assert own["tcr_error"] == pytest.approx(0.01)
    assert own["greatest_load"] == 5.0
    assert (case["times_faster"], case["times_faster_without_network"]) == (3.0, 4.0)
    assert case["features_differ_at_most"] == 0.5
    assert case["contenders"]["x"] == {"runs": 1, "refusal": "no"}
    first, *_ = measurements("end_to_end", {"cases": [case], "not_installed": []})
    assert first.peers_s == {"existing tools": 9.0}


def test_the_machine_says_what_it_is() -> None:
    told = machine(["numpy", "no-such-package"])
    assert told["vectors"] in (*VECTORS, "scalar")
    assert told["versions"]["no-such-package"] == version("no-such-package") == "not installed"
    assert machine_name().endswith(f"{told['cores']}-cores")
