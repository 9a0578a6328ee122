"""Tables of hazard ratios: each covariate alone, and all together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.errors import EstimationError
from export.survival.cox import CoxFit, fit_cox
from export.survival.follow_up import checked_covariates, checked_follow_up


@dataclass(frozen=True)
class CoxRow:
    """One covariate of a table.

    Attributes
    ----------
    name : str
    coefficient, standard_error : float
        Log hazard ratio per unit.
    hazard_ratio, lower_95, upper_95 : float
    p_value : float
        Two-sided, Wald.
    """

    name: str
    coefficient: float
    standard_error: float
    hazard_ratio: float
    lower_95: float
    upper_95: float
    p_value: float


@dataclass(frozen=True)
class Refused:
    """A covariate that has no hazard ratio, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class _CoxTables:
    """Univariable and multivariable table of one cohort.

    Attributes
    ----------
    univariable, multivariable : tuple of CoxRow
        In the order of the covariates; the multivariable one is empty if no covariate entered.
    refused : tuple of Refused
        Covariates without a univariable hazard ratio; they do not enter.
    fit : CoxFit or None
        The multivariable one.
    """

    univariable: tuple[CoxRow, ...]
    multivariable: tuple[CoxRow, ...]
    refused: tuple[Refused, ...]
    fit: CoxFit | None


def cox_tables(
    names: Sequence[str],
    covariates: npt.ArrayLike,
    months: npt.ArrayLike,
    event: npt.ArrayLike,
    *,
    enter_below_p: float = 1.0,
) -> _CoxTables:
    """Fit every covariate alone, and together those whose univariable p-value is small enough.

    Parameters
    ----------
    names : sequence of str, (p,)
    covariates : array_like of float, (case, p)
    months, event : array_like, (case,)
    enter_below_p : float
        1 lets every covariate enter; 0.05 or 0.1 are common. Choosing by p-value makes the p-values of the
        multivariable table too small.

    Raises
    ------
    InvalidRequestError
        If shapes differ or a value is not finite.
    EstimationError
        If there is no event, or the covariates that entered cannot be fitted together.
    """
    times, events = checked_follow_up(months, event)
    x = checked_covariates(covariates, times.size)
    if not events.any():
        raise EstimationError("the cohort has no event: there is nothing to estimate a hazard from")
    univariable, refused, entering = [], [], []
    for index, name in enumerate(names):
        try:
            row = rows([name], fit_cox(x[:, [index]], times, events, names=[name]))[0]
        except EstimationError as error:
            refused.append(Refused(name, str(error)))
            continue
        univariable.append(row)
        if row.p_value < enter_below_p or enter_below_p >= 1.0:
            entering.append(index)
    if not entering:
        return _CoxTables(tuple(univariable), (), tuple(refused), None)
    chosen = [names[index] for index in entering]
    together = fit_cox(x[:, entering], times, events, names=chosen)
    return _CoxTables(tuple(univariable), rows(chosen, together), tuple(refused), together)


def rows(names: Sequence[str], fit: CoxFit) -> tuple[CoxRow, ...]:
    """One row per covariate of a fit."""
    columns = np.column_stack(
        [fit.coefficients, fit.standard_errors, fit.hazard_ratios, fit.intervals_95, fit.p_values]
    )
    return tuple(CoxRow(name, *map(float, row)) for name, row in zip(names, columns, strict=True))
