"""nnU-Net's own predictor: what it says of a CT, with its logits, which its entry points do not give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from engine.arrays import Float32Array, UInt8Array
from engine.manifest import SegmentationSection
from engine.volume import CtVolume
from tests.support.segmentation_models import gap_of

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
nnunet = pytest.importorskip(
    "nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed: make setup-export"
)
from nnunetv2.inference.export_prediction import (  # noqa: E402 - skipped above where it is missing
    convert_predicted_logits_to_segmentation_with_correct_shape as labels_of,
)


@dataclass(frozen=True)
class Reference:
    """What nnU-Net says of a CT: logits on its own grid, labels on the CT, and how clear they are there."""

    logits: Float32Array
    labels: UInt8Array
    gap: Float32Array


def accumulate_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the predictor's sums float32.

    ``predict_from_raw_data.py`` allocates them as ``torch.zeros(..., dtype=torch.half)`` and names ``half``
    nowhere else. It alone gets another torch: the real one remembers what ``half`` was when it first read a file.
    """
    single = ModuleType("torch")
    vars(single).update(vars(torch), half=torch.float32)
    monkeypatch.setattr(nnunet, "torch", single)


def open_predictor(folder: Path, folds: Sequence[int | str] = (0,)) -> Any:
    """The predictor of a model folder, on the CPU."""
    predictor = nnunet.nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), tuple(folds), "checkpoint_final.pth")
    return predictor


def arguments(ct: CtVolume) -> tuple[Float32Array, dict[str, Any]]:
    """A CT as the predictor takes it."""
    return ct.voxels_hu[None].astype(np.float32), {"spacing": list(ct.geometry.spacing_zyx_mm)}


def reference(predictor: Any, section: SegmentationSection, ct: CtVolume, *, mirror: bool) -> Reference:
    """The steps of ``predict_single_npy_array``."""
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    predictor.use_mirroring = mirror
    voxels, _, described = configuration.preprocessor_class(verbose=False).run_case_npy(
        *arguments(ct)[:1], None, arguments(ct)[1], plans, configuration, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(voxels))
    labels = labels_of(logits, plans, configuration, predictor.label_manager, dict(described))
    spacing = [described["spacing"][axis] for axis in plans.transpose_forward]
    cropped = described["shape_after_cropping_and_before_resampling"]
    native = configuration.resampling_fn_probabilities(logits, cropped, configuration.spacing, spacing)
    gap = np.full(described["shape_before_cropping"], np.inf, dtype=np.float32)
    cut = tuple(slice(*bounds) for bounds in described["bbox_used_for_cropping"])
    gap[cut] = gap_of(np.asarray(native, dtype=np.float32), section)
    return Reference(logits.numpy(), labels.astype(np.uint8), gap.transpose(plans.transpose_backward))
