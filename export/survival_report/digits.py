"""How many digits of a figure a report keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_DIGITS: Final = 6


def rounded(value: float) -> float:
    """Six significant digits: more than anybody reads, fewer than the last bits of a sum can change."""
    return float(f"{float(value):.{_DIGITS}g}")


def rounded_or_none(value: float) -> float | None:
    """Six significant digits; None where the value is not finite."""
    return rounded(value) if math.isfinite(value) else None


def rounded_all(values: Iterable[float]) -> tuple[float, ...]:
    """Six significant digits of each value."""
    return tuple(rounded(value) for value in values)
