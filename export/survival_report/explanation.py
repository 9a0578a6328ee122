"""What a report says about the inside of a model: contributions of variables, and the signature."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from engine.manifest.common import Count, NotNegative, Positive, Probability, Section, Text
from export.survival_report.evaluation import Interval, Whole


class Quantiles(Section):
    """Spread of a quantity over the cases."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float


class DependencePoint(Section):
    """Mean log-risk if every case had this value, against the mean log-risk as they are."""

    value: float
    label: Text
    log_hazard_ratio: float


class Contribution(Section):
    """How much of one covariate the network lets in.

    The attention coefficient is 1 where the network gives every covariate the same weight; the
    effective signal is attention times the standardized covariate.
    """

    covariate: Text
    unit: Text
    attention: Quantiles
    signal: Quantiles
    mean_absolute_signal: NotNegative
    permutation_c_index_loss: float | None = None
    """How much C-index is lost when this covariate is shuffled over the cases."""
    dependence: tuple[DependencePoint, ...] = ()


class ContributionReport(Section):
    """Contributions of all covariates on one cohort."""

    cohort: Text
    cases: Count
    covariates: tuple[Contribution, ...] = Field(min_length=1)


class SignatureWeight(Section):
    """One feature of the signature, or one that only some folds chose."""

    feature: Text
    coefficient: float
    """Per standard deviation, in the final fit; 0 where the final fit left it out."""
    chosen_share: Probability
    """Share of the outer folds whose own fit chose it."""


class PenaltyPath(Section):
    """Coefficients and cross-validated deviance along the penalty of the LASSO."""

    penalties: tuple[Positive, ...] = Field(min_length=1)
    """Falling, so that features enter from left to right."""
    deviance: tuple[float, ...]
    deviance_standard_error: tuple[NotNegative, ...]
    features_chosen: tuple[Whole, ...]
    chosen_penalty: Positive
    least_deviance_penalty: Positive
    coefficients: dict[str, tuple[float, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = (self.deviance, self.deviance_standard_error, self.features_chosen)
        if any(len(column) != len(self.penalties) for column in (*columns, *self.coefficients.values())):
            raise ValueError("a LASSO path needs one value for each penalty")
        return self


class SignatureReport(Section):
    """Radscore: how many features were offered, which were taken, how stable that is."""

    features_offered: Whole
    features_after_redundancy: Whole
    redundancy_threshold: Probability
    outer_folds: Count
    validation_folds: Count
    validation_repeats: Count
    weights: tuple[SignatureWeight, ...]
    """Those of the final fit first, by falling size; then features that only some folds chose."""
    path: PenaltyPath | None = None
    out_of_fold_c_index: Probability | None = None
    out_of_fold_c_index_interval_95: Interval | None = None

    @property
    def chosen(self) -> tuple[SignatureWeight, ...]:
        """Features of the final fit; may be none."""
        return tuple(weight for weight in self.weights if weight.coefficient != 0.0)
