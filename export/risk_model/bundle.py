"""A fitted survival model as a bundle that the engine runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import ParityError
from engine.manifest import (
    MODEL_FILE,
    BaselineHazard,
    CompetingEvent,
    Covariate,
    ModelManifest,
    OutOfFoldCalibration,
    Parity,
    PerformanceFigure,
    ReferenceOutput,
    SignatureSection,
    SurvivalSection,
    TensorSpec,
)
from export.bundle.writing import require_free, write_bundle_folder
from export.deepsurv.fitted import FittedSurvival
from export.deepsurv.onnx_graph import build_graph
from export.risk_model.covariates import describe_covariates
from export.risk_model.parity import largest_difference
from export.survival.concordance import concordance_index

_PARITY_TOLERANCE: Final = 1e-5
_DEVICE_TOLERANCE: Final = 1e-4
_REFERENCE_CASES: Final = 5


@dataclass(frozen=True)
class RiskModelDescription:
    """Identity, provenance and intended use of a risk model, for its manifest.

    Attributes
    ----------
    model_id, version : str
    fitted_on : str
        The cohort; contains ``simulated cohort`` for a demo.
    demo : bool
        A demo is never used in clinical mode.
    description, intended_use, provenance, licence : str
    assumptions : tuple of str
    """

    model_id: str
    version: str
    fitted_on: str
    demo: bool
    description: str = (
        "DeepSurv (feature attention, two residual blocks, Cox partial likelihood with Efron ties and L2)."
    )
    intended_use: str = "Research; to be validated at the site before any use."
    provenance: str = "coldspot-export fit-survival"
    licence: str = "as its owner decides"
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class LtpRule:
    """Rule by which an LTP model counts coverage as complete."""

    target_margin_mm: float = 5.0
    target_clipped_to_lung: bool = False


def export_survival(
    fitted: FittedSurvival,
    out: Path,
    described: RiskModelDescription,
    *,
    covariates: tuple[Covariate, ...] | None = None,
    signature: SignatureSection | None = None,
    uses_signature_features: bool = False,
    ltp_rule: LtpRule | None = None,
    competing_event: str = "death without the endpoint",
    performance: tuple[PerformanceFigure, ...] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a model as a bundle and load it back with every check.

    The same model gives the same bytes.

    Parameters
    ----------
    fitted : FittedSurvival
    out : Path
        The bundle's own folder; must not exist.
    described : RiskModelDescription
    covariates : tuple of Covariate, optional
        Other than :func:`describe_covariates` gives them.
    signature : SignatureSection, optional
        Of the Radscore, or of the features that the model takes itself.
    uses_signature_features : bool, optional
    ltp_rule : LtpRule, optional
        Of an LTP model; by default tumor and 5 mm.
    competing_event : str, optional
        In words, where the cohort has one.
    performance : tuple of PerformanceFigure, optional
        Beside the C-indices out of fold and of the test cohort.
    files : mapping of str to bytes, optional
        Further files of the bundle by name, such as ``fit_report.json``.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InvalidRequestError
        If ``out`` exists.
    ParityError
        If ONNX Runtime does not compute what PyTorch does.
    """
    require_free(out)
    features = tuple(feature.name for feature in signature.features) if signature is not None else ()
    if covariates is None:
        covariates = describe_covariates(fitted, required=features if uses_signature_features else ())
    model_bytes = build_graph(fitted.weights)
    is_ltp = fitted.settings.purpose == "ltp"
    rule = (ltp_rule or LtpRule()) if is_ltp else None
    inputs, outputs = _tensors(len(covariates), fitted.members)
    manifest = ModelManifest(
        schema_version=1,
        id=described.model_id,
        version=described.version,
        kind="survival",
        description=described.description,
        intended_use=described.intended_use,
        demo=described.demo,
        fitted_on=described.fitted_on,
        licence=described.licence,
        provenance=described.provenance,
        assumptions=described.assumptions,
        performance=(*_performance(fitted, described.fitted_on), *performance),
        files={MODEL_FILE: "0" * 64},  # replaced when the files are written
        inputs=inputs,
        outputs=outputs,
        parity=_parity(fitted, model_bytes),
        survival=SurvivalSection(
            purpose=fitted.settings.purpose,
            endpoint=fitted.settings.endpoint,
            time_unit=fitted.settings.time_unit,
            covariates=covariates,
            complete_coverage_rule="tcr_equals_1" if is_ltp else None,
            target_margin_mm=None if rule is None else rule.target_margin_mm,
            target_clipped_to_lung=None if rule is None else rule.target_clipped_to_lung,
            uses_radscore="radscore" in fitted.names,
            uses_signature_features=uses_signature_features,
            signature=signature,
            horizons_months=fitted.horizons,
            baseline=BaselineHazard(
                months=tuple(map(float, fitted.baseline_times)),
                cumulative_hazard=tuple(tuple(map(float, hazard)) for hazard in fitted.baseline_hazard),
            ),
            competing=_competing(fitted, competing_event),
            calibration=_calibration(fitted),
        ),
    )
    write_bundle_folder(manifest, {MODEL_FILE: model_bytes, **(files or {})}, out)
    return out


