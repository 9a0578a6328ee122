"""The zone as PyRadiomics sees it: normalized by the whole CT, resampled to its isotropic grid.

PyRadiomics does both on the whole volume, which takes seconds. Here the whole volume gives its mean and
standard deviation only; the rest is done on a crop with so much room that the B-spline's prefilter, whose
reach falls by 3.7 with every voxel, is the same to the last digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from engine.errors import EmptyMaskError
from engine.geometry import VolumeGeometry
from engine.manifest.signature import RadiomicsSettings
from engine.volume import CtVolume, LabelMask

PAD_VOXELS: Final = 5
"""PyRadiomics' ``padDistance``: voxels kept around the zone for the filters."""

PREFILTER_ROOM_VOXELS: Final = 20
"""0.268 to this power is 4e-12: what lies beyond does not change a B-spline coefficient."""


@dataclass(frozen=True, eq=False)
class _Lattice:
    """A grid that is resampled to: first point as a fractional index (x, y, z), spacing and size."""

    first_xyz: npt.NDArray[np.float64]
    spacing_xyz_mm: npt.NDArray[np.float64]
    size_xyz: npt.NDArray[np.int64]


def prepare_zone(ct: CtVolume, zone: LabelMask, settings: RadiomicsSettings) -> tuple[sitk.Image, sitk.Image]:
    """Normalize and resample a CT around a zone.

    Parameters
    ----------
    ct : CtVolume
    zone : LabelMask
        On the grid of ``ct``.
    settings : RadiomicsSettings

    Returns
    -------
    (image, mask) : (SimpleITK.Image, SimpleITK.Image)
        Both on one grid, the zone with ``PAD_VOXELS`` around it.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    """
    marked = zone.require_on(ct).voxels
    ends = [np.flatnonzero(marked.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not ends[0].size:
        raise EmptyMaskError("the ablation zone is empty: there is nothing to compute radiomics of")
    first = np.array([e[0] for e in ends])[::-1]
    size = np.array([e[-1] - e[0] + 1 for e in ends])[::-1]
    lattice = _lattice(ct.geometry, first, size, settings.spacing_mm)
    start, stop = _crop(ct.geometry, lattice)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    values = ct.voxels_hu[box].astype(np.float64)
    if settings.normalize:
        mean, sd = mean_and_sd(ct.voxels_hu)
        values = (values - mean) * (settings.normalize_scale / sd)
    geometry = ct.geometry.crop(start.tolist(), stop.tolist())
    image, mask = _image(values, geometry), _image(marked[box].astype(np.uint32), geometry)
    interpolator = getattr(sitk, settings.interpolator)
    return (
        _resampled(image, ct.geometry, lattice, interpolator),
        _resampled(mask, ct.geometry, lattice, sitk.sitkNearestNeighbor),
    )


def mean_and_sd(voxels_hu: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample, as ITK has it) of all voxels, summed exactly by slices."""
    total, squares = 0, 0
    for one in voxels_hu:
        wide = one.astype(np.int64).ravel()
        total += int(wide.sum())
        squares += int(wide @ wide)
    count = voxels_hu.size
    return total / count, ((squares - total * total / count) / (count - 1)) ** 0.5


def _lattice(
    geometry: VolumeGeometry,
    first_xyz: npt.NDArray[np.int64],
    extent_xyz: npt.NDArray[np.int64],
    spacing_mm: float,
) -> _Lattice:
    """Where PyRadiomics resamples to: aligned to the CT's outer corner, the zone's box and a pad."""
    own = np.array(geometry.spacing_zyx_mm[::-1])
    # It leaves an axis alone along which the zone is one voxel thick.
    new = np.where(extent_xyz != 1, spacing_mm, own)
    shape = np.array(geometry.shape_zyx[::-1])
    if np.allclose(own, new):
        low = np.maximum(first_xyz - PAD_VOXELS, 0)
        high = np.minimum(first_xyz + extent_xyz - 1 + PAD_VOXELS, shape - 1)
        return _Lattice(low.astype(np.float64), own, (high - low + 1).astype(np.int64))
    ratio = own / new
    low = np.maximum(np.floor((first_xyz - 0.5) * ratio - PAD_VOXELS), 0.0)
    high = np.ceil((first_xyz + extent_xyz - 0.5) * ratio + PAD_VOXELS)
    high = np.minimum(high, np.ceil(shape * ratio) - 1.0)
    return _Lattice(0.5 * (new - own) / own + low / ratio, new, (high - low + 1.0).astype(np.int64))


def _crop(geometry: VolumeGeometry, lattice: _Lattice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Voxels (z, y, x) that the lattice is interpolated from, with room for the prefilter."""
    own = np.array(geometry.spacing_zyx_mm[::-1])
    last = lattice.first_xyz + (lattice.size_xyz - 1) * lattice.spacing_xyz_mm / own
    start = np.maximum(np.floor(lattice.first_xyz) - PREFILTER_ROOM_VOXELS, 0)
    stop = np.minimum(np.ceil(last) + 1 + PREFILTER_ROOM_VOXELS, geometry.shape_zyx[::-1])
    return start[::-1].astype(np.int64), stop[::-1].astype(np.int64)


def _resampled(
    image: sitk.Image, geometry: VolumeGeometry, lattice: _Lattice, interpolator: int
) -> sitk.Image:
    resample = sitk.ResampleImageFilter()
    resample.SetOutputSpacing(lattice.spacing_xyz_mm.tolist())
    resample.SetOutputDirection(image.GetDirection())
    resample.SetSize(lattice.size_xyz.tolist())
    resample.SetOutputOrigin(geometry.to_lps(lattice.first_xyz[::-1]).tolist())
    resample.SetOutputPixelType(image.GetPixelID())
    resample.SetInterpolator(interpolator)
    resampled: sitk.Image = resample.Execute(image)
    return resampled


def _image(voxels: npt.NDArray[Any], geometry: VolumeGeometry) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(geometry.origin_lps_mm)
    image.SetDirection(np.array(geometry.directions_zyx_lps[::-1]).T.ravel().tolist())
    return image
