"""The ``coldspot`` command: parse, call, print. Everything heavy is imported when it is needed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine import DISCLAIMER
from engine.command_line import REFUSED, errors_shown, explain_exit_codes, print_json

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings

_EXPLANATION = explain_exit_codes(0, 1, 2, 3, 4, 5, 6, 7)

app = typer.Typer(
    help=f"Is the tumor plus its 5 mm margin covered by the ablation, and where not? {DISCLAIMER}",
    epilog=_EXPLANATION,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Address = Annotated[str | None, typer.Option("--server", help="host:port of a running service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
_OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for masks, margin map, picture and assessment.json.")
]
Structure = Annotated[
    str, typer.Option(help="Which one, if there are several: label, segment number, ROI name.")
]


class Sex(StrEnum):
    """Sex, as the risk model takes it."""

    FEMALE = "f"
    MALE = "m"


@app.command(epilog=_EXPLANATION)
def assess(
    *,
    planning: Annotated[Path, typer.Option(help="Planning CT: DICOM folder, NIfTI, NRRD or MHA.")],
    verification: Annotated[Path, typer.Option(help="CT after the ablation.")],
    server: _Address = None,
    tumor: Annotated[
        Path | None,
        typer.Option(help="Tumor mask on the planning CT; without it a model segments the tumor."),
    ] = None,
    zone: Annotated[Path | None, typer.Option(help="Ablation zone on the verification CT; likewise.")] = None,
    core: Annotated[Path | None, typer.Option(help="Dense core of the zone.")] = None,
    tumor_structure: Structure = "",
    zone_structure: Structure = "",
    core_structure: Structure = "",
    target: Annotated[
        str | None,
        typer.Option(
            help="Point in the tumor, planning CT, X,Y,Z in LPS mm; without a tumor mask it says which one.",
            metavar="X,Y,Z",
        ),
    ] = None,
    sex: Annotated[Sex | None, typer.Option(help="For the risk model.")] = None,
    fibrinogen: Annotated[float | None, typer.Option(help="Before the ablation, g/L.")] = None,
    if_complete: Annotated[
        bool, typer.Option("--if-complete", help="Add the risk associated with complete coverage.")
    ] = False,
    json_output: AsJson = False,
    out: _OutFolder = None,
) -> None:
    """Measure coverage and margin of one ablation; without --server on a service of its own."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.client.procedure_call import (  # noqa: PLC0415 - keeps `coldspot --help` quick
            MaskSource,
            Procedure,
            assess_procedure,
            connected,
            fetch_all,
        )
        from service.commands.terminal import progress_on_terminal  # noqa: PLC0415
        from service.record.report import assessment_json  # noqa: PLC0415

        procedure = Procedure(
            planning=planning,
            verification=verification,
            tumor=MaskSource(tumor, tumor_structure) if tumor else None,
            zone=MaskSource(zone, zone_structure) if zone else None,
            core=MaskSource(core, core_structure) if core else None,
            target_lps_mm=_parse_point(target) if target else None,
            sex=sex.value if sex else "",
            fibrinogen_g_per_l=fibrinogen,
            include_risk_if_complete=if_complete,
        )
        with progress_on_terminal() as tell, connected(server, make_pipeline) as client:
            final = assess_procedure(client, procedure, tell)
            if out is not None:
                tell("fetching the pictures")
                fetch_all(client, final, out)
        _show_assessment(assessment_json(final), json_output)
        if final.HasField("refusal"):
            raise SystemExit(REFUSED)


@app.command(epilog=_EXPLANATION)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where cases live.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the Prometheus metrics.")] = None,
    allow_insecure: Annotated[
        bool | None, typer.Option("--allow-insecure", help="Listen beyond this machine without TLS.")
    ] = None,
) -> None:
    """Run the service until SIGTERM; COLDSPOT_… variables and COLDSPOT_CONFIG (TOML) set the rest."""
    with errors_shown(as_json=False, prefix="coldspot"):
        from service import server  # noqa: PLC0415
        from service.logging import configure_logging  # noqa: PLC0415
        from service.settings import read_settings  # noqa: PLC0415

        configure_logging()
        given = {
            "host": host,
            "port": port,
            "state_dir": state_dir,
            "metrics_port": metrics_port,
            "allow_insecure": allow_insecure,
        }
        settings = read_settings(**{name: value for name, value in given.items() if value is not None})
        server.serve(
            settings,
            make_pipeline(settings),
            lambda running: typer.echo(f"coldspot serves on {settings.host}:{running.port}. {DISCLAIMER}"),
        )


