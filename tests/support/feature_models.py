"""What the tests of lesion features share: a lesion, a network and a manifest of each other's sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engine.geometry import VolumeGeometry
from engine.manifest import FeatureSection, ModelManifest, ParityReport, TensorSpec
from engine.manifest.features import Recipe
from engine.volume import CtVolume, LabelMask

GRID = VolumeGeometry((20, 30, 28), (2.0, 0.7, 0.8))


def section(recipe: Recipe = "zscore_patch", size: int = 48, *, roi_only: bool = False) -> FeatureSection:
    return FeatureSection(recipe=recipe, patch_shape=(size, size, size), roi_only=roi_only, feature_count=4)


def lesion(seed: int = 0) -> tuple[CtVolume, LabelMask]:
    """A noisy ellipsoid in lung, and a small island that is not it."""
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[:20, :30, :28]
    inside = ((z - 9) / 5.4) ** 2 + ((y - 14) / 9.1) ** 2 + ((x - 12) / 7.3) ** 2 <= 1
    inside = inside | ((abs(z - 18) < 1) & (abs(y - 27) < 2) & (abs(x - 26) < 1))
    hu = np.where(inside, 40, -850) + rng.normal(0, 60, inside.shape)
    hu[9, 14, 12] = 1900  # a needle: beyond the window, within the long scale
    return CtVolume(np.rint(hu).astype(np.int16), GRID), LabelMask(inside, GRID, "tumor")


def mean_network(scale: float = 1.0, size: int = 6) -> bytes:
    """Four features that follow from the mean of a patch."""
    weight = numpy_helper.from_array(np.array([[1.0, 2.0, -1.0, scale]], np.float32), "weight")
    nodes = [
        helper.make_node("ReduceMean", ["patch"], ["mean"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["features"]),
    ]
    inputs = [helper.make_tensor_value_info("patch", TensorProto.FLOAT, ["batch", 1, size, size, size])]
    outputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph(nodes, "mean", inputs, outputs, initializer=[weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def feature_manifest(**changes: Any) -> ModelManifest:
    report = ParityReport(
        reference="torch 2.13.0 (CPU, float32)",
        candidate="onnxruntime 1.30.0 (CPU), fp32",
        measured_on="lesions",
        cases=2,
        max_abs=1e-6,
        mean_abs=1e-7,
        p999_abs=1e-6,
        cosine_distance=1e-12,
        tolerance=1e-5,
        passed=True,
    )
    content: dict[str, Any] = {
        "schema_version": 1,
        "id": "mean-features",
        "version": "1.0.0",
        "kind": "features",
        "description": "Means.",
        "intended_use": "Tests.",
        "demo": False,
        "fitted_on": "nothing",
        "licence": "Apache-2.0",
        "provenance": "a test",
        "files": {"model.onnx": "0" * 64},
        "inputs": (TensorSpec(name="patch", dtype="float32", shape=("batch", 1, 6, 6, 6)),),
        "outputs": (TensorSpec(name="features", dtype="float32", shape=("batch", 4)),),
        "parity_reports": (report,),
        "features": section("hu_-1024_3072", size=6),
    }
    return ModelManifest(**{**content, **changes})
