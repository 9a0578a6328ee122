"""Bounding box of a mask: the one pass over a whole volume that nothing else can be spared."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np

from engine.arrays import BoolArray
from engine.kernels.arguments import Index3, require_volume
from engine.kernels.backend import KernelBackend, select

Box: TypeAlias = tuple[Index3, Index3]
"""Start and stop (exclusive) index, zyx."""


class _OccupiedBoxTwin(Protocol):
    """What every backend's ``occupied_box`` module offers."""

    def occupied_box(self, mask: BoolArray) -> Box | None: ...


def occupied_box(mask: BoolArray, *, kernels: KernelBackend = KernelBackend.CPU) -> Box | None:
    """Smallest box that holds every marked voxel.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
        Not changed; copied first where it is not contiguous.
    kernels : KernelBackend

    Returns
    -------
    start, stop : tuple of three int
        Stops are exclusive. None if no voxel is marked.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError
    """
    twin: _OccupiedBoxTwin = select(kernels, "occupied_box")
    return twin.occupied_box(require_volume(mask, "mask", np.bool_))
