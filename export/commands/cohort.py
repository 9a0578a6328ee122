"""The commands that fit a risk model: from a cohort with images, from a table, and the report of a fit."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.command_line import print_json
from export.commands.horizons import parse_horizons, whole_months
from export.commands.options import EXIT_CODES, AsJson, Licence, NewBundle, Version
from export.commands.output import export_errors_shown, in_steps, print_fit, print_paths, progress_shown

if TYPE_CHECKING:
    from export.cohort.runners import CohortRunner


class _ImageTypes(StrEnum):
    """Which filtered images the 1316 features are of."""

    WAVELET_LOG = "wavelet_log"
    WAVELET_FILTERS = "wavelet_filters"


class _SignatureUse(StrEnum):
    """What the network gets of the signature."""

    RADSCORE = "radscore"
    FEATURES = "features"


_LICENCE_UNKNOWN: Final = "not stated: ask whoever fitted the model before passing it on"
_Seed = Annotated[int, typer.Option(help="Of all folds and networks; the same seed gives the same model.")]
_Horizons = Annotated[
    str | None,
    typer.Option(
        metavar="T,T,…", help="Times of the risks, as 12,24,36; by default those that suit the follow-up."
    ),
]
_ModelId = Annotated[str, typer.Option("--id", help="Of the bundle, as ltp-risk.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``coldspot-export``."""
    app.command("fit-ltp", epilog=EXIT_CODES)(fit_ltp)
    app.command("fit-survival", epilog=EXIT_CODES)(fit_survival)
    app.command("predict", epilog=EXIT_CODES)(predict)
    app.command("report", epilog=EXIT_CODES)(report)
    app.command("simulate-cohort", epilog=EXIT_CODES)(simulate_cohort)


def fit_ltp(
    cohort: Annotated[
        Path, typer.Argument(help="CSV with a line per case: images, clinical values, follow-up.")
    ],
    *,
    out: NewBundle,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Kept results of the cases; a stopped run goes on from there. OUT.work by default."
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases at a time on this machine.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on a Ray cluster instead: local, auto or host:port."),
    ] = None,
    seed: _Seed = 1,
    image_types: Annotated[_ImageTypes, typer.Option(help="Of the 1316 features.")] = _ImageTypes.WAVELET_LOG,
    signature: Annotated[
        _SignatureUse, typer.Option(help="Give the network the Radscore, or the signature's features.")
    ] = _SignatureUse.RADSCORE,
    horizons: _Horizons = None,
    licence: Licence = _LICENCE_UNKNOWN,
    model_id: _ModelId = "ltp-risk",
    model_version: Version = "1.0.0",
    json_output: AsJson = False,
) -> None:
    """Fit a model of local tumor progression: measure every case, then signature, network, bundle, report."""
    with export_errors_shown(as_json=json_output):
        from engine.manifest.signature import RadiomicsSettings
        from export.cohort.case_job import CohortSettings
        from export.cohort.fitting import LtpPlan
        from export.cohort.fitting import fit_ltp as fit
        from export.cohort.model_names import ModelNames
        from export.deepsurv.settings import ltp_settings

        with progress_shown() as progress:
            fitted = fit(
                cohort,
                out,
                work=work,
                runner=runner_of(processes, ray),
                seed=seed,
                settings=CohortSettings(radiomics=RadiomicsSettings(image_types=image_types.value)),
                plan=LtpPlan(signature_use=signature.value, network=ltp_settings(whole_months(horizons))),
                names=ModelNames(model_id, model_version, licence),
                on_progress=progress,
            )
        print_fit(fitted, as_json=json_output)


