"""Lattices of nodes: thinning a data term, and reading a field at places."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array, Int64Array
from engine.geometry import VolumeGeometry


def coarser(lattice: VolumeGeometry) -> VolumeGeometry:
    """Every second node along each axis, with the last one covered."""
    nz, ny, nx = ((n + 2) // 2 if n > 1 else 1 for n in lattice.shape_zyx)
    z, y, x = (2.0 * s for s in lattice.spacing_zyx_mm)
    return replace(lattice, shape_zyx=(nz, ny, nx), spacing_zyx_mm=(z, y, x))


def positions(lattice: VolumeGeometry) -> Float64Array:
    """Places of all nodes or voxels, (z, y, x, 3) LPS mm."""
    axes = (np.arange(n, dtype=np.float64) for n in lattice.shape_zyx)
    return lattice.to_lps(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def thinned(values: Float64Array) -> Float64Array:
    """Gather nodal sums (z, y, x, k) onto every second node by its hat function.

    A tensor comes out lumped: couplings between nodes inside one hat are counted at its node.
    """
    for axis in range(3):
        values = _thinned_along(values, axis)
    return values


def _thinned_along(values: Float64Array, axis: int) -> Float64Array:
    count = values.shape[axis]
    if count == 1:
        return values
    moved = np.moveaxis(values, axis, 0)
    out = np.zeros(((count + 2) // 2, *moved.shape[1:]))
    even, odd = moved[0::2], moved[1::2]
    out[: len(even)] += even
    out[: len(odd)] += 0.5 * odd
    out[1 : len(odd) + 1] += 0.5 * odd
    return np.moveaxis(out, 0, axis)


@dataclass(frozen=True, eq=False)
class _Interpolation:
    """Linear weights that read nodal values at places.

    Parameters
    ----------
    index : ndarray of int64, (8, N, 3)
        Nodes around each place.
    weight : ndarray, (8, N)
    offset_zyx_mm : ndarray, (N, 3)
        Places from their mean.
    shape : (z, y, x)
    """

    index: Int64Array
    weight: Float64Array
    offset_zyx_mm: Float64Array
    shape: tuple[int, int, int]

    def at(self, field: npt.NDArray[np.floating]) -> Float64Array:
        """Values at the places, (N, k)."""
        z, y, x = np.moveaxis(self.index, -1, 0)
        return np.asarray((self.weight[..., None] * field[z, y, x]).sum(axis=0), dtype=np.float64)

    def mean_of(self, field: Float64Array) -> Float64Array:
        """Mean over the places, (k,)."""
        return np.asarray(self.at(field).mean(axis=0))

    def rigid_rows(self) -> Float64Array:
        """Rows that read translation and rotation vector of the best rigid motion off a field.

        Returns
        -------
        ndarray, (6, z, y, x, 3)
            Three of translation (zyx, mm), three of rotation (radian).
        """
        q = self.offset_zyx_mm
        motion = np.zeros((len(q), 3, 6))
        motion[:, 0, 0] = motion[:, 1, 1] = motion[:, 2, 2] = 1.0
        motion[:, 0, 4], motion[:, 0, 5] = q[:, 2], -q[:, 1]
        motion[:, 1, 3], motion[:, 1, 5] = -q[:, 2], q[:, 0]
        motion[:, 2, 3], motion[:, 2, 4] = q[:, 1], -q[:, 0]
        flat = motion.reshape(-1, 6)
        fit = np.linalg.solve(flat.T @ flat + 1e-9 * np.eye(6), flat.T).reshape(6, len(q), 3)
        rows = np.zeros((6, *self.shape, 3))
        z, y, x = np.moveaxis(self.index, -1, 0)
        for k in range(6):
            np.add.at(rows[k], (z, y, x), self.weight[..., None] * fit[k][None])
        return rows


def interpolation(lattice: VolumeGeometry, points_lps_mm: Float64Array) -> _Interpolation:
    """Weights that read nodal values at places; beyond the lattice its border holds.

    Parameters
    ----------
    lattice : VolumeGeometry
    points_lps_mm : ndarray, (N, 3)

    Returns
    -------
    _Interpolation
    """
    size = np.array(lattice.shape_zyx)
    index = np.clip(lattice.to_index(points_lps_mm), 0.0, size - 1.0)
    low = np.minimum(index.astype(np.int64), np.maximum(size - 2, 0))
    share = index - low
    corners = np.array(list(np.ndindex(2, 2, 2)))
    weight = np.where(corners[:, None, :] == 1, share[None], 1.0 - share[None]).prod(axis=-1)
    around = np.minimum(low[None] + corners[:, None, :], size - 1)
    offset = (points_lps_mm - points_lps_mm.mean(axis=0))[:, ::-1]
    return _Interpolation(around, weight, np.asarray(offset), lattice.shape_zyx)
