"""All cases of a cohort: those that are kept are read, the others computed; a run that was killed goes on."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from engine.errors import ConflictError, InvalidRequestError
from engine.progress import CountProgress, ignore_progress
from export.cohort.case_job import CaseJob, CohortSettings, case_job
from export.cohort.case_result import CaseResult, read_result, remove_unfinished, write_result
from export.cohort.runners import CaseWork, CohortRunner
from export.cohort.table import CohortCase

_LOCK_FILE: Final = ".lock"


def run_cohort(
    cases: Sequence[CohortCase],
    folder: Path,
    runner: CohortRunner,
    work: CaseWork,
    *,
    settings: CohortSettings | None = None,
    on_progress: CountProgress | None = None,
) -> dict[str, CaseResult]:
    """Measure every case, or read what an earlier run has kept of it.

    Parameters
    ----------
    cases : sequence of CohortCase
    folder : Path
        Gets one file per case. A file is used again only if the contents of all its input files, the
        settings and the versions of the software are the same.
    runner : CohortRunner
    work : callable
        Measures one case, usually :func:`export.cohort.case_run.run_case`.
    settings : CohortSettings, optional
    on_progress : callable, optional

    Returns
    -------
    dict of str to CaseResult
        By case id, in the order of ``cases``: measured, refused or failed.

    Raises
    ------
    ConflictError
        If another run is at work in this folder.
    InvalidRequestError
        If the folder cannot be written.
    """
    notify = on_progress or ignore_progress
    chosen = settings or CohortSettings()
    with _alone_in(folder):
        remove_unfinished(folder)
        results: dict[str, CaseResult] = {}
        jobs: list[CaseJob] = []
        for number, case in enumerate(cases, start=1):
            job = case_job(case, chosen)
            known = read_result(folder, job.case_id, job.key)
            if known is None:
                jobs.append(job)
            else:
                results[job.case_id] = known
            notify("reading inputs", number, len(cases))
        notify("measuring cases", len(results), len(cases))
        for result in runner.run(work, jobs):
            _keep(folder, result)
            results[result.case_id] = result
            notify("measuring cases", len(results), len(cases))
    return {case.case_id: results[case.case_id] for case in cases}


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder for this run; the lock ends with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK_FILE).open("a")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"another run is at work in {folder}: wait for it, or stop it") from error
        yield


def _keep(folder: Path, result: CaseResult) -> None:
    try:
        write_result(folder, result)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> InvalidRequestError:
    return InvalidRequestError(f"{folder} cannot be written ({error.strerror}); name another folder", "work")
