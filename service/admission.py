"""Limits how many calls the service accepts at once; decided before any of their content is read."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from engine.errors import CapacityError, ColdspotError, ServiceUnavailableError

_MIN_RETRY_S = 0.5
_MAX_RETRY_S = 60.0
_SMOOTHING = 0.3
"""Weight of the newest call in the moving average of how long a slot is held."""


class _Slot:
    """One admitted call; give it back by :meth:`release` or by leaving it as a context manager."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._since = time.monotonic()
        self._held = True

    def release(self) -> None:
        """Let another call in; a second release does nothing."""
        if self._held:
            self._held = False
            self._admission.give_back(time.monotonic() - self._since)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Admission:
    """A bounded number of slots, closed until the service is ready.

    Parameters
    ----------
    limit : int
        Uploads, preparations and assessments admitted at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._taken = 0
        self._typical_s = 1.0
        self._closed: ColdspotError | None = ServiceUnavailableError(
            "the service is warming up; try again when its health check says SERVING"
        )

    def open(self) -> None:
        """Begin to admit."""
        self._closed = None

    def close(self, reason: ColdspotError) -> None:
        """Admit nothing more: from now on :meth:`admit` raises ``reason``."""
        self._closed = reason

    def admit(self) -> _Slot:
        """Take a slot.

        Raises
        ------
        CapacityError
            If all slots are taken; says when to try again.
        ColdspotError
            If the service is closed: the error it was closed with.
        """
        with self._lock:
            if self._closed is not None:
                raise self._closed
            if self._taken >= self.limit:
                retry_after_s = min(max(self._typical_s, _MIN_RETRY_S), _MAX_RETRY_S)
                raise CapacityError(
                    f"all {self.limit} slots are taken; try again in {retry_after_s:.1f} s", retry_after_s
                )
            self._taken += 1
        return _Slot(self)

    def give_back(self, held_s: float) -> None:
        """Count a slot as free after it was held for ``held_s`` seconds."""
        with self._lock:
            self._taken -= 1
            self._typical_s += _SMOOTHING * (held_s - self._typical_s)
