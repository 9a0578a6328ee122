"""When a CT was acquired, and which of two was acquired first, as far as their headers say.

Headers give a date alone or a time of day with it, by the scanner's own clock, seldom with its offset from UTC; and
some only when the images were made or the examination began. Two times are compared where they can be: of one kind,
and far enough apart that no unknown time of day or offset could turn them round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Final

_ISO: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}(?P<time>T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|[+-]\d{2}:\d{2})?)?", re.ASCII
)
_YEARS: Final = (1895, 9990)
"""From the discovery of X-rays to as far as a date can be calculated with."""

_DAY: Final = timedelta(days=1) - timedelta(microseconds=1)
_EASTERNMOST, _WESTERNMOST = timedelta(hours=14), timedelta(hours=-12)
"""Offsets from UTC between which every clock on earth lies."""


class TimeSource(StrEnum):
    """What a header's time is the time of."""

    ACQUISITION = "acquisition"
    CONTENT = "content"
    SERIES = "series"
    STUDY = "study"


class Order(Enum):
    """Which of two scans came first."""

    IN_ORDER = auto()
    REVERSED = auto()
    NOT_KNOWN = auto()


@dataclass(frozen=True)
class AcquisitionTime:
    """A range in which a moment lies: one instant, or a day where only the date is known.

    Parameters
    ----------
    earliest, latest : datetime
        Without a time zone; in UTC if ``has_offset``, else by an unknown clock.
    has_offset : bool
    """

    earliest: datetime
    latest: datetime
    has_offset: bool

    def in_utc(self) -> AcquisitionTime:
        """The range in UTC: as wide as the offsets on earth, if its own is not known."""
        if self.has_offset:
            return self
        return AcquisitionTime(self.earliest - _EASTERNMOST, self.latest - _WESTERNMOST, has_offset=True)


def parse_acquired_at(text: str) -> AcquisitionTime | None:
    """Return the range that an ISO 8601 date or time names; None if it is none.

    Parameters
    ----------
    text : str
        ``2026-01-02``, ``2026-01-02T03:04:05.25`` or the same with an offset, ``+01:00``.
    """
    form = _ISO.fullmatch(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if form is None or not _YEARS[0] <= moment.year <= _YEARS[1]:
        return None
    has_offset = moment.tzinfo is not None
    earliest = (moment.astimezone(UTC) if has_offset else moment).replace(tzinfo=None)
    return AcquisitionTime(earliest, earliest if form["time"] else earliest + _DAY, has_offset)


def order_of(first: str, second: str) -> Order:
    """Which of two scans was acquired first.

    Parameters
    ----------
    first, second : str
        Their times, ISO 8601, in the order in which they are expected; empty where the header has none.
    """
    before, after = parse_acquired_at(first), parse_acquired_at(second)
    if before is None or after is None:
        return Order.NOT_KNOWN
    if before.has_offset != after.has_offset:
        before, after = before.in_utc(), after.in_utc()
    if after.latest < before.earliest:
        return Order.REVERSED
    return Order.IN_ORDER if before.latest < after.earliest else Order.NOT_KNOWN
