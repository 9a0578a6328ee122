"""nnU-Net model folders with small networks and random weights, as nnU-Net writes them.

v2 networks are those of dynamic-network-architectures, saved with the dictionary of
``nnUNetTrainer.save_checkpoint`` (nnunetv2 2.8.1); nnunetv2's predictor loads these folders. Folders of
v1 are in :mod:`tests.support.nnunet.v1_folders`.
"""

from __future__ import annotations

import json
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.nnunet.v1_folders import (
    CT_INTENSITY,
    Channels,
    Labels,
    randomize,
    spent_optimizer,
    v1_network,
    write_v1_folder,
)

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")

__all__ = [
    "CT_INTENSITY",
    "edited_checkpoint",
    "v1_network",
    "v2_network",
    "write_v1_folder",
    "write_v2_folder",
    "zipped",
]

SCHEMES = {
    "CT": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "noNorm": "NoNormalization",
    "rescale_to_0_1": "RescaleTo01Normalization",
}
FEATURES = (4, 8, 12)


def write_v2_folder(
    folder: Path,
    *,
    seed: int = 0,
    channels: Channels = ("CT",),
    labels: Labels | None = None,
    patch: Sequence[int] = (16, 16, 16),
    spacing: Sequence[float] = (2.0, 1.5, 1.5),
    residual: bool = False,
    folds: Sequence[int | str] = (0,),
    mirror_axes: Sequence[int] | None = (0, 1, 2),
    regions: bool = False,
    network_state: Mapping[str, Any] | None = None,
    features: Sequence[int] = FEATURES,
    strides: Sequence[Sequence[int]] | None = None,
    kernels: Sequence[Sequence[int]] | None = None,
    transpose_forward: Sequence[int] = (0, 1, 2),
    masked: bool = False,
    old_plans: bool = False,
    torch_resampling: bool = False,
    key_prefix: str = "",
    trainer: str = "nnUNetTrainer",
    dataset: str = "Dataset999_Random",
    architecture: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``<folder>/<dataset>/<trainer>__nnUNetPlans__3d_fullres`` and return it.

    ``channels`` are nnU-Net's channel names, keys of :data:`SCHEMES`; ``labels`` by name, background
    0 (default: background, zone, core). With ``regions`` every label stands for itself and all later
    ones, as regions of BraTS do. ``spacing`` and ``patch`` have network axes (after the transpose).
    ``network_state`` is taken for every fold instead of random weights; ``architecture`` overrides
    entries of ``arch_kwargs``. ``features`` and ``strides`` decide depth and size of the network.
    """
    labels = dict(labels or {"background": 0, "zone": 1, "core": 2})
    plans = _v2_plans(
        channels=channels,
        patch=patch,
        spacing=spacing,
        residual=residual,
        features=features,
        strides=strides or _isotropic_strides(features),
        kernels=kernels or [[3, 3, 3]] * len(features),
        transpose_forward=transpose_forward,
        masked=masked,
        torch_resampling=torch_resampling,
        dataset=dataset,
        architecture=architecture or {},
    )
    dataset_json = _dataset_json(channels, labels, regions=regions)
    root = folder / dataset / f"{trainer}__nnUNetPlans__3d_fullres"
    root.mkdir(parents=True)
    heads = len(labels) - 1 if regions else len(labels)
    arch = plans["configurations"]["3d_fullres"]["architecture"]
    for position, fold in enumerate(folds):
        network = v2_network(arch, len(channels), heads, seed=seed + position)
        if network_state is not None:
            network.load_state_dict(dict(network_state))
        (root / f"fold_{fold}").mkdir()
        checkpoint = _v2_checkpoint(network, plans, dataset_json, fold, mirror_axes, trainer, key_prefix)
        torch.save(checkpoint, root / f"fold_{fold}" / "checkpoint_final.pth")
    written = _as_old_plans(plans) if old_plans else plans
    (root / "plans.json").write_text(json.dumps(written, indent=4))
    (root / "dataset.json").write_text(json.dumps(dataset_json, indent=4))
    fingerprint = {"spacings": [list(spacing)], "shapes_after_crop": [list(patch)]}
    (root / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return root


def v2_network(architecture: Mapping[str, Any], channels: int, heads: int, *, seed: int) -> Any:
    """The network nnU-Net builds from the plans, with random weights (norms and biases too)."""
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet",
        reason="dynamic-network-architectures is not installed: make setup-export",
    )
    named = dict(architecture["arch_kwargs"])
    named["conv_op"], named["norm_op"] = torch.nn.Conv3d, torch.nn.InstanceNorm3d
    named["nonlin"] = torch.nn.LeakyReLU
    network_class = getattr(unet, architecture["network_class_name"].rsplit(".", 1)[-1])
    torch.manual_seed(seed)
    network = network_class(input_channels=channels, num_classes=heads, deep_supervision=False, **named)
    return randomize(network).eval()


def _isotropic_strides(features: Sequence[int]) -> list[list[int]]:
    """Halve every axis at every stage but the first."""
    return [[1, 1, 1]] + [[2, 2, 2]] * (len(features) - 1)


def _v2_plans(
    *,
    channels: Channels,
    patch: Sequence[int],
    spacing: Sequence[float],
    residual: bool,
    features: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
    transpose_forward: Sequence[int],
    masked: bool,
    torch_resampling: bool,
    dataset: str,
    architecture: Mapping[str, Any],
) -> dict[str, Any]:
    """``plans.json`` as ``ExperimentPlanner.plan_experiment`` writes it."""
    stages = len(features)
    depth = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    kwargs: dict[str, Any] = {
        "n_stages": stages,
        "features_per_stage": list(features),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [list(k) for k in kernels],
        "strides": [list(s) for s in strides],
        depth: [1] * stages if residual else [2] * stages,
        "n_conv_per_stage_decoder": [1 if residual else 2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    } | dict(architecture)
    method = "resample_torch_fornnunet" if torch_resampling else "resample_data_or_seg_to_shape"

    def resampling(order: int, *, is_seg: bool) -> dict[str, Any]:
        if torch_resampling:
            return {"is_seg": is_seg, "force_separate_z": False, "memefficient_seg_resampling": False}
        return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}

    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [4.0 * p for p in patch],
        "spacing": list(spacing),
        "normalization_schemes": [SCHEMES[c] for c in channels],
        "use_mask_for_norm": [masked] * len(channels),
        "resampling_fn_data": method,
        "resampling_fn_seg": method,
        "resampling_fn_data_kwargs": resampling(3, is_seg=False),
        "resampling_fn_seg_kwargs": resampling(1, is_seg=True),
        "resampling_fn_probabilities": method,
        "resampling_fn_probabilities_kwargs": resampling(1, is_seg=False),
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": True,
    }
    return {
        "dataset_name": dataset,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [4 * p for p in patch],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose_forward),
        "transpose_backward": [int(i) for i in np.argsort(transpose_forward)],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): CT_INTENSITY for i in range(len(channels))},
    }


def _as_old_plans(plans: dict[str, Any]) -> dict[str, Any]:
    """Write the same plans as nnunetv2 before 2.4: no ``architecture``, ``inherits_from`` in use."""
    old = json.loads(json.dumps(plans))
    configuration = old["configurations"]["3d_fullres"]
    kwargs = configuration.pop("architecture")["arch_kwargs"]
    residual = "n_blocks_per_stage" in kwargs
    configuration |= {
        "UNet_class_name": "ResidualEncoderUNet" if residual else "PlainConvUNet",
        "UNet_base_num_features": kwargs["features_per_stage"][0],
        "n_conv_per_stage_encoder": kwargs["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [
            int(n) for n in np.log2(np.prod(kwargs["strides"], axis=0, dtype=float)).round()
        ],
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
        "unet_max_num_features": kwargs["features_per_stage"][-1],
    }
    old["configurations"]["base"] = configuration
    old["configurations"]["3d_fullres"] = {"inherits_from": "base", "batch_size": 4}
    old["foreground_intensity_properties_by_modality"] = old.pop(
        "foreground_intensity_properties_per_channel"
    )
    return dict(old)


def _dataset_json(channels: Channels, labels: Labels, *, regions: bool) -> dict[str, Any]:
    """``dataset.json``; with regions a label stands for itself and all later ones."""
    document: dict[str, Any] = {
        "channel_names": {str(i): name for i, name in enumerate(channels)},
        "labels": dict(labels),
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    if regions:
        values = [value for value in labels.values() if value]
        later = {value: values[i:] for i, value in enumerate(values)}
        document["labels"] = {
            name: (later[value] if len(later.get(value, [])) > 1 else value) for name, value in labels.items()
        }
        document["regions_class_order"] = values
    return document


def _v2_checkpoint(
    network: Any,
    plans: dict[str, Any],
    dataset_json: dict[str, Any],
    fold: int | str,
    mirror_axes: Sequence[int] | None,
    trainer: str,
    key_prefix: str,
) -> dict[str, Any]:
    """The dictionary of ``nnUNetTrainer.save_checkpoint`` after the last step (learning rate 0)."""
    optimizer = spent_optimizer(network)
    return {
        "network_weights": OrderedDict((key_prefix + k, v) for k, v in network.state_dict().items()),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": {
            "scale": 65536.0,
            "growth_factor": 2.0,
            "backoff_factor": 0.5,
            "growth_interval": 2000,
            "_growth_tracker": 3,
        },
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float64(0.625)],
            "ema_fg_dice": [np.float64(0.5)],
            "dice_per_class_or_region": [[np.float64(0.5), np.float32(0.75)]],
            "train_losses": [np.float32(-0.25)],
            "val_losses": [np.float64(-0.5)],
            "lrs": [0.01],
            "epoch_start_timestamps": [1.7e9],
            "epoch_end_timestamps": [1.7e9],
        },
        "_best_ema": np.float64(0.625),
        "current_epoch": 1000,
        "init_args": {
            "plans": plans,
            "configuration": "3d_fullres",
            "fold": fold,
            "dataset_json": dataset_json,
            "device": torch.device("cuda"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": None if mirror_axes is None else tuple(mirror_axes),
    }


def edited_checkpoint(path: Path, change: Callable[[Any], None]) -> None:
    """Change what a checkpoint holds."""
    checkpoint = torch.load(path, weights_only=False)
    change(checkpoint)
    torch.save(checkpoint, path)


def zipped(source: Path, target: Path, extra: dict[str, bytes] | None = None) -> Path:
    """A folder as a zip, as nnU-Net and TotalSegmentator publish models, with more members if wished."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(source))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target
