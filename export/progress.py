"""How a long computation reports how far it is: functions that take a phase and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable

ShareProgress = Callable[[str, float], None]
"""Phase, and the share of it that is done, 0 to 1."""

CountProgress = Callable[[str, int, int], None]
"""Phase, how many items of it are done, and how many there are."""


def ignore_progress(*_progress: object) -> None:
    """Report to nobody; stands in for either kind."""
