"""Long proofs: sixty simulated cases from images to a bundle, killed twice; real features on a Ray cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.manifest import SIMULATED_COHORT, load_bundle
from engine.risk.model import SurvivalModel
from export.cohort.case_run import run_case
from export.cohort.cohort_run import run_cohort
from export.cohort.runners import SerialRunner
from export.cohort.simulated_images import simulate_cohort_folder
from export.cohort.table import read_cohort_table

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(4 * 3600)]
ROOT = Path(__file__).parents[3]
CASES = int(os.environ.get("COLDSPOT_ACCEPTANCE_CASES", "60"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("COLDSPOT_SIMULATED_COHORT")  # a folder to go on with, for who runs this often
    return simulate_cohort_folder(Path(kept) if kept else tmp_path_factory.mktemp("simulated"), CASES, seed=6)


def command(cohort: Path, out: Path) -> list[str]:
    program = "from export.commands.cli import main; main()"
    return [
        sys.executable,
        "-c",
        program,
        "fit-ltp",
        str(cohort),
        "--out",
        str(out),
        "--processes",
        "2",
        "--json",
    ]


def kept_results(out: Path) -> int:
    return len(list(Path(f"{out}.work").glob("[!.]*.json")))


def test_killed_twice_the_bundle_has_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make setup-export")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    said = subprocess.run(command(cohort, whole), cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout
    for results in (CASES // 5, CASES // 2):
        running = subprocess.Popen(command(cohort, stopped), cwd=ROOT, stdout=subprocess.DEVNULL)
        while kept_results(stopped) < results and running.poll() is None:
            time.sleep(0.1)
        running.kill()
        assert running.wait() == -signal.SIGKILL
    again = subprocess.run(command(cohort, stopped), cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout
    for path in sorted(whole.iterdir()):
        assert (stopped / path.name).read_bytes() == path.read_bytes(), f"{path.name} differs"
    for path in sorted(Path(f"{whole}.work").glob("[!.]*.json")):
        assert (Path(f"{stopped}.work") / path.name).read_bytes() == path.read_bytes(), f"{path.name} differs"
    figures = json.loads(said.stdout)
    assert len(figures["left_out"]) <= CASES // 10, figures["left_out"]
    manifest = load_bundle(whole).manifest
    assert manifest.demo
    assert SIMULATED_COHORT in manifest.fitted_on
    _agrees_with_what_was_drawn(cohort, Path(f"{whole}.work"))
    assert SurvivalModel.load(whole).name


def _agrees_with_what_was_drawn(cohort: Path, work: Path) -> None:
    """Coverage as measured on the images is the drawn one in nearly every case."""
    right = []
    for case in read_cohort_table(cohort).cases:
        result = json.loads((work / f"{case.case_id}.json").read_text())
        if result["outcome"] == "measured":
            right.append(result["complete_coverage"] == (case.described["true_complete_coverage"] == "1"))
    assert sum(right) >= 0.9 * len(right)


def test_a_ray_cluster_gives_the_same_features(cohort: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: make setup-export")
    from export.cohort.ray_runner import RayRunner

    cases = read_cohort_table(cohort).cases[:4]
    alone = run_cohort(cases, tmp_path / "serial", SerialRunner(), run_case)
    together = run_cohort(cases, tmp_path / "ray", RayRunner(workers=2), run_case)
    assert [result.outcome for result in alone.values()].count("measured") >= 3
    assert alone == together
