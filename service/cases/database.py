"""One SQLite file that several threads share: a commit is on the disk when it returns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.cases.disk import disk_full_as_capacity_error


class Database:
    """A database in WAL mode with ``synchronous=FULL``.

    Parameters
    ----------
    path : Path
        The file; made if absent.
    schema : str
        Statements that make the tables which are not there yet.

    Attributes
    ----------
    lock : RLock
        Held by every statement; hold it to keep several of them together.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        with disk_full_as_capacity_error():
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(schema)

    def add_columns(self, table: str, columns: Iterable[str]) -> None:
        """Add the columns that a table of an earlier version does not have; each as its definition."""
        there = {row[1] for row in self.rows(f"PRAGMA table_info({table})")}
        with self.transaction() as connection:
            for column in columns:
                if column.split()[0] not in there:
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {column}")

    def close(self) -> None:
        """Close the file."""
        with self.lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what the body does, or, if it raises or the disk is full, nothing of it.

        Raises
        ------
        CapacityError
        """
        with self.lock, disk_full_as_capacity_error():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself may have taken it back
                    self._connection.execute("ROLLBACK")
                raise

    def row(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None if it has no rows."""
        with self.lock:
            row: tuple[Any, ...] | None = self._connection.execute(query, values).fetchone()
            return row

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self.lock:
            return self._connection.execute(query, values).fetchall()
