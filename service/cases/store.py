"""Cases on disk: what was acknowledged survives ``kill -9``, what was not is not there.

Large content lies in a :class:`service.cases.blobs.BlobStore`, everything else in one SQLite file in
WAL mode with ``synchronous=FULL`` (a commit is on the disk when it returns). A blob is flushed and
renamed before the row that names it is committed, so that a row never names half a blob; a blob
without a row is removed at the next start.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from engine.errors import NotFoundError, ServiceUnavailableError
from service.cases.blobs import BlobStore, BlobWriter
from service.cases.case_table import CaseTable, mark_used, valid_id
from service.cases.catalog import CaseCatalog
from service.cases.database import Database
from service.cases.owner_only import create_for_owner, make_folder_for_owner, withdraw_from_others
from service.cases.series import SeriesRecord, SeriesRole

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cases (
    case_id TEXT PRIMARY KEY, request_id TEXT NOT NULL UNIQUE, request BLOB NOT NULL,
    opened_at TEXT NOT NULL, inputs BLOB, used_at TEXT);
CREATE TABLE IF NOT EXISTS series (
    number INTEGER PRIMARY KEY AUTOINCREMENT, series_id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, role INTEGER NOT NULL, header BLOB NOT NULL,
    sha256 TEXT NOT NULL, stored_bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS series_of_case ON series (case_id);
CREATE TABLE IF NOT EXISTS prepared (
    case_id TEXT PRIMARY KEY REFERENCES cases ON DELETE CASCADE, planning_series_id TEXT NOT NULL,
    tumor_series_id TEXT NOT NULL, newest_number INTEGER NOT NULL, target TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS assessments (
    number INTEGER PRIMARY KEY AUTOINCREMENT, assessment_id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL REFERENCES cases ON DELETE CASCADE, assessment BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS assessments_of_case ON assessments (case_id);
CREATE TABLE IF NOT EXISTS artifacts (
    assessment_id TEXT NOT NULL REFERENCES assessments (assessment_id) ON DELETE CASCADE, name TEXT NOT NULL,
    sha256 TEXT NOT NULL, PRIMARY KEY (assessment_id, name));
"""


_ADDED_COLUMNS: Final = {
    "prepared": ("target TEXT NOT NULL DEFAULT ''",),
    "cases": ("inputs BLOB", "used_at TEXT"),
}
"""By table, what version 0.1 did not have."""


@dataclass(frozen=True)
class PreparedRecord:
    """What the last Prepare of a case used; ``newest_number`` was its newest planning-side series.

    ``target`` is the target point as text, ``x y z``; empty if there was none.
    """

    planning_series_id: str
    tumor_series_id: str
    newest_number: int
    target: str = ""


