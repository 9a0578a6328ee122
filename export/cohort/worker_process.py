"""The start of a worker process: before anything heavy is imported, so that thread limits are heeded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from typing import Final

_THREAD_LIMITS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""Environment variables that numerical libraries read when they are loaded."""


def thread_limits(threads: int) -> dict[str, str]:
    """Environment of a process that is limited to this many threads."""
    return dict.fromkeys(_THREAD_LIMITS, str(threads))


def start_worker(threads: int) -> None:
    """Limit the threads of this process, and end it when the one that started it has ended."""
    os.environ.update(thread_limits(threads))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process of the terminal
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """A killed parent cannot stop its workers: they would wait for work forever."""
    wait([sentinel])
    os._exit(1)
