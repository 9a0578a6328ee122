"""What a result was made from and by: written into every final assessment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from coldspot.v1 import assessment_pb2

from engine import DISCLAIMER, __version__

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.model_identity import ModelIdentity
    from service.cases.selection import PlanningSide, VerificationSide
    from service.pipeline.protocol import ModelDescription, PipelineDescription


def provenance_message(
    assessment: AblationAssessment,
    description: PipelineDescription,
    before: PlanningSide,
    after: VerificationSide,
    *,
    case_id: str,
    assessment_id: str,
) -> assessment_pb2.Provenance:
    """Return the provenance of an assessment; digests are those of the uploaded bytes."""
    risk_model = None if assessment.risk is None else _described(assessment.risk.identity, description)
    tumor_model = _described(assessment.lesion.origin.model, description)
    zone_model = _described(assessment.coverage.zone_origin.model, description)
    return assessment_pb2.Provenance(
        software=f"coldspot {__version__}",
        disclaimer=DISCLAIMER,
        planning_sha256=before.planning.sha256,
        verification_sha256=after.verification.sha256,
        tumor_sha256=before.tumor.sha256 if before.tumor else "",
        zone_sha256=after.zone.sha256 if after.zone else "",
        core_sha256=after.core.sha256 if after.core else "",
        registration=_registration(assessment.alignment.method, description.registration),
        kernels=description.kernels,
        risk_model=f"{risk_model.name} {risk_model.version}" if risk_model else "",
        risk_model_sha256=risk_model.sha256 if risk_model else "",
        inference_backend=_backends(description.inference_backend, (tumor_model, zone_model)),
        seed=assessment.seed,
        draws=assessment.draws,
        assessed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        case_id=case_id,
        assessment_id=assessment_id,
        tumor_model=f"{tumor_model.name} {tumor_model.version}" if tumor_model else "",
        tumor_model_sha256=tumor_model.sha256 if tumor_model else "",
        zone_model=f"{zone_model.name} {zone_model.version}" if zone_model else "",
        zone_model_sha256=zone_model.sha256 if zone_model else "",
    )


def _described(identity: ModelIdentity | None, description: PipelineDescription) -> ModelDescription | None:
    """The model of an identity among those that are loaded."""
    if identity is None:
        return None
    same = (
        model
        for model in description.models
        if (model.name, model.version) == (identity.id, identity.version)
    )
    return next(same, None)


def _backends(general: str, drew: tuple[ModelDescription | None, ...]) -> str:
    """What ran the models: the risk's first, then what drew contours."""
    others = (backend_in_words(model) for model in drew if model is not None)
    return "; ".join(dict.fromkeys((general, *others)))


def backend_in_words(model: ModelDescription) -> str:
    """Return what runs a model, and what it was chosen by."""
    chosen_by = f" ({model.backend_chosen_by})" if model.backend_chosen_by else ""
    return f"{model.name}: {model.backend}{chosen_by}"


def _registration(method: str, settings: str) -> str:
    """Method and what it was set to; a refused assessment has no method."""
    return f"{method}; {settings}" if settings and method != "none" else method
