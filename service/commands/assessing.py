"""One assessment by a running service, or by one that is started for it: ``coldspot assess`` and ``coldspot demo``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ColdspotError
from engine.progress import TextProgress
from service.client.client import ColdspotClient
from service.client.procedure_call import Procedure, assess_procedure, fetch_all, open_case, require_inputs
from service.commands.out_folder import require_out_folder
from service.commands.own_service import ChosenService, connected
from service.wire.report import assessment_json

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


def run_assessment(
    chosen: ChosenService,
    procedure: Procedure,
    out: Path | None,
    make_pipeline: Callable[[Settings], Pipeline],
    progress: TextProgress,
    show: Callable[[dict[str, Any]], None],
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Send a procedure and return the report of its final assessment and the files that were written.

    The report is shown before files are written: should these fail, the numbers stand.

    Parameters
    ----------
    chosen : ChosenService
    procedure : Procedure
    out : Path or None
        Folder for the files of the assessment; None writes none.
    make_pipeline : callable
        Makes the pipeline of a service started for this call.
    progress : callable
        Called with what is being done.
    show : callable
        Called with the report.

    Raises
    ------
    ColdspotError
    """
    require_inputs(procedure)
    if out is not None:
        require_out_folder(out)
    with (
        connected(chosen, make_pipeline, progress) as client,
        _opened_case(client, chosen, procedure) as case_id,
    ):
        final = assess_procedure(client, case_id, procedure, progress)
        report = assessment_json(final)
        show(report)
        if out is None:
            return report, ()
        progress("fetching the pictures")
        return report, tuple(fetch_all(client, final, out))


@contextmanager
def _opened_case(client: ColdspotClient, chosen: ChosenService, procedure: Procedure) -> Iterator[str]:
    """Yield the id of a case opened for a procedure; afterwards it is deleted, unless it is to be kept."""
    case_id = open_case(client, procedure)
    try:
        yield case_id
    finally:
        if not chosen.keep_case:
            try:
                client.delete_case(case_id)
            except ColdspotError as error:  # the answer, or what went wrong before, matters more
                sys.stderr.write(f"coldspot: the case {case_id} stays on the service: {error}\n")
