"""``coldspot-export``: make model bundles (needs the ``export`` extra) and look into them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import BackendError, ColdspotError
from engine.manifest import MODEL_CARD_FILE, load_bundle
from engine.survival import SurvivalModel

app = typer.Typer(
    help="Make model bundles and look into them.", no_args_is_help=True, pretty_exceptions_enable=False
)


@app.command("demo-risk")
def demo_risk(
    out: Annotated[Path, typer.Option("--out", help="Models folder; gets deepsurv-demo/1.0.0/.")],
) -> None:
    """Fit the demo risk model on a simulated cohort and write its bundle."""
    try:
        # Looking into a bundle must work without torch, so it is imported only here.
        from export.demo_risk import export_demo_risk  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed; install coldspot[export] to make bundles"
        raise BackendError(message) from error
    typer.echo(str(export_demo_risk(out).folder))


@app.command()
def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, models/<id>/<version>.")],
) -> None:
    """Check a bundle as the bedside does, run its reference outputs, and print its model card."""
    loaded = load_bundle(bundle)
    model = SurvivalModel.load(bundle)
    typer.echo((bundle / MODEL_CARD_FILE).read_text(encoding="utf-8"))
    typer.echo(
        f"Checked: every file of {model.description}, SHA-256 {loaded.model_sha256}, on {model.backend}."
    )


def main() -> None:
    """Run the command line; an error of Coldspot is one line on stderr and exit code 1."""
    try:
        app()
    except ColdspotError as error:
        typer.echo(f"{error.code}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
