"""Slices that a mask lacks between slices that it marks: whole ones, and a part's share of one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Int64Array
from engine.geometry import Vector3, VolumeGeometry

_LOST_SHARE: Final = 2.0 / 3.0
_LOST_VOXELS: Final = 10
"""A plane has lost a slice of a part if it lacks this share of what both neighbors mark in common, and so many
voxels. Two of 254 readers' contours of nodules (LIDC) have such a slice, and both are faults: one is empty, in the
other a lobe is missing."""

_NARROW_SHARE: Final = 1.0 / 3.0
_NARROW_VOXELS: Final = 20
"""Likewise for a plane that is named because it may have been cut; two more of the 254."""

_FLAT_SHARE: Final = 0.5
"""Slices on both sides of a wider gap that share at least this much of the smaller side's widest slice were cut
there; separate lobes taper off towards each other."""

_OBLIQUE_VOXELS: Final = 2
"""A single empty slice was lost if the voxels on both sides are no farther from each other than this in the plane;
otherwise two parts only happen to end and begin there."""


@dataclass(frozen=True)
class SliceGap:
    """Planes of voxels that lack what the planes on both sides of them mark.

    Parameters
    ----------
    axis : int
        Array axis across which the planes lie.
    first, count : int
        Index of the first plane on the mask's grid, and how many follow each other.
    volume_ml : float
        What lies between the voxels that both sides mark.
    place_lps_mm : tuple of float
        Its center.
    empty : bool
        No voxel of the whole mask lies in the planes.
    lost : bool
        No anatomy looks like this. Otherwise it is a narrow place, or the space between separate parts.
    """

    axis: int
    first: int
    count: int
    volume_ml: float
    place_lps_mm: Vector3
    empty: bool
    lost: bool


def empty_slices(marked: BoolArray, grid: VolumeGeometry, axis: int) -> Iterator[SliceGap]:
    """Yield every run of planes without a voxel between planes that have some.

    Parameters
    ----------
    marked : ndarray of bool, (z, y, x)
        The box of a mask: its outermost planes are not empty.
    grid : VolumeGeometry
        Of that box.
    axis : int
        Across which planes are looked at.
    """
    areas: Int64Array = np.count_nonzero(marked, axis=tuple(a for a in range(3) if a != axis))
    planes = np.moveaxis(marked, axis, 0)
    filled = np.flatnonzero(areas)
    for before, after in pairwise(filled):
        count = int(after - before) - 1
        if count == 0:
            continue
        below, above = np.asarray(planes[before]), np.asarray(planes[after])
        common = below & above
        shared = int(np.count_nonzero(common))
        narrower = min(int(areas[: before + 1].max()), int(areas[after:].max()))
        lost = shared >= max(_LOST_VOXELS, _FLAT_SHARE * narrower)
        if count == 1 and not lost:
            lost = bool((ndimage.binary_dilation(below, iterations=_OBLIQUE_VOXELS) & above).any())
        where = np.argwhere(common if shared else below | above).mean(axis=0)
        yield SliceGap(
            axis=axis,
            first=int(before) + 1,
            count=count,
            volume_ml=shared * count * grid.voxel_volume_ml,
            place_lps_mm=_place(grid, np.insert(where, axis, (before + after) / 2.0)),
            empty=True,
            lost=lost,
        )


def lost_in_planes(
    marked: BoolArray, grid: VolumeGeometry, axis: int, known: Collection[int]
) -> Iterator[SliceGap]:
    """Yield every plane that lacks much of what both planes beside it mark in common.

    Parameters
    ----------
    marked : ndarray of bool, (z, y, x)
        Part of a mask, with empty voxels around it.
    grid : VolumeGeometry
        Of ``marked``.
    axis : int
        Across which planes are looked at.
    known : collection of int
        Planes that are known to be empty and left out here.
    """
    planes = np.moveaxis(marked, axis, 0)
    common = planes[:-2] & planes[2:]
    missing = common & ~planes[1:-1]
    for before in np.flatnonzero(np.count_nonzero(missing, axis=(1, 2)) >= _LOST_VOXELS):
        plane = int(before) + 1
        if plane in known:
            continue
        labels, count = ndimage.label(common[before], np.ones((3, 3)))
        totals = np.bincount(labels.ravel(), minlength=count + 1)
        lacking = np.bincount(labels[missing[before]], minlength=count + 1)
        for label in range(1, count + 1):
            lost = _is_many(lacking[label], totals[label], _LOST_VOXELS, _LOST_SHARE)
            if lost or _is_many(lacking[label], totals[label], _NARROW_VOXELS, _NARROW_SHARE):
                where = np.argwhere(missing[before] & (labels == label)).mean(axis=0)
                yield SliceGap(
                    axis=axis,
                    first=plane,
                    count=1,
                    volume_ml=float(lacking[label]) * grid.voxel_volume_ml,
                    place_lps_mm=_place(grid, np.insert(where, axis, plane)),
                    empty=not planes[plane].any(),
                    lost=lost,
                )


def _is_many(lacking: int, total: int, least: int, share: float) -> bool:
    return bool(lacking >= least and lacking >= share * total)


def _place(grid: VolumeGeometry, index_zyx: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in grid.to_lps(index_zyx))
    return x, y, z
