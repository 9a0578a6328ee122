"""The folder that ``--out`` names: looked at before anything is computed, so that no answer lacks a place."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from engine.errors import InvalidRequestError

_ROOM_BYTES: Final = 64 << 20
"""More than the files of an answer take: masks, margin map and CT of a few centimeters, and a picture."""


def require_out_folder(folder: Path) -> None:
    """Make a folder, and refuse it if files cannot be written there.

    Parameters
    ----------
    folder : Path
        Made with its parents where it is missing.

    Raises
    ------
    InvalidRequestError
        If it is a file, lies below one, cannot be written to, or has no room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        what = "is a file, no folder" if folder.is_file() else f"cannot be written to: {error.strerror}"
        raise InvalidRequestError(f"{folder} {what}; name another folder for the files", "out") from error
    if free_bytes < _ROOM_BYTES:
        raise InvalidRequestError(
            f"{folder} has {free_bytes >> 20} MiB of room, and files need up to {_ROOM_BYTES >> 20} MiB; make room, or "
            "name another folder",
            "out",
        )
