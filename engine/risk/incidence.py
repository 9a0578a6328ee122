"""Probability of the endpoint by a time, from hazards tabulated over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from engine.arrays import Float64Array

if TYPE_CHECKING:
    from engine.manifest import SurvivalSection

_CASES_AT_ONCE = 256
_BAND_90 = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class HazardTables:
    """Cumulative hazards over time, which turn log-risks into risks.

    Parameters
    ----------
    months : ndarray of float, (time,)
        In the manifest's unit of time.
    cumulative_hazard : ndarray of float, (member, time)
        Of log-risk 0.
    competing_hazard : ndarray of float, (time,), optional
        Of an event that rules the endpoint out.
    """

    months: Float64Array
    cumulative_hazard: Float64Array
    competing_hazard: Float64Array | None

    @classmethod
    def of(cls, section: SurvivalSection) -> Self:
        """The tables of a manifest."""
        competing = section.competing
        return cls(
            np.array(section.baseline.months, dtype=np.float64),
            np.array(section.baseline.cumulative_hazard, dtype=np.float64),
            None if competing is None else np.array(competing.cumulative_hazard, dtype=np.float64),
        )

    def incidence(self, log_risk: Float64Array, at_months: Sequence[float]) -> Float64Array:
        """Risk (case, member, horizon) of log-risks (case, member)."""
        times = np.array(at_months, dtype=np.float64)
        relative = np.exp(log_risk)
        return cumulative_incidence(
            relative, self.months, self.cumulative_hazard, times, self.competing_hazard
        )

    def survival(self, log_risk: Float64Array, at_months: Sequence[float]) -> Float64Array:
        """Probability (case, time) of no endpoint, the mean over the members."""
        times = np.asarray(at_months, dtype=np.float64)
        return mean_survival(log_risk, self.months, self.cumulative_hazard, times, self.competing_hazard)


def cumulative_incidence(
    relative_hazard: Float64Array,
    months: Float64Array,
    cumulative_hazard: Float64Array,
    at_months: Float64Array,
    competing_hazard: Float64Array | None = None,
) -> Float64Array:
    """Risk of the endpoint by given times, in cases whom a competing event may take first.

    Without a competing event it is ``1 - exp(-H0(t) exp(log_risk))``. With one, the probability of leaving
    in each interval of the table is shared by the two hazards, which is exact where their ratio does
    not change within it.

    Parameters
    ----------
    relative_hazard : ndarray of float, (case, member)
        exp(log-risk).
    months : ndarray of float, (time,)
        Of the tables; each value holds until the next, before the first the hazard is 0.
    cumulative_hazard : ndarray of float, (member, time)
        Of log-risk 0.
    at_months : ndarray of float, (horizon,)
    competing_hazard : ndarray of float, (time,), optional
        Cumulative, the same for every case.

    Returns
    -------
    ndarray of float, (case, member, horizon)

    References
    ----------
    Kalbfleisch and Prentice 2002, The Statistical Analysis of Failure Time Data, 8.2.
    """
    index = np.searchsorted(months, at_months, side="right") - 1
    if competing_hazard is None:
        reached = np.where(index < 0, 0.0, cumulative_hazard[:, np.maximum(index, 0)])
        return np.asarray(-np.expm1(-reached * relative_hazard[:, :, None]))
    own = np.diff(cumulative_hazard, axis=1, prepend=0.0) * relative_hazard[:, :, None]
    both = own + np.diff(competing_hazard, prepend=0.0)
    untouched = np.exp(-np.concatenate([np.zeros_like(both[:, :, :1]), np.cumsum(both, axis=2)], axis=2))
    share = np.divide(own, both, out=np.zeros_like(own), where=both > 0)
    incidence = np.cumsum(share * -np.expm1(-both) * untouched[:, :, :-1], axis=2)
    return np.asarray(np.where(index < 0, 0.0, incidence[:, :, np.maximum(index, 0)]))


def mean_survival(
    log_risk: Float64Array,
    months: Float64Array,
    cumulative_hazard: Float64Array,
    at_months: Float64Array,
    competing_hazard: Float64Array | None = None,
) -> Float64Array:
    """Probability (case, time) of no endpoint by given times, the mean over the members.

    Parameters
    ----------
    log_risk : ndarray of float, (case, member)
    months, cumulative_hazard, at_months, competing_hazard
        As for :func:`cumulative_incidence`.
    """
    # A table of cases, members and times of a large cohort would not fit into memory.
    parts = [
        1.0
        - cumulative_incidence(
            np.exp(log_risk[begin : begin + _CASES_AT_ONCE]),
            months,
            cumulative_hazard,
            at_months,
            competing_hazard,
        ).mean(axis=1)
        for begin in range(0, len(log_risk), _CASES_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty((0, at_months.size))


def mean_risk(risks: Float64Array, weights: Float64Array) -> Float64Array:
    """Mean risk for each horizon of risks (node, member, horizon)."""
    return np.asarray(np.clip(np.einsum("j,jkt->t", weights, risks) / risks.shape[1], 0.0, 1.0))


def band_90(risks: Float64Array, weights: Float64Array) -> Float64Array:
    """5th and 95th weighted percentile (2, horizon) over nodes and members together."""
    spread = risks.reshape(-1, risks.shape[2])
    share = np.repeat(weights / risks.shape[1], risks.shape[1])
    band = np.empty((2, spread.shape[1]))
    for horizon in range(spread.shape[1]):
        order = np.argsort(spread[:, horizon], kind="stable")
        middle = np.cumsum(share[order]) - share[order] / 2
        band[:, horizon] = np.interp(_BAND_90, middle, spread[order, horizon])
    return band
