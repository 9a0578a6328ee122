"""A full disk: what cannot be stored is refused with an error that says so, and nothing half stored stays."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from engine.errors import CapacityError

_RETRY_S: Final = 60.0


def disk_is_full() -> CapacityError:
    """Return the error of a full disk."""
    return CapacityError(
        "the disk of the service is full; delete cases that are no longer needed (coldspot cases delete)",
        _RETRY_S,
    )


@contextmanager
def disk_full_as_capacity_error() -> Iterator[None]:
    """Turn what the operating system and SQLite say of a full disk into one typed error.

    Raises
    ------
    CapacityError
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise disk_is_full() from error
        raise
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise disk_is_full() from error
        raise
