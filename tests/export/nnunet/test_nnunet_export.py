"""nnU-Net folders of both versions: read completely or refused, and exported without a change."""

from __future__ import annotations

import json
import os
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import (
    InvalidRequestError,
    ParityError,
    PrecisionOverflowError,
    SourceModelError,
    UnreadableFileError,
    UntrustedPickleError,
)
from engine.geometry import VolumeGeometry
from engine.manifest import load_bundle
from engine.runtime.onnx_session import OnnxSession
from engine.segmentation import open_segmenter
from engine.volume import CtVolume

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.archive import opened_model_folder  # noqa: E402 - it needs torch
from export.nnunet.bundle import export_nnunet, network_graph, read_model_folder  # noqa: E402 - it needs torch
from export.nnunet.unet_v1 import GenericUNet, GenericUNetPlan  # noqa: E402 - it needs torch
from export.onnx_graph.network_graph import network_to_onnx  # noqa: E402 - it needs torch
from export.parity.sample_patches import sample_patches  # noqa: E402 - it needs torch
from tests.support.nnunet_folders import (  # noqa: E402 - it needs torch
    v1_network,
    v2_network,
    write_v1_folder,
    write_v2_folder,
)

needs_real_ct = pytest.mark.skipif(
    not os.environ.get("COLDSPOT_DATA"), reason="COLDSPOT_DATA is not set: no real CT to read"
)
TERMS: dict[str, Any] = {"licence": "none: random weights", "provenance": "a test"}

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


def edited(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edited_checkpoint(path: Path, change: Callable[[Any], None]) -> None:
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)


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
    model = read_model_folder(root, label_names={1: "zone", 2: "core"}, purpose="ablation_zone")
    assert (model.section.framework, model.configuration) == ("nnunet_v1", "stage1")
    assert model.section.spacing_mm == (2.0, 1.5, 1.5)
    assert model.section.mirror_axes == ()
    assert model.section.labels == {"background": 0, "zone": 1, "core": 2}
    assert model.section.purpose == "ablation_zone"
    unnamed = read_model_folder(root).section
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


def test_folds_are_an_ensemble_or_chosen(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 2, "all"))
    assert read_model_folder(root).folds == ("0", "2")
    assert read_model_folder(root, folds=["all"]).folds == ("all",)
    assert read_model_folder(root, folds=[2]).folds == ("2",)
    with pytest.raises(SourceModelError, match="for the folds 0, 2, all, not for 1"):
        read_model_folder(root, folds=[1, 2])
    assert read_model_folder(write_v1_folder(tmp_path / "1", folds=(0, 3))).folds == ("0", "3")
    with pytest.raises(SourceModelError, match="not for 5"):
        read_model_folder(tmp_path / "1", folds=[5])


WEIGHTS = {
    "missing": (lambda w: w.pop("encoder.stages.1.0.convs.0.conv.weight"), None),
    "unexpected": (lambda w: w.update({"encoder.more": torch.zeros(1)}), "encoder.more"),
    "running_statistics": (
        lambda w: w.update({"encoder.stages.0.0.convs.0.norm.running_mean": torch.zeros(4)}),
        "running_mean",
    ),
    "shape": (lambda w: w.update({"decoder.seg_layers.0.bias": torch.zeros(7)}), "decoder.seg_layers.0.bias"),
    "not_finite": (
        lambda w: w["decoder.seg_layers.0.bias"].fill_(float("nan")),
        "decoder.seg_layers.0.bias holds values",
    ),
    "copies_differ": (
        lambda w: w.update(
            {
                "encoder.stages.0.0.convs.0.all_modules.0.bias": torch.ones(4),
                "decoder.encoder.stages.0.0.convs.0.all_modules.0.bias": torch.ones(4),
            }
        ),
        "differ",
    ),
    "not_a_tensor": (lambda w: w.update({"decoder.seg_layers.0.bias": 3}), "not a tensor"),
}


