"""The commands that look into a bundle, measure it, and hand it to another runtime."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from engine.command_line import exit_code_of, print_json
from engine.errors import ParityError
from export.commands.options import EXIT_CODES, AsJson, BundleFolder, Images, Masks, paired_with_masks
from export.commands.output import export_errors_shown, in_steps, print_parity, print_paths, progress_shown


class _Precision(StrEnum):
    """Variant of a network."""

    FP32 = "fp32"
    FP16_MIXED = "fp16_mixed"
    INT8 = "int8"


class _Library(StrEnum):
    """What compiles an engine."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``coldspot-export``."""
    app.command("engine", epilog=EXIT_CODES)(engine)
    app.command("parity", epilog=EXIT_CODES)(parity)
    app.command("inspect", epilog=EXIT_CODES)(inspect)
    app.command("seal", epilog=EXIT_CODES)(seal)
    app.command("triton", epilog=EXIT_CODES)(triton)


def engine(
    bundle: BundleFolder,
    target: Annotated[str, typer.Option(help="current (the GPU here), sm_86, sm_89, sm_120, …")] = "current",
    precision: Annotated[_Precision, typer.Option(help="Which variant.")] = _Precision.FP32,
    out: Annotated[Path | None, typer.Option(help="Folder of plans; where sessions look by default.")] = None,
    backend: Annotated[_Library | None, typer.Option(help="By default what suits the target.")] = None,
    json_output: AsJson = False,
) -> None:
    """Compile the networks of a bundle with TensorRT, for this device or for a GPU generation."""
    with export_errors_shown(as_json=json_output):
        from export.bundle.tensorrt_plan import build_engines

        with progress_shown() as progress:
            plans = build_engines(
                bundle,
                target,
                precision.value,
                out,
                flavor=backend.value if backend else None,
                on_progress=in_steps(progress),
            )
        print_paths(plans, as_json=json_output)


def parity(
    bundle: BundleFolder,
    source: Annotated[
        Path | None, typer.Option(help="What it was exported from, as the reference (needs torch).")
    ] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Backends; all that are here by default.")] = None,
    precision: Annotated[list[_Precision] | None, typer.Option(help="Variants; all by default.")] = None,
    image: Images = None,
    mask: Masks = None,
    json_output: AsJson = False,
) -> None:
    """Compare what a bundle gives on every backend here with ONNX Runtime, or with its source."""
    with export_errors_shown(as_json=json_output):
        from export.bundle_parity.measurement import measure_bundle

        with progress_shown() as progress:
            bundle_parity = measure_bundle(
                bundle,
                backends=backend or (),
                precisions=[choice.value for choice in precision or ()],
                images=image or (),
                lesions=paired_with_masks(image or [], mask or []) if mask else (),
                source=source,
                on_progress=progress,
            )
        if json_output:
            reports = [report.model_dump(mode="json") for report in bundle_parity.reports]
            print_json({"passed": bundle_parity.passed, "reports": reports, "not_run": bundle_parity.not_run})
        else:
            print_parity(bundle_parity.reports)
            for name, reason in bundle_parity.not_run.items():
                typer.echo(f"not run: {name}: {reason}")
        if not bundle_parity.passed:
            raise SystemExit(exit_code_of(ParityError))


def inspect(bundle: BundleFolder, json_output: AsJson = False) -> None:
    """Check a bundle as the engine does, and print its card, files and checks."""
    with export_errors_shown(as_json=json_output):
        from engine.manifest import MODEL_CARD_FILE, ParityReport
        from export.bundle.inspection import describe_bundle

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


def seal(bundle: BundleFolder, json_output: AsJson = False) -> None:
    """Write manifest.json.sha256 of a bundle that has none, after checking its files; never replace one."""
    with export_errors_shown(as_json=json_output):
        from engine.manifest import SEAL_FILE
        from export.bundle.sealing import seal_bundle

        sealed = seal_bundle(bundle)
        if json_output:
            print_json({"manifest_sha256": sealed.sha256, "seal": str(bundle / SEAL_FILE)})
            return
        typer.echo(
            f"{sealed.identity}: the manifest's SHA-256 is {sealed.sha256}, as {bundle / SEAL_FILE} says."
        )
        typer.echo("Compare it with what the maker of the model states.")


def triton(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Option("--out", help="Model repository; made if it does not exist.")],
    json_output: AsJson = False,
) -> None:
    """Write a Triton Inference Server model repository, for sites that outgrow one box."""
    with export_errors_shown(as_json=json_output):
        from export.bundle.triton import export_triton

        written = export_triton(bundle, out)
        print_paths([written] if isinstance(written, Path) else written, as_json=json_output)
