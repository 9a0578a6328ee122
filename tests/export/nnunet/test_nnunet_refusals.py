"""nnU-Net folders that mean something else, are damaged or hostile are refused, each with what is wrong."""

from __future__ import annotations

import json
import pickle
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import (
    SourceModelError,
    UnreadableFileError,
    UntrustedPickleError,
)
from engine.manifest import NAMED_CHANNELS

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.nnunet.archive import ModelFolder  # noqa: E402 - it needs torch
from export.nnunet.bundle import network_graph, read_model_folder  # noqa: E402 - it needs torch
from export.parity.sample_patches import sample_patches  # noqa: E402 - it needs torch
from tests.support.nnunet.folders import (  # noqa: E402 - it needs torch
    edited_checkpoint,
    write_v1_folder,
    write_v2_folder,
    zipped,
)


def edited(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


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


def test_a_third_label_is_asked_for_and_never_counts_by_itself(tmp_path: Path) -> None:
    labels = {"background": 0, "zone": 1, "core": 2, "hemorrhage": 3}
    root = write_v2_folder(tmp_path, labels=labels)
    with pytest.raises(SourceModelError, match=r"what hemorrhage means.*--label hemorrhage=zone"):
        read_model_folder(root, purpose="ablation_zone")
    said = read_model_folder(root, purpose="ablation_zone", label_names={"hemorrhage": "ignore"}).section
    assert said.labels == labels
    assert said.counted_labels == {1, 2}
    assert said.counted_outputs == (False, True, True, False)


def test_two_cts_that_are_not_told_apart_are_refused(tmp_path: Path) -> None:
    root = write_v2_folder(tmp_path, channels=("CT", "CT", "noNorm"))
    with pytest.raises(SourceModelError, match="--channel 1=planning_ct_warped"):
        read_model_folder(root, purpose="ablation_zone")
    names: dict[int | str, str] = dict(enumerate(NAMED_CHANNELS))
    named = read_model_folder(root, purpose="ablation_zone", channel_names=names).section
    assert [(channel.name, channel.scheme) for channel in named.channels] == list(
        zip(NAMED_CHANNELS, ("ct", "ct", "none"), strict=True)
    )
    patch = sample_patches(named).inputs[0]["image"][0]
    assert patch.shape == (3, 16, 16, 16)
    np.testing.assert_array_equal(patch[0], patch[1])
    assert patch[2].min() > -12.0


def test_a_hostile_checkpoint_in_a_folder_is_refused(tmp_path: Path) -> None:
    root = write_v1_folder(tmp_path)
    (root / "plans.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UntrustedPickleError, match=r"os\.system"):
        read_model_folder(root)


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
        with pytest.raises(error):
            ModelFolder(tmp_path / path)