def _tensors(covariates: int, members: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the graph."""
    wide: tuple[int | str, ...] = ("batch", members, covariates)
    return (
        (TensorSpec(name="covariates", dtype="float32", shape=("batch", covariates)),),
        (
            TensorSpec(name="log_risk", dtype="float32", shape=("batch", members)),
            TensorSpec(name="attention", dtype="float32", shape=wide),
            TensorSpec(name="effective_signal", dtype="float32", shape=wide),
        ),
    )


def _performance(fitted: FittedSurvival, fitted_on: str) -> tuple[PerformanceFigure, ...]:
    """C-index out of fold and, with a test cohort, there."""
    figures = [
        PerformanceFigure(
            name="C-index out of fold",
            value=fitted.chosen.c_index,
            measured_on=f"{fitted_on}: each of {fitted.table.cases} cases by networks that did not see it",
        )
    ]
    test = fitted.test
    if test is not None and test.event.any():
        c_index = concordance_index(test.months, test.event, fitted.log_risk(test.covariates))
        where = f"{test.cases} test cases that took no part in the fit"
        figures.append(PerformanceFigure(name="C-index", value=c_index, measured_on=where))
    return tuple(figures)


def _parity(fitted: FittedSurvival, model_bytes: bytes) -> Parity:
    """Compare the graph with PyTorch and keep a few cases for the engine to repeat."""
    difference, cases = largest_difference(fitted.weights, model_bytes)
    if difference > _PARITY_TOLERANCE:
        raise ParityError(
            f"the exported network differs by {difference:.3g} from PyTorch (tolerance {_PARITY_TOLERANCE:g}): its "
            "log-risks are too steep to be computed in single precision; fit with more L2"
        )
    chosen = np.linspace(0, fitted.table.cases - 1, _REFERENCE_CASES).round().astype(np.int64)
    scaled = fitted.standardization
    rows = np.clip(fitted.table.covariates[chosen], scaled.low, scaled.high)
    log_risk = fitted.outputs(rows)["log_risk"]
    return Parity(
        source="PyTorch",
        cases=len(cases),
        max_abs_difference=difference,
        tolerance=_PARITY_TOLERANCE,
        device_tolerance=_DEVICE_TOLERANCE,
        reference_outputs=tuple(
            ReferenceOutput(covariates=tuple(map(float, row)), log_risk=tuple(map(float, values)))
            for row, values in zip(rows, log_risk, strict=True)
        ),
    )


def _competing(fitted: FittedSurvival, event: str) -> CompetingEvent | None:
    if fitted.competing_hazard is None:
        return None
    return CompetingEvent(event=event, cumulative_hazard=tuple(map(float, fitted.competing_hazard)))


def _calibration(fitted: FittedSurvival) -> OutOfFoldCalibration | None:
    slope = fitted.recalibration.measured
    if slope is None:
        return None
    return OutOfFoldCalibration(
        folds=fitted.settings.folds,
        slope=slope.slope,
        slope_interval_95=slope.interval_95,
        slope_applied=fitted.recalibration.applied,
        c_index=fitted.chosen.c_index,
    )
