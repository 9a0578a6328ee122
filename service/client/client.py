"""Talks to a Coldspot service: the whole procedure in five calls.

>>> with ColdspotClient("127.0.0.1:50051") as client:      # doctest: +SKIP
...     case = client.open_case(sex="f")
...     planning = client.upload_ct(case, "planning/", "planning")
...     tumor = client.upload_mask(case, "tumor.nii.gz", "tumor", planning)
...     client.prepare(case)
...     verification = client.upload_ct(case, "verification/", "verification")
...     zone = client.upload_mask(case, "zone.nii.gz", "zone", verification)
...     assessment = client.assess(case)

Every failure is raised as the class of :mod:`engine.errors` that the service raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coldspot.v1 import assessment_pb2, service_pb2

from engine.errors import ServiceError
from engine.geometry import Vector3
from engine.volume import CtVolume, LabelMask
from service.artifact_names import check_artifact_name
from service.client.case_calls import CaseClient
from service.client.sending import ct_content, mask_content
from service.wire.geometry import point_message

_WORK_DEADLINE_S: Final = 600.0

CT_ROLES: Final = {
    "planning": service_pb2.SERIES_ROLE_PLANNING_CT,
    "verification": service_pb2.SERIES_ROLE_VERIFICATION_CT,
}
MASK_ROLES: Final = {
    "tumor": service_pb2.SERIES_ROLE_TUMOR_MASK,
    "zone": service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK,
    "core": service_pb2.SERIES_ROLE_ABLATION_CORE_MASK,
}


@dataclass(frozen=True)
class SentSeries:
    """A series the service has acknowledged, and what it noticed in it."""

    series_id: str
    warnings: tuple[str, ...] = ()


StageListener = Callable[[service_pb2.StageEvent], None]
_PreliminaryListener = Callable[[assessment_pb2.Assessment], None]


class ColdspotClient(CaseClient):
    """A connection to one service; use as a context manager. Its parameters are those of :class:`CaseClient`."""

    def upload_ct(self, case_id: str, ct: str | Path | CtVolume, role: str, series: str = "") -> SentSeries:
        """Send a CT and return the stored series.

        Parameters
        ----------
        case_id : str
        ct : path or CtVolume
            A folder of DICOM instances (sent as they are), a file of another format, or a volume.
        role : {"planning", "verification"}
        series : str, optional
            Which one, if a folder holds several: number, UID or description.
        """
        source = ct if isinstance(ct, CtVolume) else Path(ct)
        outgoing = ct_content(source, series)
        header = outgoing.header(case_id, CT_ROLES[role], "")
        return _acknowledged(self._connection.upload(outgoing, header))

    def upload_mask(
        self,
        case_id: str,
        mask: str | Path | LabelMask,
        role: str,
        drawn_on: SentSeries,
        structure: str = "",
    ) -> SentSeries:
        """Send a mask and return the stored series.

        Parameters
        ----------
        case_id : str
        mask : path or LabelMask
            A DICOM SEG or RTSTRUCT (sent as it is), a file of another format, or a mask.
        role : {"tumor", "zone", "core"}
        drawn_on : SentSeries
            The CT it was drawn on, as :meth:`upload_ct` returned it.
        structure : str, optional
            Which one, if there are several: label value, number or label of a segment, ROI name.
        """
        source = mask if isinstance(mask, LabelMask) else Path(mask)
        outgoing = mask_content(source, role, structure)
        header = outgoing.header(case_id, MASK_ROLES[role], drawn_on.series_id)
        return _acknowledged(self._connection.upload(outgoing, header))

    def prepare(
        self,
        case_id: str,
        *,
        target_lps_mm: Vector3 | None = None,
        allow_demo_models: bool = False,
        on_stage: StageListener | None = None,
        deadline_s: float = _WORK_DEADLINE_S,
    ) -> service_pb2.Prepared:
        """Do everything that needs only the newest planning CT, and return what was found there.

        A ``target_lps_mm`` given here replaces the case's: for example the place of one of the candidates
        that a refusal has listed. ``allow_demo_models`` lets one draw the tumor where no mask was sent.
        """
        prepared: service_pb2.Prepared | None = None
        request = service_pb2.PrepareRequest(
            case_id=case_id,
            target_lps_mm=point_message(target_lps_mm),
            allow_demo_models=allow_demo_models,
        )
        for event in self._connection.patiently(
            lambda: self._connection.service.Prepare(request, timeout=deadline_s)
        ):
            if event.WhichOneof("event") == "prepared":
                prepared = event.prepared
            elif on_stage is not None:
                on_stage(event.stage)
        if prepared is None:
            raise ServiceError("the service ended Prepare without an answer; try again, and report it")
        return prepared

    def assess(
        self,
        case_id: str,
        *,
        verification: SentSeries | None = None,
        include_risk_if_complete: bool = False,
        allow_demo_models: bool = False,
        on_stage: StageListener | None = None,
        on_preliminary: _PreliminaryListener | None = None,
        deadline_s: float = _WORK_DEADLINE_S,
    ) -> assessment_pb2.Assessment:
        """Measure a verification CT (the newest one unless named) and return the final answer."""
        final: assessment_pb2.Assessment | None = None
        request = service_pb2.AssessRequest(
            case_id=case_id,
            verification_series_id=verification.series_id if verification else "",
            include_risk_if_complete=include_risk_if_complete,
            allow_demo_models=allow_demo_models,
        )
        for event in self._connection.patiently(
            lambda: self._connection.service.Assess(request, timeout=deadline_s)
        ):
            kind = event.WhichOneof("event")
            if kind == "final":
                final = event.final
            elif kind == "preliminary" and on_preliminary is not None:
                on_preliminary(event.preliminary)
            elif kind == "stage" and on_stage is not None:
                on_stage(event.stage)
        if final is None:
            raise ServiceError("the service ended Assess without a final answer; try again, and report it")
        return final

    def fetch_artifact(self, assessment: assessment_pb2.Assessment, name: str, folder: Path) -> Path:
        """Write one file of a stored assessment into ``folder`` and return its path."""
        check_artifact_name(name)
        request = service_pb2.FetchArtifactRequest(
            case_id=assessment.provenance.case_id,
            assessment_id=assessment.provenance.assessment_id,
            name=name,
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        _write_whole(path, self._connection.download(request))
        return path


def _acknowledged(response: service_pb2.UploadSeriesResponse) -> SentSeries:
    return SentSeries(response.series_id, tuple(response.warnings))


def _write_whole(path: Path, chunks: Iterator[bytes]) -> None:
    """Write a file that is complete or not there."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
