"""nnU-Net v1 model folders with small networks and random weights, as nnU-Net v1 writes them.

The network is an independent module with the module names of ``Generic_UNet`` (branch nnunetv1).
"""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")

Channels = Sequence[str]
Labels = Mapping[str, int]

CT_INTENSITY = {
    "mean": -480.25,
    "median": -650.0,
    "std": 390.5,
    "min": -1024.0,
    "max": 3071.0,
    "percentile_00_5": -1010.0,
    "percentile_99_5": 320.0,
}


def write_v1_folder(
    folder: Path,
    *,
    seed: int = 0,
    channels: Channels = ("CT",),
    labels: Labels | None = None,
    patch: Sequence[int] = (16, 16, 16),
    spacing: Sequence[float] = (2.0, 1.5, 1.5),
    folds: Sequence[int | str] = (0,),
    network_state: Mapping[str, Any] | None = None,
    base_features: int = 4,
    pools: Sequence[Sequence[int]] = ((2, 2, 2), (2, 2, 2)),
    kernels: Sequence[Sequence[int]] | None = None,
    transpose_forward: Sequence[int] = (0, 1, 2),
    masked: bool = False,
    trainer: str = "nnUNetTrainerV2",
    key_prefix: str = "",
    dataset_json: bool = True,
    stages: int = 1,
) -> Path:
    """Write ``<folder>/Task999_Random/<trainer>__nnUNetPlansv2.1`` and return it.

    ``plans.pkl``, and by fold ``model_final_checkpoint.model`` with its ``.model.pkl``. With
    ``stages`` 2 there is a low-resolution stage 0 and the network is that of stage 1.
    """
    labels = dict(labels or {"background": 0, "zone": 1, "core": 2})
    kernels = kernels or [[3, 3, 3]] * (len(pools) + 1)
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [int(n) for n in np.log2(np.prod(pools, axis=0)).round()],
        "patch_size": np.array(patch, dtype=np.int64),
        "median_patient_size_in_voxels": np.array(patch, dtype=np.int64) * 4,
        "current_spacing": np.array(spacing, dtype=np.float64),
        "original_spacing": np.array(spacing, dtype=np.float64),
        "do_dummy_2D_data_aug": False,
        "pool_op_kernel_sizes": [list(p) for p in pools],
        "conv_kernel_sizes": [list(k) for k in kernels],
    }
    plans = _v1_plans(channels, labels, stage, base_features, transpose_forward, masked, stages)
    root = folder / "Task999_Random" / f"{trainer}__nnUNetPlansv2.1"
    root.mkdir(parents=True)
    (root / "plans.pkl").write_bytes(pickle.dumps(plans))
    if dataset_json:
        names = {str(value): name for name, value in labels.items()}
        channel_names = {str(i): name for i, name in enumerate(channels)}
        (root / "dataset.json").write_text(json.dumps({"labels": names, "modality": channel_names}))
    for position, fold in enumerate(folds):
        torch.manual_seed(seed + position)
        network = v1_network(len(channels), len(labels), base_features, pools, kernels)
        if network_state is not None:
            network.load_state_dict(dict(network_state))
        fold_folder = root / ("all" if fold == "all" else f"fold_{fold}")
        fold_folder.mkdir()
        model = fold_folder / "model_final_checkpoint.model"
        torch.save(_v1_checkpoint(network, key_prefix), model)
        init = (str(root / "plans.pkl"), fold, str(root), "/preprocessed", True, stages - 1, True, True, True)
        description = OrderedDict(init=init, name=trainer, plans=plans)
        description["class"] = f"<class 'nnunet.training.network_training.{trainer}.{trainer}'>"
        model.with_suffix(".model.pkl").write_bytes(pickle.dumps(description))
    return root


