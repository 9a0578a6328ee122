"""One whole procedure through the client: what ``coldspot assess`` and ``coldspot demo`` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from service.client.client import ColdspotClient, SentSeries
from service.record.artifact_names import ARTIFACT_NAMES, ASSESSMENT_JSON

if TYPE_CHECKING:
    from coldspot.v1 import assessment_pb2

    from engine.geometry import Vector3
    from engine.volume import CtVolume, LabelMask
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


@dataclass(frozen=True)
class MaskSource:
    """A mask, and which of its structures where it has several."""

    mask: Path | LabelMask
    structure: str = ""


@dataclass(frozen=True)
class Procedure:
    """What is sent for one assessment."""

    planning: Path | CtVolume
    verification: Path | CtVolume
    tumor: MaskSource | None = None
    zone: MaskSource | None = None
    core: MaskSource | None = None
    target_lps_mm: Vector3 | None = None
    sex: str = ""
    fibrinogen_g_per_l: float | None = None
    include_risk_if_complete: bool = False


def assess_procedure(
    client: ColdspotClient, procedure: Procedure, tell: Callable[[str], None]
) -> assessment_pb2.Assessment:
    """Send a procedure and return its final assessment.

    Parameters
    ----------
    client : ColdspotClient
    procedure : Procedure
    tell : callable
        Hears what is going on.
    """
    case_id = client.open_case(
        sex=procedure.sex,
        fibrinogen_g_per_l=procedure.fibrinogen_g_per_l,
        target_lps_mm=procedure.target_lps_mm,
    )
    tell("sending the planning CT")
    planning = client.upload_ct(case_id, procedure.planning, "planning")
    _upload_mask(client, case_id, procedure.tumor, "tumor", planning)
    client.prepare(case_id, on_stage=lambda event: tell(event.stage.replace("_", " ")))
    tell("sending the verification CT")
    verification = client.upload_ct(case_id, procedure.verification, "verification")
    _upload_mask(client, case_id, procedure.zone, "zone", verification)
    _upload_mask(client, case_id, procedure.core, "core", verification)
    return client.assess(
        case_id,
        verification=verification,
        include_risk_if_complete=procedure.include_risk_if_complete,
        on_stage=lambda event: tell(event.stage.replace("_", " ")),
        on_preliminary=lambda found: tell(f"preliminary, not for decision: {found.summary}"),
    )


def fetch_all(client: ColdspotClient, assessment: assessment_pb2.Assessment, folder: Path) -> list[Path]:
    """Write the files of an assessment into ``folder``; of a refused one only its JSON."""
    names = [ASSESSMENT_JSON] if assessment.HasField("refusal") else list(ARTIFACT_NAMES)
    return [client.fetch_artifact(assessment, name, folder) for name in names]


@contextmanager
def connected(address: str | None, make_pipeline: Callable[[Settings], Pipeline]) -> Iterator[ColdspotClient]:
    """Yield a client of the service at ``address``, or of one on loopback that lives for this call."""
    if address:
        with ColdspotClient(address) as client:
            yield client
        return
    from service.logging import silence_logging  # noqa: PLC0415 - the server's modules load only when needed
    from service.server import running_server  # noqa: PLC0415
    from service.settings import read_settings  # noqa: PLC0415

    silence_logging()
    with TemporaryDirectory(prefix="coldspot-") as folder:
        settings = read_settings(
            host="127.0.0.1",
            port=0,
            metrics_port=None,
            state_dir=Path(folder),
            self_test=False,
            tls_certificate=None,
            tls_key=None,
            tls_client_ca=None,
        )
        with (
            running_server(settings, make_pipeline(settings)) as server,
            ColdspotClient(f"127.0.0.1:{server.port}") as client,
        ):
            yield client


def _upload_mask(
    client: ColdspotClient, case_id: str, source: MaskSource | None, role: str, drawn_on: SentSeries
) -> None:
    if source is not None:
        client.upload_mask(case_id, source.mask, role, drawn_on, source.structure)
