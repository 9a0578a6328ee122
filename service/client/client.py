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

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc
from coldspot.v1 import assessment_pb2, geometry_pb2, service_pb2, service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from engine.errors import CapacityError, InvalidRequestError, ServiceError
from engine.geometry import Vector3
from engine.volume import CtVolume, LabelMask
from service.client.sending import Outgoing, ct_content, mask_content, parts_of
from service.record.artifact_names import check_artifact_name
from service.wire.status import error_from_call
from service.wire.upload import METHOD, encoded

_CALL_DEADLINE_S: Final = 10.0
_UPLOAD_DEADLINE_S: Final = 600.0
_WORK_DEADLINE_S: Final = 600.0

CT_ROLES: Final = {
    "planning": service_pb2.SERIES_ROLE_PLANNING_CT,
    "verification": service_pb2.SERIES_ROLE_VERIFICATION_CT,
}
_MASK_ROLES: Final = {
    "tumor": service_pb2.SERIES_ROLE_TUMOR_MASK,
    "zone": service_pb2.SERIES_ROLE_ABLATION_ZONE_MASK,
    "core": service_pb2.SERIES_ROLE_ABLATION_CORE_MASK,
}
_SEXES: Final = {"": service_pb2.SEX_UNSPECIFIED, "f": service_pb2.SEX_FEMALE, "m": service_pb2.SEX_MALE}


@dataclass(frozen=True)
class SentSeries:
    """A series the service has acknowledged, and what it noticed in it."""

    series_id: str
    warnings: tuple[str, ...] = ()


StageListener = Callable[[service_pb2.StageEvent], None]
Answer = TypeVar("Answer")
_PreliminaryListener = Callable[[assessment_pb2.Assessment], None]


