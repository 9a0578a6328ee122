"""From a cohort of ablations to a model of local tumor progression, in one call that can be killed and repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.errors import EstimationError
from engine.manifest import SIMULATED_COHORT
from engine.progress import ShareProgress, ignore_progress
from engine.radiomics import EXTRACTOR, require_extractor
from export.bundle.writing import require_free
from export.cohort.accuracy import accuracy_in_words, accuracy_of
from export.cohort.case_job import CohortSettings
from export.cohort.case_run import run_case
from export.cohort.cohort_run import run_cohort
from export.cohort.model_names import ModelNames
from export.cohort.radscore_stage import RADSCORE, RadscoreStage, SignatureUse, fit_radscore_stage
from export.cohort.reporting import LtpCohorts, report_ltp
from export.cohort.runners import CaseWork, CohortRunner, SerialRunner
from export.cohort.simulation import ASSUMPTIONS
from export.cohort.table import read_cohort_table
from export.cohort.usable import COMPLETE_COVERAGE, LeftOut, in_words, require_enough, sort_out
from export.deepsurv.fitted import FittedSurvival
from export.deepsurv.fitting import fit_survival
from export.deepsurv.settings import MIN_CASES, MIN_EVENTS, FitSettings, ltp_settings
from export.risk_model.bundle import LtpRule, RiskModelDescription, export_survival
from export.survival.signature import REPEATS
from export.survival_report.fit_report import FIT_REPORT_FILE, FitReport

_LTP_MODEL: Final = ModelNames("ltp-risk")
_DEATH_WITHOUT_LTP: Final = "death without local tumor progression"


@dataclass(frozen=True)
class LtpPlan:
    """How a model is fitted, apart from how its cases are measured.

    Parameters
    ----------
    signature_use : {'radscore', 'features'}
        What the network gets of the signature. Features were chosen on all training cases: with them the
        figures out of fold flatter the model.
    signature_repeats : int
        Of the cross-validation that chooses the signature's penalty.
    network : FitSettings
    """

    signature_use: SignatureUse = RADSCORE
    signature_repeats: int = REPEATS
    network: FitSettings = field(default_factory=ltp_settings)


@dataclass(frozen=True, eq=False)
class _LtpFit:
    """Result of a fit: the bundle's folder, its report, the signature's features, and who took no part."""

    bundle: Path
    report: FitReport
    signature: tuple[str, ...]
    left_out: tuple[LeftOut, ...]

    def described(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "written": [str(self.bundle)],
            **accuracy_of(self.report),
            "signature": list(self.signature),
            "left_out": [{"case_id": case.case_id, "reason": case.reason} for case in self.left_out],
        }

    def in_words(self) -> list[str]:
        """The figures, the signature's size and who was left out, a line each."""
        size = len(self.signature)
        chosen = (
            f"{size} feature{'' if size == 1 else 's'} in the signature" if size else "The signature is empty"
        )
        cases = [f"  {case.case_id}: {case.reason}" for case in self.left_out]
        return [*accuracy_in_words(self.report), f"{chosen}.", in_words(self.left_out), *cases]


