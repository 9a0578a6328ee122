"""Risk of a patient whose covariates are given, by a survival model of any purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.errors import InvalidRequestError, ModelError
from engine.risk.incidence import band_90, mean_risk
from engine.risk.missing import known_rows
from engine.risk.model import SurvivalModel


@dataclass(frozen=True)
class CovariateRisk:
    """Risk of the endpoint by each horizon, with a 90 % band and what a reader must know of it.

    The band runs from the 5th to the 95th percentile over the members of the ensemble and the values that a
    missing covariate may have.
    """

    probability: tuple[float, ...]
    band_90: tuple[tuple[float, float], ...]
    flags: tuple[str, ...]


def risk_of_covariates(
    model: SurvivalModel, values: Mapping[str, float | None], horizons: Sequence[float]
) -> CovariateRisk:
    """Risk of one patient.

    Parameters
    ----------
    model : SurvivalModel
    values : mapping of str to float, optional
        By covariate, in the manifest's units; None and absent are the same: missing.
    horizons : sequence of float, (horizon,)
        In the manifest's unit of time; see :func:`require_horizons`.

    Raises
    ------
    InvalidRequestError, ModelInputError
        If a value is not one that a patient can have, or a required one is missing.
    ModelError
        If the network gives a risk that is not a number.
    """
    rows = known_rows(model.section, values, model.name)
    risks = model.hazards.incidence(model.network.run(rows.values)["log_risk"], horizons)
    if not np.isfinite(risks).all():
        raise ModelError(f"{model.name} gave a risk that is not a number; do not use this bundle")
    estimate, band = mean_risk(risks, rows.weights), band_90(risks, rows.weights)
    return CovariateRisk(
        tuple(map(float, estimate)),
        tuple(
            (float(min(low, p)), float(max(high, p))) for p, low, high in zip(estimate, *band, strict=True)
        ),
        rows.flags,
    )


def require_horizons(model: SurvivalModel, horizons: Sequence[float]) -> None:
    """Refuse times for which the model gives no risk.

    Raises
    ------
    InvalidRequestError
        If one is not above 0, lies before the first event that was seen or beyond the model's last horizon,
        up to which at least 15 cases were followed; or if they do not increase.
    """
    section = model.section
    first, last = section.baseline.months[0], section.horizons_months[-1]
    beyond = [horizon for horizon in horizons if not max(first, 0.0) < horizon <= last]
    if beyond or not horizons:
        given = ", ".join(f"{horizon:g}" for horizon in beyond) or "none"
        raise InvalidRequestError(
            f"{model.name} gives risks from {first:g} to {last:g} {section.time_unit}, not at {given}: too few cases "
            "of its cohort were followed for longer",
            "horizons",
        )
    if any(later <= earlier for earlier, later in pairwise(horizons)):
        raise InvalidRequestError("the horizons must increase, each named once", "horizons")
