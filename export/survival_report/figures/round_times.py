"""Times that read well below a plot: a year and its parts where months are counted."""

from __future__ import annotations

import math

MAX_STEPS = 8.2


def round_times(longest: float) -> list[float]:
    """Times from 0 up to the longest, evenly, of four to eight round steps.

    Parameters
    ----------
    longest : float
        Not negative.
    """
    if longest <= 0:
        return [0.0]
    magnitude = 10.0 ** math.floor(math.log10(longest))
    decimal = tuple(magnitude * part for part in (0.1, 0.2, 0.5, 1.0, 2.0))
    # From half a year on, parts of years: what follow-up visits are made by.
    candidates = (*decimal, 6.0, 12.0, 24.0, 60.0, 120.0) if 6 < longest < 600 else decimal
    fitting = [step for step in candidates if longest / step <= MAX_STEPS]
    years = [step for step in fitting if step % 6 == 0]
    step = min(years or fitting)
    return [step * count for count in range(math.floor(longest / step + 1e-9) + 1)]
