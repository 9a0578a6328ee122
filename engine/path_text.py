"""Paths in messages: names on disk are bytes, and need not be UTF-8."""

from __future__ import annotations

import os
from pathlib import PurePath


def path_text(path: PurePath) -> str:
    """A path as text: bytes that are not UTF-8 are shown by their hexadecimal value."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")
