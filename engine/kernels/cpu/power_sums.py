"""Power sums on the CPU: both in the one loop that reads the voxels, which vectorizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.kernels.cpu.threads import over


def power_sums(voxels: npt.NDArray[np.int16]) -> tuple[int, int]:
    """Sum and sum of squares."""
    flat = voxels.reshape(-1)
    flat.flags.writeable = False  # one compiled type, whoever owns the array
    parts = over(flat.size, 1, _sums, flat)
    return sum(int(part[0]) for part in parts), sum(int(part[1]) for part in parts)


@njit(nogil=True, cache=True)
def _sums(first: int, last: int, values: npt.NDArray[np.int16]) -> tuple[np.int64, np.int64]:
    total, squares = np.int64(0), np.int64(0)
    for i in range(first, last):
        value = np.int32(values[i])  # its square fits too, and twice as many are multiplied at once
        total += value
        squares += np.int64(value * value)
    return total, squares