class CaseStore(CaseTable):
    """Cases, series, assessments and artifacts of one appliance; safe to use from several threads.

    Parameters
    ----------
    folder : Path
        The state directory; locked against a second service while this one lives.

    Attributes
    ----------
    blobs : BlobStore
    catalog : CaseCatalog

    Raises
    ------
    ServiceUnavailableError
        If another service uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        make_folder_for_owner(folder)
        self._folder_lock = _lock_folder(folder)
        self.blobs = BlobStore(folder)
        super().__init__(Database(_owners_database(folder), _SCHEMA))
        for table, columns in _ADDED_COLUMNS.items():
            self._database.add_columns(table, columns)
        self.catalog = CaseCatalog(self._database, self.blobs)
        self._remove_orphans()

    def close(self) -> None:
        """Close the files and let another service have the folder."""
        self._database.close()
        os.close(self._folder_lock)

    def add_series(self, case_id: str, role: SeriesRole, header: bytes, writer: BlobWriter) -> str:
        """Store a flushed upload and return its series id; durable when this returns.

        The same upload sent twice in a row (for example because its answer was lost) is stored as one series.
        """
        with self._database.transaction() as database:
            if database.execute("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)).fetchone() is None:
                raise NotFoundError(f"the case {case_id} was deleted during the upload")
            newest = database.execute(
                "SELECT series_id, header FROM series WHERE case_id = ? AND role = ? "
                "ORDER BY number DESC LIMIT 1",
                (case_id, role),
            ).fetchone()
            if newest is not None and bytes(newest[1]) == header:
                return str(newest[0])
            series_id = str(uuid.uuid4())
            database.execute(
                "INSERT INTO series (series_id, case_id, role, header, sha256, stored_bytes) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (series_id, case_id, role, header, self.blobs.keep(writer), writer.size),
            )
            mark_used(database, case_id)
            return series_id

    def series(self, case_id: str) -> list[SeriesRecord]:
        """Return all series of a case, oldest first."""
        self.require_case(case_id)
        rows = self._database.rows(
            "SELECT number, series_id, role, header, sha256, stored_bytes FROM series "
            "WHERE case_id = ? ORDER BY number",
            (case_id,),
        )
        return [
            SeriesRecord(number, series_id, SeriesRole(role), header, sha256, stored_bytes)
            for number, series_id, role, header, sha256, stored_bytes in rows
        ]

    def record_prepared(self, case_id: str, prepared: PreparedRecord) -> None:
        """Remember what the last Prepare of a case used."""
        with self._database.transaction() as database, _missing_case(case_id):
            database.execute(
                "INSERT OR REPLACE INTO prepared VALUES (?, ?, ?, ?, ?)",
                (case_id, *astuple(prepared)),
            )
            mark_used(database, case_id)

    def prepared(self, case_id: str) -> PreparedRecord | None:
        """Return what the last Prepare of a case used; None if there was none."""
        row = self._database.row(
            "SELECT planning_series_id, tumor_series_id, newest_number, target FROM prepared WHERE case_id = ?",
            (case_id,),
        )
        return None if row is None else PreparedRecord(*row)

    def add_assessment(self, case_id: str, assessment_id: str, assessment: bytes) -> None:
        """Store a final assessment; durable when this returns."""
        with self._database.transaction() as database, _missing_case(case_id):
            database.execute(
                "INSERT INTO assessments (assessment_id, case_id, assessment) VALUES (?, ?, ?)",
                (assessment_id, case_id, assessment),
            )
            mark_used(database, case_id)

    def assessment(self, case_id: str, assessment_id: str) -> bytes:
        """Return a stored assessment in its serialized form."""
        self.require_case(case_id)
        row = self._database.row(
            "SELECT assessment FROM assessments WHERE case_id = ? AND assessment_id = ?",
            (case_id, valid_id(assessment_id, "assessment_id")),
        )
        if row is None:
            raise NotFoundError(f"the case {case_id} has no assessment {assessment_id}")
        return bytes(row[0])

    def assessment_ids(self, case_id: str) -> list[str]:
        """Return the ids of a case's assessments, oldest first."""
        self.require_case(case_id)
        rows = self._database.rows(
            "SELECT assessment_id FROM assessments WHERE case_id = ? ORDER BY number", (case_id,)
        )
        return [str(row[0]) for row in rows]

    def add_artifact(self, assessment_id: str, name: str, writer: BlobWriter) -> None:
        """Store a flushed file of an assessment."""
        with self._database.transaction() as database, _missing_case(assessment_id):
            database.execute(
                "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?)",
                (assessment_id, name, self.blobs.keep(writer)),
            )

    def artifact(self, case_id: str, assessment_id: str, name: str) -> Path | None:
        """Return the path of an assessment's file; None if it was not stored."""
        self.assessment(case_id, assessment_id)
        row = self._database.row(
            "SELECT sha256 FROM artifacts WHERE assessment_id = ? AND name = ?", (assessment_id, name)
        )
        return None if row is None else self.blobs.path(str(row[0]))

    def delete_case(self, case_id: str) -> None:
        """Remove a case and the blobs that no other case uses."""
        self.require_case(case_id)
        with self._database.lock:
            with self._database.transaction() as database:
                database.execute("DELETE FROM cases WHERE case_id = ?", (case_id,))
            self._remove_orphans()

    def _remove_orphans(self) -> None:
        with self._database.lock:
            used = {
                str(row[0])
                for row in self._database.rows("SELECT sha256 FROM series UNION SELECT sha256 FROM artifacts")
            }
            for orphan in self.blobs.names() - used:
                self.blobs.remove(orphan)


def _lock_folder(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ServiceUnavailableError(
            f"another service uses the state directory {folder}; stop it, or choose another state_dir"
        ) from None
    return descriptor


def _owners_database(folder: Path) -> Path:
    """Return the path of the database, which is there from now on and its owner's alone; its journals follow it."""
    path = folder / "cases.sqlite"
    create_for_owner(path)
    withdraw_from_others(*(path.with_name(path.name + journal) for journal in ("", "-wal", "-shm")))
    return path


@contextmanager
def _missing_case(name: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise NotFoundError(f"{name} was deleted in the meantime") from error
