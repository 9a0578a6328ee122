"""A fitted DeepSurv ensemble as a report sees it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Final

from engine.arrays import Float64Array
from engine.manifest import Covariate
from export.deepsurv.ensemble import ModelSettings
from export.deepsurv.linear import LinearSettings
from export.survival_report.build import ReportedModel
from export.survival_report.contributions import Explained

if TYPE_CHECKING:
    # A report is read and drawn without torch; only a fit needs it.
    from export.deepsurv.fitted import FittedSurvival

_SOFTWARE: Final = ("coldspot", "numpy", "scipy", "torch")


def reported_model(
    fitted: FittedSurvival,
    covariates: tuple[Covariate, ...],
    *,
    model_id: str,
    model_version: str,
    fitted_on: str,
    simulated: bool,
    competing_event: str = "the competing event",
    assumptions: tuple[str, ...] = (),
) -> ReportedModel:
    """Describe a fitted ensemble for :func:`export.survival_report.build.build_fit_report`.

    Parameters
    ----------
    fitted : FittedSurvival
    covariates : tuple of Covariate
        As the manifest has them, in the order of the network.
    model_id, model_version : str
    fitted_on : str
        Contains ``simulated cohort`` where ``simulated`` is set.
    simulated : bool
    competing_event : str
        What rules the endpoint out, such as ``death without LTP``.
    assumptions : tuple of str
    """

    def explain(rows: Float64Array) -> Explained:
        outputs = fitted.outputs(rows)
        return Explained(
            log_risk=outputs["log_risk"].mean(axis=1),
            attention=outputs["attention"].mean(axis=1),
            effective_signal=outputs["effective_signal"].mean(axis=1),
        )

    measured = fitted.recalibration.measured
    return ReportedModel(
        model_id=model_id,
        model_version=model_version,
        endpoint=fitted.settings.endpoint,
        fitted_on=fitted_on,
        simulated=simulated,
        horizons_months=tuple(float(horizon) for horizon in fitted.horizons),
        covariates=covariates,
        explain=explain,
        survival=fitted.survival,
        out_of_fold_log_risk=fitted.out_of_fold_log_risk.mean(axis=1),
        out_of_fold_survival=fitted.out_of_fold_survival,
        out_of_fold_slope=None if measured is None else (measured.slope, measured.interval_95),
        competing_event=competing_event,
        time_unit=fitted.settings.time_unit,
        assumptions=assumptions,
        settings=_settings(fitted),
        software=_software(),
    )


def _settings(fitted: FittedSurvival) -> Mapping[str, str]:
    """Choices of the fit in words."""
    chosen, settings = fitted.chosen.settings, fitted.settings
    tried = "; ".join(f"{candidate.settings}: {candidate.c_index:.3f}" for candidate in fitted.tried)
    left_out = ", ".join(fitted.standardization.left_out)
    return {
        **_model(chosen),
        "settings tried": f"C-index out of fold of {tried}",
        **_won(fitted),
        "members of the ensemble": f"{settings.members}"
        + (", each on its own Bayesian bootstrap" if settings.bayesian_bootstrap else ""),
        "folds": f"{settings.folds}, stratified by event",
        "recalibration": f"log-risk multiplied by {fitted.recalibration.applied:.3f}, the slope out of fold",
        "baseline": "Breslow, from log-risks out of fold",
        "seed": f"{fitted.seed}",
        **({"covariates left out": f"{left_out} (the same for nearly every case)"} if left_out else {}),
    }


def _model(chosen: ModelSettings) -> Mapping[str, str]:
    """What was fitted, and how."""
    loss = "negative log Cox partial likelihood (Efron ties)"
    if isinstance(chosen, LinearSettings):
        return {
            "model": "linear: Cox's, written as a network",
            "loss": f"{loss} with L2 on the coefficients",
            "L2": f"{chosen.l2:g}",
        }
    penalized = "what differs from the Cox model" if chosen.shrunk_to_linear else "all weights"
    return {
        "model": f"network of two residual blocks and feature attention, width {chosen.hidden}",
        "loss": f"{loss} with L2 on {penalized}",
        "L2": f"{chosen.l2:g}",
        "learning rate": f"{chosen.learning_rate:g} (Adam)",
        "early stopping": (
            f"on held-out cases, after {chosen.patience_steps} steps without gain; at most {chosen.max_steps}"
        ),
    }


def _won(fitted: FittedSurvival) -> Mapping[str, str]:
    """Which of the settings won, and by how much against Cox's model, or it against the best network."""
    linear = [c for c in fitted.tried if isinstance(c.settings, LinearSettings)]
    networks = [c for c in fitted.tried if not isinstance(c.settings, LinearSettings)]
    if not linear or not networks:
        return {}
    won = fitted.chosen
    if isinstance(won.settings, LinearSettings):
        other, name = max(networks, key=lambda c: c.c_index), "the best network"
    else:
        other, name = linear[0], "Cox"
    return {
        "won": f"{won.settings}, with a C-index out of fold {won.c_index - other.c_index:+.3f} against {name}"
    }


def _software() -> Mapping[str, str]:
    """Versions of what decides the digits."""
    versions = {}
    for name in _SOFTWARE:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