@app.command(epilog=_EXPLANATION)
def demo(
    server: _Address = None,
    seed: Annotated[int, typer.Option(help="Which phantom.")] = 0,
    json_output: AsJson = False,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the other files.")] = Path(
        "coldspot-demo"
    ),
) -> None:
    """Send a phantom of known truth through the real client and service; print true against measured."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.commands.demo import run_demo  # noqa: PLC0415
        from service.commands.terminal import comparison_table, progress_on_terminal  # noqa: PLC0415

        with progress_on_terminal() as tell:
            outcome = run_demo(server, seed, out, make_pipeline, tell)
        if json_output:
            print_json({"truth": outcome.truth, "measured": outcome.measured})
        else:
            _print_rich(comparison_table(outcome.truth, outcome.measured))
            for path in outcome.files:
                typer.echo(str(path))


@app.command(epilog=_EXPLANATION)
def register(
    *,
    fixed: Annotated[Path, typer.Option(help="CT after the ablation: DICOM folder, NIfTI, NRRD or MHA.")],
    moving: Annotated[Path, typer.Option(help="Planning CT.")],
    out: Annotated[Path, typer.Option(help="Folder for displacement.nii.gz and registration.json.")],
    fixed_zone: Annotated[Path | None, typer.Option(help="Ablation zone on the fixed CT.")] = None,
    moving_tumor: Annotated[Path | None, typer.Option(help="Tumor mask on the moving CT.")] = None,
    fixed_zone_structure: Structure = "",
    moving_tumor_structure: Structure = "",
    landmarks: Annotated[
        Path | None, typer.Option(help="CSV of pairs, LPS mm; for scoring alone.", metavar="CSV")
    ] = None,
    deadline_s: Annotated[float | None, typer.Option(help="Seconds for the registration itself.")] = None,
    json_output: AsJson = False,
) -> None:
    """Register two CTs in this process: a fixed point p lies at p + d(p) in the moving CT."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.commands.registering import RegistrationRequest, register_files  # noqa: PLC0415
        from service.commands.registration_report import registration_table  # noqa: PLC0415
        from service.commands.terminal import progress_on_terminal  # noqa: PLC0415

        request = RegistrationRequest(
            fixed=fixed,
            moving=moving,
            out=out,
            fixed_zone=fixed_zone,
            moving_tumor=moving_tumor,
            landmarks=landmarks,
            fixed_zone_structure=fixed_zone_structure,
            moving_tumor_structure=moving_tumor_structure,
            deadline_s=deadline_s,
        )
        with progress_on_terminal() as tell:
            report = register_files(request, tell)
        if json_output:
            print_json(report)
        else:
            _print_rich(registration_table(report))
        if report["refusal"] is not None:
            raise SystemExit(REFUSED)


@app.command(epilog=_EXPLANATION)
def segment(
    *,
    model: Annotated[Path, typer.Option(help="Bundle of a segmentation model: models/<id>/<version>.")],
    image: Annotated[Path, typer.Option(help="CT: DICOM folder, NIfTI, NRRD or MHA.")],
    out: Annotated[Path, typer.Option(help="NIfTI file for the labels, on the grid of the CT.")],
    region: Annotated[
        str | None,
        typer.Option(
            help="Look only here, LPS mm: center and half width, or two corners (X,Y,Z,X,Y,Z).",
            metavar="X,Y,Z,HALF_WIDTH",
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="What computes; auto takes the fastest that agrees with ONNX Runtime.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="Variant of the bundle: fp32, fp16_mixed, int8.")] = "fp32",
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Average over mirrored patches, up to 8 times the work.")
    ] = False,
    json_output: AsJson = False,
) -> None:
    """Segment a CT with an nnU-Net in this process; labels go to a NIfTI file."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.commands.segmenting import (  # noqa: PLC0415
            SegmentationRequest,
            segment_file,
            segmentation_table,
        )
        from service.commands.terminal import progress_on_terminal  # noqa: PLC0415

        request = SegmentationRequest(model, image, out, region, backend, precision, mirror)
        with progress_on_terminal() as tell:
            report = segment_file(request, tell)
        if json_output:
            print_json(report)
        else:
            _print_rich(segmentation_table(report))


@app.command(epilog=_EXPLANATION)
def info(server: _Address = None, json_output: AsJson = False) -> None:
    """Say what is installed here, or what a running service is."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.commands.information import describe_here, describe_service, readable  # noqa: PLC0415
        from service.settings import read_settings  # noqa: PLC0415

        described = describe_service(server) if server else describe_here(read_settings(), make_pipeline)
        _show_described(described if json_output else readable(described), json_output)


@app.command(epilog=_EXPLANATION)
def selftest(json_output: AsJson = False) -> None:
    """Measure a phantom of known truth in this process; exit code 7 if it is measured wrongly."""
    with errors_shown(as_json=json_output, prefix="coldspot"):
        from service.settings import read_settings  # noqa: PLC0415

        make_pipeline(read_settings()).self_test()
        _show_described({"self_test": "passed"}, json_output)


@app.command(epilog=_EXPLANATION)
def healthcheck(server: Annotated[str, typer.Option(help="host:port")] = "127.0.0.1:50051") -> None:
    """Exit with 0 if a service is ready to measure."""
    with errors_shown(as_json=False, prefix="coldspot"):
        from engine.errors import ServiceUnavailableError  # noqa: PLC0415
        from service.client.client import ColdspotClient  # noqa: PLC0415

        with ColdspotClient(server) as client:
            if not client.is_serving():
                raise ServiceUnavailableError(f"the service at {server} is not ready")
        typer.echo("serving")


def make_pipeline(settings: Settings) -> Pipeline:
    """Return the engine; tests put a stand-in here."""
    from service.pipeline.first_boot import BootingPipeline  # noqa: PLC0415

    return BootingPipeline(settings)


def _parse_point(text: str) -> tuple[float, float, float]:
    """Return the position that ``X,Y,Z`` says."""
    from engine.errors import InvalidRequestError  # noqa: PLC0415

    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequestError(f"--target is X,Y,Z in LPS mm, not {text!r}", "target") from None
    return x, y, z


def _print_rich(content: Any) -> None:
    """Print something readable on stdout."""
    from rich.console import Console  # noqa: PLC0415

    Console().print(content)


def _show_assessment(report: dict[str, Any], as_json: bool) -> None:
    """Print an assessment for a program or for a person."""
    if as_json:
        print_json(report)
        return
    from service.commands.terminal import summary_table  # noqa: PLC0415

    _print_rich(summary_table(report))


def _show_described(described: dict[str, Any], as_json: bool) -> None:
    """Print a few facts for a program or for a person."""
    if as_json:
        print_json(described)
        return
    for name, value in described.items():
        typer.echo(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")


def main() -> None:
    """Run the command line."""
    app()
