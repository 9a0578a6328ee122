"""One whole procedure through the client: what ``coldspot assess`` and ``coldspot demo`` do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError, UnreadableFileError
from engine.path_text import path_text
from engine.progress import TextProgress
from service.artifact_names import ARTIFACT_NAMES, REFUSED_ARTIFACT_NAMES
from service.client.client import ColdspotClient, SentSeries

if TYPE_CHECKING:
    from coldspot.v1 import assessment_pb2

    from engine.geometry import Vector3
    from engine.volume import CtVolume, LabelMask


@dataclass(frozen=True)
class MaskSource:
    """A mask, and which of its structures where it has several."""

    mask: Path | LabelMask
    structure: str = ""


@dataclass(frozen=True)
class Procedure:
    """What is sent for one assessment; a series is named where the folder of its CT holds several."""

    planning: Path | CtVolume
    verification: Path | CtVolume
    planning_series: str = ""
    verification_series: str = ""
    tumor: MaskSource | None = None
    zone: MaskSource | None = None
    core: MaskSource | None = None
    target_lps_mm: Vector3 | None = None
    sex: str = ""
    fibrinogen_g_per_l: float | None = None
    include_risk_if_complete: bool = False
    allow_demo_models: bool = False


def require_inputs(procedure: Procedure) -> None:
    """Refuse a procedure that names a file or folder which is not there, before anything is started for it.

    Raises
    ------
    UnreadableFileError
    """
    masks = (
        source.mask for source in (procedure.tumor, procedure.zone, procedure.core) if source is not None
    )
    for source in (procedure.planning, procedure.verification, *masks):
        if isinstance(source, Path) and not source.exists():
            raise UnreadableFileError(f"{path_text(source)} does not exist; check the path")


def open_case(client: ColdspotClient, procedure: Procedure) -> str:
    """Open a case with the inputs of a procedure and return its id."""
    return client.open_case(
        sex=procedure.sex,
        fibrinogen_g_per_l=procedure.fibrinogen_g_per_l,
        target_lps_mm=procedure.target_lps_mm,
    )


def assess_procedure(
    client: ColdspotClient, case_id: str, procedure: Procedure, progress: TextProgress
) -> assessment_pb2.Assessment:
    """Send the images of a procedure and return its final assessment.

    Parameters
    ----------
    client : ColdspotClient
    case_id : str
        Of :func:`open_case`.
    procedure : Procedure
    progress : callable
        Called with what is being done.
    """
    progress("sending the planning CT")
    planning = client.upload_ct(case_id, procedure.planning, "planning", procedure.planning_series)
    _upload_mask(client, case_id, procedure.tumor, "tumor", planning)
    client.prepare(
        case_id,
        allow_demo_models=procedure.allow_demo_models,
        on_stage=lambda event: progress(event.stage.replace("_", " ")),
    )
    progress("sending the verification CT")
    verification = client.upload_ct(
        case_id, procedure.verification, "verification", procedure.verification_series
    )
    _upload_mask(client, case_id, procedure.zone, "zone", verification)
    _upload_mask(client, case_id, procedure.core, "core", verification)
    return client.assess(
        case_id,
        verification=verification,
        include_risk_if_complete=procedure.include_risk_if_complete,
        allow_demo_models=procedure.allow_demo_models,
        on_stage=lambda event: progress(event.stage.replace("_", " ")),
        on_preliminary=lambda preliminary: progress(f"preliminary, not for decision: {preliminary.summary}"),
    )


def fetch_all(client: ColdspotClient, assessment: assessment_pb2.Assessment, folder: Path) -> list[Path]:
    """Write the files of an assessment into ``folder``; of a refused one only its sheet and its JSON.

    Files of an earlier assessment are removed first, others are left alone. The new ones appear when all of them are
    there, so that the folder never holds files of two answers, or a part of one.

    Raises
    ------
    InvalidRequestError
        If the folder cannot take them.
    """
    names = REFUSED_ARTIFACT_NAMES if assessment.HasField("refusal") else ARTIFACT_NAMES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARTIFACT_NAMES:
            (folder / name).unlink(missing_ok=True)
        with TemporaryDirectory(prefix=".coldspot-", dir=folder) as unfinished:
            whole = [client.fetch_artifact(assessment, name, Path(unfinished)) for name in names]
            return [path.replace(folder / path.name) for path in whole]
    except OSError as error:
        raise InvalidRequestError(
            f"the files of the answer could not be written to {folder}: {error.strerror}", "out"
        ) from error


def _upload_mask(
    client: ColdspotClient, case_id: str, source: MaskSource | None, role: str, drawn_on: SentSeries
) -> None:
    if source is not None:
        client.upload_mask(case_id, source.mask, role, drawn_on, source.structure)
