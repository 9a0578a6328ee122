"""The table of cases: opened by a request id, corrected, and marked whenever they are given something."""

from __future__ import annotations

import sqlite3
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from engine.errors import ConflictError, InvalidRequestError, NotFoundError

if TYPE_CHECKING:
    from service.cases.database import Database

_MAX_REQUEST_ID_LENGTH: Final = 128

_OUTDATED: Final = -1
"""Newest planning-side series of a Prepare that does not count any more: every other is newer."""


class CaseTable:
    """Opens, finds and corrects cases.

    Parameters
    ----------
    database : Database
        With the tables of :mod:`service.cases.store`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def open_case(self, request_id: str, request: bytes) -> str:
        """Return the case of this request id, opening it if it is new.

        Raises
        ------
        InvalidRequestError
            If the request id is empty or too long.
        ConflictError
            If the request id was used with another ``request``.
        """
        if not 0 < len(request_id) <= _MAX_REQUEST_ID_LENGTH:
            raise InvalidRequestError(
                f"request_id needs 1 to {_MAX_REQUEST_ID_LENGTH} characters; a UUID will do", "request_id"
            )
        with self._database.transaction() as database:
            known = database.execute(
                "SELECT case_id, request FROM cases WHERE request_id = ?", (request_id,)
            ).fetchone()
            if known is None:
                case_id = str(uuid.uuid4())
                database.execute(
                    "INSERT INTO cases (case_id, request_id, request, opened_at) VALUES (?, ?, ?, ?)",
                    (case_id, request_id, request, _now()),
                )
                return case_id
        if bytes(known[1]) != request:
            raise ConflictError(
                "this request_id opened a case with other clinical inputs; choose a new request_id"
            )
        return str(known[0])

    def request_of(self, case_id: str) -> bytes:
        """Return the serialized request that opened a case, with the inputs that were corrected since."""
        return self._case(case_id)[0]

    def opened_at(self, case_id: str) -> datetime:
        """Return when a case was opened, UTC."""
        return self._case(case_id)[1]

    def _case(self, case_id: str) -> tuple[bytes, datetime]:
        row = self._database.row(
            "SELECT coalesce(inputs, request), opened_at FROM cases WHERE case_id = ?",
            (valid_id(case_id, "case_id"),),
        )
        if row is None:
            raise NotFoundError(f"there is no case {case_id}; it may have been deleted")
        return bytes(row[0]), datetime.fromisoformat(row[1])

    def update_request(self, case_id: str, request: bytes, *, outdates_prepared: bool) -> None:
        """Replace the inputs of a case; the request that opened it is still found by its id.

        Parameters
        ----------
        case_id : str
        request : bytes
        outdates_prepared : bool
            Whether the last Prepare does not count any more.
        """
        self.require_case(case_id)
        with self._database.transaction() as database:
            database.execute("UPDATE cases SET inputs = ? WHERE case_id = ?", (request, case_id))
            if outdates_prepared:
                database.execute(
                    "UPDATE prepared SET newest_number = ? WHERE case_id = ?", (_OUTDATED, case_id)
                )
            mark_used(database, case_id)

    def require_case(self, case_id: str) -> None:
        """Raise unless the case exists.

        Raises
        ------
        InvalidRequestError, NotFoundError
        """
        self.request_of(case_id)


def mark_used(database: sqlite3.Connection, case_id: str) -> None:
    """Note, within a transaction, that a case was given something now."""
    database.execute("UPDATE cases SET used_at = ? WHERE case_id = ?", (_now(), case_id))


def _now() -> str:
    return datetime.now(UTC).isoformat()


def valid_id(value: str, field: str) -> str:
    """Return an id that this service can have made, a UUID; nothing else reaches the database or a message.

    Raises
    ------
    InvalidRequestError
    """
    try:
        if str(uuid.UUID(value)) == value:
            return value
    except ValueError:
        pass
    raise InvalidRequestError(f"{field} is not an id that this service gives out", field)
