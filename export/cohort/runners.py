"""Runners that compute the cases of a cohort, in this process or in several on this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final, Protocol

from engine.errors import InvalidRequestError
from export.cohort.case_job import CaseJob, lost_case
from export.cohort.case_result import CaseResult
from export.cohort.worker_process import start_worker

CaseWork = Callable[[CaseJob], CaseResult]
"""A function at the top of a module: other processes have to find it."""

LOST: Final = "the process that worked on this case died (out of memory?); give it more room and run again"


class CohortRunner(Protocol):
    """Computes cases."""

    def run(self, work: CaseWork, jobs: Sequence[CaseJob]) -> Iterator[CaseResult]:
        """Yield one result for each job as soon as it is available, in any order.

        A job whose process dies is a failed result, never an exception.
        """


class SerialRunner:
    """One case after the other, in this process."""

    def run(self, work: CaseWork, jobs: Sequence[CaseJob]) -> Iterator[CaseResult]:
        """Yield results in the order of the jobs."""
        return map(work, jobs)


class PoolRunner:
    """Several processes on this machine, one case at a time each.

    Parameters
    ----------
    processes : int
    threads : int, optional
        Of each process; by default the processors are shared out.

    Raises
    ------
    InvalidRequestError
        If there is no process.
    """

    def __init__(self, processes: int, threads: int | None = None) -> None:
        if processes < 1:
            raise InvalidRequestError(f"{processes} processes compute nothing: give 1 or more", "processes")
        self.processes = processes
        self.threads = threads or max(1, (os.cpu_count() or 1) // processes)

    def run(self, work: CaseWork, jobs: Sequence[CaseJob]) -> Iterator[CaseResult]:
        """Yield results as they come; cases that were at work when a process died are tried again, alone."""
        remaining, suspects = list(jobs), list[CaseJob]()
        while remaining:
            interrupted = yield from self._until_broken(work, remaining, self.processes)
            suspects += interrupted
        for suspect in suspects:
            for job in (yield from self._until_broken(work, [suspect], 1)):
                yield lost_case(job, LOST)

    def _until_broken(
        self, work: CaseWork, jobs: list[CaseJob], processes: int
    ) -> Generator[CaseResult, None, list[CaseJob]]:
        """Take jobs off the front and yield their results; return those that a dead process took along."""
        running: dict[Future[CaseResult], CaseJob] = {}
        pool = ProcessPoolExecutor(
            min(processes, len(jobs)),
            multiprocessing.get_context("spawn"),  # threads of the libraries do not survive a fork
            start_worker,
            (self.threads,),
        )
        try:
            while jobs or running:
                # No more than can be at work: whatever is submitted when a process dies is under suspicion.
                while jobs and len(running) < processes:
                    submitted = pool.submit(work, jobs[0])
                    running[submitted] = jobs.pop(0)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    del running[future]
                    yield result
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return list(running.values())
