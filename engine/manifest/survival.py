"""How a risk is computed from covariates, and that it is still the risk that was fitted."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from engine.manifest.common import Count, NotNegative, Positive, Probability, Section, Text
from engine.manifest.signature import SignatureSection


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

    name: Annotated[str, Field(min_length=1, pattern=r"^\S([^\x00-\x1f]*\S)?$")]
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


class CompetingEvent(Section):
    """An event that rules the endpoint out, such as death without it.

    ``cumulative_hazard[i]`` of the whole cohort holds from the baseline's ``months[i]``.
    """

    event: Text
    cumulative_hazard: tuple[NotNegative, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _does_not_fall(self) -> Self:
        if any(later < earlier for earlier, later in pairwise(self.cumulative_hazard)):
            raise ValueError(f"{self.event}: a cumulative hazard cannot fall")
        return self


class OutOfFoldCalibration(Section):
    """How predictions of cases by networks that were trained without them stood to the outcome.

    The slope has been applied: the network's log-risk is what was trained times ``slope_applied``.
    """

    folds: Count
    slope: float
    slope_interval_95: tuple[float, float]
    slope_applied: Positive
    c_index: Probability


_OFTEN_LEFT_OUT: Final = (
    "purpose",
    "time_unit",
    "complete_coverage_rule",
    "target_margin_mm",
    "target_clipped_to_lung",
    "uses_signature_features",
    "signature",
    "competing",
    "calibration",
)


class SurvivalSection(Section):
    """How a risk is computed from covariates: ``R(t) = 1 - exp(-H0(t) exp(log_risk))``.

    Parameters
    ----------
    purpose : {"ltp", "other"}
        Only an LTP model answers at the bedside; it needs the covariate ``complete_coverage`` with its rule.
    time_unit : str
        Of the horizons and the baseline; months for an LTP model.
    uses_radscore : bool
        Whether ``radscore`` is a covariate.
    uses_signature_features : bool
        Whether the features of the signature are covariates themselves, in its place.
    signature : SignatureSection, optional
        How the Radscore or the features are computed from the verification CT.
    competing : CompetingEvent, optional
        Then the risk is the cumulative incidence, of cases who may have that event first.
    """

    purpose: Literal["ltp", "other"] = "ltp"
    endpoint: Text
    time_unit: Text = "months"
    covariates: tuple[Covariate, ...] = Field(min_length=1)
    complete_coverage_rule: Literal["tcr_equals_1"] | None = None
    target_margin_mm: Positive | None = None
    target_clipped_to_lung: bool | None = None
    uses_radscore: bool
    uses_signature_features: bool = False
    signature: SignatureSection | None = None
    horizons_months: tuple[Annotated[int | float, Field(gt=0)], ...] = Field(min_length=1)
    baseline: BaselineHazard
    competing: CompetingEvent | None = None
    calibration: OutOfFoldCalibration | None = None

    @model_serializer(mode="wrap")
    def _without_what_says_nothing(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it is without being said."""
        written: dict[str, Any] = inner(self)
        for name in _OFTEN_LEFT_OUT:
            if getattr(self, name) == type(self).model_fields[name].default:
                del written[name]
        return written

    @property
    def members(self) -> int:
        """Number of ensemble members."""
        return len(self.baseline.cumulative_hazard)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [covariate.name for covariate in self.covariates]
        if len(set(names)) != len(names):
            raise ValueError("a covariate is listed twice")
        if ("radscore" in names) != self.uses_radscore:
            raise ValueError("uses_radscore contradicts the list of covariates")
        if any(later <= earlier for earlier, later in pairwise(self.horizons_months)):
            raise ValueError("the horizons must increase")
        first, last = self.baseline.months[0], self.baseline.months[-1]
        if self.horizons_months[0] < first or self.horizons_months[-1] > last:
            raise ValueError(f"a horizon lies outside the baseline table, {first:g} to {last:g} months")
        if self.competing and len(self.competing.cumulative_hazard) != len(self.baseline.months):
            raise ValueError("the competing event needs a hazard for each of the baseline's months")
        return self

    @model_validator(mode="after")
    def _an_ltp_model_knows_coverage(self) -> Self:
        rule = (self.complete_coverage_rule, self.target_margin_mm, self.target_clipped_to_lung)
        if self.purpose == "other":
            if any(part is not None for part in rule):
                raise ValueError("only an LTP model has a rule of complete coverage and a target")
            return self
        codings = {covariate.name: set(covariate.coding) for covariate in self.covariates}
        if "complete_coverage" not in codings:
            raise ValueError("an LTP model needs the covariate complete_coverage")
        if codings.get("sex", {"female", "male"}) != {"female", "male"}:
            raise ValueError("sex: the coding must give a number for female and one for male")
        if any(part is None for part in rule):
            raise ValueError("an LTP model needs the rule of complete coverage, target margin and clipping")
        if self.time_unit != "months" or not all(isinstance(h, int) for h in self.horizons_months):
            raise ValueError("the horizons of an LTP model are whole months")
        return self

    @model_validator(mode="after")
    def _takes_the_signature_in_one_way(self) -> Self:
        if not self.uses_signature_features:
            return self
        if self.uses_radscore or self.signature is None:
            raise ValueError("a model of the signature's features needs the signature, and takes no Radscore")
        names = {covariate.name for covariate in self.covariates}
        lacking = [feature.name for feature in self.signature.features if feature.name not in names]
        if lacking:
            raise ValueError(f"uses_signature_features, but {lacking[0]} is not a covariate")
        return self
