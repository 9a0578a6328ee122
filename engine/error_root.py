"""The root of Coldspot's errors; :mod:`engine.errors` has the tree."""

from __future__ import annotations

from typing import ClassVar


class ColdspotError(Exception):
    """Root of the tree; ``code`` is the stable name a program can act on."""

    code: ClassVar[str] = "coldspot_error"
