"""What the segmentation tests share: torch behind the sessions' protocol, manifests, parts of real CTs."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.arrays import Float32Array, UInt8Array
from engine.files.reading import read_ct
from engine.geometry import VoxelBox
from engine.manifest import MANIFEST_FILE, MODEL_FILE, ModelManifest, SegmentationSection, TensorSpec
from engine.volume import CtVolume
from tests.support.bundle_seals import sealed_anew

DATA = os.environ.get("COLDSPOT_DATA")
needs_real_ct = pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")

NEAR_TIE = 0.01
"""Logits closer than this may fall to either label by rounding alone."""


class TorchSession:
    """A torch network behind the protocol of the bedside's sessions."""

    backend = "torch"

    def __init__(self, network: Any, section: SegmentationSection) -> None:
        self.network = network
        self.inputs, self.outputs = tensors(section)

    def run(self, inputs: dict[str, Float32Array]) -> dict[str, Float32Array]:
        import torch

        with torch.inference_mode():
            return {"logits": self.network(torch.from_numpy(inputs["image"])).numpy()}

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def tensors(
    section: SegmentationSection, batch: int | str = "batch"
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Input and output of a network that fits a section."""
    patch, channels, outputs = section.patch_shape, len(section.channels), section.output_count
    return (
        (TensorSpec(name="image", dtype="float32", shape=(batch, channels, *patch)),),
        (TensorSpec(name="logits", dtype="float32", shape=(batch, outputs, *patch)),),
    )


def manifest_of(section: SegmentationSection) -> ModelManifest:
    """A manifest around a section; nothing else of it is read here."""
    return ModelManifest.model_construct(
        id="random",
        version="1.0.0",
        kind="segmentation",
        demo=True,
        files={MODEL_FILE: "0" * 64},
        segmentation=section,
    )


REPORT: dict[str, Any] = {
    "reference": "torch 2.13.0 (CPU), fp32",
    "candidate": "onnxruntime 1.30.0 (CPU), fp32",
    "measured_on": "two chest CTs",
    "cases": 2,
    "max_abs": 2e-5,
    "mean_abs": 1e-6,
    "p999_abs": 1e-5,
    "dice": 1.0,
    "label_flips": 3,
    "near_tie_flips": 3,
    "voxels": 100_000,
    "tolerance": 1e-3,
    "passed": True,
}
SECTION: dict[str, Any] = {
    "framework": "nnunet_v2",
    "purpose": "tumor",
    "labels": {"background": 0, "tumor": 1},
    "spacing_mm": [1.5, 1.0, 1.0],
    "patch_shape": [32, 48, 48],
    "mirror_axes": [0, 1, 2],
    "channels": [{"name": "CT", "scheme": "ct", "mean": -300.0, "sd": 200.0, "low": -1000.0, "high": 400.0}],
}


def manifest(**changes: Any) -> dict[str, Any]:
    """A manifest; ``a__b`` changes key ``b`` of section ``a``, ``a__0`` its first entry."""
    whole: dict[str, Any] = {
        "schema_version": 1,
        "id": "tumor-demo",
        "version": "1.0.0",
        "kind": "segmentation",
        "description": "Finds tumors.",
        "intended_use": "Tests.",
        "demo": True,
        "fitted_on": "phantoms (demo model)",
        "licence": "Apache-2.0",
        "provenance": "made for a test",
        "files": {MODEL_FILE: "0" * 64},
        "inputs": [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 32, 48, 48]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 2, 32, 48, 48]}],
        "parity_reports": [dict(REPORT)],
        "segmentation": json.loads(json.dumps(SECTION)),
    }
    for key, value in changes.items():
        *sections, last = key.split("__")
        target: Any = whole
        for section in sections:
            target = target[int(section)] if section.isdigit() else target[section]
        target[last] = value
    return whole


def threshold_network(it: SegmentationSection, hu: float, batch: int | str = "batch") -> bytes:
    """Logits 0 and image - hu."""
    nodes = [
        helper.make_node("Sub", ["image", "hu"], ["above"]),
        helper.make_node("Mul", ["image", "zero"], ["background"]),
        helper.make_node("Concat", ["background", "above"], ["logits"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.float32(hu).reshape(1), "hu"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, list(s.shape)) for s in specs]
        for specs in tensors(it, batch)
    )
    graph = helper.make_graph(nodes, "threshold", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def write_bundle_folder(folder: Path, networks: dict[str, bytes], **changes: Any) -> Path:
    """A bundle of networks by file name, all of them in single precision."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in networks.items():
        (folder / name).write_bytes(content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in networks.items()}
    described = manifest(files=files, variants={"fp32": list(networks)}, **changes)
    (folder / MANIFEST_FILE).write_text(json.dumps(described))
    sealed_anew(folder)
    return folder


@cache
def real_ct(name: str, start: tuple[int, int, int], stop: tuple[int, int, int]) -> CtVolume:
    """A part of a real CT."""
    part = read_ct(Path(DATA or "") / name).crop(VoxelBox(start, stop))
    return CtVolume(part.voxels_hu.copy(), part.geometry, part.acquisition)


def thin() -> CtVolume:
    """Slices of 1 mm, 0.78 mm in plane."""
    return real_ct("ct-lidc0314/ct_right_lung.nii.gz", (60, 60, 60), (86, 104, 110))


def thick() -> CtVolume:
    """Slices of 5 mm, 0.57 mm in plane: resampled apart along z."""
    return real_ct("ct-pyradiomics-lung1/image.nii.gz", (4, 20, 20), (14, 74, 76))


def gap_of(values: Float32Array, section: SegmentationSection, *, even: float = 0.0) -> Float32Array:
    """How far each voxel is from a change of label; regions change at ``even``."""
    if section.regions:
        return np.asarray(np.abs(values - even).min(axis=0))
    ordered = np.sort(values, axis=0)
    return np.asarray(ordered[-1] - ordered[-2])


def require_same_labels(found: UInt8Array, reference: UInt8Array, gap: Float32Array) -> None:
    """Equal on 99.99 % of voxels; those at a near tie are counted apart and must be few."""
    flipped = found != reference
    near = flipped & (gap < NEAR_TIE)
    assert np.count_nonzero(flipped & ~near) <= 1e-4 * flipped.size
    assert np.count_nonzero(near) <= 1e-3 * flipped.size
    assert np.count_nonzero(reference == np.bincount(reference.ravel()).argmax()) < reference.size
