"""Model folders of nnU-Net v1: ``plans.pkl``, ``fold_X/model_final_checkpoint.model`` and ``.model.pkl``.

Source: nnU-Net, branch nnunetv1: ``network_trainer.py`` (checkpoint), ``nnUNetTrainer.process_plans``,
``ExperimentPlanner3D_v21`` (plans). Pickles and checkpoints are read without running anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from engine.errors import SourceModelError
from engine.manifest.segmentation import Channel, NormalizationScheme, Resampling, SegmentationSection
from export.checkpoints.checkpoint import read_pickle_file, read_torch_checkpoint
from export.nnunet.folder import fold_checkpoints, postprocessing_not_applied
from export.nnunet.model import (
    FoldNetworks,
    NnunetModel,
    load_weights,
    required,
    segmentation_section,
    triples,
)
from export.nnunet.unet_v1 import GenericUNet, GenericUNetPlan

PLANS, DATASET = "plans.pkl", "dataset.json"
CHECKPOINT = "model_final_checkpoint.model"

_SCHEMES: Final[dict[str, NormalizationScheme]] = {"CT": "ct", "nonCT": "zscore", "noNorm": "none"}
_PREPROCESSORS = (None, "GenericPreprocessor")
_OTHER_NETWORK = re.compile(
    r"ReLU|relu|GeLU|Mish|NoNormalization|FRN|_BN|_GN|Res[Ee]nc|ResUNet|3ConvPerStage|allConv|Cascade|Regions"
)
"""Trainers of nnU-Net v1 whose network or labels are not those of their plans."""

_NO_MIRRORING = re.compile(r"no_?mirror", re.IGNORECASE)
_STAGE_IN_INIT = 5


def read_v1_folder(
    folder: Path,
    *,
    configuration: str | None,
    folds: Sequence[int | str] | None,
    checkpoint: str,
) -> NnunetModel:
    """Read one trained stage; see :func:`export.nnunet.bundle.read_model_folder`.

    Raises
    ------
    SourceModelError
        If part of it is missing, contradicts the rest, or is not supported.
    UntrustedPickleError, UnreadableFileError
        If a pickle or checkpoint would run code, or is damaged.
    """
    plans = read_pickle_file(folder / PLANS)
    chosen = fold_checkpoints(folder, folds, checkpoint)
    trainer, stage = _trainer_and_stage(chosen, plans)
    if configuration not in (None, f"stage{stage}"):
        raise SourceModelError(f"{folder} was trained as stage{stage}, not as {configuration}")
    where = str(folder / PLANS)
    settings = required(required(plans, "plans_per_stage", where), stage, where)
    labels = _labels(plans, folder)
    section = _section(plans, settings, labels, trainer, where)
    plan = GenericUNetPlan(
        channels=len(section.channels),
        outputs=len(labels),
        base_features=int(required(plans, "base_num_features", where)),
        pools=triples(required(settings, "pool_op_kernel_sizes", where), where),
        kernels=triples(required(settings, "conv_kernel_sizes", where), where),
        convs_per_stage=int(plans.get("conv_per_stage", 2)),
    )
    if len(plan.kernels) != len(plan.pools) + 1:
        raise SourceModelError(f"{where}: {len(plan.kernels)} kernels for {len(plan.pools)} poolings")
    return NnunetModel(
        section=section,
        networks=FoldNetworks(partial(_network, plan), tuple(chosen.values())),
        folds=tuple(chosen),
        name=folder.parent.name or folder.name,
        configuration=f"stage{stage}",
        trainer=trainer,
        assumptions=_assumptions(folder, trainer),
    )


def _trainer_and_stage(chosen: Mapping[str, Path], plans: Any) -> tuple[str, int]:
    """Trainer's class and stage, in which all folds must agree with each other and with the plans."""
    descriptions = set()
    for path in chosen.values():
        described = path.with_name(path.name + ".pkl")
        content = read_pickle_file(described)
        where = str(described)
        init = required(content, "init", where)
        stage = init[_STAGE_IN_INIT] if len(init) > _STAGE_IN_INIT else None
        stages = required(plans, "plans_per_stage", where)
        if stage is None and len(stages) == 1:
            stage = next(iter(stages))
        if not isinstance(stage, int) or stage not in stages:
            raise SourceModelError(f"{where} names the stage {stage}; the plans have {sorted(stages)}")
        _require_same_plans(content.get("plans"), plans, stage, where)
        descriptions.add((str(required(content, "name", where)), stage))
    if len(descriptions) != 1:
        raise SourceModelError(
            f"the folds were trained differently: {sorted(descriptions)}; export them apart"
        )
    return descriptions.pop()


def _require_same_plans(fold_plans: Any, plans: Any, stage: int, where: str) -> None:
    """nnU-Net v1 uses the plans stored next to the checkpoint; they must be those of the folder."""
    if fold_plans is None:
        return
    for key in ("transpose_forward", "base_num_features", "num_classes", "normalization_schemes"):
        if str(fold_plans.get(key)) != str(plans.get(key)):
            raise SourceModelError(
                f"{where} has other plans than plans.pkl ({key}); they do not belong together"
            )
    if str(required(fold_plans, "plans_per_stage", where).get(stage)) != str(plans["plans_per_stage"][stage]):
        raise SourceModelError(
            f"{where} has other plans than plans.pkl (stage {stage}); they do not belong together"
        )


