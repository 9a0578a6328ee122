"""Contributions of covariates to a network's log-risk, as summaries over a cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.errors import EstimationError
from export.survival.concordance import concordance_index
from export.survival_report.digits import rounded
from export.survival_report.explanation import Contribution, ContributionReport, DependencePoint, Quantiles

_DEPENDENCE_VALUES: Final = 9
_MAX_CASES: Final = 1000
"""Of a larger cohort as many cases are drawn; more change no digit that is shown."""
_PERMUTATIONS: Final = 5


@dataclass(frozen=True, eq=False)
class Explained:
    """Outputs of a network for some cases.

    Attributes
    ----------
    log_risk : ndarray of float, (case,)
    attention, effective_signal : ndarray of float, (case, covariate)
        Means over the members of an ensemble.
    """

    log_risk: Float64Array
    attention: Float64Array
    effective_signal: Float64Array


Explain = Callable[[Float64Array], Explained]
"""From covariates (case, p) in a caller's units."""


def report_contributions(
    cohort: str,
    names: Sequence[str],
    units: Sequence[str],
    codings: Sequence[Mapping[str, float]],
    covariates: Float64Array,
    explain: Explain,
    *,
    follow_up: tuple[Float64Array, BoolArray],
    seed: int = 0,
) -> ContributionReport:
    """Summarize attention, effective signals, permutation loss and partial dependence.

    Parameters
    ----------
    cohort : str
    names, units, codings : sequence, (p,)
    covariates : ndarray of float, (case, p)
    explain : callable
        The network.
    follow_up : (months, event)
        Of the cases.
    seed : int
        Of the cases that are drawn and of the permutations.
    """
    rng = np.random.default_rng(seed)
    cases = np.arange(covariates.shape[0])
    if cases.size > _MAX_CASES:
        cases = np.sort(rng.choice(cases, _MAX_CASES, replace=False))
    drawn = covariates[cases]
    months, event = follow_up[0][cases], follow_up[1][cases]
    observed = explain(drawn)
    contributions = []
    for column, (name, unit, coding) in enumerate(zip(names, units, codings, strict=True)):
        signal = observed.effective_signal[:, column]
        contributions.append(
            Contribution(
                covariate=name,
                unit=unit,
                attention=_quantiles(observed.attention[:, column]),
                signal=_quantiles(signal),
                mean_absolute_signal=rounded(np.abs(signal).mean()),
                permutation_c_index_loss=_permutation_loss(
                    drawn, column, explain, observed.log_risk, (months, event), rng
                ),
                dependence=_dependence(drawn, column, coding, explain, float(observed.log_risk.mean())),
            )
        )
    return ContributionReport(cohort=cohort, cases=int(cases.size), covariates=tuple(contributions))


def _permutation_loss(
    covariates: Float64Array,
    column: int,
    explain: Explain,
    log_risk: Float64Array,
    follow_up: tuple[Float64Array, BoolArray],
    rng: np.random.Generator,
) -> float | None:
    """Mean loss of C-index when one covariate is shuffled over the cases."""
    try:
        unshuffled = concordance_index(*follow_up, log_risk)
    except EstimationError:
        return None
    losses = []
    for _ in range(_PERMUTATIONS):
        shuffled = covariates.copy()
        shuffled[:, column] = rng.permutation(shuffled[:, column])
        losses.append(unshuffled - concordance_index(*follow_up, explain(shuffled).log_risk))
    return rounded(float(np.mean(losses)))


def _dependence(
    covariates: Float64Array, column: int, coding: Mapping[str, float], explain: Explain, mean_log_risk: float
) -> tuple[DependencePoint, ...]:
    """Mean log-risk if every case had a value, for values over the middle 95 % of the cases."""
    values = np.unique(covariates[:, column])
    if values.size > _DEPENDENCE_VALUES:
        values = np.unique(np.quantile(covariates[:, column], np.linspace(0.025, 0.975, _DEPENDENCE_VALUES)))
    meanings = {code: meaning for meaning, code in coding.items()}
    points = []
    for value in map(float, values):
        same = covariates.copy()
        same[:, column] = value
        shift = float(explain(same).log_risk.mean()) - mean_log_risk
        points.append(
            DependencePoint(
                value=rounded(value),
                label=meanings.get(value, f"{value:.4g}"),
                log_hazard_ratio=rounded(shift),
            )
        )
    return tuple(points)


def _quantiles(values: Float64Array) -> Quantiles:
    quantiles = [rounded(value) for value in np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])]
    return Quantiles(p05=quantiles[0], p25=quantiles[1], p50=quantiles[2], p75=quantiles[3], p95=quantiles[4])
