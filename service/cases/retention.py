"""Old cases are removed by the service itself: after some days, or when all together take too much of the disk.

A case that a call works on is never removed, nor does want of space remove one that was used within a day: the
procedure may still be going on.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from engine.errors import NotFoundError
from service.logging import error_trace, get_logger

if TYPE_CHECKING:
    from service.admission import Admission
    from service.cases.cases import Cases
    from service.metrics import Metrics
    from service.settings import Settings

_SWEEP_EVERY_S: Final = 600.0
_KEPT_WHATEVER_THE_SPACE: Final = timedelta(days=1)

_log = get_logger()


class _RetentionRule(StrEnum):
    """Why a case was removed."""

    AGE = "age"
    DISK_SHARE = "disk_share"


class Retention:
    """Removes cases by the rules of the settings: ``retention_days`` and ``max_state_share``.

    Parameters
    ----------
    settings : Settings
    cases : Cases
    admission : Admission
        Knows which cases a call works on.
    metrics : Metrics
    """

    def __init__(self, settings: Settings, cases: Cases, admission: Admission, metrics: Metrics) -> None:
        self._settings, self._cases = settings, cases
        self._admission, self._metrics = admission, metrics
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sweep_again, name="retention", daemon=True)

    def start(self) -> None:
        """Remove what is due now, and look again every ten minutes; without a rule do nothing."""
        if self._settings.retention_days is not None or self._settings.max_state_share is not None:
            self._thread.start()

    def stop(self) -> None:
        """Look no more; a removal that has begun is finished."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def sweep(self, now: datetime) -> None:
        """Remove what is due at a time (UTC)."""
        cases = self._cases.store.catalog.by_last_use()
        days = self._settings.retention_days
        if days is not None:
            due = [case_id for case_id, used_at in cases if now - used_at > timedelta(days=days)]
            for case_id in due:
                self._remove(case_id, _RetentionRule.AGE)
            cases = [case for case in cases if case[0] not in due]
        idle = [case_id for case_id, used_at in cases if now - used_at > _KEPT_WHATEVER_THE_SPACE]
        if self._settings.max_state_share is not None:
            total = shutil.disk_usage(self._settings.state_dir).total
            self._make_room(int(total * self._settings.max_state_share), idle)

    def _make_room(self, limit_bytes: int, idle: Iterable[str]) -> None:
        blobs = self._cases.store.blobs
        for case_id in idle:
            if blobs.total_bytes() <= limit_bytes:
                return
            self._remove(case_id, _RetentionRule.DISK_SHARE)
        stored = blobs.total_bytes()
        if stored > limit_bytes:
            _log.warning("cases exceed max_state_share, and none that is left may be removed", bytes=stored)

    def _remove(self, case_id: str, rule: _RetentionRule) -> None:
        try:
            removed = self._admission.unless_held(case_id, lambda: self._cases.delete(case_id))
        except NotFoundError:  # somebody else was faster
            return
        if removed:
            self._metrics.removed_case(rule.value)
            _log.info("case_removed", case_id=case_id, code=rule.value)

    def _sweep_again(self) -> None:
        while not self._stopped.is_set():
            try:
                self.sweep(datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - the next sweep may succeed, and nobody else would try
                _log.error("retention_failed", **error_trace(error))
            self._stopped.wait(_SWEEP_EVERY_S)
