"""A survival model of a table of numeric covariates: fit, report, bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engine.manifest import SIMULATED_COHORT
from engine.progress import ShareProgress
from export.bundle.writing import require_free
from export.cohort.accuracy import accuracy_in_words, accuracy_of
from export.cohort.model_names import ModelNames
from export.deepsurv.fitting import fit_survival
from export.deepsurv.settings import FitSettings
from export.risk_model.bundle import RiskModelDescription, export_survival
from export.risk_model.covariates import describe_covariates
from export.survival.table import read_survival_table
from export.survival_report.build import build_fit_report
from export.survival_report.fit_report import FIT_REPORT_FILE, FitReport
from export.survival_report.fitted_model import reported_model

_SURVIVAL_MODEL: Final = ModelNames("survival")
_COMPETING_EVENT: Final = "the competing event"


@dataclass(frozen=True, eq=False)
class _TableFit:
    """Result of a fit: the bundle's folder and its report."""

    bundle: Path
    report: FitReport

    def described(self) -> dict[str, Any]:
        """The figures and the folder, for a program."""
        return {**accuracy_of(self.report), "written": [str(self.bundle)]}

    def in_words(self) -> list[str]:
        """The figures, a line for each cohort."""
        return accuracy_in_words(self.report)


def fit_table(
    table: Path,
    time: str,
    event: str,
    out: Path,
    *,
    test: Path | None = None,
    seed: int = 0,
    settings: FitSettings | None = None,
    names: ModelNames = _SURVIVAL_MODEL,
    on_progress: ShareProgress | None = None,
) -> _TableFit:
    """Fit a network to a table and write it as a bundle with its report.

    Parameters
    ----------
    table : Path
        See :func:`export.survival.table.read_survival_table`; every column but two is a covariate.
    time, event : str
        These two.
    out : Path
        Folder of the bundle; must not exist.
    test : Path, optional
        Cases that take no part in the fit, with the same columns.
    seed : int
    settings : FitSettings, optional
    names : ModelNames, optional
    on_progress : callable, optional
        Called with what is being done and a share from 0 to 1.

    Raises
    ------
    InvalidRequestError
        If ``out`` exists, or a table has faults.
    EstimationError
        If there are too few cases or events.
    ParityError
        If the exported network does not agree with the trained one.
    """
    require_free(out)
    training = read_survival_table(table, time, event)
    held_out = None if test is None else read_survival_table(test, time, event, covariates=training.names)
    fitted = fit_survival(training, test=held_out, seed=seed, settings=settings, on_progress=on_progress)
    simulated = "simulated" in table.stem.lower()
    kind = f"{SIMULATED_COHORT} " if simulated else ""
    fitted_on = f"{kind}{table.name}: {training.cases} cases, {training.events} with the event"
    model = reported_model(
        fitted,
        describe_covariates(fitted),
        model_id=names.model_id,
        model_version=names.version,
        fitted_on=fitted_on,
        simulated=simulated,
        competing_event=_COMPETING_EVENT,
    )
    tests = {} if fitted.test is None or not fitted.test.events else {"test": fitted.test}
    report = build_fit_report(model, fitted.table, tests=tests, seed=seed)
    described = RiskModelDescription(
        names.model_id,
        names.version,
        fitted_on,
        demo=simulated,
        provenance=f"coldspot-export fit-survival {table.name}, seed {seed}",
        licence=names.licence,
    )
    bundle = export_survival(
        fitted,
        out,
        described,
        competing_event=_COMPETING_EVENT,
        files={FIT_REPORT_FILE: report.to_json().encode()},
    )
    return _TableFit(bundle, report)
