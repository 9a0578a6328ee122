"""The commands that make a bundle from trained weights, and those that train the demo models."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from export.commands.options import (
    EXIT_CODES,
    AsJson,
    Images,
    Licence,
    Masks,
    NewBundle,
    Version,
    paired_with_masks,
)
from export.commands.output import export_errors_shown, in_steps, print_paths, progress_shown


class _Recipe(StrEnum):
    """How patches for FM-LCT are normalized."""

    ZSCORE_PATCH = "zscore_patch"
    HU = "hu_-1024_3072"
    WINDOW = "window_-450_1500"


class _ExportPrecision(StrEnum):
    """Variants that an export can write."""

    FP32 = "fp32"
    FP16_MIXED = "fp16_mixed"


class _Purpose(StrEnum):
    """What the labels of a segmentation model stand for in an assessment."""

    TUMOR = "tumor"
    ABLATION_ZONE = "ablation_zone"
    OTHER = "other"


class _Orientation(StrEnum):
    """How the axes of the images ran that a network was trained on."""

    AS_STORED = "as_stored"
    RAS = "ras"
    LPS = "lps"


class _DemoStructure(StrEnum):
    """Structure that a demo segmenter finds."""

    ZONE = "zone"
    TUMOR = "tumor"


_LICENCE_UNKNOWN: Final = "not stated: ask whoever trained the model before passing it on"
_Provenance = Annotated[str, typer.Option(help="Where the weights come from.")]
_ExportPrecisions = Annotated[
    list[_ExportPrecision] | None, typer.Option("--precision", help="Variants; all by default, fp32 always.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``coldspot-export``."""
    app.command("nnunet", epilog=EXIT_CODES)(nnunet)
    app.command("fm-lct", epilog=EXIT_CODES)(fm_lct)
    app.command("deepsurv", epilog=EXIT_CODES)(deepsurv)
    # Its name in the provenance of the bundle that ships.
    app.command("demo-risk", epilog=EXIT_CODES, hidden=True)(deepsurv)
    app.command("train-demo", epilog=EXIT_CODES)(train_demo)


def nnunet(
    folder: Annotated[Path, typer.Argument(help="Trained model, nnU-Net v1 or v2: folder or zip.")],
    *,
    out: NewBundle,
    licence: Licence = _LICENCE_UNKNOWN,
    provenance: _Provenance = "",
    purpose: Annotated[
        _Purpose, typer.Option(help="What the labels stand for in an assessment.")
    ] = _Purpose.OTHER,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Meaning of a label, by its number or name: zone, core, tumor or ignore for the purpose, "
            "or another name; as 1=zone, necrosis=core, hemorrhage=ignore.",
            metavar="LABEL=MEANING",
        ),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an input channel, by its number or own name, as 1=planning_ct_warped.",
            metavar="CHANNEL=NAME",
        ),
    ] = None,
    configuration: Annotated[str | None, typer.Option(help="3d_fullres, or stage0 of version 1.")] = None,
    folds: Annotated[
        list[str] | None,
        typer.Option(
            "--folds", "--fold", help="Folds of the ensemble, as 0,1,2; all by default.", metavar="FOLDS"
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="File name inside each fold; by default that of a finished training.")
    ] = None,
    orientation: Annotated[
        _Orientation | None,
        typer.Option(
            help="Axes of the images in training: ras for TotalSegmentator's models, as_stored for nnU-Net's own."
        ),
    ] = None,
    precision: _ExportPrecisions = None,
    image: Images = None,
    model_id: Annotated[str | None, typer.Option("--id", help="Of the bundle, as lung-tumor.")] = None,
    model_version: Version = "1.0.0",
    json_output: AsJson = False,
) -> None:
    """Export a trained nnU-Net: networks, preprocessing and labels, compared with PyTorch."""
    with export_errors_shown(as_json=json_output):
        from export.nnunet.bundle import export_nnunet

        labels, channels = _parse_names(label or [], "label"), _parse_names(channel or [], "channel")
        with progress_shown() as progress:
            written = export_nnunet(
                folder,
                out,
                licence=licence,
                provenance=provenance or f"exported from {folder.name}",
                configuration=configuration,
                folds=_parse_folds(folds),
                checkpoint=checkpoint,
                purpose=purpose.value,
                label_names=labels,
                channel_names=channels,
                orientation=orientation.value if orientation else None,
                precisions=[choice.value for choice in precision or _ExportPrecision],
                images=image or (),
                model_id=model_id,
                version=model_version,
                on_progress=progress,
            )
        print_paths([written], as_json=json_output)


