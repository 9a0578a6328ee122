"""The CUDA device: whether there is one, how voxels are laid over its threads, and how they get there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import config, cuda
from numba.cuda.cudadrv.error import CudaSupportError

from engine.errors import BackendError
from engine.kernels.gpu.residency import current

_BLOCK_XYZ = (32, 4, 2)
"""Threads of a block: a warp lies along x, where voxels are neighbors in memory."""

LINE_BLOCK = 128


def require() -> None:
    """Refuse with a clear message if no CUDA device answers.

    Raises
    ------
    BackendError
    """
    try:
        there = bool(cuda.is_available())
    except CudaSupportError:
        there = False
    if not there:
        raise BackendError(
            "kernel backend 'gpu' needs a CUDA device and driver, and none answers here; "
            "check nvidia-smi and the driver, or choose backend 'cpu'"
        )


def is_simulated() -> bool:
    """Whether kernels run in Numba's CUDA simulator (``NUMBA_ENABLE_CUDASIM=1``), not on a GPU."""
    return bool(config.ENABLE_CUDASIM)


def over_voxels(shape_zyx: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    """Blocks, threads per block and stream for one thread per voxel, x fastest.

    A thread's voxel is ``x, y, z = cuda.grid(3)``.
    """
    sizes_xyz = tuple(int(n) for n in reversed(shape_zyx))
    block = (
        tuple(min(b, n) for b, n in zip(_BLOCK_XYZ, sizes_xyz, strict=True)) if is_simulated() else _BLOCK_XYZ
    )
    return tuple(-(-n // b) for n, b in zip(sizes_xyz, block, strict=True)), block, stream()


def over_items(count: int) -> tuple[int, int, Any]:
    """Blocks, threads per block and stream for one thread per item."""
    block = min(LINE_BLOCK, count) if is_simulated() else LINE_BLOCK
    return -(-count // block), block, stream()


def stream() -> Any:
    """Stream that everything here runs on; CUDA's default one where nothing is kept on the device."""
    held = current()
    return 0 if held is None else held.stream


def upload(array: npt.NDArray[Any]) -> Any:
    """An array on the device; no kernel may write to it.

    Where volumes are kept there (:mod:`engine.kernels.gpu.residency`), one that is read-only goes up once.
    """
    held = current()
    return cuda.to_device(np.ascontiguousarray(array)) if held is None else held.upload(array)


def begun_with(array: npt.NDArray[Any]) -> Any:
    """Memory of the device alone, for kernels to write to, that begins as a copy of ``array``."""
    held = current()
    return cuda.to_device(np.ascontiguousarray(array)) if held is None else held.copied(array)


def empty(shape: Sequence[int], dtype: npt.DTypeLike) -> Any:
    """Allocate an array for kernels to work on, not initialized."""
    return cuda.device_array(tuple(int(n) for n in shape), dtype=dtype, stream=stream())


def result(shape: Sequence[int], dtype: npt.DTypeLike) -> Any:
    """Allocate an array that the host gets, not initialized; kernels should write to it once."""
    held = current()
    return empty(shape, dtype) if held is None else held.result(tuple(int(n) for n in shape), dtype)


def download(*arrays: Any) -> list[npt.NDArray[Any]]:
    """Get arrays from the device; waits once for the kernels that fill them."""
    held = current()
    return [array.copy_to_host() for array in arrays] if held is None else held.download(arrays)


def hand_out(array: Any) -> npt.NDArray[Any]:
    """Get a volume that a twin returns.

    Where volumes are kept on the device it is read-only and stays there for the next kernel: none may write to it.
    """
    held = current()
    return download(array)[0] if held is None else held.hand_out(array)


@cuda.jit(device=True)
def lesser(a: Any, b: Any) -> Any:
    """Smaller of two; the built-in ``min`` does not compile for CUDA in every Numba."""
    return a if a < b else b


@cuda.jit(device=True)
def greater(a: Any, b: Any) -> Any:
    """Larger of two."""
    return a if a > b else b
