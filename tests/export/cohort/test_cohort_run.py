"""A run over a cohort: kept results, changed inputs, failures, dead processes, kills; every runner alike."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.errors import ConflictError, InvalidRequestError
from engine.manifest.signature import RadiomicsSettings
from export.cohort.case_job import CaseJob, CohortSettings, case_job
from export.cohort.case_result import CaseResult, read_result, result_path, write_result
from export.cohort.cohort_run import run_cohort
from export.cohort.runners import PoolRunner, SerialRunner
from export.cohort.table import CohortCase, read_cohort_table
from tests.support.cohorts.cohort_cases import PAUSE_VARIABLE, stand_in, write_cohort

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cases(tmp_path: Path) -> tuple[CohortCase, ...]:
    return read_cohort_table(write_cohort(tmp_path / "cohort", 6)).cases


def say(case: CohortCase, **more: object) -> None:
    path = case.images.planning
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("[!.]*.json"))}


class Counted:
    """Serial, and counts."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def __call__(self, job: CaseJob) -> CaseResult:
        self.jobs.append(job.case_id)
        return stand_in(job)


def test_every_runner_keeps_the_same_bytes(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    say(cases[1], fails=True)
    one = run_cohort(cases, tmp_path / "serial", SerialRunner(), stand_in)
    two = run_cohort(cases, tmp_path / "pool", PoolRunner(2), stand_in)
    assert one == two
    assert list(one) == [case.case_id for case in cases]
    assert texts(tmp_path / "serial") == texts(tmp_path / "pool")


def test_what_is_kept_is_not_computed_again(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    first, second = Counted(), Counted()
    steps: list[tuple[str, int, int]] = []
    once = run_cohort(cases, tmp_path / "w", SerialRunner(), first)
    again = run_cohort(
        cases, tmp_path / "w", SerialRunner(), second, on_progress=lambda *step: steps.append(step)
    )
    assert (len(first.jobs), second.jobs) == (6, [])
    assert once == again
    assert steps[-1] == ("measuring cases", 6, 6)


def test_a_changed_input_or_setting_is_computed_again(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    run_cohort(cases, tmp_path / "w", SerialRunner(), stand_in)
    say(cases[2], seed=99)
    counted = Counted()
    run_cohort(cases, tmp_path / "w", SerialRunner(), counted)
    assert counted.jobs == [cases[2].case_id]
    assert cases[2].images.zone is not None
    cases[4].images.zone.write_text("another contour") if cases[4].images.zone else None
    other = CohortSettings(radiomics=RadiomicsSettings(bin_width=12.5))
    counted = Counted()
    run_cohort(cases, tmp_path / "w", SerialRunner(), counted)
    assert counted.jobs == [cases[4].case_id]
    run_cohort(cases, tmp_path / "w", SerialRunner(), counted, settings=other)
    assert len(counted.jobs) == 7


def test_a_folder_of_dicom_is_known_by_all_its_files(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    folder = tmp_path / "series"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "deep" / "b").write_text("2")
    images = cases[0].images.model_copy(update={"planning": folder})
    case = CohortCase(2, "c", images, "f", 3.0, 1.0, 0)
    keys = [case_job(case, CohortSettings()).key]
    (folder / "deep" / "b").write_text("3")
    keys.append(case_job(case, CohortSettings()).key)
    (folder / "deep" / "b").rename(folder / "deep" / "c")
    keys.append(case_job(case, CohortSettings()).key)
    assert len(set(keys)) == 3


def test_a_failed_case_is_a_result(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    say(cases[1], fails=True)
    results = run_cohort(cases, tmp_path / "w", SerialRunner(), stand_in)
    failed = results[cases[1].case_id]
    assert (failed.outcome, failed.code, failed.reason) == ("failed", "unreadable_file", "it is no CT")
    assert [result.outcome for result in results.values()].count("measured") == 5
    counted = Counted()
    run_cohort(cases, tmp_path / "w", SerialRunner(), counted)
    assert counted.jobs == []  # the same files would fail the same way


def test_a_case_that_kills_its_process_takes_no_other_along(
    cases: tuple[CohortCase, ...], tmp_path: Path
) -> None:
    cases = cases[:3]
    say(cases[0], dies=True)
    results = run_cohort(cases, tmp_path / "w", PoolRunner(2), stand_in)
    assert results[cases[0].case_id].code == "lost"
    assert "died" in results[cases[0].case_id].reason
    assert [result.outcome for result in results.values()].count("measured") == 2
    say(cases[0], dies=False, seed=0)
    assert run_cohort(cases, tmp_path / "w", SerialRunner(), stand_in)[cases[0].case_id].outcome == "measured"


def test_what_may_pass_is_tried_again(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    job = case_job(cases[0], CohortSettings())
    lost = CaseResult(
        case_id=job.case_id, key=job.key, outcome="failed", code="lost", reason="gone", may_pass=True
    )
    write_result(tmp_path, lost)
    assert read_result(tmp_path, job.case_id, job.key) is None
    write_result(tmp_path, lost.model_copy(update={"may_pass": False}))
    assert read_result(tmp_path, job.case_id, job.key) is not None


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 99}', '{"case_id": "other"}'])
def test_a_damaged_result_is_computed_again(
    cases: tuple[CohortCase, ...], tmp_path: Path, damage: str
) -> None:
    once = run_cohort(cases, tmp_path / "w", SerialRunner(), stand_in)
    result_path(tmp_path / "w", cases[3].case_id).write_text(damage)
    counted = Counted()
    assert run_cohort(cases, tmp_path / "w", SerialRunner(), counted) == once
    assert counted.jobs == [cases[3].case_id]


def test_one_run_at_a_time(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    class Within:
        def __call__(self, job: CaseJob) -> CaseResult:
            with pytest.raises(ConflictError, match="another run"):
                run_cohort(cases, tmp_path / "w", SerialRunner(), stand_in)
            return stand_in(job)

    run_cohort(cases[:1], tmp_path / "w", SerialRunner(), Within())


def test_a_folder_that_cannot_be_written(cases: tuple[CohortCase, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequestError, match="cannot be written"):
        run_cohort(cases, tmp_path / "file", SerialRunner(), stand_in)


def test_no_process_is_no_pool() -> None:
    with pytest.raises(InvalidRequestError, match="1 or more"):
        PoolRunner(0)


PROGRAM = """
import sys
from pathlib import Path
from export.cohort.cohort_run import run_cohort
from export.cohort.runners import PoolRunner
from export.cohort.table import read_cohort_table
from tests.support.cohorts.cohort_cases import stand_in
if __name__ == "__main__":
    cases = read_cohort_table(Path(sys.argv[1])).cases
    run_cohort(cases, Path(sys.argv[2]), PoolRunner(2), stand_in)
"""


def test_a_killed_run_leaves_no_process_behind_and_goes_on(tmp_path: Path) -> None:
    table, folder, program = write_cohort(tmp_path / "cohort", 10), tmp_path / "w", tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {PAUSE_VARIABLE: "0.3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), str(table), str(folder)]
    running = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    patience = time.monotonic() + 60
    while len(texts(folder)) < 3 and time.monotonic() < patience:
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    kept = texts(folder)
    assert 3 <= len(kept) < 10
    assert _ends(running.pid), "workers of a killed run are still there"
    counted = Counted()
    cases = read_cohort_table(table).cases
    run_cohort(cases, folder, SerialRunner(), counted)
    assert len(counted.jobs) == 10 - len(kept)
    run_cohort(cases, tmp_path / "whole", SerialRunner(), stand_in)
    assert texts(folder) == texts(tmp_path / "whole")
    assert not list(folder.glob(".unfinished*"))


def _ends(session: int) -> bool:
    """Whether every process of a session ends by itself."""
    patience = time.monotonic() + 20
    while time.monotonic() < patience:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    os.killpg(session, signal.SIGKILL)
    return False
