"""Memory that was freed and that the process still holds."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; other C libraries have none and may keep what was freed."""


def return_freed_memory() -> None:
    """Return to the system what was freed.

    glibc keeps freed blocks of up to 32 MiB for itself, and a network's weights are many such blocks: after it
    was read, written as a graph and let go, a gigabyte stayed behind while the next one ran.
    """
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)