@pytest.mark.parametrize(("change", "named"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, change: Callable[[Any], None], named: str | None
) -> None:
    root = write_v2_folder(tmp_path)

    def without_copies(checkpoint: Any) -> None:
        weights = checkpoint["network_weights"]
        for key in [k for k in weights if "all_modules" in k or k.startswith("decoder.encoder")]:
            del weights[key]
        change(weights)

    edited_checkpoint(root / "fold_0" / "checkpoint_final.pth", without_copies)
    with pytest.raises(
        SourceModelError, match=named or r"missing encoder\.stages\.1\.0\.convs\.0\.conv\.weight"
    ):
        read_model_folder(root)


def set_in_configuration(**changes: Any) -> Callable[[Any], None]:
    return lambda plans: plans["configurations"]["3d_fullres"].update(changes)


def set_in_architecture(**changes: Any) -> Callable[[Any], None]:
    return lambda plans: plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(changes)


PLANS = {
    "cascade": (set_in_configuration(previous_stage="3d_lowres"), "cascade"),
    "2d": (set_in_configuration(patch_size=[64, 64]), "2D"),
    "preprocessor": (set_in_configuration(preprocessor_name="MyPreprocessor"), "MyPreprocessor"),
    "normalization": (set_in_configuration(normalization_schemes=["MyNormalization"]), "MyNormalization"),
    "resampling": (
        set_in_configuration(resampling_fn_data="no_resampling_data_or_seg_to_shape"),
        "no_resampling",
    ),
    "network": (
        lambda p: p["configurations"]["3d_fullres"]["architecture"].update(network_class_name="a.Primus"),
        "Primus",
    ),
    "option": (set_in_architecture(nonlin_first=True), "nonlin_first"),
    "nonlinearity": (set_in_architecture(nonlin="torch.nn.GELU"), "GELU"),
    "batch_norm": (set_in_architecture(norm_op="torch.nn.modules.batchnorm.BatchNorm3d"), "InstanceNorm3d"),
    "depths": (set_in_architecture(n_conv_per_stage=[2, 2]), "one number for each of 3 stages"),
    "flat_kernels": (set_in_architecture(kernel_sizes=[[3, 3]] * 3), "three-dimensional"),
    "reader": (lambda p: p.update(image_reader_writer="NibabelIOWithReorient"), "NibabelIOWithReorient"),
    "transpose": (lambda p: p.update(transpose_backward=[2, 0, 1], transpose_forward=[2, 0, 1]), "transpose"),
    "no_spacing": (lambda p: p["configurations"]["3d_fullres"].pop("spacing"), "'spacing'"),
    "no_configuration": (lambda p: p["configurations"].pop("3d_fullres"), "'3d_fullres'"),
    "circle": (set_in_configuration(inherits_from="3d_fullres"), "inherits from itself"),
    "patch": (set_in_configuration(patch_size=[16, 16, 18]), "valid graph"),
}


@pytest.mark.parametrize(("change", "named"), PLANS.values(), ids=PLANS.keys())
def test_plans_that_mean_something_else_are_refused(
    tmp_path: Path, change: Callable[[Any], None], named: str
) -> None:
    root = write_v2_folder(tmp_path)
    edited(root / "plans.json", change)
    with pytest.raises(SourceModelError, match=named):
        network_graph(read_model_folder(root), 0)


V1_PLANS = {
    "preprocessor": (lambda p: p.update(preprocessor_name="PreprocessorFor2D"), "PreprocessorFor2D"),
    "normalization": (lambda p: p["normalization_schemes"].update({0: "CT2"}), "CT2"),
    "labels": (lambda p: p.update(num_classes=4), "0 to 4"),
    "masked": (lambda p: p["use_mask_for_norm"].update({0: True}), "masked"),
    "kernels": (lambda p: p["plans_per_stage"][0]["conv_kernel_sizes"].pop(), "kernels for"),
    "no_modalities": (lambda p: p.pop("num_modalities"), "'num_modalities'"),
}


@pytest.mark.parametrize(("change", "named"), V1_PLANS.values(), ids=V1_PLANS.keys())
def test_v1_plans_that_mean_something_else_are_refused(
    tmp_path: Path, change: Callable[[Any], None], named: str
) -> None:
    root = write_v1_folder(tmp_path)
    plans = pickle.loads((root / "plans.pkl").read_bytes())  # noqa: S301 - written just now
    change(plans)
    (root / "plans.pkl").write_bytes(pickle.dumps(plans))
    beside = root / "fold_0" / "model_final_checkpoint.model.pkl"
    described = pickle.loads(beside.read_bytes())  # noqa: S301 - written just now
    beside.write_bytes(pickle.dumps(described | {"plans": plans}))
    with pytest.raises(SourceModelError, match=named):
        read_model_folder(root)


def test_v1_plans_of_another_training_are_refused(tmp_path: Path) -> None:
    root = write_v1_folder(tmp_path / "a")
    other = write_v1_folder(tmp_path / "b", spacing=(5.0, 1.0, 1.0))
    (root / "plans.pkl").write_bytes((other / "plans.pkl").read_bytes())
    with pytest.raises(SourceModelError, match="do not belong together"):
        read_model_folder(root)


@pytest.mark.parametrize(
    "trainer", ["nnUNetTrainerV2_ReLU", "nnUNetTrainerV2_ResencUNet", "nnUNetTrainerV2CascadeFullRes"]
)
def test_v1_trainers_of_another_network_are_refused(tmp_path: Path, trainer: str) -> None:
    with pytest.raises(SourceModelError, match=trainer):
        read_model_folder(write_v1_folder(tmp_path, trainer=trainer))


def test_folds_that_were_trained_differently_are_refused(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, folds=(0, 1))
    edited_checkpoint(
        root / "fold_1" / "checkpoint_final.pth", lambda c: c.update(inference_allowed_mirroring_axes=(0,))
    )
    with pytest.raises(SourceModelError, match="trained differently"):
        read_model_folder(root)
    with pytest.raises(SourceModelError, match="not as 3d_lowres"):
        read_model_folder(root, folds=[0], configuration="3d_lowres")


def test_a_name_that_asks_for_what_is_not_there_is_refused(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, labels={"background": 0, "lesion": 1})
    with pytest.raises(SourceModelError, match="no label"):
        read_model_folder(root, label_names={2: "core"})
    with pytest.raises(SourceModelError, match="zone"):
        read_model_folder(root, purpose="ablation_zone")
    assert (
        read_model_folder(root, purpose="ablation_zone", label_names={1: "zone"}).section.labels["zone"] == 1
    )


def test_a_hostile_checkpoint_in_a_folder_is_refused(tmp_path: Path) -> None:
    root = write_v1_folder(tmp_path)
    (root / "plans.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UntrustedPickleError, match=r"os\.system"):
        read_model_folder(root)


def zipped(source: Path, target: Path, extra: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(source))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target


def test_the_zip_of_totalsegmentator_is_read(tmp_path: Path) -> None:
    trainer = "nnUNetTrainer_MOSAIC_1k_QuarterLR_NoMirroring"
    write_v2_folder(tmp_path / "u", dataset="Dataset913_lung_nodules", trainer=trainer, mirror_axes=None)
    archive = zipped(tmp_path / "u", tmp_path / "Dataset913_lung_nodules.zip")
    from_zip, from_folder = read_model_folder(archive), read_model_folder(tmp_path / "u")
    assert from_zip.section == from_folder.section
    assert from_zip.name == "Dataset913_lung_nodules"
    assert network_graph(from_zip, 0) == network_graph(from_folder, 0)


@pytest.mark.parametrize("name", ["../plans.json", "/plans.json", "a/../../b.pth", "..\\b.pth", "C:/b.pth"])
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    write_v2_folder(tmp_path / "u")
    archive = zipped(tmp_path / "u", tmp_path / "m.zip", {name: b"{}"})
    with pytest.raises(UnreadableFileError, match="leads out"):
        read_model_folder(archive)


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "u")
    archive = zipped(tmp_path / "u", tmp_path / "m.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        link = zipfile.ZipInfo("secrets.pth")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(UnreadableFileError, match="is a link"):
        read_model_folder(archive)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_v2_folder(tmp_path / "u")
    archive = zipped(tmp_path / "u", tmp_path / "m.zip", {"bomb.pth": b"\0" * 2**22})
    monkeypatch.setattr("export.nnunet.archive.MAX_UNPACKED_BYTES", 2**20)
    with pytest.raises(UnreadableFileError, match="unpacks to more"):
        read_model_folder(archive)


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    write_v2_folder(tmp_path / "two", dataset="Dataset001_A")
    write_v2_folder(tmp_path / "two", dataset="Dataset002_B")
    for path, error in (
        ("empty", SourceModelError),
        ("two", SourceModelError),
        ("text.zip", UnreadableFileError),
        ("absent", UnreadableFileError),
    ):
        with pytest.raises(error), opened_model_folder(tmp_path / path):
            pass


@pytest.mark.parametrize("write", [write_v2_folder, write_v1_folder])
def test_a_bundle_of_folds_has_each_precision_and_its_parity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    seen: list[str] = []
    folder = export_nnunet(
        write(tmp_path, folds=(0, 1)),
        tmp_path / "bundle",
        model_id="random",
        on_progress=lambda what, share: seen.append(f"{what} {share:.2f}"),
        **TERMS,
    )
    bundle = load_bundle(folder)
    assert bundle.manifest.variants == {
        "fp32": ("model.onnx", "model.fold_1.onnx"),
        "fp16_mixed": ("model.fp16_mixed.onnx", "model.fold_1.fp16_mixed.onnx"),
    }
    reports = bundle.manifest.parity_reports
    assert len(reports) == 4
    assert all("phantom" in report.measured_on for report in reports)
    assert {"emulated" in report.candidate for report in reports} == {True, False}
    assert all(r.max_abs <= 1e-4 for r in reports if "emulated" not in r.candidate)
    assert seen[-1] == "networks 1.00"
    with pytest.raises(InvalidRequestError, match="already"):
        export_nnunet(tmp_path, folder, **TERMS)


def test_a_network_that_answers_otherwise_makes_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the written graph is changed: the gate must see it."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    right = network_to_onnx

    def wrong(*arguments: Any, **options: Any) -> bytes:
        model = onnx.load_model_from_string(right(*arguments, **options))
        weight = next(t for t in model.graph.initializer if t.name.endswith("seg_layers.1.bias"))
        values = onnx.numpy_helper.to_array(weight) + np.float32(0.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr("export.nnunet.bundle.network_to_onnx", wrong)
    with pytest.raises(ParityError, match="does not answer as"):
        export_nnunet(write_v2_folder(tmp_path), tmp_path / "bundle", **TERMS)
    assert not (tmp_path / "bundle").exists()


def test_a_network_that_overflows_in_fp16_makes_no_bundle_but_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale of a convolution vanishes in the normalization behind it, but not on its way there."""
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    root = write_v2_folder(tmp_path)

    def scale(checkpoint: Any) -> None:
        for key, weight in checkpoint["network_weights"].items():
            if key.endswith("encoder.stages.1.0.convs.0.conv.weight"):
                weight.mul_(3e4)

    edited_checkpoint(root / "fold_0" / "checkpoint_final.pth", scale)
    with pytest.raises(PrecisionOverflowError, match=r"encoder\.stages\.1\.0\.convs\.0\.conv"):
        export_nnunet(root, tmp_path / "bundle", **TERMS)
    assert not (tmp_path / "bundle").exists()
    folder = export_nnunet(root, tmp_path / "bundle", precisions=("fp32",), **TERMS)
    assert list(load_bundle(folder).manifest.variants) == ["fp32"]


@needs_real_ct
def test_patches_come_from_real_ct_where_there_is_one(tmp_path: Path) -> None:
    section = read_model_folder(write_v2_folder(tmp_path, spacing=(4.0, 4.0, 4.0))).section
    patches = sample_patches(section)
    assert "real CT: ct-lidc0314, ct-pyradiomics-lung1" in patches.measured_on
    assert len(patches.inputs) == 5
    assert all(p["image"].shape == (1, 1, 16, 16, 16) for p in patches.inputs)


@pytest.mark.parametrize("turned", [(0, 1, 2), (1, 2, 0)], ids=["as_stored", "transposed"])
def test_the_bundle_segments_as_nnunet_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: tuple[int, int, int]
) -> None:
    """From folder to labels, torch on one side and the bundle alone on the other."""
    predict = pytest.importorskip(
        "nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed: make setup-export"
    )
    monkeypatch.delenv("COLDSPOT_DATA", raising=False)
    root = write_v2_folder(tmp_path, folds=(0, 1), transpose_forward=turned, mirror_axes=(0, 2))
    folder = export_nnunet(root, tmp_path / "bundle", precisions=("fp32",), **TERMS)
    predictor = predict.nnUNetPredictor(device=torch.device("cpu"), use_mirroring=True, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(root), (0, 1))
    hu = np.random.default_rng(2).normal(-300, 300, (14, 26, 30)).astype(np.int16)
    spacing = (3.0, 1.2, 1.2)
    expected = predictor.predict_single_npy_array(
        hu[None].astype(np.float32), {"spacing": spacing}, None, None
    )
    ct = CtVolume(hu, VolumeGeometry(hu.shape, spacing))
    with open_segmenter(folder, backend="onnxruntime") as segmenter:
        found = segmenter.segment(ct, mirror=True).labels
    # The predictor adds up in half precision: a random network has many near ties.
    assert np.mean(found != expected) < 0.005


@pytest.mark.parametrize(
    ("dataset", "asked", "expected", "said"),
    [
        ("Dataset999_Random", None, "as_stored", "in the order in which they are stored"),
        ("Dataset297_TotalSegmentator_total_3mm_1559subj", None, "ras", "as TotalSegmentator does"),
        ("Dataset297_TotalSegmentator_total_3mm_1559subj", "as_stored", "as_stored", "stored"),
        (
            "Dataset913_lung_nodules",
            "lps",
            "lps",
            "closest LPS axes before the network sees them, as was asked",
        ),
    ],
)
def test_how_the_axes_of_its_images_ran(
    tmp_path: Path, dataset: str, asked: Any, expected: str, said: str
) -> None:
    model = read_model_folder(write_v2_folder(tmp_path, dataset=dataset), orientation=asked)
    assert model.section.orientation == expected
    assert sum(said in text for text in model.assumptions) == 1
    assert len(model.assumptions) == 2
