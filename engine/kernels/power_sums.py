"""Sum and sum of squares of a CT: what its mean and standard deviation are made of, exact and in one pass."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.kernels.arguments import require_volume
from engine.kernels.backend import KernelBackend, select


class _PowerSumsTwin(Protocol):
    """What every backend's ``power_sums`` module offers."""

    def power_sums(self, voxels: npt.NDArray[np.int16]) -> tuple[int, int]: ...


def power_sums(
    voxels: npt.NDArray[np.int16], *, kernels: KernelBackend = KernelBackend.CPU
) -> tuple[int, int]:
    """Sum of all voxels, and sum of their squares.

    Parameters
    ----------
    voxels : ndarray of int16, (z, y, x)
        Not changed; copied first where it is not contiguous.
    kernels : KernelBackend

    Returns
    -------
    total, squares : int
        Exact: 2**31 voxels of 16 bit do not overflow 64.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError
    """
    twin: _PowerSumsTwin = select(kernels, "power_sums")
    return twin.power_sums(require_volume(voxels, "voxels", np.int16))
