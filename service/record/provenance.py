"""What a result was made from and by: part of every final assessment."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from engine import DISCLAIMER, __version__
from service.pipeline.sheet.facts import SheetFacts

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.model_identity import ModelIdentity
    from engine.volume import Acquisition
    from service.cases.selection import PlanningSide, VerificationSide
    from service.pipeline.protocol import PipelineDescription, ServedModel


@dataclass(frozen=True)
class SeriesProvenance:
    """What the header of a measured CT says; a string that it does not state is empty.

    ``acquired_at`` is ISO 8601 by the scanner's clock.
    """

    study_instance_uid: str
    series_instance_uid: str
    series_description: str
    acquired_at: str
    convolution_kernel: str
    slice_thickness_mm: float | None
    instance_count: int | None

    @classmethod
    def of(cls, acquisition: Acquisition) -> Self:
        """Return what an acquisition says."""
        return cls(**{field.name: getattr(acquisition, field.name) for field in fields(cls)})


@dataclass(frozen=True)
class Provenance:
    """What a final assessment was made from and by; what does not apply is empty.

    The order of the fields is that of the report's keys. Digests are those of the uploaded bytes (hexadecimal);
    models and their digests are named where they drew a contour or gave the risk.
    """

    software: str
    disclaimer: str
    planning_sha256: str
    verification_sha256: str
    tumor_sha256: str
    zone_sha256: str
    core_sha256: str
    registration: str
    kernels: str
    risk_model: str
    risk_model_sha256: str
    inference_backend: str
    seed: int
    draws: int
    assessed_at: str
    case_id: str
    assessment_id: str
    tumor_model: str
    tumor_model_sha256: str
    zone_model: str
    zone_model_sha256: str
    planning: SeriesProvenance
    verification: SeriesProvenance
    risk_model_manifest_sha256: str
    tumor_model_manifest_sha256: str
    zone_model_manifest_sha256: str

    @property
    def sheet_facts(self) -> SheetFacts:
        """What of it stands on the sheet."""
        return SheetFacts(self.case_id, self.assessment_id, self.assessed_at, self.software)


def provenance_of(
    assessment: AblationAssessment,
    description: PipelineDescription,
    planning: PlanningSide,
    verification: VerificationSide,
    acquisitions: tuple[Acquisition, Acquisition],
    *,
    case_id: str,
    assessment_id: str,
) -> Provenance:
    """Return the provenance of an assessment that was made just now.

    ``acquisitions`` are those of the planning and of the verification CT.
    """
    risk_model = None if assessment.risk is None else _described(assessment.risk.identity, description)
    tumor_model = _described(assessment.lesion.origin.model, description)
    zone_model = _described(assessment.coverage.zone_origin.model, description)
    return Provenance(
        software=f"coldspot {__version__}{' (mock: nothing was measured)' if description.mock else ''}",
        disclaimer=DISCLAIMER,
        planning_sha256=planning.planning.sha256,
        verification_sha256=verification.verification.sha256,
        tumor_sha256=planning.tumor.sha256 if planning.tumor else "",
        zone_sha256=verification.zone.sha256 if verification.zone else "",
        core_sha256=verification.core.sha256 if verification.core else "",
        registration=_registration(assessment, description.registration),
        kernels=description.kernels,
        risk_model=risk_model.identity.name if risk_model else "",
        risk_model_sha256=risk_model.identity.sha256 if risk_model else "",
        inference_backend=_backends(description.inference_backend, (tumor_model, zone_model)),
        seed=assessment.seed,
        draws=assessment.draws,
        assessed_at=datetime.now(UTC).isoformat(timespec="seconds"),
        case_id=case_id,
        assessment_id=assessment_id,
        tumor_model=tumor_model.identity.name if tumor_model else "",
        tumor_model_sha256=tumor_model.identity.sha256 if tumor_model else "",
        zone_model=zone_model.identity.name if zone_model else "",
        zone_model_sha256=zone_model.identity.sha256 if zone_model else "",
        planning=SeriesProvenance.of(acquisitions[0]),
        verification=SeriesProvenance.of(acquisitions[1]),
        risk_model_manifest_sha256=risk_model.identity.manifest_sha256 if risk_model else "",
        tumor_model_manifest_sha256=tumor_model.identity.manifest_sha256 if tumor_model else "",
        zone_model_manifest_sha256=zone_model.identity.manifest_sha256 if zone_model else "",
    )


def _described(identity: ModelIdentity | None, description: PipelineDescription) -> ServedModel | None:
    """Return the loaded model with this identity, if any."""
    if identity is None:
        return None
    same = (model for model in description.models if model.identity.name == identity.name)
    return next(same, None)


def _backends(general: str, drew: tuple[ServedModel | None, ...]) -> str:
    """Return in words what ran the models: first the risk model, then those that drew contours."""
    others = (backend_in_words(model) for model in drew if model is not None)
    return "; ".join(dict.fromkeys((general, *others)))


def backend_in_words(model: ServedModel) -> str:
    """Return in words what runs a model, and the measurement that chose it."""
    chosen_by = f" ({model.backend_chosen_by})" if model.backend_chosen_by else ""
    return f"{model.identity.id}: {model.backend}{chosen_by}"


def _registration(assessment: AblationAssessment, settings: str) -> str:
    """Return the method and its settings; without settings if the assessment was refused."""
    method = assessment.alignment.method
    return f"{method}; {settings}" if settings and assessment.refusal is None else method
