"""nnU-Net folders of both versions are read completely: networks, plans and folds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.runtime.onnx_session import OnnxSession

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.bundle import network_graph, read_model_folder  # noqa: E402 - it needs torch
from export.nnunet.unet_v1 import GenericUNet, GenericUNetPlan  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import (  # noqa: E402 - it needs torch
    v1_network,
    v2_network,
    write_v1_folder,
    write_v2_folder,
)

FLAT = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
FLAT_KERNELS = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
V2_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "residual": {"residual": True},
    "residual_with_a_wider_stem": {"residual": True, "architecture": {"stem_channels": 6}},
    "anisotropic": {"strides": FLAT, "kernels": FLAT_KERNELS, "patch": (8, 16, 24)},
    "regions": {"regions": True},
    "two_channels": {"channels": ("CT", "zscore")},
    "plans_before_2_4": {"old_plans": True, "features": (4, 8, 16)},
    "compiled_and_parallel": {"key_prefix": "module._orig_mod."},
    "steeper_without_bias": {
        "architecture": {"nonlin_kwargs": {"inplace": True, "negative_slope": 0.2}, "conv_bias": False}
    },
}


def published_logits(root: Path, image: Any, fold: str = "fold_0") -> Any:
    """What nnU-Net's own network gives, with the weights of the checkpoint."""
    checkpoint = torch.load(root / fold / "checkpoint_final.pth", weights_only=False)
    plans = checkpoint["init_args"]["plans"]
    state = {k.removeprefix("module._orig_mod."): v for k, v in checkpoint["network_weights"].items()}
    heads = state["decoder.seg_layers.0.weight"].shape[0]
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    network = v2_network(architecture, image.shape[1], heads, seed=99)
    network.load_state_dict(state)
    with torch.inference_mode():
        return network(image)


def random_image(shape: tuple[int, ...], channels: int = 1, batch: int = 1) -> Any:
    return torch.randn(batch, channels, *shape, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("variant", V2_VARIANTS.values(), ids=V2_VARIANTS.keys())
def test_a_v2_network_gives_the_logits_of_nnunets_own(tmp_path: Path, variant: dict[str, Any]) -> None:
    root = write_v2_folder(tmp_path, seed=3, **variant)
    model = read_model_folder(root)
    shape = model.section.patch_shape
    image = random_image(shape, len(model.section.channels))
    with torch.inference_mode():
        found = model.networks[0](image)
    expected = published_logits(root, image)
    assert found.shape == (1, model.section.output_count, *shape)
    assert float((found - expected).abs().max()) <= 1e-6
    with OnnxSession(network_graph(model, 0), threads=1) as session:
        exported = session.run({"image": image.numpy()})["logits"]
    assert np.abs(exported - expected.numpy()).max() <= 1e-4


V1_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "anisotropic": {"pools": FLAT[1:], "kernels": FLAT_KERNELS, "patch": (8, 16, 24)},
    "second_stage_parallel": {"stages": 2, "key_prefix": "module."},
}


@pytest.mark.parametrize("variant", V1_VARIANTS.values(), ids=V1_VARIANTS.keys())
def test_a_v1_network_gives_the_logits_of_generic_unet(tmp_path: Path, variant: dict[str, Any]) -> None:
    root = write_v1_folder(tmp_path, seed=3, **variant)
    model = read_model_folder(root)
    image = random_image(model.section.patch_shape)
    state = torch.load(root / "fold_0" / "model_final_checkpoint.model", weights_only=False)["state_dict"]
    pools = variant.get("pools", [[2, 2, 2]] * 2)
    kernels = variant.get("kernels", [[3, 3, 3]] * 3)
    original = v1_network(1, 3, variant.get("base_features", 4), pools, kernels)
    original.load_state_dict({k.removeprefix("module."): v for k, v in state.items()})
    with torch.inference_mode():
        found, expected = model.networks[0](image), original(image)
    assert float((found - expected).abs().max()) <= 1e-6
    with OnnxSession(network_graph(model, 0), threads=1) as session:
        exported = session.run({"image": image.numpy()})["logits"]
    assert np.abs(exported - expected.numpy()).max() <= 1e-4


def test_v1_features_end_at_320() -> None:
    with torch.device("meta"):
        found = GenericUNet(GenericUNetPlan(1, 3, 200, ((2, 2, 2), (2, 2, 2)), ((3, 3, 3),) * 3))
        expected = v1_network(1, 3, 200, [[2, 2, 2]] * 2, [[3, 3, 3]] * 3)
    shapes = [{k: tuple(v.shape) for k, v in n.state_dict().items()} for n in (found, expected)]
    assert shapes[0] == shapes[1]
    assert shapes[0]["conv_blocks_context.2.0.blocks.0.conv.weight"][0] == 320


