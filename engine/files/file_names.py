"""Which files can be read at all, and how a name is shown: names on disk are bytes, and need not be UTF-8."""

from __future__ import annotations

import stat
from pathlib import Path, PurePath

from engine.errors import UnreadableFileError
from engine.path_text import path_text


def shown_name(path: Path) -> str:
    """The last part of a path for messages: bytes that are not UTF-8 are shown by their hexadecimal value."""
    return path_text(PurePath(path.name))


def require_regular(path: Path) -> None:
    """Refuse what is not a file with content.

    Raises
    ------
    UnreadableFileError
        If nothing is there, or a folder, a pipe, a device, or an empty file.
    """
    name = shown_name(path)
    try:
        status = path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise UnreadableFileError(f"{name} does not exist; check the path") from error
        raise UnreadableFileError(f"{name} cannot be read ({error.strerror}); check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableFileError(f"{name} is a folder, not an image file; choose a file")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(f"{name} is a pipe or a device, not a file; save the image to a file first")
    if status.st_size == 0:
        raise UnreadableFileError(f"{name} is empty (0 bytes); export or send it again")
