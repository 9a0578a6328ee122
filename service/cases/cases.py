"""Opening, looking at and deleting cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.cases.requests import CasePage, CaseRequest, CaseSummary, CaseUpdate
from service.cases.selection import newest_planning_number
from service.cases.stored_form import decode_request, encode

if TYPE_CHECKING:
    from service.cases.prepared import PreparedShelf
    from service.cases.store import CaseStore
    from service.cases.volumes import VolumeShelf


@dataclass(frozen=True)
class Cases:
    """The cases of one appliance, on disk and in memory."""

    store: CaseStore
    volumes: VolumeShelf
    prepared: PreparedShelf

    def open(self, request: CaseRequest) -> str:
        """Open a case, or return the one this request id has opened.

        Raises
        ------
        InvalidRequestError
            If a clinical input cannot be true, or the request id is empty or too long.
        ConflictError
            If the request id has opened a case with other inputs.
        """
        request.require_possible()
        return self.store.open_case(request.request_id, encode(replace(request, request_id="")))

    def update(self, update: CaseUpdate) -> None:
        """Correct inputs of a case; what was prepared before has to be prepared again if the target has changed.

        Raises
        ------
        InvalidRequestError
            If an input cannot be true, or nothing is to be changed.
        NotFoundError, PreconditionError
        """
        before = decode_request(self.store.request_of(update.case_id))
        after = update.applied_to(before)
        after.require_possible()
        self.store.update_request(
            update.case_id, encode(after), outdates_prepared=after.target_lps_mm != before.target_lps_mm
        )

    def page(self, size: int, token: str) -> CasePage:
        """Return a page of the stored cases, as :meth:`service.cases.catalog.CaseCatalog.page`."""
        return self.store.catalog.page(size, token)

    def summary(self, case_id: str) -> CaseSummary:
        """Return what is stored for a case."""
        series = self.store.series(case_id)
        last = self.store.prepared(case_id)
        return CaseSummary(
            case_id=case_id,
            opened_at=self.store.opened_at(case_id),
            inputs=decode_request(self.store.request_of(case_id)),
            series=tuple(series),
            assessment_ids=tuple(self.store.assessment_ids(case_id)),
            prepared=last is not None and newest_planning_number(series) <= last.newest_number,
        )

    def delete(self, case_id: str) -> None:
        """Remove a case from the disk and from memory."""
        series_ids = {record.series_id for record in self.store.series(case_id)}
        self.store.delete_case(case_id)
        for series_id in series_ids:
            self.volumes.forget(series_id)
        self.prepared.forget(series_ids)
