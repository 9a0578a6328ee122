"""``coldspot-export``: make model bundles (needs the ``export`` extra), measure them and look into them.

Everything heavy is imported when a command needs it: looking into a bundle works without torch.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.command_line import exit_code_of, print_json
from engine.errors import ParityError
from export.commands.cohort import register as register_cohort_commands
from export.commands.output import (
    EXIT_CODES,
    export_errors_shown,
    in_steps,
    print_made,
    print_parity,
    progress_shown,
)

app = typer.Typer(
    help="Make model bundles, measure them and look into them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Recipe(StrEnum):
    """How patches for FM-LCT are normalized."""

    ZSCORE_PATCH = "zscore_patch"
    HU = "hu_-1024_3072"
    WINDOW = "window_-450_1500"


class Precision(StrEnum):
    """Variant of a network."""

    FP32 = "fp32"
    FP16_MIXED = "fp16_mixed"
    INT8 = "int8"


class ExportPrecision(StrEnum):
    """Variants that an export can write."""

    FP32 = "fp32"
    FP16_MIXED = "fp16_mixed"


class Library(StrEnum):
    """What compiles an engine."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


class Purpose(StrEnum):
    """What the labels of a segmentation model are at the bedside."""

    TUMOR = "tumor"
    ABLATION_ZONE = "ablation_zone"
    OTHER = "other"


class DemoStructure(StrEnum):
    """What a demo segmenter finds."""

    ZONE = "zone"
    TUMOR = "tumor"


AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
_BundleFolder = Annotated[Path, typer.Argument(help="Bundle folder, models/<id>/<version>.")]
NewBundle = Annotated[Path, typer.Option("--out", help="Folder of the new bundle; must not exist.")]
Licence = Annotated[str, typer.Option(help="Under what terms the weights may be used.")]
LICENCE_UNKNOWN = "not stated: ask whoever trained the model before passing it on"

Provenance = Annotated[str, typer.Option(help="Where the weights come from.")]
Version = Annotated[str, typer.Option("--model-version", help="Of the bundle, as 1.0.0.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", help="CT to measure on; may be given several times.")
]
Masks = Annotated[
    list[Path] | None, typer.Option("--mask", help="Lesion on the CT of the same place in the list.")
]
_ExportPrecisions = Annotated[
    list[ExportPrecision] | None, typer.Option("--precision", help="Variants; all by default, fp32 always.")
]


@app.command("nnunet", epilog=EXIT_CODES)
def nnunet(
    folder: Annotated[Path, typer.Argument(help="Trained model, nnU-Net v1 or v2: folder or zip.")],
    *,
    out: NewBundle,
    licence: Licence = LICENCE_UNKNOWN,
    provenance: Provenance = "",
    purpose: Annotated[Purpose, typer.Option(help="What the labels are at the bedside.")] = Purpose.OTHER,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a label, as 1=zone.", metavar="NUMBER=NAME")
    ] = None,
    configuration: Annotated[str | None, typer.Option(help="3d_fullres, or stage0 of version 1.")] = None,
    fold: Annotated[list[str] | None, typer.Option(help="Folds of the ensemble; all by default.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="File name inside each fold.")] = None,
    precision: _ExportPrecisions = None,
    image: Images = None,
    model_id: Annotated[str | None, typer.Option("--id", help="Of the bundle, as lung-tumor.")] = None,
    model_version: Version = "1.0.0",
    json_output: AsJson = False,
) -> None:
    """Export a trained nnU-Net: networks, preprocessing and labels, compared with PyTorch."""
    with export_errors_shown(as_json=json_output):
        from export.nnunet.bundle import export_nnunet  # noqa: PLC0415 - see the module's head

        names = _parse_labels(label or [])
        with progress_shown() as tell:
            written = export_nnunet(
                folder,
                out,
                licence=licence,
                provenance=provenance or f"exported from {folder.name}",
                configuration=configuration,
                folds=fold,
                checkpoint=checkpoint,
                purpose=purpose.value,
                label_names=names,
                precisions=[choice.value for choice in precision or ExportPrecision],
                images=image or (),
                model_id=model_id,
                version=model_version,
                on_progress=tell,
            )
        print_made([written], as_json=json_output)


@app.command("fm-lct", epilog=EXIT_CODES)
def fm_lct(
    checkpoint: Annotated[Path, typer.Argument(help="lung_CT_checkpoint.pth.tar.")],
    *,
    out: NewBundle,
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="Normalization; published programs differ, this one calls itself the pre-training's."
        ),
    ] = Recipe.HU,
    roi_only: Annotated[bool, typer.Option("--roi-only", help="Blank tissue outside the mask.")] = False,
    licence: Licence | None = None,
    provenance: Provenance = "",
    precision: _ExportPrecisions = None,
    image: Images = None,
    mask: Masks = None,
    model_version: Version = "1.0.0",
    json_output: AsJson = False,
) -> None:
    """Export FM-LCT: 768 features of a lesion; refused unless every weight of the encoder is there."""
    with export_errors_shown(as_json=json_output):
        from export.fm_lct.bundle import LICENCE, export_fm_lct  # noqa: PLC0415

        lesions = paired(image or [], mask or [])
        with progress_shown() as tell:
            written = export_fm_lct(
                checkpoint,
                out,
                recipe=recipe.value,
                roi_only=roi_only,
                precisions=[choice.value for choice in precision or ExportPrecision],
                licence=licence or LICENCE,
                provenance=provenance,
                lesions=lesions,
                version=model_version,
                on_progress=tell,
            )
        print_made([written], as_json=json_output)


