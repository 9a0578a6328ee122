"""Manifests of segmentation models: what they may say, and what they carry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ManifestError
from engine.manifest import MODEL_FILE, ModelManifest, load_bundle, read_manifest
from tests.support.bundle_seals import sealed_anew
from tests.support.segmentation_models import SECTION, manifest


def read(**changes: Any) -> ModelManifest:
    return ModelManifest.model_validate_json(json.dumps(manifest(**changes)))


def test_a_segmentation_manifest_is_read_with_nnunets_defaults() -> None:
    found = read()
    section = found.segmentation
    assert section is not None
    assert (found.survival, found.features, found.parity) == (None, None, None)
    assert section.resampling.separate_z is None
    assert (section.resampling.data_order, section.resampling.logits_order) == (3, 1)
    assert (section.step_share, section.output_count, section.uses_softmax) == (0.5, 2, True)
    assert found.variants == {"fp32": (MODEL_FILE,)}


def test_what_says_nothing_is_not_written_and_reads_back_the_same() -> None:
    found = read()
    written = json.loads(found.model_dump_json())
    assert not {"survival", "features", "parity", "variants"} & set(written)
    assert ModelManifest.model_validate_json(found.model_dump_json()) == found


REGIONS = {
    "segmentation__labels": {"background": 0, "zone": 1, "core": 2},
    "segmentation__regions": [[1, 2], [2]],
    "segmentation__regions_class_order": [1, 2],
}


def test_regions_unite_labels() -> None:
    section = read(**REGIONS, segmentation__purpose="ablation_zone").segmentation
    assert section is not None
    assert (section.output_count, section.uses_softmax) == (2, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "survival"},
        {"kind": "features"},
        {"segmentation": None},
        {"parity_reports": []},
        {"parity_reports__0__passed": False},
        {"parity_reports__0__max_abs": 0.1},
        {"parity_reports__0__mean_abs": 1.0},
        {"parity_reports__0__p999_abs": 1.0},
        {"parity_reports__0__max_abs": float("nan")},
        {"parity_reports__0__voxels": None},
        {"parity_reports__0__near_tie_flips": 4},
        {"parity_reports__0__label_flips": 10**6},
        {"parity_reports__0__cosine_distance": 0.5},
        {"parity_reports__0__dice": 1.5},
        {"fitted_on": "phantoms"},
        {"demo": False},
        {"demo": False, "fitted_on": "simulated ablations"},
        {"variants": {}},
        {"variants": {"fp32": []}},
        {"variants": {"fp16_mixed": [MODEL_FILE]}},
        {"variants": {"fp32": ["other.onnx"]}},
        {"variants": {"fp32": [MODEL_FILE], "fp16_mixed": ["fp16.onnx"]}},
        {"variants": {"fp32": [MODEL_FILE], "fp16_mixed": [MODEL_FILE]}},
        {"variants": {"fp8": [MODEL_FILE]}},
        {
            "files": {MODEL_FILE: "0" * 64, "a": "0" * 64, "b": "0" * 64},
            "variants": {"fp32": [MODEL_FILE], "fp16_mixed": ["a", "b"]},
        },
        {"segmentation__colour": "blue"},
        {"segmentation__framework": "nnunet_v3"},
        {"segmentation__labels": {"tumor": 1}},
        {"segmentation__labels": {"background": 0}},
        {"segmentation__labels": {"background": 0, "tumor": 2}},
        {"segmentation__labels": {"background": 0, "tumor": 1, "lung": 1}},
        {"segmentation__labels": {"background": 0, "tumor": 300}},
        {"segmentation__purpose": "ablation_zone"},
        {**REGIONS, "segmentation__regions_class_order": [1]},
        {**REGIONS, "segmentation__regions_class_order": [1, 0]},
        {**REGIONS, "segmentation__regions": [[1, 2], [3]]},
        {**REGIONS, "segmentation__regions": [[1, 2], []]},
        {**REGIONS, "segmentation__regions": [[0, 1], [2]]},
        {"segmentation__transpose_forward": [0, 0, 1]},
        {"segmentation__transpose_forward": [1, 2, 0], "segmentation__transpose_backward": [1, 2, 0]},
        {"segmentation__mirror_axes": [0, 0]},
        {"segmentation__mirror_axes": [3]},
        {"segmentation__spacing_mm": [0.0, 1.0, 1.0]},
        {"segmentation__spacing_mm": [1.0, 1.0]},
        {"segmentation__patch_shape": [0, 32, 32]},
        {"segmentation__step_share": 0.0},
        {"segmentation__step_share": 1.5},
        {"segmentation__channels": []},
        {"segmentation__channels__0__low": 400.0},
        {"segmentation__channels__0__scheme": "rgb"},
        {"segmentation__resampling": {"data_order": 2}},
        {"segmentation__resampling": {"logits_order": 3}},
        {
            "segmentation__framework": "nnunet_v1",
            "segmentation__channels": [{"name": "MR", "scheme": "zscore", "masked": True}],
        },
    ],
    ids=" ".join,
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    if "segmentation__channels__0__low" in changes:
        changes = {"segmentation__channels": [{**SECTION["channels"][0], "low": 400.0}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest(**changes)))
    sealed_anew(tmp_path)
    with pytest.raises(ManifestError, match="export the bundle again"):
        read_manifest(tmp_path)


def test_a_bundle_carries_the_members_of_each_precision(tmp_path: Path) -> None:
    files = {
        MODEL_FILE: b"fold 0",
        "fold_1.onnx": b"fold 1",
        "fp16/0.onnx": b"half 0",
        "fp16/1.onnx": b"half 1",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    variants = {"fp32": [MODEL_FILE, "fold_1.onnx"], "fp16_mixed": ["fp16/0.onnx", "fp16/1.onnx"]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest(files=hashes, variants=variants)))
    sealed_anew(tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.contents == files
    assert bundle.variant("fp32") == (b"fold 0", b"fold 1")
    assert bundle.variant("fp16_mixed") == (b"half 0", b"half 1")
    with pytest.raises(ManifestError, match="choose one of these"):
        bundle.variant("int8")
