"""Everything that a report of a fitted survival model shows, as it is stored in its bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from engine.errors import ManifestError
from engine.manifest import SIMULATED_COHORT
from engine.manifest.common import Count, NotNegative, Section, Text
from export.survival_report.evaluation import Evaluation, Whole
from export.survival_report.explanation import ContributionReport, SignatureReport
from export.survival_report.regression import CompetingRisk, CoxReport, GroupComparison, Nomogram

FIT_REPORT_FILE = "fit_report.json"


class CohortSummary(Section):
    """Size, events and follow-up of a cohort that a model was fitted to or tested on."""

    name: Text
    cases: Count
    events: Whole
    competing_events: Whole = 0
    median_follow_up_months: NotNegative | None
    """By the reverse Kaplan–Meier method; none where most cases had the event early."""
    longest_follow_up_months: NotNegative
    left_out: Whole = 0
    """Cases of the table that could not be used."""


class CovariateSummary(Section):
    """One input of the model with its values in the cohort."""

    name: Text
    description: Text
    unit: Text
    coding: Text
    mean: float
    sd: NotNegative
    low: float
    high: float


class Setting(Section):
    """One choice that was made before or during the fit."""

    name: Text
    value: Text


class FitReport(Section):
    """Cohorts, model, accuracy and warnings of one fit.

    Parameters
    ----------
    endpoint : str
        In words, for axes: ``local tumor progression (LTP)``.
    simulated : bool
        Puts the words :data:`engine.manifest.SIMULATED_COHORT` on the page and on every figure.
    horizons_months : tuple of float
        Those the model answers for; at each at least 15 cases were at risk.
    evaluations : tuple of Evaluation
        The honest ones first: a test cohort, then out of fold, apparent last.
    cautions : tuple of str
        What a reader must know before using a number of this page.
    """

    schema_version: Literal[1] = 1
    model_id: Text
    model_version: Text
    endpoint: Text
    simulated: bool
    fitted_on: Text
    time_unit: Text = "months"
    horizons_months: tuple[Annotated[float, Field(gt=0)], ...]
    cohorts: tuple[CohortSummary, ...] = Field(min_length=1)
    covariates: tuple[CovariateSummary, ...] = Field(min_length=1)
    group_comparison: GroupComparison | None = None
    evaluations: tuple[Evaluation, ...] = Field(min_length=1)
    cox: CoxReport | None = None
    nomogram: Nomogram | None = None
    contributions: ContributionReport | None = None
    signature: SignatureReport | None = None
    competing_risk: CompetingRisk | None = None
    cautions: tuple[Text, ...] = ()
    assumptions: tuple[Text, ...] = ()
    settings: tuple[Setting, ...] = ()
    software: tuple[Setting, ...] = ()

    @model_validator(mode="after")
    def _says_what_is_simulated(self) -> Self:
        if not self.simulated and "simulated" in self.fitted_on.lower():
            raise ValueError("a model fitted on simulated cases must be marked as simulated")
        if self.simulated and SIMULATED_COHORT not in self.fitted_on:
            raise ValueError(f"fitted_on of a simulated model must contain {SIMULATED_COHORT!r}")
        return self

    def to_json(self) -> str:
        """JSON text; the same report gives the same text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def parse_fit_report(text: str | bytes, source: str = FIT_REPORT_FILE) -> FitReport:
    """Validate the JSON text of a report.

    Raises
    ------
    ManifestError
        If it is not UTF-8 JSON, or not a valid report.
    """
    try:
        return FitReport.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise ManifestError(
            f"{source}: {where}: {first['msg']} ({error.error_count()} in all); fit the model again"
        ) from error


def read_fit_report(bundle: Path) -> FitReport:
    """Read ``fit_report.json`` of a bundle folder.

    Raises
    ------
    ManifestError
        If the bundle has none, or not a valid one.
    """
    path = bundle / FIT_REPORT_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read ({error.strerror}); only bundles of fit-ltp and fit-survival have a report"
        ) from error
    return parse_fit_report(text, str(path))