def test_the_section_says_what_the_v2_plans_say(tmp_path: Path) -> None:
    root = write_v2_folder(
        tmp_path, channels=("CT", "zscore"), transpose_forward=(1, 0, 2), masked=True, mirror_axes=(1, 2)
    )
    model = read_model_folder(root, label_names={1: "ablation"})
    section = model.section
    assert (section.framework, model.configuration, model.trainer) == (
        "nnunet_v2",
        "3d_fullres",
        "nnUNetTrainer",
    )
    assert section.labels == {"background": 0, "ablation": 1, "core": 2}
    assert (section.spacing_mm, section.patch_shape) == ((2.0, 1.5, 1.5), (16, 16, 16))
    assert (section.transpose_forward, section.transpose_backward) == ((1, 0, 2), (1, 0, 2))
    assert section.mirror_axes == (1, 2)
    ct, other = section.channels
    assert (ct.scheme, ct.mean, ct.sd, ct.low, ct.high, ct.masked) == (
        "ct",
        -480.25,
        390.5,
        -1010.0,
        320.0,
        False,
    )
    assert (other.scheme, other.masked) == ("zscore", True)
    assert (section.resampling.data_order, section.resampling.logits_order) == (3, 1)
    assert section.resampling.method == "skimage"
    assert section.resampling.separate_z is None
    torch_resampled = write_v2_folder(tmp_path / "torch", torch_resampling=True, mirror_axes=None)
    section = read_model_folder(torch_resampled).section
    assert (section.resampling.method, section.resampling.separate_z) == ("torch", False)
    assert section.mirror_axes == ()


def test_regions_keep_their_order_and_their_labels(tmp_path: Path) -> None:
    section = read_model_folder(write_v2_folder(tmp_path, regions=True)).section
    assert section.regions == ((1, 2), (2,))
    assert section.regions_class_order == (1, 2)
    assert section.labels == {"background": 0, "zone": 1, "core": 2}


def test_the_section_says_what_the_v1_plans_say(tmp_path: Path) -> None:
    root = write_v1_folder(tmp_path, stages=2, trainer="nnUNetTrainerV2_ep4000_nomirror", dataset_json=False)
    options: dict[str, Any] = {"orientation": "as_stored"}
    model = read_model_folder(root, label_names={1: "zone", 2: "core"}, purpose="ablation_zone", **options)
    assert (model.section.framework, model.configuration) == ("nnunet_v1", "stage1")
    assert model.section.spacing_mm == (2.0, 1.5, 1.5)
    assert model.section.mirror_axes == ()
    assert model.section.labels == {"background": 0, "zone": 1, "core": 2}
    assert model.section.purpose == "ablation_zone"
    unnamed = read_model_folder(root, **options).section
    assert unnamed.labels == {"background": 0, "label_1": 1, "label_2": 2}
    assert read_model_folder(write_v1_folder(tmp_path / "m")).section.mirror_axes == (0, 1, 2)


def test_the_folder_of_a_real_trainer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainers = pytest.importorskip(
        "nnunetv2.training.nnUNetTrainer.nnUNetTrainer", reason="nnunetv2 is not installed: make setup-export"
    )
    root = write_v2_folder(tmp_path / "plans")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    plans, dataset = (json.loads((root / name).read_text()) for name in ("plans.json", "dataset.json"))
    trainer = trainers.nnUNetTrainer(
        plans | {"continue_training": False}, "3d_fullres", 0, dataset, torch.device("cpu")
    )
    trainer.network = trainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 3, enable_deep_supervision=True
    )
    trainer.optimizer, _ = trainer.configure_optimizers()
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    trainer.save_checkpoint(str(root / "fold_0" / "checkpoint_final.pth"))
    model = read_model_folder(root)
    image = random_image((16, 16, 16))
    with torch.inference_mode():
        expected = trainer.network.eval()(image)[0]
        assert float((model.networks[0](image) - expected).abs().max()) <= 1e-6


def test_the_graph_explains_itself_and_is_the_same_every_time(tmp_path: Path) -> None:
    model = read_model_folder(write_v2_folder(tmp_path, residual=True))
    content = network_graph(model, 0, {"licence": "CC BY 4.0"})
    assert content == network_graph(model, 0, {"licence": "CC BY 4.0"})
    graph = onnx.load_model_from_string(content)
    onnx.checker.check_model(graph, full_check=True)
    onnx.shape_inference.infer_shapes(graph, check_type=True, strict_mode=True, data_prop=True)
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.graph.input]
    assert [v.name for v in graph.graph.input] == ["image"]
    assert dims == [["batch", 1, 16, 16, 16]]
    assert [v.name for v in graph.graph.output] == ["logits"]
    kinds = [node.op_type for node in graph.graph.node]
    norms = sum(isinstance(m, torch.nn.InstanceNorm3d) for m in model.networks[0].modules())
    assert kinds.count("InstanceNormalization") == norms
    names = [node.name for node in graph.graph.node]
    assert len(set(names)) == len(names)
    assert "encoder.stages.1.blocks.0.conv1.conv" in names
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in graph.graph.initializer)
    props = {entry.key: entry.value for entry in graph.metadata_props}
    assert props["source"] == model.description
    assert props["licence"] == "CC BY 4.0"
    image = random_image((16, 16, 16), batch=3).numpy()
    with OnnxSession(content, threads=1) as session:
        together = session.run({"image": image})["logits"]
        alone = session.run({"image": image[2:]})["logits"]
    np.testing.assert_allclose(together[2:], alone, atol=1e-5)
