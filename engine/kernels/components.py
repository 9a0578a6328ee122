"""Connected components of a mask, largest first, with their sizes and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from engine.errors import InvalidRequestError
from engine.kernels.arguments import require_spacing, require_volume
from engine.kernels.backend import KernelBackend, select


@dataclass(frozen=True, eq=False)
class Components:
    """Connected parts of a mask; row ``i`` of every table belongs to label ``i + 1``.

    Parameters
    ----------
    labels : ndarray of int32, (z, y, x)
        0 outside the mask; 1 is the largest part. Parts of equal size are ordered by their
        first voxel in array order.
    sizes_voxels : ndarray of int64, (n,)
    volumes_ml : ndarray of float64, (n,)
    centroids_index_zyx : ndarray of float64, (n, 3)
        Mean index of the part's voxels.
    starts_zyx, stops_zyx : ndarray of int64, (n, 3)
        Bounding boxes; stops are exclusive.
    """

    labels: Int32Array
    sizes_voxels: Int64Array
    volumes_ml: Float64Array
    centroids_index_zyx: Float64Array
    starts_zyx: Int64Array
    stops_zyx: Int64Array

    def __len__(self) -> int:
        """Count the parts."""
        return len(self.sizes_voxels)


class _ComponentsTwin(Protocol):
    """What every backend's ``components`` module offers."""

    def label(
        self, mask: BoolArray, connectivity: int
    ) -> tuple[Int32Array, Int64Array, Float64Array, Int64Array, Int64Array]:
        """Labels by size, then sizes, centroids, box starts and box stops."""


def find_components(
    mask: BoolArray,
    spacing_zyx_mm: Sequence[float],
    *,
    connectivity: int = 26,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Components:
    """Label the connected parts of a mask, largest first.

    Parameters
    ----------
    mask : ndarray of bool, (z, y, x)
        Not changed.
    spacing_zyx_mm : sequence of float
        Voxel spacing, mm.
    connectivity : {26, 6}
        Neighbors share a face, an edge or a corner (26), or a face (6).
    kernels : KernelBackend

    Returns
    -------
    Components

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    Two passes with union-find: Rosenfeld and Pfaltz, J. ACM 13 (1966); on the CPU over runs
    of voxels: He, Chao and Suzuki, IEEE Trans. Image Process. 17 (2008).
    """
    mask = require_volume(mask, "mask", np.bool_)
    spacing = require_spacing(spacing_zyx_mm)
    if connectivity not in (6, 26):
        raise InvalidRequestError(
            f"connectivity {connectivity} must be 26 (faces, edges, corners) or 6 (faces)"
        )
    twin: _ComponentsTwin = select(kernels, "components")
    labels, sizes, centroids, starts, stops = twin.label(mask, connectivity)
    voxel_ml = spacing[0] * spacing[1] * spacing[2] / 1000.0
    return Components(labels, sizes, np.asarray(sizes * voxel_ml, dtype=np.float64), centroids, starts, stops)
