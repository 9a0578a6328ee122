"""One assessment by a running service, or by one that is started for it: ``coldspot assess`` and ``coldspot demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.progress import TextProgress
from service.client.procedure_call import Procedure, assess_procedure, fetch_all
from service.commands.own_service import connected
from service.wire.report import assessment_json

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


def run_assessment(
    address: str | None,
    procedure: Procedure,
    out: Path | None,
    make_pipeline: Callable[[Settings], Pipeline],
    progress: TextProgress,
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Send a procedure and return the report of its final assessment and the files that were written.

    Parameters
    ----------
    address : str or None
        Address of a running service; None starts one for this call.
    procedure : Procedure
    out : Path or None
        Folder for the files of the assessment; None writes none.
    make_pipeline : callable
        Makes the pipeline of a service started for this call.
    progress : callable
        Called with what is being done.

    Raises
    ------
    ColdspotError
    """
    with connected(address, make_pipeline) as client:
        final = assess_procedure(client, procedure, progress)
        report = assessment_json(final)
        if out is None:
            return report, ()
        progress("fetching the pictures")
        return report, tuple(fetch_all(client, final, out))
