"""How a risk is computed from covariates, and that it is still the risk that was fitted."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.manifest.common import Positive, Probability, Section, Text


class Bernoulli(Section):
    """Distribution of a covariate coded 0 or 1."""

    kind: Literal["bernoulli"] = "bernoulli"
    probability_of_one: Probability


class LogNormal(Section):
    """Distribution of a positive covariate, cut off at its training range."""

    kind: Literal["lognormal"] = "lognormal"
    median: Positive
    log_sd: Positive


class Normal(Section):
    """Distribution of a symmetric covariate, cut off at its training range."""

    kind: Literal["normal"] = "normal"
    mean: float
    sd: Positive


class Covariate(Section):
    """One input of a survival model, in the units a caller gives it.

    The network sees ``(value - mean) / sd``. Values outside ``training_low``..``training_high``
    are clamped and flagged; outside ``accepted_low``..``accepted_high`` they are refused, because
    such a value is more likely another unit than a patient. A missing value is averaged over
    ``distribution``; without one the covariate is required.
    """

    name: Literal["sex", "fibrinogen_g_per_l", "complete_coverage", "radscore"]
    description: Text
    unit: Text
    coding: dict[str, float] = Field(default_factory=dict)
    mean: float
    sd: Positive
    training_low: float
    training_high: float
    accepted_low: float
    accepted_high: float
    distribution: Annotated[Bernoulli | LogNormal | Normal, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _ranges_nest(self) -> Self:
        if not self.accepted_low <= self.training_low < self.training_high <= self.accepted_high:
            raise ValueError(f"{self.name}: the training range must lie inside the accepted range")
        if self.name == "sex" and set(self.coding) != {"female", "male"}:
            raise ValueError("sex: the coding must give a number for female and one for male")
        return self


class BaselineHazard(Section):
    """Breslow baseline of every ensemble member.

    ``cumulative_hazard[member][i]`` holds from ``months[i]`` until the next entry.
    """

    months: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    cumulative_hazard: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_cumulative_hazard(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.months)):
            raise ValueError("the baseline's months must increase")
        for member, hazard in enumerate(self.cumulative_hazard):
            if len(hazard) != len(self.months):
                raise ValueError(f"member {member}: {len(hazard)} hazards for {len(self.months)} months")
            if any(later < earlier for earlier, later in pairwise(hazard)):
                raise ValueError(f"member {member}: a cumulative hazard cannot fall")
        return self


class ReferenceOutput(Section):
    """Covariates in a caller's units with the source model's log-risk for every member."""

    covariates: tuple[float, ...]
    log_risk: tuple[float, ...]


class Parity(Section):
    """Agreement of the exported graph with the model it was exported from."""

    source: Text
    cases: Annotated[int, Field(gt=0)]
    max_abs_difference: Annotated[float, Field(ge=0)]
    tolerance: Positive
    device_tolerance: Positive
    reference_outputs: tuple[ReferenceOutput, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _within_tolerance(self) -> Self:
        if self.max_abs_difference > self.tolerance:
            raise ValueError(f"parity {self.max_abs_difference:g} is worse than its {self.tolerance:g}")
        return self


class SurvivalSection(Section):
    """How a risk is computed from covariates: ``R(t) = 1 - exp(-H0(t) exp(log_risk))``."""

    endpoint: Text
    covariates: tuple[Covariate, ...] = Field(min_length=1)
    complete_coverage_rule: Literal["tcr_equals_1"]
    target_margin_mm: Positive
    target_clipped_to_lung: bool
    uses_radscore: bool
    horizons_months: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    baseline: BaselineHazard

    @property
    def members(self) -> int:
        """Number of ensemble members."""
        return len(self.baseline.cumulative_hazard)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [covariate.name for covariate in self.covariates]
        if len(set(names)) != len(names):
            raise ValueError("a covariate is listed twice")
        if "complete_coverage" not in names:
            raise ValueError("a survival model needs the covariate complete_coverage")
        if ("radscore" in names) != self.uses_radscore:
            raise ValueError("uses_radscore contradicts the list of covariates")
        if any(later <= earlier for earlier, later in pairwise(self.horizons_months)):
            raise ValueError("the horizons must increase")
        first, last = self.baseline.months[0], self.baseline.months[-1]
        if self.horizons_months[0] < first or self.horizons_months[-1] > last:
            raise ValueError(f"a horizon lies outside the baseline table, {first:g} to {last:g} months")
        return self
