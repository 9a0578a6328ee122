"""``coldspot-export``: make model bundles (needs the ``export`` extra), measure them and look into them.

Looking into a bundle works without torch.
"""

from __future__ import annotations

import typer

from engine.command_line import CONTEXT, run_program
from export.commands import cohort, examining, making
from export.commands.options import EXIT_CODES

app = typer.Typer(
    help="Make model bundles, measure them and look into them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings=CONTEXT,
    pretty_exceptions_enable=False,
)
for commands in (making, examining, cohort):
    commands.register(app)


def main() -> None:
    """Run the command line."""
    run_program(app)


if __name__ == "__main__":
    main()
