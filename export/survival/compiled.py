"""Loops that numpy cannot express, compiled by Numba and kept on disk.

A compiled loop must not call one of another file: Numba would not notice that the other changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

REORDER = {"reassoc", "contract", "nsz"}
"""What sums may do to be vectorized; NaN stays NaN."""

_Loop = TypeVar("_Loop", bound=Callable[..., object])


def compiled(loop: _Loop) -> _Loop:
    """Compile a loop; the same inputs give the same bits on one machine."""
    result: _Loop = njit(cache=True, nogil=True, fastmath=REORDER)(loop)
    return result
