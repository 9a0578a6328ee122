"""Model folders of nnU-Net v2: ``plans.json``, ``dataset.json``, ``fold_*/checkpoint_final.pth``.

Formats: nnunetv2 2.8.1, and plans of versions before 2.4 (``UNet_class_name``), which its
``plans_handler.py`` converts in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from engine.errors import SourceModelError
from engine.manifest.segmentation import Channel, NormalizationScheme, Resampling, SegmentationSection
from export.checkpoints.checkpoint import read_torch_checkpoint
from export.nnunet.folder import fold_checkpoints, postprocessing_not_applied
from export.nnunet.model import (
    FoldNetworks,
    NnunetModel,
    load_weights,
    required,
    segmentation_section,
    triples,
)
from export.nnunet.unet import UNet, UNetPlan

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINT = "checkpoint_final.pth"

_SCHEMES: Final[dict[str, NormalizationScheme]] = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale_0_1",
}
_RESAMPLING = {"resample_data_or_seg_to_shape": "skimage", "resample_torch_fornnunet": "torch"}
_READERS = ("SimpleITKIO", "NibabelIO")
_SLOPES = {"LeakyReLU": 0.01, "ReLU": 0.0}
_ARCHITECTURE_KEYS = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage"),
    *("n_blocks_per_stage", "n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs"),
    *("dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs", "stem_channels", "deep_supervision"),
}


def read_v2_folder(
    folder: Path,
    *,
    configuration: str | None,
    folds: Sequence[int | str] | None,
    checkpoint: str,
) -> NnunetModel:
    """Read one trained configuration; see :func:`export.nnunet.bundle.read_model_folder`.

    Raises
    ------
    SourceModelError
        If part of it is missing, contradicts the rest, or is not supported.
    UntrustedPickleError, UnreadableFileError
        If a checkpoint would run code, or is damaged.
    """
    plans, dataset = _read_json(folder / PLANS), _read_json(folder / DATASET)
    chosen = fold_checkpoints(folder, folds, checkpoint)
    common = _common(chosen, configuration, folder)
    name = common["configuration"]
    settings = _resolved(plans, name, folder)
    section = _section(plans, settings, dataset, common["mirror_axes"], str(folder))
    plan = _network_plan(settings, len(section.channels), section.output_count, str(folder / PLANS))
    return NnunetModel(
        section=section,
        networks=FoldNetworks(partial(_network, plan), tuple(chosen.values())),
        folds=tuple(chosen),
        name=str(plans.get("dataset_name", folder.parent.name)),
        configuration=name,
        trainer=common["trainer"],
        assumptions=_assumptions(folder, common["trainer"]),
    )


def _network(plan: UNetPlan, checkpoint: Path) -> UNet:
    """One fold's network with its weights."""
    where = _named(checkpoint)
    network = UNet(plan)
    load_weights(network, required(read_torch_checkpoint(checkpoint), "network_weights", where), where)
    return network


def _named(checkpoint: Path) -> str:
    """A fold's checkpoint, for messages: the folders above it may be those of an unpacked archive."""
    return "/".join(checkpoint.parts[-3:-1])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceModelError(f"{path} cannot be read ({error.strerror}); give the whole folder") from error
    except ValueError as error:
        raise SourceModelError(f"{path} is not JSON ({error}); copy it again") from error


def _common(checkpoints: Mapping[str, Path], configuration: str | None, folder: Path) -> dict[str, Any]:
    """What all folds must agree on: configuration, trainer and mirroring."""
    descriptions = []
    for path in checkpoints.values():
        content, where = read_torch_checkpoint(path), _named(path)
        axes = content.get("inference_allowed_mirroring_axes") if isinstance(content, Mapping) else None
        init = required(content, "init_args", where)
        name = str(required(init, "configuration", where))
        trainer = str(required(content, "trainer_name", where))
        descriptions.append(
            {"configuration": name, "trainer": trainer, "mirror_axes": tuple(int(a) for a in axes or ())}
        )
    if any(other != descriptions[0] for other in descriptions):
        raise SourceModelError(
            f"the folds of {folder} were trained differently: {descriptions}; export them separately"
        )
    if configuration is not None and configuration != descriptions[0]["configuration"]:
        raise SourceModelError(
            f"{folder} was trained as {descriptions[0]['configuration']}, not as {configuration}; give its own folder"
        )
    return descriptions[0]


