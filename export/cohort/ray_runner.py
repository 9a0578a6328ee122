"""Cases on a Ray cluster, for sites that outgrow one machine; the one module that knows Ray.

Every node needs this package, and sees the input files under the same paths.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RaySystemError

from engine.errors import BackendError
from export.cohort.case_job import CaseJob, lost_case
from export.cohort.case_result import CaseResult
from export.cohort.runners import LOST, CaseWork
from export.cohort.worker_process import thread_limits

_LOCAL = "local"


class RayRunner:
    """Tasks on a Ray cluster, each on its own processors.

    Parameters
    ----------
    address : str
        ``local`` starts a cluster on this machine and stops it afterwards; otherwise that of a running
        one (``auto``, ``host:6379``, ``ray://host:10001``).
    workers : int, optional
        Tasks at a time on a local cluster; on a running one its own resources decide.
    threads : int
        Processors that one case takes.
    """

    def __init__(self, address: str = _LOCAL, workers: int | None = None, threads: int = 1) -> None:
        self.address, self.workers, self.threads = address, workers, threads

    def run(self, work: CaseWork, jobs: Sequence[CaseJob]) -> Iterator[CaseResult]:
        """Yield results as they come; a case whose worker dies is tried once more.

        Raises
        ------
        BackendError
            If the cluster cannot be reached, or is lost.
        """
        self._connect()
        try:
            task = ray.remote(num_cpus=self.threads, max_retries=1)(work)
            running: dict[Any, CaseJob] = {task.remote(job): job for job in jobs}
            while running:
                done, _ = ray.wait(list(running), num_returns=1)
                yield _result_of(done[0], running.pop(done[0]))
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        local = self.address == _LOCAL
        try:
            ray.init(
                address=self.address,
                num_cpus=self.workers * self.threads if local and self.workers else None,
                include_dashboard=False if local else None,
                runtime_env={"env_vars": thread_limits(self.threads)},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise BackendError(f"no Ray cluster at {self.address!r}: {error}") from error


def _result_of(done: Any, job: CaseJob) -> CaseResult:
    """Result of a task; None where its worker died."""
    try:
        result: CaseResult = ray.get(done)
    except RaySystemError as error:
        raise BackendError(f"the Ray cluster is lost: {error}; run again, what is done is kept") from error
    except RayError:
        return lost_case(job, LOST)
    return result
