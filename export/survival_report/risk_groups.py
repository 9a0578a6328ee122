"""Groups of predicted risk, each with its Kaplan–Meier curve."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.follow_up import MIN_AT_RISK
from export.survival.kaplan_meier import KaplanMeier, kaplan_meier, number_at_risk
from export.survival.log_rank import log_rank
from export.survival_report.digits import rounded, rounded_all, rounded_or_none
from export.survival_report.evaluation import RiskGroups, SurvivalStep
from export.survival_report.figures.round_times import round_times

_GROUP_NAMES: Final = {
    1: ("all cases",),
    2: ("low risk", "high risk"),
    3: ("low risk", "middle risk", "high risk"),
}
_CASES_FOR_THREE_GROUPS: Final = 90
MIN_AT_RISK_OF_GROUP: Final = 5
"""A curve ends where fewer are left: its tail would show chance."""

MAX_STEPS: Final = 240
"""A longer curve is thinned: a plot has no more room, and a report must not list every time of a large cohort."""


def risk_cut_offs(log_risk: Float64Array) -> Float64Array:
    """Cut-offs (cut,) into thirds, or halves of a small cohort; equal risks share a side.

    Fewer where the risks take so few values that a group would be empty.
    """
    parts = 3 if log_risk.size >= _CASES_FOR_THREE_GROUPS else 2
    # In the middle between two neighbors, so that rounding moves nobody over a cut-off.
    ordered = np.sort(log_risk)
    cuts = []
    for part in range(1, parts):
        below = ordered[round(part * ordered.size / parts) - 1]
        above = ordered[ordered > below]
        if above.size:
            cuts.append(0.5 * (below + above[0]))
    return np.unique(np.array(cuts, dtype=np.float64))


def group_by_risk(
    months: Float64Array, event: BoolArray, log_risk: Float64Array, cut_offs: Float64Array, cut_offs_from: str
) -> RiskGroups:
    """Kaplan–Meier curves of groups of predicted risk, as far as 15 of the cohort and 5 of the group are at risk.

    A group of fewer than 5 has no curve but its beginning; one without a case is left out. Events and the log-rank
    test are of the whole follow-up.
    """
    membership = np.searchsorted(cut_offs, log_risk, side="right")
    names = _GROUP_NAMES[cut_offs.size + 1]
    present = [group for group in range(cut_offs.size + 1) if (membership == group).any()]
    until = watched_until(months)
    table = np.array(round_times(until))
    try:
        p_value = rounded(log_rank(months, event, membership).p_value)
    except EstimationError:
        p_value = None
    return RiskGroups(
        cut_offs=rounded_all(cut_offs),
        cut_offs_from=cut_offs_from,
        at_months=rounded_all(table),
        groups=tuple(
            _step(names[group], months[membership == group], event[membership == group], table, until)
            for group in present
        ),
        log_rank_p=p_value,
    )


def _step(
    label: str, months: Float64Array, event: BoolArray, table: Float64Array, until: float
) -> SurvivalStep:
    curve = kaplan_meier(months, event)
    until = min(until, _shown_until(months))
    kept = _kept_steps(curve, until)
    # Somebody is still watched when the plot ends: the step goes on until there.
    goes_on = months.max() > until and rounded(until) > rounded(curve.months[kept[-1]])
    end = [until] if goes_on else []
    kept = np.concatenate([kept, kept[-1:]]) if end else kept
    return SurvivalStep(
        label=label,
        cases=months.size,
        events=int(event.sum()),
        months=(*rounded_all(curve.months[kept[: kept.size - len(end)]]), *map(rounded, end)),
        survival=rounded_all(curve.survival[kept]),
        lower_95=tuple(map(rounded_or_none, curve.lower_95[kept])),
        upper_95=tuple(map(rounded_or_none, curve.upper_95[kept])),
        at_risk=tuple(int(number) for number in number_at_risk(months, table)),
    )


def _shown_until(months: Float64Array) -> float:
    """Last time at which 5 of the group are at risk: beyond it, one event is a fall of more than a fifth."""
    return float(np.sort(months)[-MIN_AT_RISK_OF_GROUP]) if months.size >= MIN_AT_RISK_OF_GROUP else 0.0


def _kept_steps(curve: KaplanMeier, until: float) -> npt.NDArray[np.int64]:
    """Times at which the curve falls, the first and the last one; thinned evenly if there are too many."""
    last = int(np.searchsorted(curve.months, until, side="right")) - 1
    falls = np.flatnonzero(curve.events[: last + 1] > 0)
    if falls.size > MAX_STEPS:
        falls = falls[np.unique(np.linspace(0, falls.size - 1, MAX_STEPS).round().astype(np.int64))]
    steps = np.unique(np.concatenate([[0], falls, [last]]))
    # Rounding to six digits may join two times of a very long follow-up: the later one stands.
    rounded_months = np.array([rounded(month) for month in curve.months[steps]])
    return np.asarray(steps[np.append(np.diff(rounded_months) > 0, True)], dtype=np.int64)


def watched_until(months: Float64Array) -> float:
    """Last time at which 15 of the cohort are at risk; of a smaller cohort, its last time."""
    return float(np.sort(months)[-MIN_AT_RISK] if months.size > MIN_AT_RISK else months.max())
