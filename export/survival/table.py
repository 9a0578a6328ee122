"""A cohort as a model is fitted to it: numeric covariates, follow-up, event."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import InvalidRequestError
from export.csv_table import header_faults, read_rows
from export.survival.follow_up import checked_covariates, checked_follow_up

_COMPETING: Final = 2.0
"""Code of an event that rules the endpoint out: death without it."""

_WORDS: Final = {"true": 1.0, "false": 0.0}
_LISTED_LINES: Final = 8
_LISTED_FAULTS: Final = 20


@dataclass(frozen=True, eq=False)
class SurvivalTable:
    """A cohort, one array element or row per case.

    Attributes
    ----------
    names : tuple of str
        Of the covariates.
    covariates : ndarray of float, (case, covariate)
        In a caller's units.
    months : ndarray of float, (case,)
        Time to the event or to the end of follow-up, 0 or more; another unit if the whole model uses it.
    event : ndarray of bool, (case,)
        Whether the endpoint was reached.
    competing : ndarray of bool, (case,), optional
        Whether an event that rules the endpoint out came first; never together with ``event``.

    Raises
    ------
    InvalidRequestError
        If lengths differ, a name repeats, or a value is not finite.
    """

    names: tuple[str, ...]
    covariates: Float64Array
    months: Float64Array
    event: BoolArray
    competing: BoolArray | None = None

    def __post_init__(self) -> None:
        months, event = checked_follow_up(self.months, self.event)
        covariates = checked_covariates(self.covariates, months.size)
        if covariates.shape[1] != len(self.names) or len(set(self.names)) != len(self.names):
            raise InvalidRequestError(
                f"{len(self.names)} names for {covariates.shape[1]} covariates, or one name twice: "
                "give each its own",
                "names",
            )
        competing = self.competing
        if competing is not None:
            _, competing = checked_follow_up(months, competing)
            if (event & competing).any():
                raise InvalidRequestError("a case has the event and the competing one: code one", "event")
        for name, value in zip(
            ("covariates", "months", "event", "competing"),
            (covariates, months, event, competing),
            strict=True,
        ):
            object.__setattr__(self, name, value)

    @property
    def cases(self) -> int:
        """Number of rows."""
        return int(self.months.size)

    @property
    def events(self) -> int:
        """Number of cases that reached the endpoint."""
        return int(self.event.sum())

    def with_covariates(self, names: Sequence[str]) -> SurvivalTable:
        """The same cases with these covariates, in this order.

        Raises
        ------
        InvalidRequestError
            If one is missing.
        """
        lacking = [name for name in names if name not in self.names]
        if lacking:
            raise InvalidRequestError(
                f"the table lacks {', '.join(lacking)}: give the covariates the model was fitted with",
                "names",
            )
        columns = [self.names.index(name) for name in names]
        return SurvivalTable(
            tuple(names), self.covariates[:, columns], self.months, self.event, self.competing
        )

    def rows(self, chosen: Float64Array | BoolArray) -> SurvivalTable:
        """Some of the cases, by mask or index (case,)."""
        competing = None if self.competing is None else self.competing[chosen]
        return SurvivalTable(
            self.names, self.covariates[chosen], self.months[chosen], self.event[chosen], competing
        )


def read_survival_table(
    path: Path, time: str, event: str, *, covariates: Sequence[str] | None = None
) -> SurvivalTable:
    """Read a CSV with a header line and one case per line.

    Parameters
    ----------
    path : Path
        UTF-8, comma-separated.
    time, event : str
        Columns of follow-up and event: 0 none, 1 the event, 2 a competing one that rules it out.
    covariates : sequence of str, optional
        Columns to use, in this order; by default all others.

    Raises
    ------
    InvalidRequestError
        If a column is missing or named twice, or any value is missing or no number: every fault of the
        file at once, with its lines (the header is line 1).
    """
    header, lines = read_rows(path, "table")
    uneven = [line for line, row in lines if len(row) != len(header)]
    if uneven:
        raise InvalidRequestError(
            f"{path}: {_lines(uneven)} not the {len(header)} fields of the header", "table"
        )
    used = list(covariates) if covariates is not None else [n for n in header if n not in {time, event}]
    _require_columns(path, header, [time, event, *used])
    columns, faults = {}, []
    for name in (time, event, *used):
        values, of_column = _numbers(name, header.index(name), lines)
        columns[name] = values
        faults += of_column
    if not faults:
        faults += _follow_up_faults(columns[time], columns[event], time, event, [n for n, _ in lines])
    if faults:
        raise InvalidRequestError(f"{path}: {_joined(faults)}", "table")
    codes = columns[event]
    return SurvivalTable(
        names=tuple(used),
        covariates=np.stack([columns[name] for name in used], axis=1),
        months=columns[time],
        event=codes == 1.0,
        competing=codes == _COMPETING if (codes == _COMPETING).any() else None,
    )


def _require_columns(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a header that lacks a column, or has one without a name or twice."""
    faults = list(header_faults(header, needed))
    if len(needed) == 2:
        faults.append("there is no covariate beside time and event")
    if needed[0] == needed[1]:
        faults.append("time and event are the same column")
    if faults:
        raise InvalidRequestError(f"{path}: {_joined(faults)}; its columns are {', '.join(header)}", "table")


