"""Compiled loops spread over the cores.

The kernels release the GIL, so plain threads run them side by side. Unlike Numba's own parallel
loops these may be entered from several threads at once, whatever threading layer is installed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

from numba import config

MIN_TASK = 1 << 15
"""Work (about one per voxel) below which handing a task to a thread costs more than it saves."""

_TASKS_PER_THREAD = 4


def _thread_count() -> int:
    """Threads the kernels use: the cores of this process, or ``NUMBA_NUM_THREADS``."""
    return int(config.NUMBA_NUM_THREADS)


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_thread_count() - 1, thread_name_prefix="kernel")  # the caller is one more


# A forked child has the pool's object but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def over(count: int, work_per_item: int, loop: Callable[..., Any], *args: Any) -> list[Any]:
    """Call ``loop(first, last, *args)`` on consecutive parts of ``range(count)``; results in order.

    The caller takes parts as the pool does: it need not wait for a core to wake, nor for a pool that is busy.
    """
    by_work = count * work_per_item // MIN_TASK
    tasks = min(count, _thread_count() * _TASKS_PER_THREAD, by_work)
    if tasks <= 1 or _thread_count() == 1:
        return [loop(0, count, *args)]
    if tasks > _thread_count():
        tasks -= tasks % _thread_count()  # as many for each: the last one would be waited for
    edges = [count * i // tasks for i in range(tasks + 1)]
    results: list[Any] = [None] * tasks
    waiting = deque(range(tasks))

    def take_parts() -> None:
        while True:
            try:
                part = waiting.popleft()
            except IndexError:
                return
            results[part] = loop(edges[part], edges[part + 1], *args)

    helpers = [_pool().submit(take_parts) for _ in range(min(_thread_count(), tasks) - 1)]
    try:
        take_parts()
    finally:
        waiting.clear()
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()
    return results
