"""Files of patients, for the service's own account alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from engine.errors import PreconditionError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""What group and others may do."""


def create_for_owner(file: Path) -> None:
    """Make an empty file that only its owner can use, whatever the umask is; one that is there stays as it is."""
    os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


def make_folder_for_owner(folder: Path) -> None:
    """Make a folder that only its owner can use, with its parents; one that is there stays as it is.

    Raises
    ------
    PreconditionError
        If it is a file, lies below one, or its files cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        writable = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
        problem = "" if writable else "cannot be read and written by the account of the service"
    except OSError as error:
        problem = "is a file, no folder" if folder.is_file() else f"cannot be made: {error.strerror}"
    if problem:
        raise PreconditionError(
            f"state_dir: {folder} {problem}; choose another one, or correct its permissions"
        )


def withdraw_from_others(*paths: Path) -> None:
    """Take every permission of group and others from files and folders; what is not there is passed over.

    Raises
    ------
    PreconditionError
        If one of them is a folder that all accounts share, or belongs to another account.
    """
    for path in paths:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
            raise PreconditionError(
                f"{path} is shared by all accounts; choose a state_dir of the service's own"
            )
        if mode & _OTHERS and not stat.S_ISLNK(mode):
            _withdraw(path, stat.S_IMODE(mode))


def _withdraw(path: Path, mode: int) -> None:
    try:
        path.chmod(mode & ~_OTHERS)
    except OSError as error:
        raise PreconditionError(
            f"other accounts can use {path}, and it does not belong to the service's own: give it to that account "
            "(chown), or choose another state_dir"
        ) from error
