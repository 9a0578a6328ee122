"""A fitted model, with everything that its bundle and its report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.risk.incidence import mean_survival
from export.deepsurv.baseline import Recalibration
from export.deepsurv.choice import Candidate
from export.deepsurv.network import Ensemble, evaluate
from export.deepsurv.settings import FitSettings
from export.deepsurv.standardization import Standardization
from export.survival.table import SurvivalTable


@dataclass(frozen=True, eq=False)
class FittedSurvival:
    """An ensemble of DeepSurv networks with its baseline.

    Attributes
    ----------
    table : SurvivalTable
        The training cohort, with the covariates that are used.
    test : SurvivalTable, optional
        The test cohort, with the same covariates; it took no part in the fit.
    settings : FitSettings
    seed : int
    chosen : Candidate
        With its C-index out of fold.
    tried : tuple of Candidate
    standardization : Standardization
    weights : dict of str to ndarray of float32
        Of the networks; recalibrated.
    recalibration : Recalibration
        From predictions out of fold.
    out_of_fold_log_risk : ndarray of float, (case, k)
        Of k members that did not see the case; recalibrated.
    baseline_times : ndarray of float, (time,)
    baseline_hazard : ndarray of float, (member, time)
        Cumulative, of log-risk 0; from predictions out of fold.
    competing_hazard : ndarray of float, (time,), optional
        Cumulative, of the competing event.
    horizons : tuple of int or float
        Each with 15 cases or more at risk.
    """

    table: SurvivalTable
    test: SurvivalTable | None
    settings: FitSettings
    seed: int
    chosen: Candidate
    tried: tuple[Candidate, ...]
    standardization: Standardization
    weights: Ensemble
    recalibration: Recalibration
    out_of_fold_log_risk: Float64Array
    baseline_times: Float64Array
    baseline_hazard: Float64Array
    competing_hazard: Float64Array | None
    horizons: tuple[int | float, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Covariates, in the order of the network."""
        return self.standardization.names

    @property
    def members(self) -> int:
        """Number of networks."""
        return int(self.baseline_hazard.shape[0])

    def outputs(self, covariates: npt.ArrayLike) -> dict[str, Float64Array]:
        """``log_risk`` (case, member), ``attention`` and ``effective_signal`` (case, member, covariate).

        Parameters
        ----------
        covariates : array_like of float, (case, covariate)
            In the order of :attr:`names`, in a caller's units; clamped to the training range.
        """
        outputs = evaluate(self.weights, self.standardization.standardized(covariates))
        return {name: np.asarray(value, dtype=np.float64) for name, value in outputs.items()}

    def log_risk(self, covariates: npt.ArrayLike) -> Float64Array:
        """Mean log-risk (case,) of the members: what cases are ranked by."""
        return np.asarray(self.outputs(covariates)["log_risk"].mean(axis=1))

    def survival(self, covariates: npt.ArrayLike, at_times: Sequence[float] | Float64Array) -> Float64Array:
        """Probability (case, time) of no endpoint by given times, the mean over the members.

        With a competing event, a case that had it counts as without the endpoint.
        """
        return self._survival(self.outputs(covariates)["log_risk"], at_times)

    def out_of_fold_survival(self, at_times: Sequence[float] | Float64Array) -> Float64Array:
        """The same for the training cases, each by members that did not see it."""
        columns = self.out_of_fold_log_risk.shape[1]
        by_member = self.out_of_fold_log_risk[:, np.arange(self.members) % columns]
        return self._survival(by_member, at_times)

    def _survival(self, log_risk: Float64Array, at_times: Sequence[float] | Float64Array) -> Float64Array:
        return mean_survival(
            log_risk,
            self.baseline_times,
            self.baseline_hazard,
            np.asarray(at_times, dtype=np.float64),
            self.competing_hazard,
        )