def _network(plan: GenericUNetPlan, path: Path) -> GenericUNet:
    """One fold's network with its weights."""
    content = read_torch_checkpoint(path)
    network = GenericUNet(plan)
    load_weights(network, required(content, "state_dict", str(path)), str(path))
    return network


def _section(
    plans: Any, settings: Any, labels: dict[str, int], trainer: str, where: str
) -> SegmentationSection:
    """The manifest's section: everything between a CT and its labels."""
    if _OTHER_NETWORK.search(trainer):
        raise SourceModelError(
            f"{where}: {trainer} does not train the network of its plans; only trainers of the plain U-Net "
            "with labels are supported"
        )
    preprocessor = plans.get("preprocessor_name")
    if preprocessor not in _PREPROCESSORS:
        raise SourceModelError(f"{where} was preprocessed by {preprocessor}, which is not supported")
    if len(required(settings, "patch_size", where)) != 3:
        raise SourceModelError(f"{where} is a 2D network; only 3D ones are exported")
    return segmentation_section(
        where,
        framework="nnunet_v1",
        purpose="other",
        labels=labels,
        transpose_forward=tuple(int(a) for a in required(plans, "transpose_forward", where)),
        transpose_backward=tuple(int(a) for a in required(plans, "transpose_backward", where)),
        spacing_mm=tuple(float(s) for s in required(settings, "current_spacing", where)),
        patch_shape=tuple(int(n) for n in settings["patch_size"]),
        mirror_axes=() if _NO_MIRRORING.search(trainer) else (0, 1, 2),
        channels=_channels(plans, where),
        resampling=_resampling(plans, where),
    )


def _labels(plans: Any, folder: Path) -> dict[str, int]:
    """Labels by name, from a ``dataset.json`` next to the model if there is one, else numbered."""
    names: dict[int, str] | None = None
    count = int(required(plans, "num_classes", str(folder / PLANS))) + 1
    if (folder / DATASET).is_file():
        try:
            written = json.loads((folder / DATASET).read_text(encoding="utf-8"))["labels"]
            names = {int(value): str(name) for value, name in written.items()}
        except (ValueError, KeyError, AttributeError) as error:
            raise SourceModelError(f"{folder / DATASET} does not name the labels ({error})") from error
    names = names if names is not None else {value: f"label_{value}" for value in range(1, count)}
    labels = {"background": 0} | {name: value for value, name in sorted(names.items()) if value != 0}
    if sorted(labels.values()) != list(range(count)):
        raise SourceModelError(
            f"{folder}: the plans have the labels 0 to {count - 1}, named are {sorted(labels.values())}"
        )
    return labels


def _channels(plans: Any, where: str) -> tuple[Channel, ...]:
    """Names and normalization of the input channels."""
    count = int(required(plans, "num_modalities", where))
    schemes = required(plans, "normalization_schemes", where)
    channels = []
    for index in range(count):
        scheme = _SCHEMES.get(required(schemes, index, where))
        if scheme is None:
            raise SourceModelError(f"{where}: the normalization {schemes[index]} is not supported")
        window: dict[str, float] = {}
        if scheme == "ct":
            properties = required(plans.get("dataset_properties"), "intensityproperties", where)
            intensities = required(properties, index, where)
            keys = {"mean": "mean", "sd": "sd", "low": "percentile_00_5", "high": "percentile_99_5"}
            window = {field: float(required(intensities, key, where)) for field, key in keys.items()}
        # v1 sets what lies outside the mask to 0 in a CT too, so the mask counts for every scheme.
        masked = bool(required(plans.get("use_mask_for_norm"), index, where)) and scheme != "none"
        name = str((plans.get("modalities") or {}).get(index, f"channel_{index}"))
        channels.append(Channel(name=name, scheme=scheme, masked=masked, **window))
    return tuple(channels)


def _resampling(plans: Any, where: str) -> Resampling:
    """How probabilities return to the CT: nnU-Net's defaults, or what ``segmentation_export_params`` sets.

    Images are resampled by the defaults whatever it says (``preprocessing.py`` does not read it).
    """
    wanted = plans.get("segmentation_export_params")
    if wanted is None:
        return Resampling()
    where = f"{where}, segmentation_export_params"
    separate_z = required(wanted, "force_separate_z", where)
    orders = {key: required(wanted, key, where) for key in ("interpolation_order", "interpolation_order_z")}
    if separate_z is not None:
        raise SourceModelError(
            f"{where}: force_separate_z is {separate_z} for the output alone, which inference here cannot do; "
            "it was set by hand for this training, so ask its author whether None gives the same masks"
        )
    unknown = [f"{key} {order}" for key, order in orders.items() if order not in (0, 1)]
    if unknown:
        raise SourceModelError(f"{where}: {', '.join(unknown)} is not supported; only 0 and 1 are")
    return Resampling(
        logits_order=orders["interpolation_order"], logits_order_z=orders["interpolation_order_z"]
    )


def _assumptions(folder: Path, trainer: str) -> tuple[str, ...]:
    """What the folder leaves open, and what it asks for that inference here does not do."""
    mirroring = (
        f"nnU-Net v1 does not write down which axes may be mirrored; taken from the name {trainer}: "
        f"{'none' if _NO_MIRRORING.search(trainer) else 'all'}."
    )
    return mirroring, *postprocessing_not_applied(folder)
