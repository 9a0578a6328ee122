"""Covariates of one patient as rows for the network; one that is missing becomes the values it may have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.errors import InvalidRequestError, ModelInputError
from engine.manifest import Bernoulli, Covariate, SurvivalSection

_COMPLETE_COVERAGE: Final = "complete_coverage"
"""The covariate that is not known, but weighed by its probability."""

_QUADRATURE_NODES: Final = 32
"""Equally likely values that stand for a missing continuous covariate; its mean risk is then
within 0.001 of a much finer rule."""

_MAX_ROWS: Final = 1 << 16
_FROM_THE_REQUEST: Final = ("sex", "fibrinogen_g_per_l")


@dataclass(frozen=True, eq=False)
class _PatientRows:
    """One patient, once for every combination of the values that are missing.

    Parameters
    ----------
    values : ndarray of float, (row, covariate)
        In the manifest's order and units.
    weights : ndarray of float, (row,)
        Add up to 1.
    flags : tuple of str
        What was missing or clamped, in words.
    """

    values: Float64Array
    weights: Float64Array
    flags: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _CovariateRows(_PatientRows):
    """The rows of a patient whose coverage is not known; complete coverage is 0 throughout.

    Parameters
    ----------
    coverage_column : int
    """

    coverage_column: int

    def under_both_coverages(self) -> Float64Array:
        """All rows under incomplete coverage, then all under complete coverage."""
        both = np.concatenate([self.values, self.values])
        both[len(self.values) :, self.coverage_column] = 1.0
        return both


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Values that stand for one covariate, with weights that add up to 1."""

    values: Float64Array
    weights: Float64Array
    flag: str = ""


def covariate_rows(
    section: SurvivalSection, values: Mapping[str, float | None], model_name: str
) -> _CovariateRows:
    """Return the rows of a patient.

    Parameters
    ----------
    section : SurvivalSection
    values : mapping of str to float, optional
        By covariate; None and absent are the same: missing.
    model_name : str
        For messages.

    Raises
    ------
    InvalidRequestError
        If sex or fibrinogen is not a value a patient can have.
    ModelInputError
        If another covariate is not, a required one is missing, or too many are missing at once.
    """
    nodes = [
        _Nodes(np.zeros(1), np.ones(1))
        if covariate.name == _COMPLETE_COVERAGE
        else _nodes(covariate, values.get(covariate.name))
        for covariate in section.covariates
    ]
    rows = _combined(nodes, model_name)
    column = [covariate.name for covariate in section.covariates].index(_COMPLETE_COVERAGE)
    return _CovariateRows(rows.values, rows.weights, rows.flags, column)


def known_rows(section: SurvivalSection, values: Mapping[str, float | None], model_name: str) -> _PatientRows:
    """Return the rows of a patient of whom coverage, where the model has it, is a covariate like the others.

    Parameters
    ----------
    section, values, model_name
        As for :func:`covariate_rows`.

    Raises
    ------
    InvalidRequestError, ModelInputError
        As for :func:`covariate_rows`.
    """
    nodes = [_nodes(covariate, values.get(covariate.name)) for covariate in section.covariates]
    return _combined(nodes, model_name)


def _combined(nodes: Sequence[_Nodes], model_name: str) -> _PatientRows:
    """Every combination of the values of all covariates."""
    if math.prod(len(n.values) for n in nodes) > _MAX_ROWS:
        raise ModelInputError(f"too many covariates of {model_name} are missing at once; give more of them")
    grid = np.meshgrid(*[n.values for n in nodes], indexing="ij")
    weights = np.meshgrid(*[n.weights for n in nodes], indexing="ij")
    return _PatientRows(
        np.stack([v.ravel() for v in grid], axis=1),
        np.asarray(np.prod([w.ravel() for w in weights], axis=0), dtype=np.float64),
        tuple(n.flag for n in nodes if n.flag),
    )


def coded_sex(section: SurvivalSection, sex: str | None) -> float | None:
    """Return sex as the number the model was fitted with; None where it is missing or not a covariate.

    Raises
    ------
    InvalidRequestError
    """
    coding = next((c.coding for c in section.covariates if c.name == "sex"), None)
    if sex not in {"f", "m", None}:
        raise InvalidRequestError(f"sex must be 'f' or 'm', or left out, not {sex!r}", field="sex")
    if sex is None or coding is None:
        return None
    return coding["female" if sex == "f" else "male"]


def _nodes(covariate: Covariate, value: float | None) -> _Nodes:
    """The value of a covariate inside its training range, or those it may have when it is missing."""
    if value is None:
        return _missing(covariate)
    if not (math.isfinite(value) and covariate.accepted_low <= value <= covariate.accepted_high):
        message = (
            f"{covariate.name} {value} is outside {covariate.accepted_low:g} to "
            f"{covariate.accepted_high:g} {covariate.unit}; check the value and its unit, or leave it out"
        )
        if covariate.name in _FROM_THE_REQUEST:
            raise InvalidRequestError(message, field=covariate.name)
        raise ModelInputError(message)
    clamped = min(max(value, covariate.training_low), covariate.training_high)
    flag = ""
    if clamped != value:
        flag = (
            f"{covariate.name} {value:g} is outside the training range {covariate.training_low:g} to "
            f"{covariate.training_high:g} {covariate.unit}: computed with {clamped:g}"
        )
    return _Nodes(np.array([clamped]), np.ones(1), flag)


def _missing(covariate: Covariate) -> _Nodes:
    """Equally likely values of a missing covariate (midpoints of equal shares of probability)."""
    distribution = covariate.distribution
    if distribution is None:
        raise ModelInputError(f"{covariate.name} is required by this model; give it")
    flag = f"{covariate.name} is missing: averaged over its distribution in the cohort, band included"
    if isinstance(distribution, Bernoulli):
        share_of_one = distribution.probability_of_one
        return _Nodes(np.array([0.0, 1.0]), np.array([1 - share_of_one, share_of_one]), flag)
    shares = (np.arange(_QUADRATURE_NODES) + 0.5) / _QUADRATURE_NODES
    z = np.array([NormalDist().inv_cdf(share) for share in shares])
    if distribution.kind == "lognormal":
        values = distribution.median * np.exp(distribution.log_sd * z)
    else:
        values = distribution.mean + distribution.sd * z
    values = np.clip(values, covariate.training_low, covariate.training_high)
    return _Nodes(values, np.full(_QUADRATURE_NODES, 1 / _QUADRATURE_NODES), flag)
