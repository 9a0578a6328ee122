"""TensorRT-RTX engines of what the workshop exports, built without a GPU; nothing here is run on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.manifest import load_bundle
from engine.runtime.plan_cache import PLAN_FILE, RECORD_FILE
from engine.runtime.tensorrt_builder import BatchRange, build_plan
from engine.runtime.tensorrt_library import TensorRtLibrary, load_library

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed: make setup-export")

from export.bundle.tensorrt_plan import build_engines  # noqa: E402 - likewise
from export.fm_lct.graph import transformer_to_onnx  # noqa: E402 - likewise
from export.fm_lct.vision_transformer import VisionTransformer, VisionTransformerPlan  # noqa: E402 - likewise
from export.nnunet.bundle import export_nnunet, network_graph, read_model_folder  # noqa: E402 - likewise
from export.onnx_graph.mixed_precision import to_mixed_precision  # noqa: E402 - it needs the workshop
from tests.support.nnunet.folders import write_v1_folder, write_v2_folder  # noqa: E402 - likewise

TARGETS = ["sm_86", "sm_89", "sm_120"]
PRECISIONS: list[Any] = ["fp32", "fp16_mixed"]
SMALL_PLAN = VisionTransformerPlan(image_size=16, width=48, depth=2, heads=4)

STANDARD_FEATURES = (32, 64, 128, 256, 320, 320)
"""Of nnU-Net's standard 3d_fullres network with 31 million weights."""


@pytest.fixture(scope="module")
def library() -> TensorRtLibrary:
    return load_library("tensorrt-rtx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of a small nnU-Net."""
    folder = tmp_path_factory.mktemp("exported")
    patch = pytest.MonkeyPatch()
    patch.delenv("COLDSPOT_DATA", raising=False)  # a phantom will do
    try:
        return export_nnunet(
            write_v2_folder(folder, folds=(0, 1)),
            folder / "bundle",
            licence="none: random weights",
            provenance="a test",
            model_id="random",
        )
    finally:
        patch.undo()


def transformer(plan: VisionTransformerPlan) -> bytes:
    torch.manual_seed(0)
    return transformer_to_onnx(VisionTransformer(plan).eval(), name="vit", metadata={})


def in_precision(graph: bytes, precision: str) -> bytes:
    return graph if precision == "fp32" else to_mixed_precision(graph)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_fold_of_an_exported_nnunet(tmp_path: Path, bundle: Path, precision: Any) -> None:
    told: list[str] = []
    made = build_engines(
        bundle, "sm_89", precision, tmp_path, on_progress=lambda phase, *_: told.append(phase)
    )
    records = [json.loads((folder / RECORD_FILE).read_text()) for folder in made]
    assert len({record["key"]["onnx_sha256"] for record in records}) == 2
    assert {(r["key"]["precision"], r["key"]["target"]) for r in records} == {(precision, "sm_89")}
    assert all((folder / PLAN_FILE).stat().st_size > 10_000 for folder in made)
    assert {phase[:4] for phase in told} == {"1/2 ", "2/2 "}


@pytest.mark.parametrize("target", ["sm_86", "sm_120"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_exported_nnunet_for_other_generations(
    library: TensorRtLibrary, bundle: Path, precision: Any, target: str
) -> None:
    graph = load_bundle(bundle).variant(precision)[0]
    assert build_plan(library, graph, target=target).plan


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("write", [write_v1_folder, lambda root: write_v2_folder(root, residual=True)])
def test_other_networks_of_nnunet(
    tmp_path: Path, library: TensorRtLibrary, write: Any, precision: str
) -> None:
    graph = network_graph(read_model_folder(write(tmp_path)), 0)
    assert build_plan(library, in_precision(graph, precision), target="sm_89").plan


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_vision_transformer(library: TensorRtLibrary, precision: str, target: str) -> None:
    assert build_plan(library, in_precision(transformer(SMALL_PLAN), precision), target=target).plan


@pytest.mark.acceptance
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_whole_encoder_of_fm_lct(library: TensorRtLibrary, precision: str) -> None:
    graph = in_precision(transformer(VisionTransformerPlan()), precision)
    for target in TARGETS:
        assert len(build_plan(library, graph, target=target).plan) > 80_000_000


@pytest.mark.acceptance
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_standard_nnunet(tmp_path: Path, library: TensorRtLibrary, precision: str) -> None:
    strides = [[1, 1, 1], *([[2, 2, 2]] * (len(STANDARD_FEATURES) - 1))]
    folder = write_v2_folder(tmp_path, features=STANDARD_FEATURES, strides=strides, patch=(128, 128, 128))
    model = read_model_folder(folder)
    weights = sum(int(np.prod(tensor.shape)) for tensor in model.networks[0].state_dict().values())
    assert weights > 30_000_000
    graph = in_precision(network_graph(model, 0), precision)
    for target in TARGETS:
        assert build_plan(library, graph, target=target, batch=BatchRange(1, 1, 2)).plan
