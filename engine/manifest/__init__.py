"""Model bundles: a manifest that is executed, and files that are what it says they are.

A bundle is a folder ``models/<id>/<version>/`` with ``manifest.json``, ``model.onnx`` (and its other
members and precisions), the ``MODEL_CARD.md`` rendered from the manifest, and the seal of these two,
``manifest.json.sha256``. Nothing of it is used before every byte is checked.
"""

from __future__ import annotations

from engine.manifest.bundle import (
    Bundle,
    SealedManifest,
    load_bundle,
    parse_manifest,
    read_manifest,
    read_sealed_manifest,
)
from engine.manifest.common import PerformanceFigure, TensorSpec
from engine.manifest.features import FeatureSection
from engine.manifest.model import (
    DEMO_MODEL,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    SIMULATED_COHORT,
    ModelKind,
    ModelManifest,
    Precision,
    manifest_text,
)
from engine.manifest.parity import ParityReport
from engine.manifest.seal import SEAL_FILE, read_seal, seal_text
from engine.manifest.segmentation import (
    IMAGE,
    LOGITS,
    NAMED_CHANNELS,
    PLANNING_CT_WARPED,
    ROLES,
    TUMOR_DISTANCE,
    VERIFICATION_CT,
    Channel,
    Purpose,
    Resampling,
    Role,
    SegmentationSection,
)
from engine.manifest.signature import RadiomicsSettings, SignatureFeature, SignatureSection
from engine.manifest.survival import (
    BaselineHazard,
    Bernoulli,
    CompetingEvent,
    Covariate,
    LogNormal,
    Normal,
    OutOfFoldCalibration,
    Parity,
    ReferenceOutput,
    SurvivalSection,
)

__all__ = [
    "DEMO_MODEL",
    "IMAGE",
    "LOGITS",
    "MANIFEST_FILE",
    "MODEL_CARD_FILE",
    "MODEL_FILE",
    "NAMED_CHANNELS",
    "PLANNING_CT_WARPED",
    "ROLES",
    "SEAL_FILE",
    "SIMULATED_COHORT",
    "TUMOR_DISTANCE",
    "VERIFICATION_CT",
    "BaselineHazard",
    "Bernoulli",
    "Bundle",
    "Channel",
    "CompetingEvent",
    "Covariate",
    "FeatureSection",
    "LogNormal",
    "ModelKind",
    "ModelManifest",
    "Normal",
    "OutOfFoldCalibration",
    "Parity",
    "ParityReport",
    "PerformanceFigure",
    "Precision",
    "Purpose",
    "RadiomicsSettings",
    "ReferenceOutput",
    "Resampling",
    "Role",
    "SealedManifest",
    "SegmentationSection",
    "SignatureFeature",
    "SignatureSection",
    "SurvivalSection",
    "TensorSpec",
    "load_bundle",
    "manifest_text",
    "parse_manifest",
    "read_manifest",
    "read_seal",
    "read_sealed_manifest",
    "seal_text",
]