@app.command("deepsurv", epilog=EXIT_CODES)
@app.command("demo-risk", hidden=True)  # its name in the provenance of the bundle that ships
def deepsurv(
    out: Annotated[Path, typer.Option("--out", help="Models folder; gets deepsurv-demo/1.0.0/.")],
    json_output: AsJson = False,
) -> None:
    """Fit the demo risk model on a simulated cohort: network, scaler and Breslow table as a bundle."""
    with export_errors_shown(as_json=json_output):
        from export.risk_model.demo import export_demo_risk  # noqa: PLC0415

        print_made([export_demo_risk(out).folder], as_json=json_output)


@app.command("engine", epilog=EXIT_CODES)
def engine(
    bundle: _BundleFolder,
    target: Annotated[str, typer.Option(help="current (the GPU here), sm_86, sm_89, sm_120, …")] = "current",
    precision: Annotated[Precision, typer.Option(help="Which variant.")] = Precision.FP32,
    out: Annotated[Path | None, typer.Option(help="Folder of plans; where sessions look by default.")] = None,
    backend: Annotated[Library | None, typer.Option(help="By default what suits the target.")] = None,
    json_output: AsJson = False,
) -> None:
    """Compile the networks of a bundle with TensorRT, for this device or for a GPU generation."""
    with export_errors_shown(as_json=json_output):
        from export.bundle.tensorrt_plan import build_engines  # noqa: PLC0415

        with progress_shown() as tell:
            made = build_engines(
                bundle,
                target,
                precision.value,
                out,
                flavor=backend.value if backend else None,
                on_progress=in_steps(tell),
            )
        print_made(made, as_json=json_output)


@app.command("parity", epilog=EXIT_CODES)
def parity(
    bundle: _BundleFolder,
    source: Annotated[
        Path | None, typer.Option(help="What it was exported from, as the reference (needs torch).")
    ] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Backends; all that are here by default.")] = None,
    precision: Annotated[list[Precision] | None, typer.Option(help="Variants; all by default.")] = None,
    image: Images = None,
    mask: Masks = None,
    json_output: AsJson = False,
) -> None:
    """Compare what a bundle gives on every backend here with ONNX Runtime, or with its source."""
    with export_errors_shown(as_json=json_output):
        from export.bundle_parity.measurement import measure_bundle  # noqa: PLC0415

        with progress_shown() as tell:
            measured = measure_bundle(
                bundle,
                backends=backend or (),
                precisions=[choice.value for choice in precision or ()],
                images=image or (),
                lesions=paired(image or [], mask or []) if mask else (),
                source=source,
                on_progress=tell,
            )
        if json_output:
            reports = [report.model_dump(mode="json") for report in measured.reports]
            print_json({"passed": measured.passed, "reports": reports, "not_run": measured.not_run})
        else:
            print_parity(measured.reports)
            for name, reason in measured.not_run.items():
                typer.echo(f"not run: {name}: {reason}")
        if not measured.passed:
            raise SystemExit(exit_code_of(ParityError))


