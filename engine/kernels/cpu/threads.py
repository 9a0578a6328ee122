"""Compiled loops spread over the cores.

The kernels release the GIL, so plain threads run them side by side. Unlike Numba's own parallel
loops these may be entered from several threads at once, whatever threading layer is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

from numba import config

SMALLEST_TASK = 1 << 15
"""Work (about one per voxel) below which handing a task to a thread costs more than it saves."""

TASKS_PER_THREAD = 4


def thread_count() -> int:
    """Threads the kernels use: the cores of this process, or ``NUMBA_NUM_THREADS``."""
    return int(config.NUMBA_NUM_THREADS)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="kernel")


# A forked child has the pool's object but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def over(count: int, work_per_item: int, loop: Callable[..., Any], *args: Any) -> list[Any]:
    """Call ``loop(first, last, *args)`` on consecutive parts of ``range(count)``; results in order."""
    by_work = count * work_per_item // SMALLEST_TASK
    tasks = min(count, thread_count() * TASKS_PER_THREAD, by_work)
    if tasks <= 1 or thread_count() == 1:
        return [loop(0, count, *args)]
    edges = [count * i // tasks for i in range(tasks + 1)]
    futures = [_pool().submit(loop, a, b, *args) for a, b in pairwise(edges)]
    return [future.result() for future in futures]
