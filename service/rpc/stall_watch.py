"""Drops uploads that stall: a client that went silent must not hold one of the few slots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

Part = TypeVar("Part")


class StallWatch:
    """Watches streams of messages from one thread.

    Parameters
    ----------
    idle_s : float
        Longest wait for the next message.
    limit_s : float
        Longest time for the whole stream.
    """

    def __init__(self, idle_s: float, limit_s: float) -> None:
        self._idle_s, self._limit_s = idle_s, limit_s
        self._lock = threading.Lock()
        self._streams: dict[object, tuple[float, float, Callable[[], object]]] = {}
        self._stopped = threading.Event()
        threading.Thread(target=self._look, name="stall-watch", daemon=True).start()

    def watch(self, parts: Iterator[Part], drop: Callable[[], object]) -> Iterator[Part]:
        """Yield ``parts``; call ``drop`` if they stop coming."""
        stream, begun = object(), time.monotonic()
        try:
            while True:
                with self._lock:
                    self._streams[stream] = (begun, time.monotonic(), drop)
                try:
                    part = next(parts)
                except StopIteration:
                    return
                with self._lock:  # while the caller works on the part, nobody is waited for
                    self._streams.pop(stream, None)
                yield part
        finally:
            with self._lock:
                self._streams.pop(stream, None)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.wait(min(self._idle_s, self._limit_s) / 4):
            now = time.monotonic()
            with self._lock:
                stalled = [
                    (stream, drop)
                    for stream, (begun, last, drop) in self._streams.items()
                    if now - last > self._idle_s or now - begun > self._limit_s
                ]
                for stream, _ in stalled:
                    del self._streams[stream]
            for _, drop in stalled:
                drop()
