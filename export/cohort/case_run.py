"""One case of a cohort, from files to a result: assessed as the service would, then the radiomics of its zone."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.errors import ColdspotError, InputError, ModelError
from engine.files.reading import read_ct, read_mask
from engine.radiomics.extraction import extract_features
from engine.runtime.backends import REFERENCE
from engine.segmentation.segmenter import Segmenter, open_segmenter
from engine.volume import CtVolume, LabelMask
from export.cohort.case_job import CaseJob, failed_case
from export.cohort.case_result import CaseResult

_COMPLETE_TCR = 1.0


def run_case(job: CaseJob) -> CaseResult:
    """Assess one case and compute the radiomics of its ablation zone.

    Whatever goes wrong with a case is its result. Only what stops the whole program is raised.
    """
    try:
        return _measured(job)
    except (InputError, ModelError) as error:
        return failed_case(job, error.code, str(error), may_pass=False)
    except ColdspotError as error:
        return failed_case(job, error.code, str(error), may_pass=True)
    except Exception as error:  # noqa: BLE001 - one case never ends the run of the others
        return failed_case(job, "internal_error", f"{type(error).__name__}: {error}", may_pass=True)


def _measured(job: CaseJob) -> CaseResult:
    images, settings = job.images, job.settings
    with ExitStack() as opened:
        tumor_model, zone_model = _opened(opened, images.tumor_model), _opened(opened, images.zone_model)
        planning, verification = read_ct(images.planning), read_ct(images.verification)
        tumor = _mask(images.tumor, planning, "tumor", images.tumor_label)
        zone = _mask(images.zone, verification, "ablation zone", images.zone_label)
        core = _mask(images.core, verification, "ablation core", images.core_label)
        prepared = prepare_planning(
            planning,
            tumor,
            target_lps_mm=images.target_lps_mm,
            tumor_segmenter=tumor_model,
            settings=settings.assessment,
        )
        assessment = assess_ablation(
            prepared, verification, zone, core=core, zone_segmenter=zone_model, settings=settings.assessment
        )
        refused = assessment.refusal
        if refused is not None:
            return CaseResult(
                case_id=job.case_id,
                key=job.key,
                outcome="refused",
                code=refused.code.value,
                reason=refused.reason,
                warnings=assessment.warnings,
            )
    return _result(
        job, assessment, extract_features(verification, assessment.require_zone(), settings.radiomics)
    )


def _result(job: CaseJob, assessment: AblationAssessment, features: dict[str, float]) -> CaseResult:
    coverage = assessment.coverage
    return CaseResult(
        case_id=job.case_id,
        key=job.key,
        outcome="measured",
        tcr=coverage.tcr,
        # The manifest's rule, tcr_equals_1: how sure of it the engine is does not matter to the fit.
        complete_coverage=bool(coverage.tcr == _COMPLETE_TCR),
        probability_complete=coverage.probability_complete,
        minimal_margin_mm=assessment.margin.minimal_mm,
        tumor_volume_ml=assessment.lesion.volume_ml,
        zone_volume_ml=coverage.zone_volume_ml,
        warnings=assessment.warnings,
        features={name: x if math.isfinite(x) else None for name, x in features.items()},
    )


def _opened(opened: ExitStack, model: Path | None) -> Segmenter | None:
    """A segmenter on the backend that every other is compared with: never what happens to be fastest here."""
    return None if model is None else opened.enter_context(open_segmenter(model, REFERENCE))


def _mask(path: Path | None, ct: CtVolume, name: str, label: str | None) -> LabelMask | None:
    return None if path is None else read_mask(path, ct, name, label=label)