def v1_network(
    channels: int, heads: int, base: int, pools: Sequence[Sequence[int]], kernels: Sequence[Sequence[int]]
) -> Any:
    """A network with the module names and the arithmetic of nnU-Net v1's ``Generic_UNet``."""
    features = [min(base * 2**level, 320) for level in range(len(pools) + 1)]

    def block(size_in: int, size_out: int, kernel: Sequence[int], stride: Sequence[int]) -> Any:
        layers = OrderedDict(
            conv=torch.nn.Conv3d(
                size_in, size_out, tuple(kernel), tuple(stride), tuple(1 if k == 3 else 0 for k in kernel)
            ),
            instnorm=torch.nn.InstanceNorm3d(size_out, eps=1e-5, affine=True),
            lrelu=torch.nn.LeakyReLU(0.01, inplace=True),
        )
        return torch.nn.Sequential(layers)

    def stacked(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)) -> Any:
        blocks = [
            block(size_in, size_out, kernel, stride if i == 0 else (1, 1, 1))
            for i, (size_in, size_out) in enumerate(pairwise(sizes))
        ]
        return torch.nn.Sequential(OrderedDict(blocks=torch.nn.Sequential(*blocks)))

    class GenericUNet(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch may be absent
        """Context and localization paths as v1 names them."""

        def __init__(self) -> None:
            super().__init__()
            sizes = [channels, *features]
            context = [
                stacked(
                    [sizes[level], features[level], features[level]],
                    kernels[level],
                    pools[level - 1] if level else (1, 1, 1),
                )
                for level in range(len(pools))
            ]
            bottleneck = torch.nn.Sequential(
                stacked([features[-2], features[-1]], kernels[-1], pools[-1]),
                stacked([features[-1], features[-1]], kernels[-1]),
            )
            self.conv_blocks_context = torch.nn.ModuleList([*context, bottleneck])
            up, localization, outputs = [], [], []
            for u in range(len(pools)):
                below, skip = features[-1 - u], features[-2 - u]
                pool = tuple(pools[-1 - u])
                up.append(torch.nn.ConvTranspose3d(below, skip, pool, pool, bias=False))
                localization.append(
                    torch.nn.Sequential(
                        stacked([2 * skip, skip], kernels[-1 - u]), stacked([skip, skip], kernels[-1 - u])
                    )
                )
                outputs.append(torch.nn.Conv3d(skip, heads, 1, bias=False))
            self.conv_blocks_localization = torch.nn.ModuleList(localization)
            self.td = torch.nn.ModuleList([])
            self.tu = torch.nn.ModuleList(up)
            self.seg_outputs = torch.nn.ModuleList(outputs)

        def forward(self, image: Any) -> Any:
            skips = []
            for stage in self.conv_blocks_context[:-1]:
                image = stage(image)
                skips.append(image)
            image = self.conv_blocks_context[-1](image)
            for u, (up, localization) in enumerate(zip(self.tu, self.conv_blocks_localization, strict=True)):
                image = localization(torch.cat([up(image), skips[-1 - u]], dim=1))
            return self.seg_outputs[-1](image)

    return randomize(GenericUNet()).eval()


def randomize(network: Any) -> Any:
    """Random weights under which signals keep their size: He for kernels, norms around 1, biases around 0."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                torch.nn.init.kaiming_normal_(weight, a=1e-2)
            elif name.endswith("bias"):
                weight.normal_(0.0, 0.1)
            else:
                weight.normal_(1.0, 0.1)
    return network


def spent_optimizer(network: Any) -> Any:
    """nnU-Net's SGD with its momentum buffers, which checkpoints carry."""
    optimizer = torch.optim.SGD(network.parameters(), 0.0, weight_decay=3e-5, momentum=0.99, nesterov=True)
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    return optimizer


def _v1_plans(
    channels: Channels,
    labels: Labels,
    stage: dict[str, Any],
    base_features: int,
    transpose_forward: Sequence[int],
    masked: bool,
    stages: int,
) -> dict[str, Any]:
    """``plans.pkl`` as ``ExperimentPlanner3D_v21`` writes it."""
    intensity: OrderedDict[int, Any] = OrderedDict()
    for i in range(len(channels)):
        intensity[i] = OrderedDict(
            median=np.float64(CT_INTENSITY["median"]),
            mean=np.float64(CT_INTENSITY["mean"]),
            sd=np.float64(CT_INTENSITY["std"]),
            mn=np.float64(CT_INTENSITY["min"]),
            mx=np.float64(CT_INTENSITY["max"]),
            percentile_99_5=np.float64(CT_INTENSITY["percentile_99_5"]),
            percentile_00_5=np.float64(CT_INTENSITY["percentile_00_5"]),
            local_props=OrderedDict(),
        )
    schemes = {"CT": "CT", "zscore": "nonCT", "noNorm": "noNorm"}
    low = stage | {"current_spacing": stage["current_spacing"] * 2}
    return {
        "num_stages": stages,
        "num_modalities": len(channels),
        "modalities": dict(enumerate(channels)),
        "normalization_schemes": OrderedDict((i, schemes[c]) for i, c in enumerate(channels)),
        "dataset_properties": {
            "all_sizes": [(64, 64, 64)],
            "all_spacings": [stage["current_spacing"]],
            "all_classes": [v for v in labels.values() if v],
            "modalities": dict(enumerate(channels)),
            "intensityproperties": intensity,
            "size_reductions": OrderedDict(case_0=np.float64(1.0)),
        },
        "list_of_npz_files": ["/cropped/case_0.npz"],
        "original_spacings": [stage["current_spacing"]],
        "original_sizes": [(64, 64, 64)],
        "preprocessed_data_folder": "/preprocessed/Task999_Random",
        "num_classes": len(labels) - 1,
        "all_classes": [v for v in labels.values() if v],
        "base_num_features": base_features,
        "use_mask_for_norm": OrderedDict((i, masked) for i in range(len(channels))),
        "keep_only_largest_region": None,
        "min_region_size_per_class": None,
        "min_size_per_class": None,
        "transpose_forward": list(transpose_forward),
        "transpose_backward": [int(i) for i in np.argsort(transpose_forward)],
        "data_identifier": "nnUNetData_plans_v2.1",
        "plans_per_stage": {0: stage} if stages == 1 else {0: low, 1: stage},
        "preprocessor_name": "GenericPreprocessor",
        "conv_per_stage": 2,
    }


def _v1_checkpoint(network: Any, key_prefix: str) -> dict[str, Any]:
    """The dictionary of ``NetworkTrainer.save_checkpoint`` (v1)."""
    optimizer = spent_optimizer(network)
    return {
        "epoch": 1000,
        "state_dict": OrderedDict((key_prefix + k, v) for k, v in network.state_dict().items()),
        "optimizer_state_dict": optimizer.state_dict(),
        "lr_scheduler_state_dict": None,
        "plot_stuff": ([np.float32(-0.5)], [np.float64(-0.25)], [], [np.float64(0.5)]),
        "best_stuff": (None, np.float64(-0.5), np.float64(0.5)),
        "amp_grad_scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }
