"""Models in the folder of an appliance, each a network that marks what is dense."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.manifest import MODEL_FILE, SegmentationSection
from tests.support.segmentation_models import SECTION, threshold_network, write_bundle_folder

_PLAIN = {
    **SECTION,
    "spacing_mm": [1.6, 1.4, 1.4],
    "patch_shape": [40, 40, 40],
    "step_share": 1.0,
    "channels": [{"name": "CT", "scheme": "none"}],
    "crop_to_nonzero": False,
}
_LABELS = {"tumor": {"background": 0, "tumor": 1}, "ablation_zone": {"background": 0, "zone": 1}}


def install(models_dir: Path, name: str, purpose: str, version: str = "1.0.0", *, demo: bool = True) -> Path:
    """A bundle whose network marks what is denser than 200 HU."""
    described: dict[str, Any] = {**_PLAIN, "purpose": purpose, "labels": _LABELS[purpose]}
    network = threshold_network(SegmentationSection.model_validate_json(json.dumps(described)), 200.0)
    tensor = {"dtype": "float32", "shape": ["batch", 1, 40, 40, 40]}
    return write_bundle_folder(
        models_dir / name / version,
        {MODEL_FILE: network},
        id=name,
        version=version,
        demo=demo,
        fitted_on="phantoms (demo model)" if demo else "patients of a site",
        segmentation=described,
        inputs=[{"name": "image", **tensor}],
        outputs=[{"name": "logits", **tensor, "shape": ["batch", 2, 40, 40, 40]}],
    )
