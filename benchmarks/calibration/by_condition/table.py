"""Error, interval and verdict by condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks.calibration.results import Cases, Row
from benchmarks.calibration.summary import CALLED, MISS_MM

Interval = tuple[float, float]
ALL: Final = "all"

_TARGET_MM: Final = 5.0
_SPARE_MM: Final = 2.0


def table(rows: Sequence[Row]) -> list[Row]:
    """One row per condition, and one of all first."""
    names = sorted({name for row in rows for name in row["conditions"]})
    lines = [_line(ALL, list(rows))]
    return lines + [_line(name, [row for row in rows if name in row["conditions"]]) for name in names]


def hidden_miss(row: Row) -> bool:
    """Whether a margin of at most 3 mm is called complete, plain or in lung, or uncovered tumor has no region.

    Parameters
    ----------
    row : dict
        Of an answered case.
    """
    truth, measured = row["truth"], row["measured"]
    plain = truth["minimal_margin_mm"] <= MISS_MM and measured["probability_complete"] > CALLED
    in_lung = (
        truth["lung_clipped_minimal_mm"] <= MISS_MM
        and (measured["lung_clipped_probability_complete"] or 0.0) > CALLED
    )
    silent = truth["lung_clipped_minimal_mm"] < -_SLIVER_MM and measured["uncovered"] == 0
    return bool(plain or in_lung or silent)


_SLIVER_MM: Final = 0.5
"""Tumor that reaches less far out of the zone than this may be lost between two voxels."""


def _line(name: str, rows: list[Row]) -> Row:
    cases = Cases(rows)
    answered = cases.answered
    spare = [row for row in rows if row["truth"]["minimal_margin_mm"] >= _TARGET_MM + _SPARE_MM]
    called = [row for row in spare if row in answered and row["measured"]["probability_complete"] > CALLED]
    return {
        "condition": name,
        "cases": len(rows),
        "answered": len(answered),
        "failed": len(cases.failed),
        "refusals": dict(Counter(row["measured"]["refusal"]["code"] for row in cases.refused)),
        "tcr": _figures(answered, "tcr", "tcr", "tcr_interval_90"),
        "margin_mm": _figures(answered, "minimal_margin_mm", "minimal_mm", "minimal_interval_90_mm"),
        "lung_margin_mm": _figures(
            answered,
            "lung_clipped_minimal_mm",
            "lung_clipped_minimal_mm",
            "lung_clipped_minimal_interval_90_mm",
        ),
        "planning_frame_tcr": _planning_frame(answered),
        "hidden_misses": [row["key"] for row in answered if hidden_miss(row)],
        "spare": len(spare),
        "spare_called": len(called),
        "p95_pose_error_mm": _quantile([row["measured"]["pose_error_mm"] for row in answered], 0.95),
    }


def _planning_frame(answered: list[Row]) -> Row:
    rows = [
        {
            "truth": {"tcr": row["truth"]["planning_frame"]["tcr"]},
            "measured": row["measured"]["planning_frame"],
        }
        for row in answered
    ]
    return _figures(rows, "tcr", "tcr", "tcr_interval_90")


def _figures(rows: list[Row], true: str, measured: str, interval: str) -> Row:
    """Error and interval of one quantity, of the cases in which it was measured."""
    pairs: list[tuple[float, float, Interval | None]] = [
        (row["truth"][true], row["measured"][measured], row["measured"][interval])
        for row in rows
        if row["measured"][measured] is not None and np.isfinite(row["truth"][true])
    ]
    error = [found - truth for truth, found, _ in pairs]
    known = [(truth, ends) for truth, _, ends in pairs if ends is not None]
    return {
        "count": len(pairs),
        "median_error": _quantile(np.abs(error), 0.5),
        "p90_error": _quantile(np.abs(error), 0.9),
        "bias": float(np.mean(error)) if error else None,
        "intervals": len(known),
        "held": sum(low - _TOLERANCE <= truth <= high + _TOLERANCE for truth, (low, high) in known),
        "median_width": _quantile([high - low for _, (low, high) in known], 0.5),
    }


_TOLERANCE: Final = 5e-4
"""An interval that ends at the third decimal of the truth holds it."""


def _quantile(values: Any, share: float) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.quantile(known, share)) if known else None
