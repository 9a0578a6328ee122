"""The ``coldspot`` command: parse, call, print; ``--help`` loads nothing of what the commands call."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine import DISCLAIMER, __version__
from engine.command_line import CONTEXT, REFUSED, print_json, print_text, run_program
from service.commands import check, features, health
from service.commands.options import (
    EXPLANATION,
    Address,
    AsJson,
    Series,
    Sex,
    Structure,
    TlsCa,
    TlsCertificate,
    TlsKey,
    TlsServerName,
    TokenFile,
    parse_point,
)
from service.commands.output import errors_shown, print_report
from service.commands.stored_cases import commands as cases
from service.credentials import Access

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings

app = typer.Typer(
    help=f"Is the tumor plus its 5 mm margin covered by the ablation, and where not? {DISCLAIMER}",
    epilog=EXPLANATION,
    no_args_is_help=True,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
)
app.add_typer(cases.app, name="cases")

_OutFolder = Annotated[
    Path | None, typer.Option("--out", help="Folder for masks, margin map, picture and assessment.json.")
]


def _print_version(*, wanted: bool) -> None:
    if wanted:
        print_text(f"coldspot {__version__}\n")
        raise typer.Exit


@app.callback()
def _options_of_the_program(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version


@app.command(epilog=EXPLANATION)
def assess(
    *,
    planning: Annotated[Path, typer.Option(help="Planning CT: DICOM folder, NIfTI, NRRD or MHA.")],
    verification: Annotated[Path, typer.Option(help="CT after the ablation.")],
    server: Address = None,
    tumor: Annotated[
        Path | None,
        typer.Option(help="Tumor mask on the planning CT; without it a model segments the tumor."),
    ] = None,
    zone: Annotated[Path | None, typer.Option(help="Ablation zone on the verification CT; likewise.")] = None,
    core: Annotated[Path | None, typer.Option(help="Dense core of the zone.")] = None,
    planning_series: Series = "",
    verification_series: Series = "",
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
    allow_demo_models: Annotated[
        bool,
        typer.Option("--allow-demo-models", help="Let them draw what is not supplied: not for patients."),
    ] = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the case on the running service; otherwise it is deleted.")
    ] = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
    out: _OutFolder = None,
) -> None:
    """Measure coverage and margin of one ablation; without --server on a service of its own."""
    with errors_shown(as_json=json_output):
        from service.client.procedure_call import MaskSource, Procedure
        from service.commands.assessing import run_assessment
        from service.commands.own_service import ChosenService
        from service.commands.terminal import progress_on_terminal, summary_table

        procedure = Procedure(
            planning=planning,
            verification=verification,
            planning_series=planning_series,
            verification_series=verification_series,
            tumor=MaskSource(tumor, tumor_structure) if tumor else None,
            zone=MaskSource(zone, zone_structure) if zone else None,
            core=MaskSource(core, core_structure) if core else None,
            target_lps_mm=parse_point(target, "target") if target else None,
            sex=sex.value if sex else "",
            fibrinogen_g_per_l=fibrinogen,
            include_risk_if_complete=if_complete,
            allow_demo_models=allow_demo_models,
        )
        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
        chosen = ChosenService(server, access, keep_case=keep)
        with progress_on_terminal() as progress:
            show = partial(print_report, table_of=summary_table, as_json=json_output)
            report, _ = run_assessment(chosen, procedure, out, make_pipeline, progress, show)
        if report["refusal"] is not None:
            raise SystemExit(REFUSED)


@app.command(epilog=EXPLANATION)
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Where cases live.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the Prometheus metrics.")] = None,
    allow_insecure: Annotated[
        bool | None, typer.Option("--allow-insecure", help="Listen beyond this machine without TLS.")
    ] = None,
    mock: Annotated[
        bool, typer.Option("--mock", help="Measure nothing: canned answers, for trying out a client.")
    ] = False,
    mock_answers: Annotated[
        str | None,
        typer.Option(help="With --mock, what each Assess gives in turn: miss,complete,refusal,busy,error."),
    ] = None,
) -> None:
    """Run the service until SIGTERM; COLDSPOT_… variables and COLDSPOT_CONFIG (TOML) set the rest."""
    with errors_shown(as_json=False):
        from engine.errors import InvalidRequestError
        from service import server
        from service.logging import configure_logging
        from service.settings import read_settings

        configure_logging()
        options = {
            "host": host,
            "port": port,
            "state_dir": state_dir,
            "metrics_port": metrics_port,
            "allow_insecure": allow_insecure,
        }
        settings = read_settings(**{name: value for name, value in options.items() if value is not None})
        if mock_answers is not None and not mock:
            raise InvalidRequestError(
                "--mock-answers is for --mock: nothing else gives canned answers", "mock"
            )
        pipeline = _make_mock_pipeline(mock_answers) if mock else make_pipeline(settings)
        what = "coldspot with mock answers (nothing is measured)" if mock else "coldspot"
        server.serve(
            settings,
            pipeline,
            lambda running: typer.echo(f"{what} serves on {settings.host}:{running.port}. {DISCLAIMER}"),
        )


@app.command(epilog=EXPLANATION)
def demo(
    server: Address = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    seed: Annotated[int, typer.Option(help="Which phantom.")] = 0,
    json_output: AsJson = False,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the other files.")] = Path(
        "coldspot-demo"
    ),
) -> None:
    """Send a phantom of known truth through the real client and service; print true against measured."""
    with errors_shown(as_json=json_output):
        from service.commands.demo import run_demo
        from service.commands.own_service import ChosenService
        from service.commands.terminal import comparison_table, print_table, progress_on_terminal

        access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)

        def show(truth: dict[str, Any], measured: dict[str, Any]) -> None:
            if json_output:
                print_json({"truth": truth, "measured": measured})
            else:
                print_table(comparison_table(truth, measured))

        with progress_on_terminal() as progress:
            files = run_demo(ChosenService(server, access), seed, out, make_pipeline, progress, show)
        if not json_output:
            for path in files:
                print_text(f"{path}\n")


@app.command(epilog=EXPLANATION)
def register(
    *,
    fixed: Annotated[Path, typer.Option(help="CT after the ablation: DICOM folder, NIfTI, NRRD or MHA.")],
    moving: Annotated[Path, typer.Option(help="Planning CT.")],
    out: Annotated[Path, typer.Option(help="Folder for displacement.nii.gz and registration.json.")],
    fixed_zone: Annotated[Path | None, typer.Option(help="Ablation zone on the fixed CT.")] = None,
    moving_tumor: Annotated[Path | None, typer.Option(help="Tumor mask on the moving CT.")] = None,
    fixed_series: Series = "",
    moving_series: Series = "",
    fixed_zone_structure: Structure = "",
    moving_tumor_structure: Structure = "",
    landmarks: Annotated[
        Path | None, typer.Option(help="CSV of pairs, LPS mm; for scoring alone.", metavar="CSV")
    ] = None,
    deadline_s: Annotated[float | None, typer.Option(help="Seconds for the registration itself.")] = None,
    json_output: AsJson = False,
) -> None:
    """Register two CTs in this process: a fixed point p lies at p + d(p) in the moving CT."""
    with errors_shown(as_json=json_output):
        from service.commands.registering import RegistrationRequest, register_files
        from service.commands.registration_report import registration_table
        from service.commands.terminal import progress_on_terminal

        request = RegistrationRequest(
            fixed=fixed,
            moving=moving,
            out=out,
            fixed_zone=fixed_zone,
            moving_tumor=moving_tumor,
            landmarks=landmarks,
            fixed_series=fixed_series,
            moving_series=moving_series,
            fixed_zone_structure=fixed_zone_structure,
            moving_tumor_structure=moving_tumor_structure,
            deadline_s=deadline_s,
        )
        with progress_on_terminal() as progress:
            report = register_files(request, progress)
        print_report(report, registration_table, as_json=json_output)
        if report["refusal"] is not None:
            raise SystemExit(REFUSED)


@app.command(epilog=EXPLANATION)
def segment(
    *,
    model: Annotated[Path, typer.Option(help="Bundle of a segmentation model: models/<id>/<version>.")],
    image: Annotated[Path, typer.Option(help="CT: DICOM folder, NIfTI, NRRD or MHA.")],
    out: Annotated[Path, typer.Option(help="NIfTI file for the labels, on the grid of the CT.")],
    series: Series = "",
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
    with errors_shown(as_json=json_output):
        from service.commands.segmenting import (
            SegmentationRequest,
            segment_file,
            segmentation_table,
        )
        from service.commands.terminal import progress_on_terminal

        request = SegmentationRequest(model, image, out, series, region, backend, precision, mirror)
        with progress_on_terminal() as progress:
            report = segment_file(request, progress)
        print_report(report, segmentation_table, as_json=json_output)


@app.command(epilog=EXPLANATION)
def info(
    server: Address = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_server_name: TlsServerName = "",
    token_file: TokenFile = None,
    json_output: AsJson = False,
) -> None:
    """Print what is installed here, or what a running service offers."""
    with errors_shown(as_json=json_output):
        from service.commands.information import describe_here, describe_service, in_lines
        from service.settings import read_settings

        settings = read_settings()
        if server:
            access = Access(tls_ca, tls_certificate, tls_key, tls_server_name, token_file)
            described = describe_service(server, access)
        else:
            described = describe_here(settings, make_pipeline)
        if json_output:
            print_json(described)
        else:
            print_text("\n".join(in_lines(described)) + "\n")


@app.command(epilog=EXPLANATION)
def selftest(json_output: AsJson = False) -> None:
    """Measure a phantom of known truth in this process; exit code 7 if it is measured wrongly."""
    with errors_shown(as_json=json_output):
        from service.logging import silence_logging
        from service.settings import read_settings

        silence_logging()
        make_pipeline(read_settings()).self_test()
        if json_output:
            print_json({"self_test": "passed"})
        else:
            print_text("self test: passed\n")


check.register(app)
features.register(app)
health.register(app)


def _make_mock_pipeline(answers: str | None) -> Pipeline:
    """Return what gives canned answers: those that are named, or all kinds."""
    from service.pipeline.mock import MockPipeline, mock_answers

    return MockPipeline() if answers is None else MockPipeline(mock_answers(answers))


def make_pipeline(settings: Settings) -> Pipeline:
    """Return the engine; tests put a stand-in here."""
    from service.pipeline.first_boot import BootingPipeline

    return BootingPipeline(settings)


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on stderr; errors are told in our words
    run_program(app)
