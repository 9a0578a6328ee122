"""Definition of the power sums, in 64-bit integers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def power_sums(voxels: npt.NDArray[np.int16]) -> tuple[int, int]:
    """Sum and sum of squares."""
    whole = voxels.astype(np.int64)
    return int(whole.sum()), int((whole * whole).sum())
