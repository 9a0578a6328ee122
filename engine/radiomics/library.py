"""PyRadiomics, imported when the first feature is asked for: a site without a signature needs none of it."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any, Final

from engine.errors import BackendError

DISTRIBUTION: Final = "pyradiomics-bhklab"


@cache
def radiomics_module(name: str = "") -> Any:
    """Return PyRadiomics, or one of its modules by name.

    Raises
    ------
    BackendError
        It is not installed.
    """
    try:
        library = importlib.import_module("radiomics")
        # It writes a line per image to stderr otherwise.
        library.setVerbosity(logging.ERROR)
        return importlib.import_module(f"radiomics.{name}") if name else library
    except ImportError as missing:
        raise BackendError(
            f"the risk model's signature needs PyRadiomics, which is not installed here ({missing}): "
            f"pip install 'coldspot[radiomics]', or {DISTRIBUTION} by itself (it is built from source)"
        ) from missing
