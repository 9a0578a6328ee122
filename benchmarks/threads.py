"""The same number of threads for everybody; import this before any library that counts them."""

from __future__ import annotations

import os
from typing import Final

THREADS: Final = 2
READ_BY: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def limit_threads() -> None:
    """Set what libraries read once, when they are loaded."""
    os.environ.update(dict.fromkeys(READ_BY, str(THREADS)))