@app.command("inspect", epilog=EXIT_CODES)
def inspect(bundle: _BundleFolder, json_output: AsJson = False) -> None:
    """Check a bundle as the bedside does, and print its card, files and checks."""
    with export_errors_shown(as_json=json_output):
        from engine.manifest import MODEL_CARD_FILE, ParityReport  # noqa: PLC0415
        from export.bundle.inspection import describe_bundle  # noqa: PLC0415

        described = describe_bundle(bundle)
        if json_output:
            print_json(described)
            return
        typer.echo((bundle / MODEL_CARD_FILE).read_text(encoding="utf-8"))
        reports = described["manifest"].get("parity_reports", ())
        if reports:
            print_parity(ParityReport.model_validate(report) for report in reports)
        files = described["files"].items()
        for name, file in files:
            typer.echo(f"{file['sha256']}  {file['bytes']:>11,} bytes  {name}")
        for check in described["checked"]:
            typer.echo(f"Checked: {check}.")


@app.command("triton", epilog=EXIT_CODES)
def triton(
    bundle: _BundleFolder,
    out: Annotated[Path, typer.Option("--out", help="Model repository; made if it is not there.")],
    json_output: AsJson = False,
) -> None:
    """Write a Triton Inference Server model repository, for sites that outgrow one box."""
    with export_errors_shown(as_json=json_output):
        from export.bundle.triton import export_triton  # noqa: PLC0415

        written = export_triton(bundle, out)
        print_made([written] if isinstance(written, Path) else written, as_json=json_output)


@app.command("train-demo")
def train_demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of bundles.")] = Path("models"),
    work: Annotated[
        Path, typer.Option("--work", help="Patches and checkpoints; a stopped run goes on from there.")
    ] = Path("demo-training"),
    which: Annotated[
        list[DemoStructure] | None, typer.Option("--which", help="One of the two; both if left out.")
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
    json_output: AsJson = False,
) -> None:
    """Train the demo segmenters on painted scenes: tumor on the planning CT, zone on the verification CT."""
    with export_errors_shown(as_json=json_output), progress_shown() as tell:
        from export.demo_segmenters import TASKS  # noqa: PLC0415
        from export.demo_segmenters import train_demo as train  # noqa: PLC0415

        wanted = {choice.value for choice in which or DemoStructure}
        made = train(
            out,
            work=work,
            which=[name for name in TASKS if name in wanted],
            real_ct=real_ct,
            on_progress=in_steps(tell),
        )
        print_made(made, as_json=json_output)


register_cohort_commands(app)


def _parse_labels(pairs: list[str]) -> dict[int, str]:
    """Return what ``NUMBER=NAME`` says, by number."""
    from engine.errors import InvalidRequestError  # noqa: PLC0415

    names: dict[int, str] = {}
    for pair in pairs:
        number, _, name = pair.partition("=")
        if not number.isdecimal() or not name:
            raise InvalidRequestError(f"--label is NUMBER=NAME, not {pair!r}", "label")
        names[int(number)] = name
    return names


def paired(images: list[Path], masks: list[Path]) -> list[tuple[Path, Path]]:
    """Return CTs with their masks."""
    from engine.errors import InvalidRequestError  # noqa: PLC0415

    if len(images) != len(masks):
        raise InvalidRequestError(
            f"{len(images)} --image and {len(masks)} --mask: every CT needs its own mask", "mask"
        )
    return list(zip(images, masks, strict=True))


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