def fm_lct(
    checkpoint: Annotated[Path, typer.Argument(help="lung_CT_checkpoint.pth.tar.")],
    *,
    out: NewBundle,
    recipe: Annotated[
        _Recipe,
        typer.Option(
            help="Normalization; published programs differ, this one calls itself the pre-training's."
        ),
    ] = _Recipe.HU,
    roi_only: Annotated[bool, typer.Option("--roi-only", help="Blank tissue outside the mask.")] = False,
    licence: Licence | None = None,
    provenance: _Provenance = "",
    precision: _ExportPrecisions = None,
    image: Images = None,
    mask: Masks = None,
    model_version: Version = "1.0.0",
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Random or untrained weights: every result is labelled as a demo's."),
    ] = False,
    json_output: AsJson = False,
) -> None:
    """Export FM-LCT: 768 features of a lesion; refused unless the checkpoint has every weight of the encoder."""
    with export_errors_shown(as_json=json_output):
        from export.fm_lct.bundle import LICENCE, export_fm_lct

        lesions = paired_with_masks(image or [], mask or [])
        with progress_shown() as progress:
            written = export_fm_lct(
                checkpoint,
                out,
                recipe=recipe.value,
                roi_only=roi_only,
                precisions=[choice.value for choice in precision or _ExportPrecision],
                licence=licence or LICENCE,
                provenance=provenance,
                lesions=lesions,
                version=model_version,
                demo=demo,
                on_progress=progress,
            )
        print_paths([written], as_json=json_output)


def deepsurv(
    out: Annotated[Path, typer.Option("--out", help="Models folder; gets deepsurv-demo/1.0.0/.")],
    json_output: AsJson = False,
) -> None:
    """Fit the demo risk model on a simulated cohort: network, scaler and Breslow table as a bundle."""
    with export_errors_shown(as_json=json_output):
        from export.risk_model.demo import export_demo_risk

        print_paths([export_demo_risk(out).folder], as_json=json_output)


def train_demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of bundles.")] = Path("models"),
    work: Annotated[
        Path, typer.Option("--work", help="Patches and checkpoints; a stopped run goes on from there.")
    ] = Path("demo-training"),
    which: Annotated[
        list[_DemoStructure] | None, typer.Option("--which", help="One of the two; both if left out.")
    ] = None,
    real_ct: Annotated[
        Path | None,
        typer.Option(
            "--real-ct",
            help="Folder of public CTs to paint into and of ablation cases to evaluate on (see docs/export.md).",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Training steps; more on a GPU. Another number is another run."),
    ] = None,
    json_output: AsJson = False,
) -> None:
    """Train the demo segmenters on painted scenes: tumor on the planning CT, zone on both CTs."""
    with export_errors_shown(as_json=json_output), progress_shown() as progress:
        from export.demo_segmenters import TASKS, TrainingPlan
        from export.demo_segmenters import train_demo as train

        plan = TrainingPlan() if steps is None else TrainingPlan(steps=steps)
        structures = {choice.value for choice in which or _DemoStructure}
        bundles = train(
            out,
            work=work,
            which=[name for name in TASKS if name in structures],
            real_ct=real_ct,
            plan=plan,
            on_progress=in_steps(progress),
        )
        print_paths(bundles, as_json=json_output)


def _parse_folds(given: list[str] | None) -> list[str] | None:
    """Return the folds that one or several options list."""
    if given is None:
        return None
    return [fold.strip() for folds in given for fold in folds.split(",") if fold.strip()]


def _parse_names(pairs: list[str], option: str) -> dict[int | str, str]:
    """Return what the pairs of an option say, by number or name."""
    from engine.errors import InvalidRequestError

    names: dict[int | str, str] = {}
    for pair in pairs:
        old, _, name = pair.rpartition("=")
        if not old or not name:
            raise InvalidRequestError(
                f"--{option} is {option.upper()}=NAME, by its number or name, not {pair!r}", option
            )
        names[int(old) if old.isdecimal() else old] = name
    return names
