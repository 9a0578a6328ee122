"""The same number of threads for every contender: a benchmark's package sets it before its modules are imported."""

from __future__ import annotations

import os
import sys
from typing import Final

THREADS: Final = 2
VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""Libraries read these once, when they are loaded."""


def limit_threads() -> None:
    """Set the number of threads of every library, unless NumPy is loaded: then they have read it already.

    That is so where a test imports a benchmark. To change the number under a library that runs its threads would
    be an error (Numba) or without effect (the others).
    """
    if "numpy" not in sys.modules:
        os.environ.update(dict.fromkeys(VARIABLES, str(THREADS)))
