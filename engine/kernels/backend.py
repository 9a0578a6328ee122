"""Which twin of a kernel runs: the definition, the CPU's, or the GPU's.

Every kernel exists three times under one name, in :mod:`engine.kernels.reference` (NumPy and
SciPy: the definition), :mod:`engine.kernels.cpu` (Numba) and :mod:`engine.kernels.gpu`
(numba.cuda). A caller names the one it wants; nothing falls back from one to another.
"""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import Any, Literal, TypeAlias

from engine.errors import BackendError, InvalidRequestError


class Backend(StrEnum):
    """Where a kernel runs."""

    REFERENCE = "reference"
    CPU = "cpu"
    GPU = "gpu"


BackendName: TypeAlias = Backend | Literal["reference", "cpu", "gpu"]
"""What a facade accepts: a member of :class:`Backend` or its plain name."""


def select(backend: BackendName, kernel: str) -> Any:
    """Return the twin module of ``kernel`` for ``backend``; a facade types it by its Protocol.

    Twins are imported here, on their first use: an appliance without a GPU never loads CUDA.

    Raises
    ------
    InvalidRequestError
        If there is no such backend.
    BackendError
        If ``gpu`` is asked for and no CUDA device or library is there.
    """
    try:
        chosen = Backend(backend)
    except ValueError:
        known = ", ".join(Backend)
        raise InvalidRequestError(f"no kernel backend {backend!r}; choose one of {known}") from None
    if chosen is Backend.GPU:
        _require_gpu()
    return import_module(f"engine.kernels.{chosen.value}.{kernel}")


def _require_gpu() -> None:
    """Refuse early, in words, where CUDA is missing."""
    try:
        from engine.kernels.gpu import device  # noqa: PLC0415 - CUDA loads only when asked for
    except ImportError as error:
        raise BackendError(
            f"kernel backend 'gpu' needs numba.cuda, which cannot be imported here ({error}); "
            "install coldspot[gpu] or choose backend 'cpu'"
        ) from error
    device.require()
