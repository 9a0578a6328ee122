"""Where a surface given on a lattice crosses the lattice's edges: finer than the lattice by far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from engine.arrays import Float64Array

_PLANE_MM: Final = 3.0
"""Closer than this, distances are measured to the plane that touches the surface."""

_IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Crossings:
    """Lattice edges along which a field changes its sign; one row each.

    Parameters
    ----------
    inside, outside : ndarray of int, (N,)
        Flat index of the edge's end at or above 0, and of the one below.
    share : ndarray, (N,)
        How far from ``inside`` to ``outside`` the surface lies, 0 to 1.
    """

    inside: _IndexArray
    outside: _IndexArray
    share: Float64Array

    def __len__(self) -> int:
        """Count the crossings."""
        return len(self.inside)

    def at(self, values: Float64Array) -> Float64Array:
        """Lattice values (n, n, n) or (n, n, n, k) at the crossings, (N,) or (N, k)."""
        flat = values.reshape(-1, *values.shape[3:])
        low, high = flat[self.inside], flat[self.outside]
        share = self.share.reshape(-1, *(1 for _ in values.shape[3:]))
        return np.asarray(low + share * (high - low))


def find_crossings(values: Float64Array) -> Crossings:
    """Find the edges of a lattice field (n, n, n) that its zero surface crosses, linear in between.

    Parameters
    ----------
    values : ndarray, (n, n, n)
        0 at the surface, positive inside.

    Returns
    -------
    Crossings
        Empty where the field has one sign only.
    """
    flat, holds = values.ravel(), values >= 0.0
    index = np.arange(values.size).reshape(values.shape)
    ends = []
    for axis in range(values.ndim):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(values.ndim))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(values.ndim))
        crossed = holds[first] != holds[second]
        ends.append(np.stack([index[first][crossed], index[second][crossed]]))
    first_ends, second_ends = np.concatenate(ends, axis=1)
    inside, outside = np.where(
        holds.ravel()[first_ends], (first_ends, second_ends), (second_ends, first_ends)
    )
    return Crossings(inside, outside, flat[inside] / (flat[inside] - flat[outside]))


def distance_to_samples(
    points: Float64Array, samples: Float64Array, normals: Float64Array, gap_mm: float
) -> Float64Array:
    """Distance of points to a surface of which samples and their normals are known.

    Near the surface the nearest sample is off the foot of the perpendicular: the distance is then
    taken to the plane that touches the surface at the sample. A sample farther off sideways than
    samples lie apart belongs to an edge of the surface, and its own distance is kept.

    Parameters
    ----------
    points : ndarray, (M, 3)
    samples : ndarray, (N, 3)
    normals : ndarray, (N, 3)
        Unit normals of either sense.
    gap_mm : float
        Greatest distance of a place on the surface from its nearest sample.

    Returns
    -------
    ndarray, (M,)
        mm, not negative.
    """
    tree = cKDTree(samples, balanced_tree=False, compact_nodes=False)  # even points: built and asked faster
    distance, nearest = tree.query(points, workers=-1)
    height = np.abs(np.einsum("ni,ni->n", points - samples[nearest], normals[nearest]))
    sideways = np.sqrt(np.maximum(distance**2 - height**2, 0.0))
    return np.where((distance < _PLANE_MM) & (sideways < gap_mm), height, distance)
