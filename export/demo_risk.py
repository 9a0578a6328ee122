"""The demo risk model: DeepSurv on a simulated cohort, as a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.manifest import (
    MODEL_FILE,
    SIMULATED_COHORT,
    BaselineHazard,
    Bernoulli,
    Bundle,
    Covariate,
    LogNormal,
    ModelManifest,
    Parity,
    PerformanceFigure,
    ReferenceOutput,
    SurvivalSection,
    TensorSpec,
)
from export import simulated_cohort as cohorts
from export.bundle import write_bundle
from export.deepsurv import TrainedEnsemble, TrainingSettings, evaluate, train
from export.onnx_graph import build_graph
from export.simulated_cohort import SimulatedCohort, simulate_cohort
from export.survival_parity import largest_difference
from export.survival_statistics import breslow_cumulative_hazard, concordance_index

if TYPE_CHECKING:
    from pathlib import Path

MODEL_ID, MODEL_VERSION = "deepsurv-demo", "1.0.0"
TRAINING_CASES, TRAINING_SEED = 2170, 1
TEST_CASES, TEST_SEED = 4000, 2
HORIZONS_MONTHS = (12, 24, 36)
PARITY_TOLERANCE = 1e-5
DEVICE_TOLERANCE = 1e-4

FloatArray = npt.NDArray[np.float64]


def export_demo_risk(models_folder: Path, settings: TrainingSettings | None = None) -> Bundle:
    """Simulate, train, export, measure and write the demo bundle.

    Parameters
    ----------
    models_folder : Path
        Gets ``deepsurv-demo/1.0.0/``.
    settings : TrainingSettings, optional

    Raises
    ------
    InvalidRequestError
        If the folder of this version is there already.
    """
    cohort = simulate_cohort(TRAINING_CASES, TRAINING_SEED)
    mean, sd = cohort.covariates.mean(axis=0), cohort.covariates.std(axis=0)
    ensemble = train((cohort.covariates - mean) / sd, cohort.months, cohort.progressed, settings)
    model_bytes = build_graph(ensemble.weights)
    covariates = _covariates(cohort, mean, sd)
    members = ensemble.case_weights.shape[0]
    manifest = ModelManifest(
        schema_version=1,
        id=MODEL_ID,
        version=MODEL_VERSION,
        kind="survival",
        description=(
            "DeepSurv (feature attention, two residual blocks, Cox partial likelihood with L2) that gives a "
            f"risk of local tumor progression after lung ablation. Fitted on a {SIMULATED_COHORT}."
        ),
        intended_use="Demonstration and tests of the software. Not for any decision about a patient.",
        demo=True,
        fitted_on=SIMULATED_COHORT,
        licence="Apache-2.0",
        provenance=(
            f"coldspot-export demo-risk: {TRAINING_CASES} simulated cases (seed {TRAINING_SEED}) with the "
            "distributions and hazard ratios of Wang et al. 2026 (DOI 10.13929/j.issn.1003-3289.2026.03.004)"
        ),
        assumptions=cohorts.ASSUMPTIONS,
        performance=_performance(ensemble, mean, sd),
        files={MODEL_FILE: "0" * 64},  # replaced when the files are written
        inputs=(TensorSpec(name="covariates", dtype="float32", shape=("batch", len(covariates))),),
        outputs=(
            TensorSpec(name="log_risk", dtype="float32", shape=("batch", members)),
            TensorSpec(name="attention", dtype="float32", shape=("batch", members, len(covariates))),
        ),
        parity=_parity(ensemble, model_bytes, mean, sd),
        survival=SurvivalSection(
            endpoint="local tumor progression (LTP)",
            covariates=covariates,
            complete_coverage_rule="tcr_equals_1",
            target_margin_mm=5.0,
            target_clipped_to_lung=False,
            uses_radscore=False,
            horizons_months=HORIZONS_MONTHS,
            baseline=_baseline(cohort, ensemble, mean, sd),
        ),
    )
    return write_bundle(manifest, model_bytes, models_folder)


def _covariates(cohort: SimulatedCohort, mean: FloatArray, sd: FloatArray) -> tuple[Covariate, ...]:
    """Describe the inputs, in the order of the network."""
    low, high = np.round(np.percentile(cohort.fibrinogen_g_per_l, [0.5, 99.5]), 1)
    sex = Covariate(
        name="sex",
        description="sex of the patient; that male is 1 is an assumption",
        unit="coded",
        coding={"female": 0.0, "male": 1.0},
        distribution=Bernoulli(probability_of_one=cohorts.MALE_SHARE),
        mean=float(mean[0]),
        sd=float(sd[0]),
        training_low=0.0,
        training_high=1.0,
        accepted_low=0.0,
        accepted_high=1.0,
    )
    fibrinogen = Covariate(
        name="fibrinogen_g_per_l",
        description="plasma fibrinogen; the training range holds 99 of 100 simulated cases",
        unit="g/L",
        training_low=float(low),
        training_high=float(high),
        accepted_low=0.1,
        accepted_high=20.0,
        distribution=LogNormal(median=cohorts.FIBRINOGEN_MEDIAN_G_PER_L, log_sd=cohorts.FIBRINOGEN_LOG_SD),
        mean=float(mean[1]),
        sd=float(sd[1]),
    )
    coverage = Covariate(
        name="complete_coverage",
        description="whether the target coverage ratio is 1",
        unit="coded",
        coding={"incomplete": 0.0, "complete": 1.0},
        mean=float(mean[2]),
        sd=float(sd[2]),
        training_low=0.0,
        training_high=1.0,
        accepted_low=0.0,
        accepted_high=1.0,
    )
    return sex, fibrinogen, coverage


def _baseline(
    cohort: SimulatedCohort, ensemble: TrainedEnsemble, mean: FloatArray, sd: FloatArray
) -> BaselineHazard:
    """Tabulate each member's Breslow baseline by the month, on its own bootstrap."""
    months = np.arange(0.0, HORIZONS_MONTHS[-1] + 1)
    log_risk = _log_risk(ensemble, cohort.covariates, mean, sd)
    hazards = [
        breslow_cumulative_hazard(cohort.months, cohort.progressed, log_risk[:, member], months, weights)
        for member, weights in enumerate(ensemble.case_weights)
    ]
    return BaselineHazard(
        months=tuple(float(month) for month in months),
        cumulative_hazard=tuple(tuple(float(f"{value:.6g}") for value in hazard) for hazard in hazards),
    )


