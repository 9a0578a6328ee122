"""One thread owns the device; everything that needs the device waits in a queue here.

A :class:`Job` is what one call asked for. Its events can be read while it runs; it ends with a result
or an error. A job whose client has gone leaves the queue at once, or stops at its next stage.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from engine.errors import (
    DeadlineExceededError,
    InterruptedAssessmentError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from engine.stages import Stage

Event = TypeVar("Event")


@dataclass(frozen=True)
class StageEvent:
    """A stage has begun, or (with its duration) has ended."""

    stage: Stage
    duration_s: float | None = None


class Job(Generic[Event]):
    """One piece of work for the device.

    Parameters
    ----------
    work : callable
        Does the work; called with this job, to emit events and to learn of a cancellation.
    time_left_s : float, optional
        Seconds until the caller's deadline.
    on_end : callable, optional
        Called exactly once, however the job ends, with its error or None.
    """

    def __init__(
        self,
        work: Callable[[Job[Event]], None],
        time_left_s: float | None = None,
        on_end: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        self._work = work
        self._on_end = on_end
        self._events: queue.SimpleQueue[Event | StageEvent | _End] = queue.SimpleQueue()
        self._ended = threading.Lock()
        self._interruption: InterruptedAssessmentError | ServiceUnavailableError | None = None
        self.submitted_at = time.monotonic()
        self._deadline = None if time_left_s is None else self.submitted_at + time_left_s

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the caller's deadline, negative once it has passed; None if there is no deadline."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def emit(self, event: Event | StageEvent) -> None:
        """Hand an event to whoever reads this job."""
        self._events.put(event)

    def interrupt(self, reason: InterruptedAssessmentError | ServiceUnavailableError) -> None:
        """Ask the work to stop before its next stage; the first reason counts."""
        if self._interruption is None:
            self._interruption = reason

    def require_wanted(self) -> None:
        """Raise unless somebody still waits for this job.

        Raises
        ------
        ClientCancelledError, DeadlineExceededError, ServiceUnavailableError
        """
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlineExceededError(
                "the deadline of the call has passed; work was stopped between stages"
            )
        if self._interruption is not None:
            raise self._interruption

    def run(self) -> None:
        """Do the work in this thread."""
        error: BaseException | None = None
        try:
            self.require_wanted()
            self._work(self)
        except BaseException as raised:  # noqa: BLE001 - it is raised again where the job is read
            error = raised
        self.end(error)

    def end(self, error: BaseException | None) -> None:
        """End the job; only the first end counts."""
        if not self._ended.acquire(blocking=False):
            return
        try:
            if self._on_end is not None:
                self._on_end(error)
        finally:
            self._events.put(_End(error))

    def __iter__(self) -> Iterator[Event | StageEvent]:
        """Yield events until the job ends; raise its error."""
        while True:
            event = self._events.get()
            if isinstance(event, _End):
                if event.error is not None:
                    raise event.error
                return
            yield event


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class JobListener(Generic[Event]):
    """Passes the engine's stages on to a job, and stops the engine when nobody waits any more.

    Parameters
    ----------
    job : Job
    observe : callable, optional
        Called with each finished stage and its duration in seconds.
    """

    def __init__(self, job: Job[Event], observe: Callable[[Stage, float], None] | None = None) -> None:
        self._job = job
        self._observe = observe

    def stage_started(self, stage: Stage) -> None:
        """Stop the work if nobody waits for it; otherwise announce the stage."""
        self._job.require_wanted()
        self._job.emit(StageEvent(stage))

    def stage_finished(self, stage: Stage, duration_s: float) -> None:
        """Announce and measure the stage."""
        if self._observe is not None:
            self._observe(stage, duration_s)
        self._job.emit(StageEvent(stage, duration_s))

    def require_wanted(self) -> None:
        """Stop the work if nobody waits for it."""
        self._job.require_wanted()


class Worker:
    """A queue of jobs, and the one thread that runs them in the order in which they came."""

    def __init__(self) -> None:
        self._queue: deque[Job[Any]] = deque()
        self._changed = threading.Condition()
        self._running: Job[Any] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Number of waiting jobs; the running one is not counted."""
        return len(self._queue)

    def submit(self, job: Job[Any]) -> None:
        """Add a job to the queue.

        Raises
        ------
        ServiceUnavailableError
            If the worker is stopping.
        """
        with self._changed:
            if self._stopping:
                raise ServiceUnavailableError("the service is shutting down; try another or wait")
            self._queue.append(job)
            self._changed.notify()

    def cancel(self, job: Job[Any], reason: InterruptedAssessmentError) -> None:
        """Take a waiting job out of the queue, or stop a running one at its next stage."""
        job.interrupt(reason)
        with self._changed:
            waiting = job in self._queue
            if waiting:
                self._queue.remove(job)
        if waiting:
            job.end(reason)

    def stop(self, grace_s: float) -> None:
        """Finish what runs within ``grace_s`` seconds; interrupt the rest."""
        with self._changed:
            self._stopping = True
            waiting, running = list(self._queue), self._running
            self._queue.clear()
            self._changed.notify()
        for job in waiting:
            job.end(ServiceUnavailableError("the service is shutting down"))
        self._thread.join(grace_s)
        if self._thread.is_alive() and running is not None:
            running.interrupt(ServiceUnavailableError("the service is shutting down"))
            self._thread.join(grace_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return
                self._running = self._queue.popleft()
                job = self._running
            job.run()
