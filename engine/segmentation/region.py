"""Which part of a CT is segmented when only a lesion matters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidRequestError
from engine.geometry import VoxelBox

if TYPE_CHECKING:
    from engine.geometry import Vector3, VolumeGeometry
    from engine.manifest import SegmentationSection

ROUNDING = 1e-6
"""Voxels by which a center may lie outside a box and still count as on its face."""


@dataclass(frozen=True)
class Box:
    """A box along the patient's axes.

    Parameters
    ----------
    low_mm, high_mm : tuple of float
        Opposite corners, LPS mm.

    Raises
    ------
    InvalidRequestError
        If a coordinate is not finite, or ``low_mm`` is not below ``high_mm``.
    """

    low_mm: Vector3
    high_mm: Vector3

    def __post_init__(self) -> None:
        corners = (*self.low_mm, *self.high_mm)
        if len(corners) != 6 or not all(math.isfinite(value) for value in corners):
            raise InvalidRequestError(f"a region needs finite corners, not {corners}", "region")
        if not all(low < high for low, high in zip(self.low_mm, self.high_mm, strict=True)):
            raise InvalidRequestError(
                f"the region from {self.low_mm} to {self.high_mm} mm is empty; give low below high", "region"
            )

    @classmethod
    def around(cls, center_lps_mm: Vector3, half_width_mm: float) -> Box:
        """Return the cube about a point.

        Raises
        ------
        InvalidRequestError
        """
        x, y, z = center_lps_mm
        half = half_width_mm
        return cls((x - half, y - half, z - half), (x + half, y + half, z + half))


def crop_to(geometry: VolumeGeometry, box: Box) -> VoxelBox:
    """Voxels (z, y, x) whose centers lie in a box; what of the box leaves the CT is left out.

    Raises
    ------
    InvalidRequestError
        If no voxel lies in it.
    """
    corners = np.array(
        [[(box.low_mm, box.high_mm)[bit][i] for i, bit in enumerate(bits)] for bits in _CORNERS]
    )
    index = geometry.to_index(corners)
    start = np.maximum(np.ceil(index.min(axis=0) - ROUNDING), 0).astype(int)
    stop = np.minimum(np.floor(index.max(axis=0) + ROUNDING) + 1, geometry.shape_zyx).astype(int)
    if (start >= stop).any():
        ends = geometry.corners_lps_mm()
        raise InvalidRequestError(
            f"the region from {_mm(box.low_mm)} to {_mm(box.high_mm)} holds no voxel of the CT, which runs from "
            f"{_mm(ends.min(axis=0))} to {_mm(ends.max(axis=0))} (LPS mm); give a region inside it",
            "region",
        )
    return VoxelBox.between(start, stop)


def with_context(region: VoxelBox, geometry: VolumeGeometry, section: SegmentationSection) -> VoxelBox:
    """The region, grown where it is smaller than one patch of the network.

    The network sees a whole patch in any case: real tissue in it costs no more than the zeros that
    would pad it. Grown evenly as far as the CT goes; a region of at least a patch stays as it is.
    """
    start, stop = list(region.start_zyx), list(region.stop_zyx)
    for network_axis, axis in enumerate(section.transpose_forward):
        ratio = geometry.spacing_zyx_mm[axis] / section.spacing_mm[network_axis]
        missing = _largest_fit(section.patch_shape[network_axis], ratio) - (stop[axis] - start[axis])
        if missing > 0:
            low = max(start[axis] - missing // 2, 0)
            stop[axis] = min(low + missing + stop[axis] - start[axis], geometry.shape_zyx[axis])
            start[axis] = max(min(low, stop[axis] - missing - region.shape_zyx[axis]), 0)
    return VoxelBox.between(start, stop)


def _largest_fit(patch: int, ratio: float) -> int:
    """Most voxels that become no more than ``patch`` when resampled by ``ratio``."""
    voxels = int((patch + 0.5) / ratio)
    return voxels if round(ratio * voxels) <= patch else voxels - 1


_CORNERS = tuple(np.ndindex(2, 2, 2))


def _mm(values: npt.ArrayLike) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in np.asarray(values)) + ")"
