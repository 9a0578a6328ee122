"""Settings of a fit, the candidates it chooses from, and the cohort size that it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from engine.errors import EstimationError
from export.deepsurv.ensemble import ModelSettings
from export.deepsurv.linear import LinearSettings
from export.deepsurv.training import NetworkSettings
from export.survival.table import SurvivalTable

MIN_CASES: Final = 30
MIN_EVENTS: Final = 10
"""With fewer events a fold holds one or none, and nothing can be said of cases that were held out."""

_TOWARD_COX: Final = (
    LinearSettings(),
    NetworkSettings(hidden=16, l2=0.3, shrunk_to_linear=True),
    NetworkSettings(hidden=16, l2=0.05, shrunk_to_linear=True),
)
STIFF_NETWORK: Final = NetworkSettings(hidden=16, l2=1e-2)
_NETWORKS: Final = (
    STIFF_NETWORK,
    NetworkSettings(hidden=32, l2=3e-3),
    NetworkSettings(hidden=32, l2=1e-5, learning_rate=0.03),
)
_CANDIDATES: Final[tuple[ModelSettings, ...]] = (*_TOWARD_COX, *_NETWORKS)
"""From the stiffest to the most flexible; cross-validation on the training cohort chooses."""


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted.

    Attributes
    ----------
    purpose : {"ltp", "other"}
    endpoint : str
    time_unit : str
    candidates : tuple of NetworkSettings or LinearSettings
        From the stiffest to the most flexible. One is used as it is; of several the best by
        :func:`export.deepsurv.choice.choose_settings`.
    folds : int
        Of the cross-validation; of every member one part of as many is held out to stop it.
    members : int
        Of the final ensemble, a multiple of ``folds`` so that every case is held out equally often.
    members_per_fold : int
        Of each ensemble that predicts the cases of one fold.
    horizons : tuple of int or float, optional
        Times for which the model gives a risk; by default chosen from the follow-up.
    bayesian_bootstrap : bool
        Whether every member weighs the cases in its own way, so that the spread of the members is the
        uncertainty of the fit (Rubin 1981, Ann Stat 9:130).
    """

    purpose: Literal["ltp", "other"] = "other"
    endpoint: str = "the event"
    time_unit: str = "months"
    candidates: tuple[ModelSettings, ...] = _CANDIDATES
    folds: int = 5
    members: int = 10
    members_per_fold: int = 2
    horizons: tuple[int | float, ...] | None = None
    bayesian_bootstrap: bool = False


def ltp_settings(horizons_months: tuple[int, ...] | None = None) -> FitSettings:
    """Settings for a model of local tumor progression, whose band over the members the service shows.

    Parameters
    ----------
    horizons_months : tuple of int, optional
        By default 12, 24 and 36 months, those of them with 15 cases at risk.
    """
    return FitSettings(
        purpose="ltp",
        endpoint="local tumor progression (LTP)",
        candidates=(*_TOWARD_COX, *_NETWORKS[:2]),
        members=20,
        members_per_fold=4,
        horizons=horizons_months,
        bayesian_bootstrap=True,
    )


def require_enough(table: SurvivalTable) -> None:
    """Refuse a cohort that is too small.

    Raises
    ------
    EstimationError
        If there are fewer than 30 cases or 10 events.
    """
    if table.cases < MIN_CASES or table.events < MIN_EVENTS:
        raise EstimationError(
            f"{table.cases} cases with {table.events} events: a network needs at least {MIN_CASES} cases and "
            f"{MIN_EVENTS} events; collect more, or use a Cox model"
        )
    if not table.names:
        raise EstimationError("there is no covariate: give at least one column")
