"""From a table of cases to a fitted survival model."""

from __future__ import annotations

import numpy as np

from engine.errors import EstimationError
from engine.progress import ShareProgress
from export.deepsurv.baseline import (
    LTP_HORIZONS,
    Recalibration,
    baseline_times,
    choose_horizons,
    competing_baseline,
    member_baselines,
    recalibrate,
)
from export.deepsurv.choice import choose_settings
from export.deepsurv.ensemble import draw_member_cases, train_members
from export.deepsurv.fitted import FittedSurvival
from export.deepsurv.network import Ensemble
from export.deepsurv.settings import FitSettings, require_enough
from export.deepsurv.standardization import fit_standardization
from export.survival.follow_up import MIN_AT_RISK
from export.survival.table import SurvivalTable


def fit_survival(
    table: SurvivalTable,
    *,
    test: SurvivalTable | None = None,
    seed: int = 0,
    settings: FitSettings | None = None,
    on_progress: ShareProgress | None = None,
) -> FittedSurvival:
    """Choose the settings, train the ensemble, calibrate it on cases it did not see.

    The same table, seed and settings give the same model on the same machine.

    Parameters
    ----------
    table : SurvivalTable
        The training cohort; covariates that never vary are left out.
    test : SurvivalTable, optional
        Kept with the model for its report; nothing is fitted to it.
    seed : int
    settings : FitSettings, optional
    on_progress : callable, optional
        Called with what is done and a share from 0 to 1.

    Raises
    ------
    EstimationError
        If there are too few cases or events, no covariate varies, or no horizon, or not each one that was asked
        for, has 15 cases at risk.
    InvalidRequestError
        If the test cohort lacks a covariate.
    """
    settings = settings or FitSettings()
    require_enough(table)
    requested = settings.horizons
    if requested is None and settings.purpose == "ltp":
        requested = LTP_HORIZONS
    horizons = choose_horizons(table.months, requested)
    _require_all(horizons, settings.horizons)
    standardization = fit_standardization(table)
    used = table.with_covariates(standardization.names)
    test = None if test is None else test.with_covariates(standardization.names)
    standardized = standardization.standardized(used.covariates).astype(np.float64)
    chosen, tried = choose_settings(
        standardized, used.months, used.event, settings, seed=seed, on_progress=on_progress
    )
    cases = draw_member_cases(
        used.event,
        settings.members,
        settings.folds,
        bayesian_bootstrap=settings.bayesian_bootstrap,
        rng=np.random.default_rng([seed, settings.folds]),
    )
    ensemble = train_members(
        standardized,
        used.months,
        used.event,
        cases,
        chosen.settings,
        seed=seed,
        on_progress=None if on_progress is None else lambda share: on_progress("training", share),
    )
    recalibration = recalibrate(used, chosen.out_of_fold_log_risk.mean(axis=1))
    out_of_fold = chosen.out_of_fold_log_risk * recalibration.applied
    times = baseline_times(used, horizons)
    return FittedSurvival(
        table=used,
        test=test,
        settings=settings,
        seed=seed,
        chosen=chosen,
        tried=tried,
        standardization=standardization,
        weights=_stretched(ensemble, recalibration),
        recalibration=recalibration,
        out_of_fold_log_risk=out_of_fold,
        baseline_times=times,
        baseline_hazard=member_baselines(used, out_of_fold, cases.weights, times),
        competing_hazard=competing_baseline(used, times),
        horizons=horizons,
    )


def _stretched(ensemble: Ensemble, recalibration: Recalibration) -> Ensemble:
    """Multiply the log-risk of every member by the slope, inside its last layer."""
    slope = np.float32(recalibration.applied)
    return {
        name: value * slope if name.startswith("log_risk_head") else value for name, value in ensemble.items()
    }


def _require_all(horizons: tuple[int | float, ...], requested: tuple[int | float, ...] | None) -> None:
    """Refuse to leave out a horizon that was asked for."""
    lacking = sorted(set(requested or ()) - set(horizons))
    if lacking:
        short = ", ".join(f"{horizon:g}" for horizon in lacking)
        raise EstimationError(
            f"fewer than {MIN_AT_RISK} cases are at risk at the horizon {short}; ask for earlier ones "
            f"({', '.join(f'{horizon:g}' for horizon in horizons)} would do)"
        )
