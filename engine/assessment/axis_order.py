"""One order of axes for every scan: what is measured must not depend on how a file stores its voxels.

Sampling, thinning and ties follow the order of an array; a file whose axes run the other way would move the figures in
the third decimal. So every scan is measured with its axes as near to head, back and left as they come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from engine.geometry import Index3, VolumeGeometry, index3
from engine.volume import CtVolume, LabelMask

_AnyKind = TypeVar("_AnyKind", bound=np.generic)

_LPS_OF_ZYX = (2, 1, 0)
"""The LPS axis that each array axis should run along."""


@dataclass(frozen=True)
class AxisOrder:
    """How the axes of an array have to be ordered and turned.

    Parameters
    ----------
    axes : tuple of int
        For each axis of the result, the axis that it is taken from.
    reversed_axes : tuple of bool
        Which axes of the result run the other way.
    """

    axes: Index3
    reversed_axes: tuple[bool, bool, bool]

    @classmethod
    def upright(cls, grid: VolumeGeometry) -> AxisOrder:
        """The order in which the axes of a grid run as nearly to head, back and left as they can."""
        along = np.array(grid.directions_zyx_lps)
        axes = max(
            permutations(range(3)),
            key=lambda order: sum(
                abs(along[axis, lps]) for axis, lps in zip(order, _LPS_OF_ZYX, strict=True)
            ),
        )
        turned = [bool(along[axis, lps] < 0) for axis, lps in zip(axes, _LPS_OF_ZYX, strict=True)]
        return cls(index3(axes), (turned[0], turned[1], turned[2]))

    @property
    def unchanged(self) -> bool:
        """Whether the axes are in order as they are."""
        return self.axes == (0, 1, 2) and not any(self.reversed_axes)

    @property
    def inverse(self) -> AxisOrder:
        """The order that undoes this one."""
        back = np.argsort(self.axes)
        turned = [self.reversed_axes[axis] for axis in back]
        return AxisOrder(index3(back), (turned[0], turned[1], turned[2]))

    def ordered(self, voxels: npt.NDArray[_AnyKind]) -> npt.NDArray[_AnyKind]:
        """A copy of an array in this order."""
        steps = tuple(slice(None, None, -1 if turned else 1) for turned in self.reversed_axes)
        return np.ascontiguousarray(voxels.transpose(self.axes)[steps])

    def grid(self, grid: VolumeGeometry) -> VolumeGeometry:
        """The grid of an array in this order."""
        last = np.array([grid.shape_zyx[axis] - 1 for axis in self.axes]) * self.reversed_axes
        first = np.zeros(3)
        first[list(self.axes)] = last
        x, y, z = (float(v) for v in grid.to_lps(first))
        signs = [-1.0 if turned else 1.0 for turned in self.reversed_axes]
        directions: list[Any] = [
            tuple(sign * v + 0.0 for v in grid.directions_zyx_lps[axis])
            for axis, sign in zip(self.axes, signs, strict=True)
        ]
        spacing = [grid.spacing_zyx_mm[axis] for axis in self.axes]
        return replace(
            grid,
            shape_zyx=index3([grid.shape_zyx[axis] for axis in self.axes]),
            spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]),
            directions_zyx_lps=(directions[0], directions[1], directions[2]),
            origin_lps_mm=(x, y, z),
        )

    def ct(self, ct: CtVolume) -> CtVolume:
        """A CT in this order; itself where that changes nothing."""
        if self.unchanged:
            return ct
        return CtVolume(self.ordered(ct.voxels_hu), self.grid(ct.geometry), ct.acquisition)

    def mask(self, mask: LabelMask) -> LabelMask:
        """A mask in this order; itself where that changes nothing."""
        if self.unchanged:
            return mask
        return replace(mask, voxels=self.ordered(mask.voxels), geometry=self.grid(mask.geometry))
