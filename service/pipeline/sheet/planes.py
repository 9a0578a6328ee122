"""Planes through the scans: upright in the patient, whatever the axes of the volumes they are sampled from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array, Float64Array
from engine.geometry import RigidTransform, VolumeGeometry
from engine.volume import CtVolume

_PIXEL_MM: Final = 0.3
OUTSIDE_HU: Final = -1024.0
"""Where a scan does not reach."""


class Orientation(Enum):
    """A plane as a radiologist looks at it: title, normal, edges, and axes (rightward, downward) in LPS."""

    AXIAL = ("axial", 2, "R", "L", "A", "P", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    CORONAL = ("coronal", 1, "R", "L", "S", "I", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
    SAGITTAL = ("sagittal", 0, "A", "P", "S", "I", (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))

    def __init__(
        self,
        title: str,
        normal: int,
        left: str,
        right: str,
        top: str,
        bottom: str,
        rightward: tuple[float, float, float],
        downward: tuple[float, float, float],
    ) -> None:
        self.title, self.normal = title, normal
        self.left, self.right, self.top, self.bottom = left, right, top, bottom
        self.rightward_lps, self.downward_lps = np.array(rightward), np.array(downward)


@dataclass(frozen=True, eq=False)
class Plane:
    """A square of a plane.

    Parameters
    ----------
    orientation : Orientation
    center_lps_mm : ndarray, (3,)
        In the middle of the square.
    half_width_mm : float
    """

    orientation: Orientation
    center_lps_mm: Float64Array
    half_width_mm: float

    @property
    def position_mm(self) -> float:
        """Where the plane lies along its normal, LPS mm."""
        return float(self.center_lps_mm[self.orientation.normal])

    @property
    def pixels(self) -> int:
        """Pixels along each edge."""
        return 2 * round(self.half_width_mm / _PIXEL_MM) + 1

    @property
    def pixel_mm(self) -> float:
        """Distance of two pixels."""
        return 2.0 * self.half_width_mm / (self.pixels - 1)

    def positions_lps_mm(self) -> Float64Array:
        """LPS positions of the pixels, (rows, columns, 3) mm."""
        along = (np.arange(self.pixels) - self.pixels // 2) * self.pixel_mm
        rightward, downward = self.orientation.rightward_lps, self.orientation.downward_lps
        offset = along[None, :, None] * rightward + along[:, None, None] * downward
        return np.asarray(self.center_lps_mm + offset, dtype=np.float64)


def ct_on(plane: Plane, ct: CtVolume, ct_from_plane: RigidTransform | None = None) -> Float32Array:
    """Return a CT on a plane, HU; the plane's positions are mapped to the CT's frame first."""
    positions = plane.positions_lps_mm()
    if ct_from_plane is not None:
        positions = ct_from_plane.apply(positions)
    return _sampled(ct.voxels_hu, ct.geometry, positions, OUTSIDE_HU)


def mask_on(plane: Plane, mask: npt.NDArray[np.bool_], geometry: VolumeGeometry) -> Float32Array:
    """Return a mask on a plane: 1 inside, 0 outside, its outline at 0.5."""
    return _sampled(mask.view(np.uint8), geometry, plane.positions_lps_mm(), 0.0)


def _sampled(
    voxels: npt.NDArray[np.int16] | npt.NDArray[np.uint8],
    geometry: VolumeGeometry,
    positions_lps_mm: Float64Array,
    fill: float,
) -> Float32Array:
    index = np.moveaxis(geometry.to_index(positions_lps_mm), -1, 0)
    sampled = ndimage.map_coordinates(voxels, index, output=np.float32, order=1, mode="constant", cval=fill)
    return np.asarray(sampled)