def _performance(
    ensemble: TrainedEnsemble, mean: FloatArray, sd: FloatArray
) -> tuple[PerformanceFigure, ...]:
    """Measure discrimination on fresh simulated cases, beside the best that is possible there."""
    test = simulate_cohort(TEST_CASES, TEST_SEED)
    predicted = _log_risk(ensemble, test.covariates, mean, sd).mean(axis=1)
    where = f"{TEST_CASES} fresh cases of the {SIMULATED_COHORT} (seed {TEST_SEED})"
    reached = concordance_index(test.months, test.progressed, predicted)
    ceiling = concordance_index(test.months, test.progressed, test.true_log_risk)
    return (
        PerformanceFigure(name="C-index", value=reached, measured_on=where),
        PerformanceFigure(name="C-index of the true log-risk (ceiling)", value=ceiling, measured_on=where),
        *_hazard_ratios(ensemble, mean, sd),
    )


def _hazard_ratios(
    ensemble: TrainedEnsemble, mean: FloatArray, sd: FloatArray
) -> tuple[PerformanceFigure, ...]:
    """Read the hazard ratios off the fitted network, to be compared with those that were simulated."""
    female, male, high, complete = _log_risk(
        ensemble, np.array([[0, 3.0, 0], [1, 3.0, 0], [0, 4.0, 0], [0, 3.0, 1]]), mean, sd
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
            value=float(np.exp(np.mean(log_risk - female))),
            measured_on=where,
        )
        for name, simulated, log_risk in ratios
    )


def _parity(ensemble: TrainedEnsemble, model_bytes: bytes, mean: FloatArray, sd: FloatArray) -> Parity:
    """Compare the graph with PyTorch and keep a few cases for the bedside to repeat."""
    difference, cases = largest_difference(ensemble.weights, model_bytes)
    reference = np.array([[0, 3.0, 0], [1, 3.0, 0], [0, 3.0, 1], [1, 2.2, 1], [1, 4.8, 0]], dtype=float)
    log_risk = _log_risk(ensemble, reference, mean, sd)
    return Parity(
        source="PyTorch",
        cases=len(cases),
        max_abs_difference=difference,
        tolerance=PARITY_TOLERANCE,
        device_tolerance=DEVICE_TOLERANCE,
        reference_outputs=tuple(
            ReferenceOutput(covariates=tuple(map(float, row)), log_risk=tuple(float(v) for v in values))
            for row, values in zip(reference, log_risk, strict=True)
        ),
    )


def _log_risk(
    ensemble: TrainedEnsemble, covariates: FloatArray, mean: FloatArray, sd: FloatArray
) -> FloatArray:
    """Log-risk (case, member) by PyTorch of covariates in a caller's units."""
    standardized = ((covariates - mean) / sd).astype(np.float32)
    return evaluate(ensemble.weights, standardized)["log_risk"].astype(np.float64)
