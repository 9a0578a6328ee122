"""Header values as numbers and text, or a clear error that names the attribute and the file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from engine.errors import InputError, UnreadableFileError

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(\.\d{1,6})?")


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


def acquired_at(dataset: Dataset, where: str) -> str:
    """When the slice was acquired, ISO 8601 without time zone; empty where the header does not say."""
    moment = text(dataset, "AcquisitionDateTime", where)
    if moment:
        return _iso(moment[:8], moment[8:])
    for kind in ("Acquisition", "Content", "Series", "Study"):
        date = text(dataset, f"{kind}Date", where)
        if date:
            return _iso(date, text(dataset, f"{kind}Time", where))
    return ""


def _iso(date: str, time: str) -> str:
    day, moment = _DATE.match(date), _TIME.match(time)
    if not day:
        return ""
    return "-".join(day.groups()) + (
        f"T{moment[1]}:{moment[2]}:{moment[3]}{moment[4] or ''}" if moment else ""
    )
