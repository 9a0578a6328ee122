"""``coldspot check``: its options and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import EXPLANATION, AsJson, Series, Structure
from service.commands.output import errors_shown, print_report


def register(app: typer.Typer) -> None:
    """Add the command to ``coldspot``."""
    app.command(epilog=EXPLANATION)(check)


def check(
    *,
    planning: Annotated[Path, typer.Option(help="Planning CT: DICOM folder, NIfTI, NRRD or MHA.")],
    verification: Annotated[Path | None, typer.Option(help="CT after the ablation.")] = None,
    tumor: Annotated[Path | None, typer.Option(help="Tumor mask on the planning CT.")] = None,
    zone: Annotated[Path | None, typer.Option(help="Ablation zone on the verification CT.")] = None,
    core: Annotated[Path | None, typer.Option(help="Dense core of the zone.")] = None,
    planning_series: Series = "",
    verification_series: Series = "",
    tumor_structure: Structure = "",
    zone_structure: Structure = "",
    core_structure: Structure = "",
    json_output: AsJson = False,
) -> None:
    """Read and check what an assessment would be given, and measure nothing; with the exit code of assess."""
    with errors_shown(as_json=json_output):
        from service.commands.check_report import check_json, check_table
        from service.commands.checking import CheckRequest, InputSource, check_procedure
        from service.commands.terminal import progress_on_terminal

        request = CheckRequest(
            planning=InputSource(planning, planning_series),
            verification=InputSource(verification, verification_series) if verification else None,
            tumor=InputSource(tumor, tumor_structure) if tumor else None,
            zone=InputSource(zone, zone_structure) if zone else None,
            core=InputSource(core, core_structure) if core else None,
        )
        with progress_on_terminal() as progress:
            checked = check_procedure(request, progress)
        print_report(check_json(checked), check_table, as_json=json_output)
        if checked.exit_code:
            raise SystemExit(checked.exit_code)
