"""Figures of cards and reports as they are printed: a range is ``0.61 to 0.72`` wherever there is one."""

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


def with_interval(
    value: float | None, ends: tuple[float, float] | None, digits: int = 3, *, level: int | None = None
) -> str:
    """``0.66 (0.61 to 0.72)``, or with its level in percent ``0.66 (95 % interval 0.61 to 0.72)``.

    In a table the head says the level.
    """
    if ends is None:
        return number(value, digits)
    words = "" if level is None else f"{level} % interval "
    return f"{number(value, digits)} ({words}{interval(ends, digits)})"


def compact_range(low: float, high: float) -> str:
    """Ends of any size, as :func:`compact` has them: ``2.6 to 3.5``."""
    return f"{compact(low)} to {compact(high)}"


def p_value(value: float | None) -> str:
    """Three decimals, or ``< 0.001``."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
