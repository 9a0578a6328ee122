"""Tables of a report that hold for a cohort rather than for the network: Table 1, Cox, nomogram."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from engine.manifest.common import Count, NotNegative, Probability, Section, Text
from export.survival_report.evaluation import Interval, Whole


class GroupComparisonRow(Section):
    """One variable compared over groups of cases; values as they are printed."""

    variable: Text
    values: tuple[Text, ...] = Field(min_length=1)
    test: Text
    p_value: Probability | None


class GroupComparison(Section):
    """A table of who was in the cohort (the paper's Table 1)."""

    groups: tuple[Text, ...] = Field(min_length=1)
    cases: tuple[Count, ...]
    rows: tuple[GroupComparisonRow, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_a_table(self) -> Self:
        if len(self.cases) != len(self.groups):
            raise ValueError("a comparison needs the number of cases of every group")
        if any(len(row.values) != len(self.groups) for row in self.rows):
            raise ValueError("every row of a comparison needs one value for each group")
        return self


class StandardizedRatio(Section):
    """Hazard ratio of one standard deviation of a measured covariate."""

    contrast: Text
    """``per SD, 0.671 g/L``."""
    sd: Annotated[float, Field(gt=0)]
    """Of the cohort that the model was fitted to, in the covariate's unit."""
    hazard_ratio: NotNegative
    interval_95: Interval


class HazardRatio(Section):
    """One line of a Cox table."""

    covariate: Text
    contrast: Text
    """What the ratio compares: ``per 1 g/L``, ``male against female``."""
    coefficient: float
    hazard_ratio: NotNegative
    interval_95: Interval
    p_value: Probability
    per_sd: StandardizedRatio | None = None
    """None for a coded covariate."""


class ProportionalHazardsTest(Section):
    """Grambsch and Therneau's test of one covariate, or of all together."""

    covariate: Text
    chi_square: NotNegative
    p_value: Probability


class CoxReport(Section):
    """Univariable and multivariable Cox regression, and whether hazards stay proportional."""

    cases: Count
    events: Count
    ties: Text
    univariable: tuple[HazardRatio, ...]
    multivariable: tuple[HazardRatio, ...]
    not_estimable: tuple[Text, ...] = ()
    proportional_hazards: tuple[ProportionalHazardsTest, ...] = ()
    proportional_hazards_global_p: Probability | None = None


class NomogramTick(Section):
    """A place on one scale, in points."""

    label: Text
    points: float


class NomogramScale(Section):
    """One covariate's scale."""

    covariate: Text
    ticks: tuple[NomogramTick, ...] = Field(min_length=2)


class NomogramHorizon(Section):
    """Total points at which the endpoint by a horizon has round probabilities."""

    horizon_months: Annotated[float, Field(gt=0)]
    ticks: tuple[NomogramTick, ...] = Field(min_length=1)


class Nomogram(Section):
    """The multivariable Cox model for reading with a ruler; the network is not drawn in it."""

    scales: tuple[NomogramScale, ...] = Field(min_length=1)
    total_points: NotNegative
    horizons: tuple[NomogramHorizon, ...]


class CompetingRisk(Section):
    """Cumulative incidences (Aalen–Johansen) of the endpoint and of the event that prevents it."""

    competing_event: Text
    competing_events: Whole
    months: tuple[NotNegative, ...] = Field(min_length=1)
    endpoint: tuple[Probability, ...]
    competing: tuple[Probability, ...]
    one_minus_kaplan_meier: tuple[Probability, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        curves = (self.endpoint, self.competing, self.one_minus_kaplan_meier)
        if any(len(curve) != len(self.months) for curve in curves):
            raise ValueError("cumulative incidences need one value for each time")
        return self
