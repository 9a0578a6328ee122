"""Which twin of a kernel runs: the definition, the CPU's, or the GPU's.

Every kernel exists three times under one name, in :mod:`engine.kernels.reference` (NumPy and
SciPy: the definition), :mod:`engine.kernels.cpu` (Numba) and :mod:`engine.kernels.gpu`
(numba.cuda). A caller names the one it wants; nothing falls back from one to another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from enum import StrEnum
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from engine.errors import BackendError, InvalidRequestError


class KernelBackend(StrEnum):
    """Which twin of the voxel kernels runs; what runs networks is an ``InferenceBackend``."""

    REFERENCE = "reference"
    CPU = "cpu"
    GPU = "gpu"


_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def select(kernels: KernelBackend, kernel: str) -> Any:
    """Return the twin module of ``kernel`` that was chosen; a facade types it by its Protocol.

    Twins are imported here, on their first use: an appliance without a GPU never loads CUDA.

    Raises
    ------
    InvalidRequestError
        If there is no such backend.
    BackendError
        If ``gpu`` is asked for and no CUDA device or library is there.
    """
    try:
        chosen = KernelBackend(kernels)
    except ValueError:
        known = ", ".join(KernelBackend)
        raise InvalidRequestError(f"no kernel backend {str(kernels)!r}; choose one of {known}") from None
    require_kernels(chosen)
    return import_module(f"engine.kernels.{chosen.value}.{kernel}")


def require_kernels(kernels: KernelBackend) -> None:
    """Refuse a backend that cannot run here, before anything depends on it.

    Raises
    ------
    BackendError
        If it is ``gpu``, and no CUDA device or library is there.
    """
    if kernels is KernelBackend.GPU:
        _require_gpu()


def is_compiled(kernels: KernelBackend) -> bool:
    """Whether machine code of these kernels lies on disk, so that loading them takes seconds and not a minute.

    Raises
    ------
    InvalidRequestError, BackendError
    """
    if kernels is KernelBackend.CPU:
        from engine.kernels import cpu  # noqa: PLC0415 - Numba loads only when asked for

        return cpu.is_compiled()
    return kernels is KernelBackend.REFERENCE


def resident(kernels: KernelBackend) -> AbstractContextManager[Any]:
    """Keep on the device what the kernels of a block take and give; nothing where the backend has no device.

    Inside, results of kernels may be read-only, and an array that is read-only goes to the device once. Outside,
    every call of a kernel copies what it needs.

    Parameters
    ----------
    kernels : KernelBackend

    Returns
    -------
    context manager
        Of what counts the copies (:class:`engine.kernels.gpu.residency.Residency`); of None without a device.

    Raises
    ------
    InvalidRequestError, BackendError
    """
    if kernels != KernelBackend.GPU:
        return nullcontext()
    held: AbstractContextManager[Any] = select(kernels, "residency").resident()
    return held


def sharing_residency(work: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Wrap a callable for a thread of a pool, so that it uses what this thread keeps on the device."""
    context = copy_context()

    def run(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        return context.copy().run(work, *args, **kwargs)  # only one thread at a time can enter a context

    return run


def _require_gpu() -> None:
    """Refuse early, with a clear message, where CUDA is missing."""
    try:
        from engine.kernels.gpu import device  # noqa: PLC0415 - CUDA loads only when asked for
    except ImportError as error:
        raise BackendError(
            f"kernel backend 'gpu' needs numba.cuda, which cannot be imported here ({error}); "
            "install coldspot[gpu] or choose backend 'cpu'"
        ) from error
    device.require()
