"""The demo segmenters that ship: nnU-Net's own code says the same, and real CTs of unseen patients are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.assessment.planning import prepare_planning
from engine.assessment.verification import assess_ablation
from engine.geometry import VoxelBox
from engine.manifest import MODEL_FILE
from engine.segmentation import open_segmenter
from engine.structures.tumor_search import find_tumor
from engine.structures.zone_search import find_zone
from engine.volume import CtVolume, LabelMask
from tests.support.ablation_cases import ALL, AblationCase, case
from tests.support.segmentation_models import needs_real_ct, require_same_labels

pytestmark = needs_real_ct

MODELS = Path(__file__).parents[3] / "models"
TUMOR, ZONE = (MODELS / f"{name}-demo" / "1.0.0" for name in ("tumor", "zone"))
THIN, THICK = "lidc-shell-miss", "lung1-5mm-under"
MIN_DICE = {"tumor": 0.75, "zone": 0.85}
LARGEST_MEDIAN_ERROR = 0.1
"""Of TCR: masks of several readers of one nodule move it by as much."""
ALIASES = ("all_modules", "decoder.encoder", "seg_layers.0", "seg_layers.1")
"""Names of nnU-Net's networks for what has another name too, and heads that only training reads."""


@pytest.mark.parametrize("name", [THIN, THICK], ids=["1 mm slices", "5 mm slices"])
@pytest.mark.parametrize("bundle", [TUMOR, ZONE], ids=["tumor", "zone"])
def test_nnunets_predictor_says_the_same(
    bundle: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make setup-export")
    from tests.support.nnunet.predictor import accumulate_in_single_precision, open_predictor, reference

    with open_segmenter(bundle, "onnxruntime") as ours:
        predictor = open_predictor(nnunet_folder(tmp_path, bundle, ours.section))
        accumulate_in_single_precision(monkeypatch)
        it = case(name)
        ct = (
            around(it.prepared.planning, it.prepared.tumor)
            if bundle == TUMOR
            else around(it.verification, it.zone)
        )
        theirs = reference(predictor, ours.section, ct, mirror=False)
        assert np.abs(ours.logits(ct, mirror=False) - theirs.logits).max() < 1e-3
        found = ours.segment(ct, mirror=False)
    require_same_labels(found.labels, theirs.labels, theirs.gap)


def around(ct: CtVolume, mask: LabelMask) -> CtVolume:
    """The CT around a structure, with 20 mm on every side."""
    index, shape = np.argwhere(mask.voxels), ct.geometry.shape_zyx
    room = [round(20.0 / spacing) for spacing in ct.geometry.spacing_zyx_mm]
    start = [max(0, int(low) - r) for low, r in zip(index.min(axis=0), room, strict=True)]
    stop = [min(n, int(high) + 1 + r) for high, r, n in zip(index.max(axis=0), room, shape, strict=True)]
    return ct.crop(VoxelBox.between(start, stop))


def nnunet_folder(root: Path, bundle: Path, section: Any) -> Path:
    """The weights of a bundle in a model folder that nnU-Net reads, with the plans of its section."""
    from tests.support.nnunet.folders import v2_network, write_v2_folder

    features = (12, 24, 48, 96)
    settings: dict[str, Any] = {
        "labels": section.labels,
        "patch": section.patch_shape,
        "spacing": section.spacing_mm,
        "features": features,
        "architecture": {"n_conv_per_stage": [1, 2, 2, 2], "n_conv_per_stage_decoder": [2, 2, 1]},
    }
    random = write_v2_folder(root / "random", **settings)
    plans = json.loads((random / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    network = v2_network(configuration["architecture"], 1, len(section.labels), seed=0)
    missing, unexpected = network.load_state_dict(weights_of(bundle), strict=False)
    assert not unexpected
    assert all(any(alias in name for alias in ALIASES) for name in missing)
    folder = write_v2_folder(root / "demo", network_state=network.state_dict(), **settings)
    configuration["resampling_fn_data_kwargs"]["order"] = section.resampling.data_order
    channel = section.channels[0]
    plans["foreground_intensity_properties_per_channel"]["0"] |= {
        "mean": channel.mean,
        "std": channel.sd,
        "percentile_00_5": channel.low,
        "percentile_99_5": channel.high,
    }
    (folder / "plans.json").write_text(json.dumps(plans))
    return folder


def weights_of(bundle: Path) -> dict[str, Any]:
    import torch

    graph = onnx.load(bundle / MODEL_FILE).graph
    return {it.name: torch.from_numpy(numpy_helper.to_array(it).copy()) for it in graph.initializer}


def dice(found: LabelMask, true: LabelMask) -> float:
    both = int(np.count_nonzero(found.voxels & true.voxels))
    return 2.0 * both / (int(np.count_nonzero(found.voxels)) + int(np.count_nonzero(true.voxels)))


def target_of(it: AblationCase) -> tuple[float, float, float]:
    x, y, z = it.truth["target_planning_lps_mm"]
    return x, y, z


@pytest.mark.acceptance
@pytest.mark.parametrize("name", ALL)
def test_tumor_and_zone_are_found(name: str) -> None:
    it = case(name)
    with open_segmenter(TUMOR, "onnxruntime") as tumor, open_segmenter(ZONE, "onnxruntime") as zone:
        lesion = find_tumor(it.prepared.planning, tumor, target_of(it)).mask
        index = np.argwhere(it.zone.voxels)
        around = it.zone.geometry.to_lps(index[:: max(1, len(index) // 400)])
        ablated = find_zone(it.verification, zone, around).zone
    assert dice(lesion, it.prepared.tumor) >= MIN_DICE["tumor"]
    assert dice(ablated, it.zone) >= MIN_DICE["zone"]


@pytest.mark.acceptance
def test_two_cts_and_a_target_give_the_coverage() -> None:
    errors = [error_of_tcr(name) for name in ALL]
    assert np.median(errors) <= LARGEST_MEDIAN_ERROR, errors


@pytest.mark.parametrize("name", [THIN, THICK])
def test_two_cts_and_a_target_of_one_patient(name: str) -> None:
    assert error_of_tcr(name) <= LARGEST_MEDIAN_ERROR


def error_of_tcr(name: str) -> float:
    """|TCR - true|, of an answer that calls no miss complete and holds the truth in its interval."""
    it = case(name)
    true = it.truth["of_supplied_masks"]["tcr"]
    with open_segmenter(TUMOR, "onnxruntime") as tumor, open_segmenter(ZONE, "onnxruntime") as zone:
        prepared = prepare_planning(
            it.prepared.planning, None, target_lps_mm=target_of(it), tumor_segmenter=tumor
        )
        found = assess_ablation(prepared, it.verification, None, zone_segmenter=zone)
    assert found.refusal is None
    assert found.coverage.tcr is not None
    assert found.coverage.tcr_interval_90 is not None
    assert found.coverage.complete is not True or true >= 0.995
    low, high = found.coverage.tcr_interval_90
    assert low <= true <= high
    return float(abs(found.coverage.tcr - true))
