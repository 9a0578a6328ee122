"""Figures of a report as they are printed."""

from __future__ import annotations

_MINUS = "−"
NONE = "–"


def unbroken(text: str) -> str:
    """The text, in which no line may end between a figure and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a true minus sign; a dash where there is none."""
    if value is None:
        return NONE
    text = f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return text.replace("-", _MINUS)


def compact(value: float) -> str:
    """A figure of any size in about four digits."""
    return f"{value:.4g}".replace("-", _MINUS)


def interval(ends: tuple[float, float] | None, digits: int = 3) -> str:
    """``0.61 to 0.72``."""
    return NONE if ends is None else f"{number(ends[0], digits)} to {number(ends[1], digits)}"


def with_interval(value: float | None, ends: tuple[float, float] | None, digits: int = 3) -> str:
    """``0.66 (0.61 to 0.72)``."""
    return number(value, digits) + ("" if ends is None else f" ({interval(ends, digits)})")


def p_value(value: float | None) -> str:
    """Three decimals, or ``< 0.001``."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