class ColdspotClient:
    """A connection to one service; use as a context manager.

    Parameters
    ----------
    target : str
        ``host:port``.
    credentials : grpc.ChannelCredentials, optional
        For TLS; without them the channel is plain.
    patience_s : float, optional
        How long to keep trying when the service is full, waiting as it asks to.
    """

    def __init__(
        self, target: str, credentials: grpc.ChannelCredentials | None = None, patience_s: float = 0.0
    ) -> None:
        if credentials is None:
            self._channel = grpc.insecure_channel(target)
        else:
            self._channel = grpc.secure_channel(target, credentials)
        self._patience_s = patience_s
        make_stub: Callable[[grpc.Channel], Any] = service_pb2_grpc.ColdspotServiceStub
        self._service = make_stub(self._channel)
        self._send_series = self._channel.stream_unary(
            METHOD, encoded, service_pb2.UploadSeriesResponse.FromString
        )
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open_case(
        self,
        *,
        sex: str = "",
        fibrinogen_g_per_l: float | None = None,
        target_lps_mm: Vector3 | None = None,
        request_id: str = "",
    ) -> str:
        """Open a case and return its id.

        Parameters
        ----------
        sex : {"f", "m", ""}
        fibrinogen_g_per_l : float, optional
            Fibrinogen before the ablation, g/L.
        target_lps_mm : tuple of float, optional
            The navigation system's point in the tumor, LPS mm in the planning CT.
        request_id : str, optional
            Repeat a call with the same id to find the case it opened.
        """
        if sex not in _SEXES:
            raise InvalidRequestError(f"sex is f or m, not {sex!r}; leave it out where unknown", "sex")
        request = service_pb2.OpenCaseRequest(
            request_id=request_id or str(uuid.uuid4()),
            sex=_SEXES[sex],
            fibrinogen_g_per_l=fibrinogen_g_per_l,
            target_lps_mm=_point(target_lps_mm),
        )
        with _typed_errors():
            return str(self._service.OpenCase(request, timeout=_CALL_DEADLINE_S).case_id)

    def upload_ct(self, case_id: str, ct: str | Path | CtVolume, role: str) -> SentSeries:
        """Send a CT.

        Parameters
        ----------
        case_id : str
        ct : path or CtVolume
            A folder of DICOM instances (sent as they are), a file of another format, or a volume.
        role : {"planning", "verification"}
        """
        source = ct if isinstance(ct, CtVolume) else Path(ct)
        return self._upload(case_id, CT_ROLES[role], ct_content(source))

    def upload_mask(
        self,
        case_id: str,
        mask: str | Path | LabelMask,
        role: str,
        drawn_on: SentSeries,
        structure: str = "",
    ) -> SentSeries:
        """Send a mask.

        Parameters
        ----------
        case_id : str
        mask : path or LabelMask
            A DICOM SEG or RTSTRUCT (sent as it is), a file of another format, or a mask.
        role : {"tumor", "zone", "core"}
        drawn_on : SentSeries
            The CT it was drawn on, as :meth:`upload_ct` returned it.
        structure : str, optional
            Which one, if there are several: label value, segment number or ROI name.
        """
        source = mask if isinstance(mask, LabelMask) else Path(mask)
        outgoing = mask_content(source, role, structure)
        return self._upload(case_id, _MASK_ROLES[role], outgoing, drawn_on.series_id)

    def prepare(
        self,
        case_id: str,
        *,
        target_lps_mm: Vector3 | None = None,
        on_stage: StageListener | None = None,
        deadline_s: float = _WORK_DEADLINE_S,
    ) -> service_pb2.Prepared:
        """Do everything that needs only the newest planning CT.

        A ``target_lps_mm`` given here holds instead of the case's: the place of one of the candidates that
        a refusal has listed, say.
        """
        prepared: service_pb2.Prepared | None = None
        request = service_pb2.PrepareRequest(case_id=case_id, target_lps_mm=_point(target_lps_mm))
        for event in self._patiently(lambda: self._service.Prepare(request, timeout=deadline_s)):
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
        )
        for event in self._patiently(lambda: self._service.Assess(request, timeout=deadline_s)):
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
        path, unfinished = folder / name, folder / f".{name}.part"
        try:
            with _typed_errors(), unfinished.open("wb") as file:
                for part in self._service.FetchArtifact(request, timeout=_UPLOAD_DEADLINE_S):
                    file.write(part.chunk)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path

    def case(self, case_id: str) -> service_pb2.GetCaseResponse:
        """Return what is stored of a case."""
        with _typed_errors():
            request = service_pb2.GetCaseRequest(case_id=case_id)
            response: service_pb2.GetCaseResponse = self._service.GetCase(request, timeout=_CALL_DEADLINE_S)
            return response

    def assessment(self, case_id: str, assessment_id: str) -> assessment_pb2.Assessment:
        """Return a stored final assessment."""
        with _typed_errors():
            request = service_pb2.GetAssessmentRequest(case_id=case_id, assessment_id=assessment_id)
            response: service_pb2.GetAssessmentResponse = self._service.GetAssessment(
                request, timeout=_CALL_DEADLINE_S
            )
            return response.assessment

    def delete_case(self, case_id: str) -> None:
        """Remove a case from the service."""
        with _typed_errors():
            self._service.DeleteCase(service_pb2.DeleteCaseRequest(case_id=case_id), timeout=_CALL_DEADLINE_S)

    def info(self) -> service_pb2.GetServerInfoResponse:
        """Return version, device, models and limits of the service."""
        with _typed_errors():
            response: service_pb2.GetServerInfoResponse = self._service.GetServerInfo(
                service_pb2.GetServerInfoRequest(), timeout=_CALL_DEADLINE_S
            )
            return response

    def is_serving(self) -> bool:
        """Whether the standard health check says SERVING."""
        with _typed_errors():
            answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=_CALL_DEADLINE_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _upload(
        self,
        case_id: str,
        role: service_pb2.SeriesRole,
        outgoing: Outgoing,
        reference_series_id: str = "",
    ) -> SentSeries:
        header = outgoing.header(case_id, role, reference_series_id)
        response = next(
            self._patiently(
                lambda: iter([self._send_series(parts_of(header, outgoing), timeout=_UPLOAD_DEADLINE_S)])
            )
        )
        return SentSeries(response.series_id, tuple(response.warnings))

    def _patiently(self, call: Callable[[], Iterator[Answer]]) -> Iterator[Answer]:
        """Yield what a call answers; while the service is full, wait as it asks and call again."""
        give_up_at = time.monotonic() + self._patience_s
        while True:
            try:
                with _typed_errors():
                    yield from call()
            except CapacityError as full:
                if time.monotonic() + full.retry_after_s > give_up_at:
                    raise
                time.sleep(full.retry_after_s)
            else:
                return


def _point(position_lps_mm: Vector3 | None) -> geometry_pb2.Point | None:
    if position_lps_mm is None:
        return None
    x, y, z = position_lps_mm
    return geometry_pb2.Point(x=x, y=y, z=z)


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_call(error) from None
