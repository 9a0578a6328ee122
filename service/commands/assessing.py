"""One assessment by a running service, or by one that is started for it: ``coldspot assess`` and ``coldspot demo``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service.client.procedure_call import Procedure, assess_procedure, connected, fetch_all

if TYPE_CHECKING:
    from coldspot.v1 import assessment_pb2

    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


def run_assessment(
    address: str | None,
    procedure: Procedure,
    out: Path | None,
    make_pipeline: Callable[[Settings], Pipeline],
    progress: Callable[[str], None],
) -> tuple[assessment_pb2.Assessment, tuple[Path, ...]]:
    """Send a procedure and return the final assessment and the files that were written.

    Parameters
    ----------
    address : str or None
        Of a running service; None starts one for this call.
    procedure : Procedure
    out : Path or None
        Folder for the files of the assessment; None writes none.
    make_pipeline : callable
        What a service of its own measures with.
    progress : callable
        Called with what is being done.

    Raises
    ------
    ColdspotError
    """
    with connected(address, make_pipeline) as client:
        final = assess_procedure(client, procedure, progress)
        if out is None:
            return final, ()
        progress("fetching the pictures")
        return final, tuple(fetch_all(client, final, out))
