"""The CUDA device: whether there is one, and how a grid of voxels is laid over its threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import cuda
from numba.cuda.cudadrv.error import CudaSupportError

from engine.errors import BackendError

BLOCK_XYZ = (32, 4, 2)
"""Threads of a block: a warp lies along x, where voxels are neighbors in memory."""

LINE_BLOCK = 128


def require() -> None:
    """Refuse in words if no CUDA device answers.

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
    from numba import config  # noqa: PLC0415 - read when asked, as numba reads it

    return bool(config.ENABLE_CUDASIM)


def over_voxels(shape_zyx: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Blocks and threads per block for one thread per voxel, x fastest.

    A thread's voxel is ``x, y, z = cuda.grid(3)``.
    """
    sizes_xyz = tuple(int(n) for n in reversed(shape_zyx))
    block = (
        tuple(min(b, n) for b, n in zip(BLOCK_XYZ, sizes_xyz, strict=True)) if is_simulated() else BLOCK_XYZ
    )
    return tuple(-(-n // b) for n, b in zip(sizes_xyz, block, strict=True)), block


def over_items(count: int) -> tuple[int, int]:
    """Blocks and threads per block for one thread per item."""
    block = min(LINE_BLOCK, count) if is_simulated() else LINE_BLOCK
    return -(-count // block), block


def upload(array: npt.NDArray[Any]) -> Any:
    """Copy an array to the device."""
    return cuda.to_device(np.ascontiguousarray(array))


def empty(shape: Sequence[int], dtype: npt.DTypeLike) -> Any:
    """Allocate an array on the device, not initialized."""
    return cuda.device_array(tuple(shape), dtype=dtype)


def download(array: Any) -> npt.NDArray[Any]:
    """Copy an array back from the device; waits for the kernels that fill it."""
    host: npt.NDArray[Any] = array.copy_to_host()
    return host


@cuda.jit(device=True)
def lesser(a: Any, b: Any) -> Any:
    """Smaller of two; the built-in ``min`` does not compile for CUDA in every Numba."""
    return a if a < b else b  # noqa: FURB136 - see above


@cuda.jit(device=True)
def greater(a: Any, b: Any) -> Any:
    """Larger of two."""
    return a if a > b else b  # noqa: FURB136 - likewise