def fit_survival(
    table: Annotated[Path, typer.Argument(help="CSV with a line per case: time, event, numeric covariates.")],
    *,
    time: Annotated[str, typer.Option(help="Column of the follow-up time.")],
    event: Annotated[str, typer.Option(help="Column of the event: 0 none, 1 the event, 2 a competing one.")],
    out: NewBundle,
    test: Annotated[Path | None, typer.Option(help="CSV of cases that take no part in the fit.")] = None,
    seed: _Seed = 0,
    horizons: _Horizons = None,
    licence: Licence = _LICENCE_UNKNOWN,
    model_id: _ModelId = "survival",
    model_version: Version = "1.0.0",
    json_output: AsJson = False,
) -> None:
    """Fit a survival model to a table of numeric covariates."""
    with export_errors_shown(as_json=json_output):
        from export.cohort.model_names import ModelNames
        from export.cohort.table_fit import fit_table
        from export.deepsurv.settings import FitSettings

        settings = FitSettings(horizons=parse_horizons(horizons))
        names = ModelNames(model_id, model_version, licence)
        with progress_shown() as progress:
            fitted = fit_table(
                table,
                time,
                event,
                out,
                test=test,
                seed=seed,
                settings=settings,
                names=names,
                on_progress=progress,
            )
        print_fit(fitted, as_json=json_output)


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a survival model.")],
    table: Annotated[Path, typer.Argument(help="CSV with a line per patient and a column per covariate.")],
    *,
    horizons: Annotated[
        str | None, typer.Option(metavar="T,T,…", help="Times of the risks; the model's own by default.")
    ] = None,
    id_column: Annotated[
        str,
        typer.Option("--id", help="Column with the patients' names; case_id, patient_id or id by default."),
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="CSV for the risks.")] = None,
    json_output: AsJson = False,
) -> None:
    """Give the risk of every patient of a table by a survival model, with 90 % bands; needs no torch."""
    with export_errors_shown(as_json=json_output):
        from export.risk_model.prediction import predict_table

        if out is not None:
            _require_place(out, table)
        predicted = predict_table(bundle, table, horizons=parse_horizons(horizons) or (), id_column=id_column)
        if out is not None:
            predicted.write_csv(out)
        if json_output:
            print_json(predicted.described(out))
        else:
            typer.echo("\n".join(predicted.in_words()))


def report(
    bundle: Annotated[Path, typer.Argument(help="Bundle of fit-ltp or fit-survival.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the page; BUNDLE-report by default.")
    ] = None,
    json_output: AsJson = False,
) -> None:
    """Write the report of a fit: one HTML page, with every figure as PNG and SVG beside it."""
    with export_errors_shown(as_json=json_output):
        from engine.manifest import load_bundle
        from export.survival_report.fit_report import read_fit_report
        from export.survival_report.page import write_report

        load_bundle(bundle)  # a report is of the very files that are served
        folder = out or _report_folder(bundle)
        print_paths([write_report(read_fit_report(bundle), folder)], as_json=json_output)


def simulate_cohort(
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder of the table and the images.")],
    cases: Annotated[int, typer.Option(min=1, help="How many.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 1,
    json_output: AsJson = False,
) -> None:
    """Simulate a cohort with images, to try fit-ltp on: nobody in it is a patient."""
    with export_errors_shown(as_json=json_output):
        from export.cohort.simulated_images import simulate_cohort_folder

        with progress_shown() as progress:
            table = simulate_cohort_folder(out, cases, seed=seed, on_progress=in_steps(progress))
        print_paths([table], as_json=json_output)


def runner_of(processes: int, ray: str | None) -> CohortRunner:
    """Return what computes the cases."""
    from export.cohort.runners import PoolRunner, SerialRunner

    if ray is not None:
        from export.cohort.ray_runner import RayRunner

        workers = processes if processes > 1 else os.cpu_count()
        return RayRunner(ray, workers)
    return PoolRunner(processes) if processes > 1 else SerialRunner()


def _report_folder(bundle: Path) -> Path:
    """Return the folder for the report of a bundle, next to it."""
    folder = bundle.resolve()
    return folder.with_name(f"{folder.name}-report")


def _require_place(out: Path, table: Path) -> None:
    """Refuse a file that cannot be written, or would replace the table, before anything is computed.

    Raises
    ------
    InvalidRequestError
    """
    from engine.errors import InvalidRequestError

    if out.is_dir() or not out.resolve().parent.is_dir():
        raise InvalidRequestError(f"{out} cannot be written: name a file in a folder that exists", "out")
    if out.exists() and table.exists() and out.samefile(table):
        raise InvalidRequestError(f"{out} is the table of the patients; name another file", "out")
