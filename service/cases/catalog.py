"""The stored cases as a list: what each holds, and when it was last used."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from engine.errors import InvalidRequestError
from service.cases.requests import CaseOverview, CasePage

if TYPE_CHECKING:
    from service.cases.blobs import BlobStore
    from service.cases.database import Database

_USUAL_PAGE: Final = 100
_LARGEST_PAGE: Final = 1000

_PAGE = """
SELECT rowid, case_id, opened_at,
    (SELECT count(*) FROM series WHERE series.case_id = cases.case_id),
    (SELECT count(*) FROM assessments WHERE assessments.case_id = cases.case_id),
    (SELECT coalesce(sum(stored_bytes), 0) FROM series WHERE series.case_id = cases.case_id)
FROM cases WHERE rowid < ? ORDER BY rowid DESC LIMIT ?
"""
_ARTIFACTS = """
SELECT sha256 FROM artifacts JOIN assessments USING (assessment_id) WHERE case_id = ?
"""


class CaseCatalog:
    """Lists the cases of a store.

    Parameters
    ----------
    database : Database
        With the tables of :mod:`service.cases.store`.
    blobs : BlobStore
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database, self._blobs = database, blobs

    def page(self, size: int, token: str) -> CasePage:
        """Return a page of cases, the newest first; one opened meanwhile is on no later page.

        Parameters
        ----------
        size : int
            0 takes a usual one; large ones are cut.
        token : str
            Of the page before; empty for the first page.

        Raises
        ------
        InvalidRequestError
            If the token is not one that a page had.
        """
        size = min(size or _USUAL_PAGE, _LARGEST_PAGE)
        rows = self._database.rows(_PAGE, (_before(token), size + 1))
        cases = tuple(
            CaseOverview(
                case_id,
                datetime.fromisoformat(opened_at),
                series_count,
                assessment_count,
                series_bytes + self._artifact_bytes(case_id),
            )
            for _, case_id, opened_at, series_count, assessment_count, series_bytes in rows[:size]
        )
        return CasePage(cases, str(rows[size - 1][0]) if len(rows) > size else "")

    def by_last_use(self) -> list[tuple[str, datetime]]:
        """Return the id of every case and when it was last given something (UTC), the longest unused first."""
        rows = self._database.rows(
            "SELECT case_id, coalesce(used_at, opened_at) AS used FROM cases ORDER BY used"
        )
        return [(str(case_id), datetime.fromisoformat(used)) for case_id, used in rows]

    def _artifact_bytes(self, case_id: str) -> int:
        return sum(self._blobs.size(str(row[0])) for row in self._database.rows(_ARTIFACTS, (case_id,)))


def _before(token: str) -> int:
    """Return the row number that a page ends before."""
    if not token:
        return 1 << 62
    if not token.isdecimal() or len(token) > 18:
        raise InvalidRequestError("page_token is not one that a page of this list had", "page_token")
    return int(token)
