"""A CT with its axes in the order and direction in which a network was trained, and labels back on its own.

nnU-Net itself takes arrays as they are stored. TotalSegmentator turns images to their closest RAS axes
before (``nibabel.as_closest_canonical``), in training and at inference. Nothing is interpolated.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from engine.geometry import Index3, Vector3, VolumeGeometry, index3

_LPS: Final = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
CANONICAL: Final = {"lps": _LPS, "ras": _LPS * np.array([-1.0, -1.0, 1.0])}
"""LPS direction in which the index of each axis (z, y, x) rises."""


@dataclass(frozen=True)
class Reorientation:
    """Another order of axes, some of them reversed.

    Parameters
    ----------
    order : tuple of int
        Axis of the old array for each of the new one.
    signs : tuple of int
        -1 where the new axis runs the other way, else 1.
    """

    order: Index3 = (0, 1, 2)
    signs: Index3 = (1, 1, 1)

    @classmethod
    def to(cls, orientation: str, geometry: VolumeGeometry) -> Self:
        """The reorientation that brings a grid closest to an orientation; an oblique grid stays as oblique."""
        if orientation not in CANONICAL:
            return cls()
        # Row: canonical axis; column: axis of the array.
        cosines = CANONICAL[orientation] @ np.array(geometry.directions_zyx_lps).T
        best = max(
            itertools.permutations(range(3)),
            key=lambda order: sum(abs(cosines[row, axis]) for row, axis in enumerate(order)),
        )
        return cls(
            index3(best), index3([-1 if cosines[row, axis] < 0 else 1 for row, axis in enumerate(best)])
        )

    @property
    def is_identity(self) -> bool:
        """Whether no axis changes."""
        return self == Reorientation()

    @property
    def inverse(self) -> Reorientation:
        """The reorientation that undoes this one."""
        order = index3(np.argsort(self.order))
        return Reorientation(order, index3([self.signs[axis] for axis in order]))

    def array(self, voxels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A reoriented view of an array (z, y, x)."""
        return voxels.transpose(self.order)[tuple(slice(None, None, sign) for sign in self.signs)]

    def geometry(self, own: VolumeGeometry) -> VolumeGeometry:
        """The grid of the same voxels after reorientation."""
        first = np.zeros(3)
        for axis, sign in zip(self.order, self.signs, strict=True):
            first[axis] = own.shape_zyx[axis] - 1 if sign < 0 else 0
        directions = [
            _vector(sign * np.array(own.directions_zyx_lps[axis]))
            for axis, sign in zip(self.order, self.signs, strict=True)
        ]
        return replace(
            own,
            shape_zyx=index3([own.shape_zyx[axis] for axis in self.order]),
            spacing_zyx_mm=_vector([own.spacing_zyx_mm[axis] for axis in self.order]),
            directions_zyx_lps=(directions[0], directions[1], directions[2]),
            origin_lps_mm=_vector(own.to_lps(first)),
        )


def _vector(values: npt.ArrayLike) -> Vector3:
    a, b, c = (float(value) + 0.0 for value in np.asarray(values))
    return a, b, c
