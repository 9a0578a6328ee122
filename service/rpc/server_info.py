"""What a service says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldspot.v1 import assessment_pb2, service_pb2

from engine import DISCLAIMER, __version__
from service.pipeline.protocol import ModelPurpose, ServedModel
from service.record.provenance import backend_in_words

if TYPE_CHECKING:
    from service.app import App

_PURPOSES: Final[dict[ModelPurpose, service_pb2.ModelPurpose]] = {
    ModelPurpose.RISK: service_pb2.MODEL_PURPOSE_RISK,
    ModelPurpose.TUMOR: service_pb2.MODEL_PURPOSE_TUMOR,
    ModelPurpose.ABLATION_ZONE: service_pb2.MODEL_PURPOSE_ABLATION_ZONE,
}


def server_info(app: App) -> service_pb2.GetServerInfoResponse:
    """Return version, device, models, mode and limits of a service."""
    description = app.pipeline.describe()
    return service_pb2.GetServerInfoResponse(
        mock=description.mock,
        version=__version__,
        disclaimer=DISCLAIMER,
        kernels=description.kernels,
        inference_backend="; ".join(
            [
                description.inference_backend,
                *(backend_in_words(model) for model in description.models if model.backend),
            ]
        ),
        models=[model.identity.name for model in description.models],
        max_series_bytes=app.settings.max_series_bytes,
        max_admitted=app.settings.max_admitted,
        clinical_mode=app.settings.clinical_mode,
        served_models=[_served_model(model) for model in description.models],
    )


def _served_model(model: ServedModel) -> service_pb2.ServedModel:
    """Return a model that the service has loaded."""
    identity = model.identity
    return service_pb2.ServedModel(
        identity=assessment_pb2.ModelIdentity(
            id=identity.id,
            version=identity.version,
            sha256=identity.sha256,
            demo=identity.demo,
            manifest_sha256=identity.manifest_sha256,
        ),
        purpose=_PURPOSES[model.purpose],
        backend=model.backend,
    )
