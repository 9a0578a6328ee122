"""How well a model does on one cohort: discrimination, Brier score, calibration, risk groups."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from engine.manifest.common import Count, NotNegative, Probability, Section, Text

Whole: TypeAlias = Annotated[int, Field(ge=0)]
Interval: TypeAlias = tuple[float, float]
Role: TypeAlias = Literal["apparent", "out_of_fold", "test"]

_ROLE_WORDS: dict[Role, str] = {
    "apparent": "the cases it was fitted on: flatters the model",
    "out_of_fold": "each case predicted by a model that was fitted without it",
    "test": "cases that took no part in the fit",
}


class SurvivalStep(Section):
    """Kaplan–Meier curve of one group; each value holds from its time until the next."""

    label: Text
    cases: Count
    events: Whole
    months: tuple[NotNegative, ...] = Field(min_length=1)
    survival: tuple[Probability, ...]
    lower_95: tuple[Probability | None, ...]
    upper_95: tuple[Probability | None, ...]
    at_risk: tuple[Whole, ...]
    """At the times of the table below the plot (:attr:`RiskGroups.at_months`)."""

    @model_validator(mode="after")
    def _is_a_curve(self) -> Self:
        lengths = {len(self.months), len(self.survival), len(self.lower_95), len(self.upper_95)}
        if len(lengths) != 1:
            raise ValueError(f"{self.label}: times, survival and interval differ in length")
        if any(later <= earlier for earlier, later in pairwise(self.months)):
            raise ValueError(f"{self.label}: the times must ascend")
        return self


class RiskGroups(Section):
    """Groups cut by predicted risk, each with the survival that was seen in it."""

    cut_offs: tuple[float, ...]
    cut_offs_from: Text
    at_months: tuple[NotNegative, ...]
    groups: tuple[SurvivalStep, ...] = Field(min_length=1)
    log_rank_p: Probability | None

    @model_validator(mode="after")
    def _numbers_at_risk_fit(self) -> Self:
        if any(len(group.at_risk) != len(self.at_months) for group in self.groups):
            raise ValueError("every group needs a number at risk for each of at_months")
        return self


class BrierReport(Section):
    """Brier score over time by inverse probability of censoring weights, with that of the null model."""

    months: tuple[NotNegative, ...] = Field(min_length=2)
    model: tuple[NotNegative, ...]
    null_model: tuple[NotNegative, ...]
    integrated: NotNegative
    null_integrated: NotNegative
    ceiling_integrated: NotNegative | None = None
    """Of the simulation's own true risk; only where the truth is known."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not len(self.months) == len(self.model) == len(self.null_model):
            raise ValueError("a Brier curve needs both scores at each of its times")
        return self


class CalibrationPoint(Section):
    """One group of cases with similar predicted risk at a horizon."""

    predicted: Probability
    observed: Probability
    lower_95: Probability | None
    upper_95: Probability | None
    cases: Count
    at_risk: Whole
    """Still under observation at the horizon."""


class CalibrationReport(Section):
    """Predicted against observed probability of the endpoint by a horizon."""

    horizon_months: Annotated[float, Field(gt=0)]
    observed_to_expected: NotNegative
    """1 is calibrated in the large; above 1 the model says too little."""
    points: tuple[CalibrationPoint, ...] = Field(min_length=1)


class Evaluation(Section):
    """A model's figures on one cohort, with the cohort's role in the fit."""

    cohort: Text
    role: Role
    cases: Count
    events: Count
    c_index: Probability
    c_index_interval_95: Interval | None
    ceiling_c_index: Probability | None = None
    """Of the simulation's own true risk; only where the truth is known."""
    cox_c_index: Probability | None = None
    """Of the multivariable Cox model with the same covariates."""
    calibration_slope: float | None = None
    calibration_slope_interval_95: Interval | None = None
    brier: BrierReport | None = None
    calibration: tuple[CalibrationReport, ...] = ()
    risk_groups: RiskGroups | None = None

    @property
    def title(self) -> str:
        """Name of the cohort, with its role where a name can have several."""
        return self.cohort if self.role == "test" else f"{self.cohort} ({self.role.replace('_', ' ')})"

    @property
    def role_words(self) -> str:
        """The cohort's role in the fit, in words for the reader."""
        return _ROLE_WORDS[self.role]