def _numbers(
    name: str, column: int, lines: Sequence[tuple[int, list[str]]]
) -> tuple[Float64Array, list[str]]:
    """Numbers of one column, and what is wrong with it."""
    values = np.full(len(lines), np.nan)
    missing, not_numeric = [], []
    for case, (line, row) in enumerate(lines):
        text = row[column].strip()
        value = _number(text)
        if value is not None and math.isfinite(value):
            values[case] = value
        elif text.lower() in {"", "na", "n/a", "nan", "null", "none"}:
            missing.append(line)
        else:
            not_numeric.append((line, text))
    faults = []
    if missing:
        faults.append(f"{name} is missing in {_lines(missing)}: complete or remove them")
    if not_numeric:
        faults.append(
            f"{name} is no number in {_lines([line for line, _ in not_numeric])} ({not_numeric[0][1]!r}): "
            "code it in numbers or leave the column out"
        )
    return values, faults


def _number(text: str) -> float | None:
    """Number in a field; None where it is no number."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def _follow_up_faults(
    times: Float64Array, codes: Float64Array, time: str, event: str, lines: Sequence[int]
) -> list[str]:
    """Faults of the times and events, each in words."""
    numbers = np.array(lines)
    faults = []
    if (times < 0).any():
        faults.append(f"{time} is negative in {_lines(numbers[times < 0])}: count from the treatment on")
    unknown = ~np.isin(codes, (0.0, 1.0, _COMPETING))
    if unknown.any():
        faults.append(f"{event} is none of 0, 1 and 2 in {_lines(numbers[unknown])}")
    elif (codes > 0).all() and (codes == _COMPETING).any():
        faults.append(f"{event} is 1 or 2 and never 0: recode it, 0 for no event and 1 for the event")
    return faults


def _lines(lines: Iterable[int]) -> str:
    """Numbers of lines in words, the first few of many."""
    numbers = list(lines)
    listed = ", ".join(map(str, numbers[:_LISTED_LINES]))
    more = f" and {len(numbers) - _LISTED_LINES} more" if len(numbers) > _LISTED_LINES else ""
    return f"line{'' if len(numbers) == 1 else 's'} {listed}{more}"


def _joined(faults: Sequence[str]) -> str:
    """All faults in one message."""
    more = f"; and {len(faults) - _LISTED_FAULTS} more faults" if len(faults) > _LISTED_FAULTS else ""
    return "; ".join(faults[:_LISTED_FAULTS]) + more
