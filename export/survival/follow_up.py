"""Follow-up of a cohort: times, events, and what every statistic asks of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array
from engine.errors import InvalidRequestError

MIN_AT_RISK = 15
"""No figure is given for a time at which fewer cases than this are still under observation."""


def checked_follow_up(months: npt.ArrayLike, event: npt.ArrayLike) -> tuple[Float64Array, BoolArray]:
    """Times and events as arrays, or a refusal.

    Parameters
    ----------
    months : array_like of float, (case,)
        Time to the event or to the end of follow-up, 0 or more.
    event : array_like of bool, (case,)
        Booleans, or numbers 0 and 1.

    Raises
    ------
    InvalidRequestError
        If there is no case, lengths differ, a time is negative or not finite, or an event is neither 0 nor 1.
    """
    times = finite_array(months, "months", dimensions=1)
    events = finite_array(event, "event", dimensions=1)
    if times.size == 0:
        raise InvalidRequestError("there is no case: give at least one time and event", "months")
    if times.shape != events.shape:
        raise InvalidRequestError(
            f"{times.size} times but {events.size} events: give one event per time", "event"
        )
    if times.min() < 0:
        raise InvalidRequestError(f"a time is {times.min():g}: times count from 0 on", "months")
    if not np.isin(events, (0.0, 1.0)).all():
        raise InvalidRequestError("an event is neither 0 nor 1: recode it", "event")
    return times, events.astype(bool)


def checked_values(values: npt.ArrayLike, cases: int, field: str) -> Float64Array:
    """One finite number per case as an array, or a refusal that names the field.

    Raises
    ------
    InvalidRequestError
        If a number is not finite or there is not exactly one per case.
    """
    array = finite_array(values, field, dimensions=1)
    if array.size != cases:
        raise InvalidRequestError(
            f"{array.size} values of {field} for {cases} cases: give one per case", field
        )
    return array


def checked_covariates(covariates: npt.ArrayLike, cases: int) -> Float64Array:
    """Covariates (case, covariate) as an array, or a refusal.

    Raises
    ------
    InvalidRequestError
        If a number is not finite, or rows are not the cases.
    """
    array = finite_array(covariates, "covariates", dimensions=2)
    if array.shape[0] != cases:
        raise InvalidRequestError(
            f"{array.shape[0]} rows of covariates for {cases} cases: give one row per case", "covariates"
        )
    return array


def finite_array(values: Any, field: str, dimensions: int) -> Float64Array:
    """Numbers in double precision; refuses another number of dimensions, NaN and infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise InvalidRequestError(f"{field} has {array.ndim} dimensions and needs {dimensions}", field)
    if not np.isfinite(array).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(array))[0]))
        raise InvalidRequestError(
            f"{field} holds a value that is not a finite number, first at index {where}: complete or remove it",
            field,
        )
    return array
