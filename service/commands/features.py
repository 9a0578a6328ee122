"""The command ``coldspot features``: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import EXPLANATION, AsJson, Series, Structure
from service.commands.output import errors_shown, print_report


def register(app: typer.Typer) -> None:
    """Add the command to ``coldspot``."""
    app.command(epilog=EXPLANATION)(features)


def features(
    *,
    model: Annotated[Path, typer.Option(help="Bundle of a feature model: models/<id>/<version>.")],
    image: Annotated[Path, typer.Option(help="CT: DICOM folder, NIfTI, NRRD or MHA.")],
    mask: Annotated[Path, typer.Option(help="The lesion, on the grid of the CT.")],
    structure: Structure = "",
    series: Series = "",
    out: Annotated[Path | None, typer.Option(help="File for the features: .csv or .npy.")] = None,
    backend: Annotated[str, typer.Option(help="What computes.")] = "onnxruntime",
    precision: Annotated[str, typer.Option(help="Variant of the bundle: fp32, fp16_mixed, int8.")] = "fp32",
    json_output: AsJson = False,
) -> None:
    """Compute the features of a lesion by a feature bundle (FM-LCT) in this process; for research."""
    with errors_shown(as_json=json_output):
        from service.commands.extracting import FeatureRequest, extract_features, feature_table
        from service.commands.terminal import progress_on_terminal
        from service.settings import read_settings

        request = FeatureRequest(model, image, mask, structure, series, out, backend, precision)
        with progress_on_terminal() as progress:
            report = extract_features(request, progress, clinical_mode=read_settings().clinical_mode)
        print_report(report, feature_table, as_json=json_output)
