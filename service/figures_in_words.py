"""Figures as a person reads them, on the terminal and on the sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

NOT_GIVEN: Final = "-"


def alignment_line(
    method: str | None,
    residual_mm: float | None,
    inverse_consistency_mm: float | None,
    contraction: float | None,
) -> str:
    """Return how the scans were aligned, and how well; what was not measured is left out."""
    line = method or NOT_GIVEN
    if residual_mm is not None:
        line += f", still {number(residual_mm, 1)} mm off"
    if inverse_consistency_mm is not None:
        line += f"; there and back {number(inverse_consistency_mm, 1)} mm"
    if contraction is not None:
        moved = "pushed away" if round(100 * contraction) < 0 else "drawn in"
        line += f"; tissue {moved} by {abs(100 * contraction):.0f} %"
    return line


def position(lps_mm: Sequence[float]) -> str:
    """Return a position in words, LPS mm."""
    return ", ".join(f"{value:.1f}" for value in lps_mm)


def with_interval(value: float | None, interval: list[float] | None, digits: int) -> str:
    """Return a number with its 90 % interval."""
    if interval is None:
        return number(value, digits)
    return f"{number(value, digits)} (90 %: {number(interval[0], digits)} to {number(interval[1], digits)})"


def number(value: float | None, digits: int) -> str:
    """Return a number, or a dash where there is none."""
    return NOT_GIVEN if value is None else f"{value:.{digits}f}"


def yes_or_no(value: bool | None) -> str:
    """Return yes, no, or a dash."""
    return NOT_GIVEN if value is None else ("yes" if value else "no")
