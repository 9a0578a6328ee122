"""The short calls of a client: cases are opened, corrected, looked at, listed and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from coldspot.v1 import assessment_pb2, service_pb2

from engine.errors import InvalidRequestError
from engine.geometry import Vector3
from service.client.connection import Connection
from service.credentials import Access
from service.wire.geometry import point_message

_SEXES: Final = {"": service_pb2.SEX_UNSPECIFIED, "f": service_pb2.SEX_FEMALE, "m": service_pb2.SEX_MALE}


class CaseClient:
    """A connection to one service and what it has stored; use as a context manager.

    Parameters
    ----------
    target : str
        ``host:port``.
    access : Access, optional
        TLS, and a token for a service that asks for one; without it the connection is plain.
    patience_s : float, optional
        How long to keep trying when the service is full, waiting as it asks to.

    Raises
    ------
    InvalidRequestError
        If a certificate, a key or the token cannot be used.
    """

    def __init__(self, target: str, access: Access | None = None, patience_s: float = 0.0) -> None:
        self._connection = Connection(target, access or Access(), patience_s)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

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
        request = service_pb2.OpenCaseRequest(
            request_id=request_id or str(uuid.uuid4()),
            sex=_sex_message(sex),
            fibrinogen_g_per_l=fibrinogen_g_per_l,
            target_lps_mm=point_message(target_lps_mm),
        )
        return str(self._connection.call("OpenCase", request).case_id)

    def update_case(
        self,
        case_id: str,
        *,
        sex: str | None = None,
        fibrinogen_g_per_l: float | None = None,
        target_lps_mm: Vector3 | None = None,
        clear: Iterable[str] = (),
    ) -> None:
        """Correct inputs of a case; what is left out stays as it is.

        Parameters
        ----------
        case_id : str
        sex : {"f", "m"}, optional
        fibrinogen_g_per_l, target_lps_mm : optional
            As for :meth:`open_case`.
        clear : iterable of str
            Names of inputs that are not known any more.
        """
        given = {
            "sex": sex,
            "fibrinogen_g_per_l": fibrinogen_g_per_l,
            "target_lps_mm": target_lps_mm,
        }
        request = service_pb2.UpdateCaseRequest(
            case_id=case_id,
            sex=_sex_message(sex or ""),
            fibrinogen_g_per_l=fibrinogen_g_per_l,
            target_lps_mm=point_message(target_lps_mm),
        )
        request.update_mask.paths.extend(
            [*(name for name, value in given.items() if value is not None), *clear]
        )
        self._connection.call("UpdateCase", request)

    def case(self, case_id: str) -> service_pb2.GetCaseResponse:
        """Return what is stored for a case."""
        request = service_pb2.GetCaseRequest(case_id=case_id)
        response: service_pb2.GetCaseResponse = self._connection.call("GetCase", request)
        return response

    def cases(self) -> Iterator[service_pb2.CaseOverview]:
        """Yield every case that the service has stored, the newest first."""
        request = service_pb2.ListCasesRequest()
        while True:
            page: service_pb2.ListCasesResponse = self._connection.call("ListCases", request)
            yield from page.cases
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def assessment(self, case_id: str, assessment_id: str) -> assessment_pb2.Assessment:
        """Return a stored final assessment."""
        request = service_pb2.GetAssessmentRequest(case_id=case_id, assessment_id=assessment_id)
        response: service_pb2.GetAssessmentResponse = self._connection.call("GetAssessment", request)
        return response.assessment

    def delete_case(self, case_id: str) -> None:
        """Remove a case from the service."""
        self._connection.call("DeleteCase", service_pb2.DeleteCaseRequest(case_id=case_id))

    def info(self) -> service_pb2.GetServerInfoResponse:
        """Return version, device, models and limits of the service."""
        request = service_pb2.GetServerInfoRequest()
        response: service_pb2.GetServerInfoResponse = self._connection.call("GetServerInfo", request)
        return response

    def is_serving(self) -> bool:
        """Whether the standard health check says SERVING."""
        return self._connection.is_serving()


def _sex_message(sex: str) -> service_pb2.Sex:
    if sex not in _SEXES:
        raise InvalidRequestError(f"sex is f or m, not {sex!r}; leave it out if it is unknown", "sex")
    return _SEXES[sex]
