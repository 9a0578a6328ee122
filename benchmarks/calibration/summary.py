"""What the calibration study shows, as figures: its demands, its reliability, and every figure by stratum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from benchmarks.calibration.results import (
    TARGET_MM,
    Cases,
    Row,
    holds_truth,
    probability,
    true_margin,
    width_mm,
)
from engine.arrays import Float64Array

MISS_MM: Final = 3.0
"""A case with at most this margin must never be called complete."""

MIDDLE_MM: Final = (3.0, 7.0)
SPARE_MM: Final = 2.0
CALLED: Final = 0.5
"""A case is called complete when P(complete) is greater."""

COVERAGE_RANGE: Final = (0.85, 0.95)
MIDDLE_RANGE: Final = (0.45, 0.55)
MAX_REFUSED_SHARE: Final = 0.10
MIN_CALLED_SHARE: Final = 0.80
BINS: Final = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)


@dataclass(frozen=True)
class Acceptance:
    """One line of the acceptance table."""

    demand: str
    found: str
    passed: bool


def wilson_interval(hits: int, count: int, z: float = 1.645) -> tuple[float, float]:
    """90 % interval of a share.

    Notes
    -----
    Wilson, J. Am. Stat. Assoc. 22:209 (1927).
    """
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, z * z / count
    middle = (share + square / 2.0) / (1.0 + square)
    half = z * np.sqrt(share * (1.0 - share) / count + square / (4.0 * count)) / (1.0 + square)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def reliability(rows: Sequence[Row]) -> list[Row]:
    """Mean P(complete) against the share that is complete, per bin."""
    bins = []
    for low, high in pairwise(BINS):
        last = high == BINS[-1]
        within = [
            row for row in rows if low <= probability(row) < high or (last and probability(row) == high)
        ]
        complete = sum(row["truth"]["complete"] for row in within)
        bins.append(
            {
                "from": low,
                "to": high,
                "cases": len(within),
                "complete": complete,
                "mean_probability": float(np.mean([probability(row) for row in within])) if within else None,
                "share_90": wilson_interval(complete, len(within)),
            }
        )
    return bins


STRATA: Final[dict[str, Callable[[Row], str]]] = {
    "source": lambda row: str(row["description"]["source"]),
    "deformation": lambda row: str(row["description"]["deformation"]),
    "slices": lambda row: _slices(row["description"]),
    "pleura": lambda row: "at the pleura" if row["description"]["pleural"] else "deep",
    "true margin": lambda row: _margin_class(true_margin(row)),
    "contraction": lambda row: "over 10 %" if row["description"]["contraction"] > 0.1 else "up to 10 %",
}


def strata(cases: Cases) -> list[Row]:
    """Every figure per stratum, and over all."""
    rows = [_stratum("all", "all", cases.rows)]
    for name, key in STRATA.items():
        values = sorted({key(row) for row in cases.rows})
        rows += [_stratum(name, value, [row for row in cases.rows if key(row) == value]) for value in values]
    return rows


def _stratum(name: str, value: str, rows: list[Row]) -> Row:
    cases = Cases(rows)
    answered = cases.answered
    covered = sum(holds_truth(row) for row in answered)
    error = np.array([row["measured"]["minimal_mm"] - true_margin(row) for row in answered])
    pose = np.array([row["measured"]["pose_error_mm"] for row in answered])
    return {
        "stratum": name,
        "value": value,
        "cases": len(rows),
        "refused": len(cases.refused),
        "failed": len(cases.failed),
        "interval_holds_truth": covered / len(answered) if answered else None,
        "interval_holds_truth_90": wilson_interval(covered, len(answered)),
        "median_width_mm": _median([width_mm(row) for row in answered]),
        "median_pose_error_mm": _median(pose),
        "p95_pose_error_mm": float(np.quantile(pose, 0.95)) if answered else None,
        "margin_bias_mm": float(error.mean()) if answered else None,
        "margin_rms_error_mm": float(np.sqrt((error**2).mean())) if answered else None,
    }


def acceptance(cases: Cases) -> list[Acceptance]:
    """The study's requirements, each with the figure that was measured."""
    answered = cases.answered
    if not answered:
        return [Acceptance("cases are answered", f"none of {len(cases.rows)}", passed=False)]
    misses = [row for row in answered if true_margin(row) <= MISS_MM]
    wrong = [row for row in misses if probability(row) > CALLED]
    highest = max((probability(row) for row in misses), default=0.0)
    covered = sum(holds_truth(row) for row in answered)
    low, high = wilson_interval(covered, len(answered))
    refused, unexplained = cases.refused, [r for r in cases.refused if not r["measured"]["refusal"]["reason"]]
    spare = [row for row in cases.rows if true_margin(row) >= TARGET_MM + SPARE_MM]
    called = [row for row in spare if row in answered and probability(row) > CALLED]
    middle = sum(MIDDLE_MM[0] <= true_margin(row) <= MIDDLE_MM[1] for row in cases.rows)
    return [
        Acceptance(
            f"no case with a true margin of at most {MISS_MM:g} mm has P(complete) > ½",
            f"{len(wrong)} of {len(misses)}; the greatest P is {highest:.3f}",
            not wrong,
        ),
        Acceptance(
            "the 90 % interval holds the true margin in 85 to 95 % of the answered cases",
            f"{covered} of {len(answered)}: {_percent(covered, len(answered))} (90 % interval {low:.1%} to {high:.1%})",
            COVERAGE_RANGE[0] <= covered / len(answered) <= COVERAGE_RANGE[1],
        ),
        Acceptance(
            "at most 10 % are refused, each with its reason",
            f"{len(refused)} of {len(cases.rows)}: {_percent(len(refused), len(cases.rows))}; "
            f"{len(unexplained)} without a reason",
            len(refused) <= MAX_REFUSED_SHARE * len(cases.rows) and not unexplained,
        ),
        Acceptance(
            "at least 80 % of the complete cases with 2 mm or more to spare are called complete",
            f"{len(called)} of {len(spare)}, refused ones counted as not called: {_percent(len(called), len(spare))}",
            bool(spare) and len(called) >= MIN_CALLED_SHARE * len(spare),
        ),
        Acceptance(
            "half of the cases have a true margin of 3 to 7 mm",
            f"{middle} of {len(cases.rows)}: {_percent(middle, len(cases.rows))}",
            MIDDLE_RANGE[0] <= middle / len(cases.rows) <= MIDDLE_RANGE[1],
        ),
        Acceptance("no case fails", f"{len(cases.failed)} of {len(cases.rows)}", not cases.failed),
    ]


