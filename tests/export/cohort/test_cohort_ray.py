"""The same cases on a local Ray cluster of two workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import BackendError
from export.cohort.case_job import CaseJob, CohortSettings
from export.cohort.cohort_run import run_cohort
from export.cohort.runners import SerialRunner
from export.cohort.table import read_cohort_table
from tests.support.cohorts.cohort_cases import stand_in, write_cohort

pytest.importorskip("ray", reason="ray is not installed: make setup-export")


def test_two_workers_give_the_same_features(tmp_path: Path) -> None:
    from export.cohort.ray_runner import RayRunner

    cases = read_cohort_table(write_cohort(tmp_path / "cohort", 5)).cases
    path = cases[1].images.planning
    path.write_text(json.dumps({**json.loads(path.read_text()), "fails": True}))
    expected = run_cohort(cases, tmp_path / "serial", SerialRunner(), stand_in)
    found = run_cohort(cases, tmp_path / "ray", RayRunner(workers=2), stand_in)
    assert found == expected
    assert {kept.read_text() for kept in (tmp_path / "ray").glob("*.json")} == {
        kept.read_text() for kept in (tmp_path / "serial").glob("*.json")
    }


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from export.cohort.ray_runner import RayRunner

    def nobody(**_: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(BackendError, match=r"no Ray cluster at 'ray://head:10001': no answer"):
        list(RayRunner("ray://head:10001").run(stand_in, []))


def test_a_worker_that_dies_is_a_failed_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import ray
    from ray.exceptions import RayError

    from export.cohort import ray_runner

    def died(_task: object) -> None:
        raise RayError("worker died")

    monkeypatch.setattr(ray, "get", died)
    job = CaseJob(
        "a1", read_cohort_table(write_cohort(tmp_path, 1)).cases[0].images, CohortSettings(), "0" * 64
    )
    lost = ray_runner._result_of(None, job)
    assert (lost.outcome, lost.code, lost.may_pass) == ("failed", "lost", True)
