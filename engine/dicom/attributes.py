"""Header values as numbers and text, or a clear error that names the attribute and the file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from engine.acquisition_time import TimeSource, parse_acquired_at
from engine.errors import InputError, UnreadableFileError

_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(\d{2}):?(\d{2})(\.\d{1,6})?")
"""With the dots and colons of ACR-NEMA, which old archives still hold."""

_DATE_TIME = re.compile(r"(\d{8})([\d.]*)([+-]\d{4})?")
_OFFSET = re.compile(r"([+-]\d{2})(\d{2})")


def present(dataset: Dataset, keyword: str, where: str) -> object | None:
    """The value of an attribute, ``None`` where it is absent or empty.

    Raises
    ------
    UnreadableFileError
        If the value is there but cannot be parsed.
    """
    try:
        value: object = dataset.get(keyword)
    except Exception as error:  # the lazy conversion of a damaged value raises anything
        raise UnreadableFileError(f"{keyword} of {where} is damaged ({error}); export it again") from error
    return None if isinstance(value, str | bytes | MultiValue) and not value else value


def text(dataset: Dataset, keyword: str, where: str) -> str:
    """An attribute as text without padding, empty where it is absent."""
    value = present(dataset, keyword, where)
    return "" if value is None else str(value).strip().strip("\0").strip()


def words(dataset: Dataset, keyword: str, where: str) -> tuple[str, ...]:
    """The values of a multi-valued text attribute, empty where it is absent."""
    value = present(dataset, keyword, where)
    values: Iterable[object] = value if isinstance(value, MultiValue) else () if value is None else (value,)
    return tuple(str(v).strip() for v in values)


def optional_number(dataset: Dataset, keyword: str, where: str) -> float | None:
    """A number, ``None`` where the attribute is absent.

    Raises
    ------
    UnreadableFileError
        If it is present but not a single finite number.
    """
    if present(dataset, keyword, where) is None:
        return None
    return numbers(dataset, keyword, 1, where, UnreadableFileError)[0]


def numbers(
    dataset: Dataset, keyword: str, count: int | None, where: str, error_class: type[InputError]
) -> tuple[float, ...]:
    """The finite values of a numeric attribute.

    Parameters
    ----------
    dataset : Dataset
    keyword : str
    count : int or None
        How many values there must be; ``None`` for any.
    where : str
        The file, for the message.
    error_class : type of InputError
        What to raise when values are missing, too many, or not finite.
    """
    value = present(dataset, keyword, where)
    if value is None:
        raise error_class(f"{where} has no {keyword}; export it with its full header")
    raw: Iterable[object] = value if isinstance(value, (MultiValue, list, tuple)) else (value,)
    try:
        values = tuple(float(str(v)) for v in raw)
    except ValueError as error:
        raise error_class(f"{keyword} of {where} is not a number: {value!r}; export it again") from error
    if (count is not None and len(values) != count) or not all(map(math.isfinite, values)):
        wanted = "finite numbers" if count is None else f"{count} finite number{'s' if count > 1 else ''}"
        raise error_class(f"{keyword} of {where} is {value!r}, not {wanted}; export it again")
    return values


def whole_number(dataset: Dataset, keyword: str, where: str, error_class: type[InputError]) -> int:
    """A whole number that has to be there."""
    (value,) = numbers(dataset, keyword, 1, where, error_class)
    if value != int(value):
        raise error_class(f"{keyword} of {where} is {value}, not a whole number; export it again")
    return int(value)


def items(dataset: Dataset, keyword: str, where: str) -> tuple[Dataset, ...]:
    """The items of a sequence, empty where it is absent."""
    value = present(dataset, keyword, where)
    if value is None:
        return ()
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise UnreadableFileError(f"{keyword} of {where} is not a sequence; export it again")
    return tuple(item for item in value if isinstance(item, Dataset))


def acquired_at(dataset: Dataset, where: str) -> tuple[str, TimeSource]:
    """When a slice was acquired, or else what comes nearest to it, and the time of what it is.

    Returns
    -------
    moment : str
        ISO 8601 by the scanner's clock, with an offset from UTC only if the header states one; a date alone where the
        time of day is missing or incomplete; empty where the header says nothing.
    source : TimeSource
    """
    offset = text(dataset, "TimezoneOffsetFromUTC", where)
    stated = _DATE_TIME.match(text(dataset, "AcquisitionDateTime", where))
    if stated:
        moment = _iso(stated[1], stated[2], stated[3] or offset)
        if moment:
            return moment, TimeSource.ACQUISITION
    for source in TimeSource:
        kind = source.value.capitalize()
        moment = _iso(text(dataset, f"{kind}Date", where), text(dataset, f"{kind}Time", where), offset)
        if moment:
            return moment, source
    return "", TimeSource.ACQUISITION


def _iso(date: str, time: str, offset: str) -> str:
    """ISO 8601 of a date, with the time of day and the offset as far as they are whole; empty if it is no date."""
    day, moment, zone = _DATE.match(date), _TIME.match(time), _OFFSET.fullmatch(offset)
    if not day:
        return ""
    iso_day = "-".join(day.groups())
    if moment:
        whole = f"{iso_day}T{moment[1]}:{moment[2]}:{moment[3]}{moment[4] or ''}"
        whole += f"{zone[1]}:{zone[2]}" if zone else ""
        if parse_acquired_at(whole):
            return whole
    return iso_day if parse_acquired_at(iso_day) else ""