def fit_ltp(
    cohort: Path,
    out: Path,
    *,
    work: Path | None = None,
    runner: CohortRunner | None = None,
    seed: int = 1,
    settings: CohortSettings | None = None,
    plan: LtpPlan | None = None,
    names: ModelNames = _LTP_MODEL,
    measure: CaseWork = run_case,
    on_progress: ShareProgress | None = None,
) -> _LtpFit:
    """Measure every case, choose a signature, fit the network, write the bundle with its report.

    The same cohort, settings and seed give the same bundle bytes on one machine, however often the run was
    stopped on the way.

    Parameters
    ----------
    cohort : Path
        See :func:`export.cohort.table.read_cohort_table`.
    out : Path
        Folder of the bundle; must not exist.
    work : Path, optional
        Where the results of the cases are kept; by default ``out`` with ``.work`` appended.
    runner : CohortRunner, optional
        Serial by default.
    seed : int
    settings : CohortSettings, optional
    plan : LtpPlan, optional
    names : ModelNames, optional
    measure : callable, optional
        Measures one case.
    on_progress : callable, optional

    Returns
    -------
    _LtpFit

    Raises
    ------
    InvalidRequestError
        If ``out`` exists, or the table has faults.
    ConflictError
        If another run is at work in ``work``.
    EstimationError
        If too few cases or events remain, or a model cannot be fitted to them.
    BackendError
        If what extracts features is not installed.
    """
    require_free(out)
    require_extractor(EXTRACTOR)
    settings, plan, notify = settings or CohortSettings(), plan or LtpPlan(), on_progress or ignore_progress
    table = read_cohort_table(cohort)
    results = run_cohort(
        table.cases,
        work or out.with_name(f"{out.name}.work"),
        runner or SerialRunner(),
        measure,
        settings=settings,
        on_progress=lambda phase, done, total: notify(phase, done / total),
    )
    train, test, left_out = sort_out(table, results)
    require_enough(train, len(table.of_split("train")), left_out, MIN_CASES, MIN_EVENTS)
    stage = fit_radscore_stage(
        train,
        settings.radiomics,
        use=plan.signature_use,
        seed=seed,
        repeats=plan.signature_repeats,
        on_progress=lambda done, total: notify("choosing the signature", done / total),
    )
    test, lacking = stage.with_signature(test)
    cohorts = LtpCohorts(table, train, test, (*left_out, *lacking))
    fitted = _fit_network(cohorts, stage, plan, seed, notify)
    notify("writing bundle and report", 0.0)
    report = report_ltp(
        cohorts, stage, fitted, names, fitted_on=_fitted_on(cohorts), competing_event=_DEATH_WITHOUT_LTP
    )
    bundle = _write(out, cohorts, stage, fitted, names, report, settings)
    notify("writing bundle and report", 1.0)
    return _LtpFit(bundle, report, stage.fit.names, cohorts.left_out)


def _fit_network(
    cohorts: LtpCohorts, stage: RadscoreStage, plan: LtpPlan, seed: int, notify: ShareProgress
) -> FittedSurvival:
    test = stage.table(cohorts.test) if cohorts.test.progressed.any() else None
    fitted = fit_survival(
        stage.training_table(cohorts.train), test=test, seed=seed, settings=plan.network, on_progress=notify
    )
    if COMPLETE_COVERAGE not in fitted.names:
        raise EstimationError(
            "coverage is complete in (nearly) all training cases or in none: the risk cannot be said by coverage; "
            f"add cases of both kinds. {in_words(cohorts.left_out)}"
        )
    return fitted


def _write(
    out: Path,
    cohorts: LtpCohorts,
    stage: RadscoreStage,
    fitted: FittedSurvival,
    names: ModelNames,
    report: FitReport,
    settings: CohortSettings,
) -> Path:
    simulated = cohorts.table.simulated
    is_used = stage.used_by(fitted.names)
    command = f"coldspot-export fit-ltp {cohorts.table.name}, seed {fitted.seed}"
    return export_survival(
        fitted,
        out,
        RiskModelDescription(
            names.model_id,
            names.version,
            _fitted_on(cohorts),
            demo=simulated,
            intended_use=(
                "Demonstration and tests of the software. Not for any decision about a patient."
                if simulated
                else "Research; to be validated at the site before any use."
            ),
            provenance=f"{command}. {in_words(cohorts.left_out)}",
            licence=names.licence,
            assumptions=ASSUMPTIONS if simulated else (),
        ),
        signature=stage.section if is_used else None,
        uses_signature_features=is_used and stage.use == "features",
        ltp_rule=LtpRule(target_margin_mm=settings.assessment.target_margin_mm),
        competing_event=_DEATH_WITHOUT_LTP,
        files={FIT_REPORT_FILE: report.to_json().encode()},
    )


def _fitted_on(cohorts: LtpCohorts) -> str:
    """Description of the training cases."""
    train = cohorts.train
    centers = sorted({case.center for case in train.cases if case.center})
    from_centers = f" of {len(centers)} centers" if len(centers) > 1 else ""
    population = (
        f"{len(train.cases)} cases{from_centers}, {int(train.progressed.sum())} with local tumor progression"
    )
    kind = f"{SIMULATED_COHORT} " if cohorts.table.simulated else ""
    return f"{kind}{cohorts.table.name}: {population}"
