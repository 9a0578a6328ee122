"""Definition of the occupied box: least and greatest index along each axis."""

from __future__ import annotations

import numpy as np

from engine.arrays import BoolArray
from engine.kernels.arguments import Index3


def occupied_box(mask: BoolArray) -> tuple[Index3, Index3] | None:
    """Start and stop (exclusive) of the marked voxels; None if there are none."""
    index = np.nonzero(mask)
    if index[0].size == 0:
        return None
    (za, zb), (ya, yb), (xa, xb) = ((int(along.min()), int(along.max()) + 1) for along in index)
    return (za, ya, xa), (zb, yb, xb)
