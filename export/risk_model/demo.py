"""The demo risk model: DeepSurv on a simulated cohort, as a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.manifest import SIMULATED_COHORT, Bundle, PerformanceFigure, load_bundle
from engine.progress import ShareProgress
from export.deepsurv.fitted import FittedSurvival
from export.deepsurv.fitting import fit_survival
from export.deepsurv.settings import STIFF_NETWORK, FitSettings, ltp_settings
from export.risk_model import simulated_cohort as cohorts
from export.risk_model.bundle import RiskModelDescription, export_survival
from export.risk_model.simulated_cohort import SimulatedCohort, simulate_cohort
from export.survival.concordance import concordance_index
from export.survival.table import SurvivalTable

MODEL_ID, MODEL_VERSION = "deepsurv-demo", "1.0.0"
TRAINING_CASES, TRAINING_SEED = 2170, 1
TEST_CASES, TEST_SEED = 4000, 2


def export_demo_risk(
    models_folder: Path,
    settings: FitSettings | None = None,
    *,
    on_progress: ShareProgress | None = None,
) -> Bundle:
    """Simulate, fit, export, measure and write the demo bundle.

    Parameters
    ----------
    models_folder : Path
        Gets ``deepsurv-demo/1.0.0/``.
    settings : FitSettings, optional
    on_progress : callable, optional
        Called with what is done and a share from 0 to 1.

    Raises
    ------
    InvalidRequestError
        If the folder of this version exists already.
    """
    fitted = fit_survival(
        cohort_table(simulate_cohort(TRAINING_CASES, TRAINING_SEED)),
        seed=TRAINING_SEED,
        settings=settings or replace(ltp_settings(), candidates=(STIFF_NETWORK,)),
        on_progress=on_progress,
    )
    description = RiskModelDescription(
        model_id=MODEL_ID,
        version=MODEL_VERSION,
        fitted_on=SIMULATED_COHORT,
        demo=True,
        description=(
            "DeepSurv (feature attention, two residual blocks, Cox partial likelihood with Efron ties and L2) that "
            f"gives a risk of local tumor progression after lung ablation. Fitted on a {SIMULATED_COHORT}."
        ),
        intended_use="Demonstration and tests of the software. Not for any decision about a patient.",
        provenance=(
            f"coldspot-export demo-risk: {TRAINING_CASES} simulated cases (seed {TRAINING_SEED}) with the "
            "distributions and hazard ratios of Wang et al. 2026 (DOI 10.13929/j.issn.1003-3289.2026.03.004)"
        ),
        licence="Apache-2.0",
        assumptions=cohorts.ASSUMPTIONS,
    )
    out = models_folder / MODEL_ID / MODEL_VERSION
    return load_bundle(export_survival(fitted, out, description, performance=_performance(fitted)))


def cohort_table(cohort: SimulatedCohort) -> SurvivalTable:
    """A simulated cohort as it is fitted."""
    return SurvivalTable(cohorts.COVARIATES, cohort.covariates, cohort.months, cohort.progressed)


def _performance(fitted: FittedSurvival) -> tuple[PerformanceFigure, ...]:
    """Measure discrimination on fresh simulated cases, compared with the best possible there."""
    test = simulate_cohort(TEST_CASES, TEST_SEED)
    predicted = fitted.log_risk(test.covariates)
    where = f"{TEST_CASES} fresh cases of the {SIMULATED_COHORT} (seed {TEST_SEED})"
    c_index = concordance_index(test.months, test.progressed, predicted)
    ceiling = concordance_index(test.months, test.progressed, test.true_log_risk)
    return (
        PerformanceFigure(name="C-index", value=c_index, measured_on=where),
        PerformanceFigure(name="C-index of the true log-risk (ceiling)", value=ceiling, measured_on=where),
        *_hazard_ratios(fitted),
    )


def _hazard_ratios(fitted: FittedSurvival) -> tuple[PerformanceFigure, ...]:
    """Read the hazard ratios off the fitted network, to be compared with those that were simulated."""
    female, male, high, complete = fitted.log_risk(
        np.array([[0, 3.0, 0], [1, 3.0, 0], [0, 4.0, 0], [0, 3.0, 1]])
    )
    where = f"the network, about a woman with 3 g/L and incomplete coverage in the {SIMULATED_COHORT}"
    ratios = (
        ("male", cohorts.HAZARD_RATIO_SEX, male),
        ("1 g/L fibrinogen", cohorts.HAZARD_RATIO_FIBRINOGEN_PER_G_PER_L, high),
        ("complete coverage", cohorts.HAZARD_RATIO_COMPLETE_COVERAGE, complete),
    )
    return tuple(
        PerformanceFigure(
            name=f"hazard ratio of {name} (simulated {simulated:.3f})",
            value=float(np.exp(log_risk - female)),
            measured_on=where,
        )
        for name, simulated, log_risk in ratios
    )
