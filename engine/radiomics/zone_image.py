"""The zone on the isotropic grid its features are computed on, from the voxels around it alone.

Axes are brought into the order of an axial series first (LPS), so that the same voxels have the same features
however their file stores them: wavelet bands have directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from engine.errors import RadiomicsError
from engine.geometry import FloatArray, VolumeGeometry
from engine.manifest.signature import RadiomicsSettings
from engine.volume import CtVolume, LabelMask

SPLINE_SUPPORT_VOXELS: Final = 32
"""The prefilter of a cubic B-spline forgets by 0.268 a voxel, so that what lies this far away weighs 5e-19."""

_SUMMED_AT_ONCE: Final = 2**20
_MIN_AXES: Final = 2

Index3 = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class ZoneImage:
    """The zone and its surroundings, resampled; ``image`` (float64) and ``mask`` (1 inside) share a grid."""

    image: Any
    mask: Any
    inside: npt.NDArray[np.bool_]
    bounding_box_xyz: tuple[Index3, Index3]
    """First and last index of the zone."""


@dataclass(frozen=True)
class _Axis:
    """How one axis is resampled; the first voxel's center lies at 0 mm."""

    size: int
    spacing_mm: float
    new_spacing_mm: float
    first: int
    count: int
    keeps_voxels: bool

    @property
    def start_mm(self) -> float:
        """Center of the first new voxel."""
        if self.keeps_voxels:
            return self.first * self.spacing_mm
        return (self.first + 0.5) * self.new_spacing_mm - 0.5 * self.spacing_mm

    @property
    def sources(self) -> npt.NDArray[np.intp]:
        """The old voxel in which each new center lies; ``size`` beyond the last."""
        new = np.arange(self.first, self.first + self.count)
        if self.keeps_voxels:
            return new
        return np.floor((new + 0.5) * self.new_spacing_mm / self.spacing_mm).astype(np.intp)

    def crop(self) -> slice:
        """The old voxels the new ones are interpolated from."""
        first, last = int(self.sources[0]), int(self.sources[-1])
        return slice(
            max(0, first - SPLINE_SUPPORT_VOXELS), min(self.size, last + 1 + SPLINE_SUPPORT_VOXELS)
        )


def resample_zone(ct: CtVolume, zone: LabelMask, settings: RadiomicsSettings) -> ZoneImage:
    """Normalize by the whole CT and resample around the zone, as PyRadiomics does with the whole CT.

    Parameters
    ----------
    ct : CtVolume
    zone : LabelMask
        On the grid of ``ct``.
    settings : RadiomicsSettings

    Returns
    -------
    ZoneImage

    Raises
    ------
    EmptyMaskError, GridMismatchError
    RadiomicsError
        If the CT has one value throughout, or the zone is no more than a line.
    """
    zone.require_on(ct)
    voxels, mask, spacing = _as_axial(ct, zone)
    start, stop = LabelMask(mask, replace_shape(ct.geometry, mask.shape, spacing)).bounding_box()
    axes = _new_axes(mask.shape, spacing, start, stop, settings)
    shift, factor = (0.0, 1.0)
    if settings.normalize:
        mean, sd = whole_mean_and_sd(ct.voxels_hu)
        shift, factor = mean, settings.normalize_scale / sd
    image = _resampled(voxels, axes, settings, shift, factor)
    inside = _nearest(mask, axes)
    return _zone_image(image, inside, axes)


def whole_mean_and_sd(voxels_hu: npt.NDArray[np.int16]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of all voxels, HU, to the last bit: the sums are exact.

    Raises
    ------
    RadiomicsError
        If all voxels have one value.
    """
    total = squares = 0
    flat = voxels_hu.reshape(-1)
    for first in range(0, flat.size, _SUMMED_AT_ONCE):
        # Sums of this many int16 and their squares stay below 2**53, so no float64 is rounded.
        part = flat[first : first + _SUMMED_AT_ONCE].astype(np.float64)
        total += int(part.sum())
        squares += int(part @ part)
    count = flat.size
    spread = squares * count - total * total
    if spread == 0:
        raise RadiomicsError("the CT has one value throughout: it cannot be normalized; send the CT itself")
    return total / count, math.sqrt(spread / (count * (count - 1)))
