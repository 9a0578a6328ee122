"""PyRadiomics as it is installed here: quiet, and of the one version whose features were compared."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from engine.errors import BackendError

_DISTRIBUTION: Final = "pyradiomics-bhklab"
_VERSION: Final = "3.1.4"
EXTRACTOR: Final = f"{_DISTRIBUTION} {_VERSION}"
"""What features are computed with; stands in every signature."""

_SILENT: Final = 60


@cache
def load_library(module: str) -> Any:
    """Import ``radiomics``, one of its modules or what it is built on, without their messages on standard error.

    Raises
    ------
    BackendError
        If PyRadiomics is not installed, or in another version.
    """
    try:
        installed = version(_DISTRIBUTION)
        import_module("radiomics").setVerbosity(_SILENT)
        logging.getLogger("radiomics").setLevel(logging.CRITICAL)  # what fails is raised as an error
        loaded = import_module(module)
    except (ImportError, PackageNotFoundError) as error:
        raise BackendError(
            f"radiomics needs {EXTRACTOR}, which cannot be loaded here ({error}); install coldspot[radiomics]"
        ) from error
    if installed != _VERSION:
        raise BackendError(
            f"radiomics needs {EXTRACTOR}, here is {installed}, whose features were not compared; install "
            "coldspot[radiomics]"
        )
    return loaded


def require_extractor(extractor: str) -> None:
    """Refuse a signature that was fitted on the features of another library, or another version.

    Parameters
    ----------
    extractor : str
        As the signature says.

    Raises
    ------
    BackendError
        If it is not what computes features here, or that cannot be loaded.
    """
    load_library("radiomics")
    if extractor != EXTRACTOR:
        raise BackendError(
            f"the signature was fitted on features of {extractor}, here they come from {EXTRACTOR}: its Radscore "
            "may be another one; fit the signature again, or install the release that it was fitted with"
        )