def _resolved(plans: Any, name: str, folder: Path, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration with everything it inherits."""
    where = str(folder / PLANS)
    settings = dict(required(required(plans, "configurations", where), name, where))
    parent = settings.pop("inherits_from", None)
    if parent is None:
        return settings
    if parent in seen or parent == name:
        raise SourceModelError(f"{where}: {name} inherits from itself")
    return _resolved(plans, str(parent), folder, (*seen, name)) | settings


def _section(
    plans: Any, settings: dict[str, Any], dataset: Any, mirror_axes: tuple[int, ...], where: str
) -> SegmentationSection:
    """The manifest's section: everything between a CT and its labels."""
    _refuse_unsupported(plans, settings, where)
    labels, regions, order = _labels(dataset, where)
    return segmentation_section(
        where,
        framework="nnunet_v2",
        purpose="other",
        labels=labels,
        regions=regions,
        regions_class_order=order,
        transpose_forward=tuple(int(a) for a in required(plans, "transpose_forward", where)),
        transpose_backward=tuple(int(a) for a in required(plans, "transpose_backward", where)),
        spacing_mm=tuple(float(s) for s in required(settings, "spacing", where)),
        patch_shape=tuple(int(n) for n in required(settings, "patch_size", where)),
        mirror_axes=mirror_axes,
        channels=_channels(plans, settings, dataset, where),
        resampling=_resampling(settings, where),
    )


def _refuse_unsupported(plans: Any, settings: dict[str, Any], where: str) -> None:
    """Refuse what would be computed differently here."""
    if settings.get("previous_stage") is not None:
        raise SourceModelError(f"{where} is the second stage of a cascade; export a 3d_fullres instead")
    if len(required(settings, "patch_size", where)) != 3:
        raise SourceModelError(f"{where} is a 2D configuration; only 3D ones are exported")
    expected = {
        "preprocessor_name": (
            settings.get("preprocessor_name", "DefaultPreprocessor"),
            "DefaultPreprocessor",
        ),
        "label_manager": (plans.get("label_manager", "LabelManager"), "LabelManager"),
    }
    for key, (used, expected_class) in expected.items():
        if used != expected_class:
            raise SourceModelError(
                f"{where} uses the {key} {used}; inference here does what {expected_class} does"
            )
    reader = plans.get("image_reader_writer", _READERS[0])
    if reader not in _READERS:
        raise SourceModelError(
            f"{where} reads images by {reader}, which turns or scales them in a way that is not done here; "
            f"known are {', '.join(_READERS)}"
        )


def _labels(dataset: Any, where: str) -> tuple[dict[str, int], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Labels by name, and the regions of region-based training with the label each writes."""
    written = {
        str(name): value for name, value in required(dataset, "labels", where).items() if name != "ignore"
    }
    members = {
        name: tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)
        for name, value in written.items()
    }
    if all(len(values) == 1 for values in members.values()):
        return dict(sorted(((n, v[0]) for n, v in members.items()), key=lambda item: item[1])), (), ()
    regions = {name: values for name, values in members.items() if set(values) != {0}}
    order = tuple(int(v) for v in required(dataset, "regions_class_order", where))
    if len(order) != len(regions):
        raise SourceModelError(f"{where}: regions_class_order lists {len(order)} of {len(regions)} regions")
    labels = {"background": 0} | dict(zip(regions, order, strict=True))
    for value in sorted({v for values in regions.values() for v in values} - set(order)):
        labels[f"label_{value}"] = value
    return labels, tuple(regions.values()), order


def _channels(plans: Any, settings: dict[str, Any], dataset: Any, where: str) -> tuple[Channel, ...]:
    """Names and normalization of the input channels."""
    names = dataset.get("channel_names") or required(dataset, "modality", where)
    intensity = plans.get("foreground_intensity_properties_per_channel") or plans.get(
        "foreground_intensity_properties_by_modality", {}
    )
    schemes = required(settings, "normalization_schemes", where)
    masked = required(settings, "use_mask_for_norm", where)
    if not len(names) == len(schemes) == len(masked):
        raise SourceModelError(f"{where}: channels, normalization schemes and masks are not equally many")
    channels = []
    for index, (name, scheme, uses_mask) in enumerate(
        zip((names[key] for key in sorted(names, key=int)), schemes, masked, strict=True)
    ):
        if scheme not in _SCHEMES:
            raise SourceModelError(f"{where}: channel {name} uses {scheme}, which is not supported")
        window: dict[str, float] = {}
        if _SCHEMES[scheme] == "ct":
            intensities = required(intensity, str(index), f"{where}, intensity properties")
            keys = {"mean": "mean", "sd": "std", "low": "percentile_00_5", "high": "percentile_99_5"}
            window = {field: float(required(intensities, key, where)) for field, key in keys.items()}
        # Only z-scores look at the mask (nnunetv2, default_normalization_schemes.py).
        masks = bool(uses_mask) and _SCHEMES[scheme] == "zscore"
        channels.append(Channel(name=str(name), scheme=_SCHEMES[scheme], masked=masks, **window))
    return tuple(channels)


def _resampling(settings: dict[str, Any], where: str) -> Resampling:
    """How images and logits are brought to the network's spacing and back."""
    default = "resample_data_or_seg_to_shape"
    names = {settings.get(f"resampling_fn_{subject}", default) for subject in ("data", "probabilities")}
    if len(names) != 1 or not names <= set(_RESAMPLING):
        raise SourceModelError(f"{where} resamples by {', '.join(sorted(map(str, names)))}; not supported")
    image = settings.get("resampling_fn_data_kwargs", {})
    logits = settings.get("resampling_fn_probabilities_kwargs", {})
    separate_z = {image.get("force_separate_z"), logits.get("force_separate_z")}
    if len(separate_z) != 1:
        raise SourceModelError(f"{where}: force_separate_z differs between image and logits; not supported")
    if _RESAMPLING[names.pop()] == "torch":
        extra = {**image, **logits}.keys() - {"is_seg", "force_separate_z", "memefficient_seg_resampling"}
        if extra:
            raise SourceModelError(f"{where}: resampling options {sorted(extra)} are not supported")
        return Resampling(separate_z=separate_z.pop(), method="torch")
    return Resampling(
        data_order=image.get("order", 3),
        data_order_z=image.get("order_z", 0),
        logits_order=logits.get("order", 1),
        logits_order_z=logits.get("order_z", 0),
        separate_z=separate_z.pop(),
    )


def _network_plan(settings: dict[str, Any], channels: int, outputs: int, where: str) -> UNetPlan:
    """Sizes of the network from the architecture, old or new."""
    kind, kwargs = _architecture(settings, where)
    unknown = set(kwargs) - _ARCHITECTURE_KEYS
    set_anyway = sorted(key for key in unknown if kwargs[key] not in (None, False))
    if kind not in ("PlainConvUNet", "ResidualEncoderUNet") or set_anyway:
        fault = f"sets {', '.join(set_anyway)}" if set_anyway else f"is a {kind}"
        raise SourceModelError(
            f"{where}: the network {fault}; only PlainConvUNet and ResidualEncoderUNet are known"
        )
    residual = kind == "ResidualEncoderUNet"
    slope = _slope(kwargs, where)
    stages = int(required(kwargs, "n_stages", where))
    depths = required(kwargs, "n_blocks_per_stage" if residual else "n_conv_per_stage", where)
    norm = kwargs.get("norm_op_kwargs") or {}
    if not str(kwargs.get("norm_op")).endswith("InstanceNorm3d") or not norm.get("affine", False):
        raise SourceModelError(f"{where}: only affine InstanceNorm3d is known, not {kwargs.get('norm_op')}")
    stem = kwargs.get("stem_channels")
    return UNetPlan(
        channels=channels,
        outputs=outputs,
        features=_each(required(kwargs, "features_per_stage", where), stages, where),
        kernels=triples(required(kwargs, "kernel_sizes", where), where),
        strides=triples(required(kwargs, "strides", where), where),
        encoder_depths=_each(depths, stages, where),
        decoder_depths=_each(required(kwargs, "n_conv_per_stage_decoder", where), stages - 1, where),
        residual=residual,
        stem_features=None if stem is None else int(stem),
        conv_bias=bool(kwargs.get("conv_bias", False)),
        norm_eps=float(norm.get("eps", 1e-5)),
        negative_slope=slope,
    )


def _architecture(settings: dict[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Class and arguments; plans before nnunetv2 2.4 spell them out in the configuration."""
    if "architecture" in settings:
        architecture = settings["architecture"]
        name = str(required(architecture, "network_class_name", where))
        return name.rsplit(".", 1)[-1], dict(required(architecture, "arch_kwargs", where))
    kind = str(required(settings, "UNet_class_name", where))
    depths = required(settings, "n_conv_per_stage_encoder", where)
    base, most = (
        int(required(settings, k, where)) for k in ("UNet_base_num_features", "unet_max_num_features")
    )
    return kind, {
        "n_stages": len(depths),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(depths))],
        "kernel_sizes": required(settings, "conv_kernel_sizes", where),
        "strides": required(settings, "pool_op_kernel_sizes", where),
        "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": depths,
        "n_conv_per_stage_decoder": required(settings, "n_conv_per_stage_decoder", where),
        "conv_bias": True,
        "norm_op": "InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
    }


def _slope(kwargs: dict[str, Any], where: str) -> float:
    """Negative slope of the nonlinearity."""
    name = str(kwargs.get("nonlin")).rsplit(".", 1)[-1]
    if name not in _SLOPES:
        raise SourceModelError(f"{where}: the nonlinearity {name} is not known; only {', '.join(_SLOPES)}")
    return float((kwargs.get("nonlin_kwargs") or {}).get("negative_slope", _SLOPES[name]))


def _each(value: Any, count: int, where: str) -> tuple[int, ...]:
    """One number for each stage, which plans may give as a single one."""
    numbers = (int(value),) * count if isinstance(value, int) else tuple(int(v) for v in value)
    if len(numbers) != count:
        raise SourceModelError(f"{where}: {numbers} does not give one number for each of {count} stages")
    return numbers


def _assumptions(folder: Path, trainer: str) -> tuple[str, ...]:
    """What the folder leaves open, and what it asks for that inference here does not do."""
    network = (
        f"The network is the one its plans describe: every weight fitted it by name and shape. {trainer} "
        "could have changed a layer that has no weights, which a checkpoint does not show."
    )
    return network, *postprocessing_not_applied(folder)