def summarize(rows: list[Row]) -> Row:
    """All figures of the study, ready for JSON."""
    cases = Cases(rows)
    answered = cases.answered
    requested = [
        row["description"]["requested_margin_mm"] for row in rows if not row["description"]["pleural"]
    ]
    true = [true_margin(row) for row in rows if not row["description"]["pleural"]]
    return {
        "cases": len(rows),
        "seeds": sorted({row["description"]["seed"] for row in rows}),
        "sources": dict(Counter(row["description"]["source"] for row in rows)),
        "acceptance": [vars(line) for line in acceptance(cases)],
        "median_interval_width_mm": _median([width_mm(row) for row in answered]),
        "requested_against_true_margin": {
            "cases": len(true),
            "correlation": _correlation(requested, true),
            "greatest_difference_mm": float(np.abs(np.subtract(requested, true)).max()) if true else None,
        },
        "reliability": reliability(answered),
        "brier_score": _mean([(probability(row) - row["truth"]["complete"]) ** 2 for row in answered]),
        "strata": strata(cases),
        "refusals": [_refusal(row) for row in cases.refused],
        "failures": [{"number": row["number"], "error": row["error"]} for row in cases.failed],
        "outside_interval": [_outside(row) for row in answered if not holds_truth(row)],
        "median_duration_s": {
            name: _median([row["timings_s"][name] for row in answered if row["timings_s"].get(name)])
            for name in ("made", "prepare", "assess")
        },
    }


def _refusal(row: Row) -> Row:
    description = row["description"]
    return {
        "number": row["number"],
        **row["measured"]["refusal"],
        "true_margin_mm": true_margin(row),
        "source": description["source"],
        "deformation": description["deformation"],
        "slice_mm": description["verification_spacing_zyx_mm"][0],
    }


def _outside(row: Row) -> Row:
    measured = row["measured"]
    return {
        "number": row["number"],
        "true_margin_mm": true_margin(row),
        "interval_90_mm": measured["minimal_interval_90_mm"],
        "probability_complete": measured["probability_complete"],
        "pose_error_mm": measured["pose_error_mm"],
        "pose_sd_mm": measured["pose_sd_mm"],
        "source": row["description"]["source"],
        "deformation": row["description"]["deformation"],
    }


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    if len(first) < 3 or not np.std(first) or not np.std(second):
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _median(values: Sequence[float] | Float64Array) -> float | None:
    return float(np.median(values)) if len(values) else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _slices(description: Row) -> str:
    slice_mm = description["verification_spacing_zyx_mm"][0]
    if slice_mm < 2.0:
        return "thin"
    return f"{slice_mm:g} mm, planning 5 mm" if description["source"] == "real_thick" else f"{slice_mm:g} mm"


def _margin_class(margin_mm: float) -> str:
    if margin_mm <= MIDDLE_MM[0]:
        return "up to 3 mm"
    return "3 to 7 mm" if margin_mm <= MIDDLE_MM[1] else "over 7 mm"
