"""The option ``--horizons``: times for which a survival model gives a risk."""

from __future__ import annotations

import math

from engine.errors import InvalidRequestError


def parse_horizons(text: str | None) -> tuple[int | float, ...] | None:
    """Return the times in ``12,24,36``, whole ones as int, in ascending order; None where none were asked for.

    Raises
    ------
    InvalidRequestError
        If one is not a number above 0, or is there twice.
    """
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise InvalidRequestError(
            f"--horizons is T,T,… with times above 0, as 12,24,36, not {text!r}", "horizons"
        )
    if len(set(values)) < len(values):
        raise InvalidRequestError(f"--horizons {text} names a time twice", "horizons")
    return tuple(int(value) if value.is_integer() else value for value in sorted(values))


def whole_months(text: str | None) -> tuple[int, ...] | None:
    """Return the same for a model of local tumor progression, whose horizons are whole months.

    Raises
    ------
    InvalidRequestError
    """
    horizons = parse_horizons(text)
    if horizons is None:
        return None
    whole = tuple(value for value in horizons if isinstance(value, int))
    if len(whole) < len(horizons):
        raise InvalidRequestError(
            f"--horizons {text}: a model of local tumor progression takes whole months", "horizons"
        )
    return whole
