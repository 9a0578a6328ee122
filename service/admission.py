"""Limits how many calls the service accepts at once; decided before any of their content is read."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from engine.errors import CapacityError, ColdspotError, ServiceUnavailableError

_MIN_RETRY_S = 0.5
_MAX_RETRY_S = 60.0
_SMOOTHING = 0.3
"""Weight of the newest call in the moving average of how long a slot is held."""


class _Slot:
    """One admitted call; give it back by :meth:`release` or by leaving it as a context manager."""

    def __init__(self, admission: Admission, case_id: str) -> None:
        self._admission, self._case_id = admission, case_id
        self._since = time.monotonic()
        self._held = True

    def release(self) -> None:
        """Let another call in; a second release does nothing."""
        if self._held:
            self._held = False
            self._admission.give_back(time.monotonic() - self._since, self._case_id)

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
        self._taken: Counter[str] = Counter()
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

    def admit(self, case_id: str) -> _Slot:
        """Take a slot for work on a case.

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
            if self._taken.total() >= self.limit:
                retry_after_s = min(max(self._typical_s, _MIN_RETRY_S), _MAX_RETRY_S)
                raise CapacityError(
                    f"all {self.limit} slots are taken; try again in {retry_after_s:.1f} s", retry_after_s
                )
            self._taken[case_id] += 1
        return _Slot(self, case_id)

    def unless_held(self, case_id: str, act: Callable[[], None]) -> bool:
        """Do something to a case while nobody is let in; return False, undone, if somebody works on it."""
        with self._lock:
            if self._taken[case_id] > 0:
                return False
            act()
            return True

    def give_back(self, held_s: float, case_id: str) -> None:
        """Count a slot as free after work on a case has held it for ``held_s`` seconds."""
        with self._lock:
            self._taken[case_id] -= 1
            self._taken += Counter()  # forgets what is at zero
            self._typical_s += _SMOOTHING * (held_s - self._typical_s)
