"""Prepared planning sides in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.assessment.planning import PlanningOutcome
    from service.cases.selection import PlanningKey

_MAX_KEPT: Final = 4
"""How many are kept; any other is prepared again when it is needed."""


class PreparedShelf:
    """The planning sides that were prepared last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[PlanningKey, PlanningOutcome] = OrderedDict()

    def put(self, key: PlanningKey, prepared: PlanningOutcome) -> None:
        """Keep a prepared planning side while it is among the newest."""
        with self._lock:
            self._kept[key] = prepared
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)

    def get(self, key: PlanningKey) -> PlanningOutcome | None:
        """Return a planning side if it is still kept."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, planning_series_ids: set[str]) -> None:
        """Drop the planning sides of deleted series."""
        with self._lock:
            for key in [key for key in self._kept if key.planning_series_id in planning_series_ids]:
                del self._kept[key]
