"""The zone on the isotropic grid its features are computed on, from the voxels around it alone.

Axes are brought into the order of an axial series first (LPS), so that the same voxels have the same features
however their file stores them: wavelet bands have directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float64Array
from engine.errors import EmptyMaskError, RadiomicsError
from engine.geometry import Vector3, VolumeGeometry
from engine.kernels.power_sums import power_sums
from engine.manifest.signature import RadiomicsSettings
from engine.volume import CtVolume, LabelMask, bounding_box

SPLINE_SUPPORT_VOXELS: Final = 24
"""The prefilter of a cubic B-spline forgets by 0.268 a voxel: what lies this far away weighs 2e-14."""

_START_TOLERANCE: Final = 1e-10
_MIN_AXES: Final = 2


@dataclass(frozen=True, eq=False)
class ZoneImage:
    """The zone and its surroundings on a grid of (z, y, x) in the order of an axial series.

    Parameters
    ----------
    voxels : ndarray of float64
        Normalized.
    inside : ndarray of bool
    spacing_zyx_mm : tuple of float
    box : tuple of slice
        The zone's bounding box.
    """

    voxels: Float64Array
    inside: npt.NDArray[np.bool_]
    spacing_zyx_mm: Vector3
    box: tuple[slice, slice, slice]


@dataclass(frozen=True)
class _Axis:
    """The old and the new voxels along one axis; the center of old voxel 0 lies at 0 mm."""

    size: int
    spacing_mm: float
    new_spacing_mm: float
    first: int
    count: int

    @property
    def start_mm(self) -> float:
        """Center of the first new voxel."""
        return (self.first + 0.5) * self.new_spacing_mm - 0.5 * self.spacing_mm

    @property
    def sources(self) -> npt.NDArray[np.intp]:
        """The old voxel in which each new center lies; ``size`` where it lies beyond the last."""
        new = np.arange(self.first, self.first + self.count)
        return np.asarray(np.floor((new + 0.5) * self.new_spacing_mm / self.spacing_mm), dtype=np.intp)

    @property
    def support(self) -> slice:
        """The old voxels that the new ones depend on."""
        first, last = int(self.sources[0]), int(self.sources[-1])
        return slice(max(0, first - SPLINE_SUPPORT_VOXELS), min(self.size, last + 1 + SPLINE_SUPPORT_VOXELS))


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
        If the CT has one value throughout, or the zone is a single voxel or a line.
    """
    zone.require_on(ct)
    order, flip = _to_axial(ct.geometry)
    hu, marked = ct.voxels_hu.transpose(order)[flip], zone.voxels.transpose(order)[flip]
    spacing = [ct.geometry.spacing_zyx_mm[axis] for axis in order]
    box = _bounding_box(marked)
    if sum(extent.stop - extent.start > 1 for extent in box) < _MIN_AXES:
        raise RadiomicsError(
            f"the {zone.name} is a single voxel or line: it has no texture or shape; check the mask"
        )
    axes = _new_axes(marked.shape, spacing, box, settings)
    mean, sd = whole_mean_and_sd(ct.voxels_hu) if settings.normalize else (0.0, 1.0)
    normalized = (hu[tuple(axis.support for axis in axes)].astype(np.float64) - mean) / sd
    if settings.normalize:
        normalized *= settings.normalize_scale
    inside = _nearest(marked, axes)
    if not inside.any():
        raise RadiomicsError(
            f"nothing of the {zone.name} is left on a grid of {settings.spacing_mm:g} mm; it is too small for radiomics"
        )
    new_spacing = tuple(axis.new_spacing_mm for axis in axes)
    return ZoneImage(
        _interpolated(normalized, axes, settings.interpolator),
        inside,
        (new_spacing[0], new_spacing[1], new_spacing[2]),
        _bounding_box(inside),
    )


def whole_mean_and_sd(voxels_hu: npt.NDArray[np.int16]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) of all voxels, HU; the sums are exact.

    Raises
    ------
    RadiomicsError
        If all voxels have one value.
    """
    count = voxels_hu.size
    total, squares = power_sums(voxels_hu)
    spread = squares * count - total * total
    if spread == 0:
        raise RadiomicsError("the CT has one value throughout: it cannot be normalized; send the CT itself")
    return total / count, math.sqrt(spread / (count * (count - 1)))


def _to_axial(grid: VolumeGeometry) -> tuple[list[int], tuple[slice, ...]]:
    """Order of the array axes, and slices that flip them, so that they run to superior, posterior and left."""
    toward = np.array(grid.directions_zyx_lps)
    order = max(permutations(range(3)), key=lambda axes: sum(abs(toward[axes[i], 2 - i]) for i in range(3)))
    flip = tuple(slice(None, None, -1 if toward[axis, 2 - i] < 0 else 1) for i, axis in enumerate(order))
    return list(order), flip


def _bounding_box(marked: npt.NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """The smallest box that holds what is marked."""
    box = bounding_box(marked)
    if box is None:
        raise EmptyMaskError("the ablation zone mask has no voxel; draw it")
    return box.slices


def _new_axes(
    shape: Sequence[int], spacing_mm: Sequence[float], box: Sequence[slice], settings: RadiomicsSettings
) -> list[_Axis]:
    """The part of the new grid that holds the zone with its padding; the grid starts at the CT's first corner.

    PyRadiomics leaves an axis as it is along which the zone has one voxel, and the whole grid where its spacing
    is the wanted one already.
    """
    wanted = [
        own if extent.stop - extent.start == 1 else settings.spacing_mm
        for own, extent in zip(spacing_mm, box, strict=True)
    ]
    pad = settings.pad_voxels
    if np.allclose(spacing_mm, wanted):
        bounds = [(extent.start - pad, extent.stop - 1 + pad) for extent in box]
        wanted = list(spacing_mm)
    else:
        ratio = [own / new for own, new in zip(spacing_mm, wanted, strict=True)]
        bounds = [
            (math.floor((extent.start - 0.5) * r - pad), math.ceil((extent.stop - 0.5) * r + pad))
            for extent, r in zip(box, ratio, strict=True)
        ]
    axes = []
    for size, own, new, (low, high) in zip(shape, spacing_mm, wanted, bounds, strict=True):
        first, last = max(low, 0), min(high, math.ceil(size * (own / new)) - 1)
        axes.append(_Axis(size, own, new, first, last - first + 1))
    return axes


def _nearest(marked: npt.NDArray[np.bool_], axes: Sequence[_Axis]) -> npt.NDArray[np.bool_]:
    """The mask on the new grid: the old voxel in which a center lies; what lies beyond the CT is outside."""
    inside = marked[np.ix_(*(np.minimum(axis.sources, axis.size - 1) for axis in axes))]
    z, y, x = (axis.sources < axis.size for axis in axes)
    return np.asarray(inside & z[:, None, None] & y[:, None] & x)


def _interpolated(normalized: Float64Array, axes: Sequence[_Axis], interpolator: str) -> Float64Array:
    """The image on the new grid; 0 beyond the CT, as in PyRadiomics."""
    if all(axis.spacing_mm == axis.new_spacing_mm for axis in axes):
        inner = [slice(a.first - a.support.start, a.first - a.support.start + a.count) for a in axes]
        return np.ascontiguousarray(normalized[tuple(inner)])
    operator = _linear_operator if interpolator == "sitkLinear" else _spline_operator
    voxels = normalized
    for axis in axes:  # each pass takes the first axis and puts it last
        weights = operator(axis)
        weights[axis.sources >= axis.size] = 0.0
        voxels = np.tensordot(voxels, weights, axes=(0, 1))
    return np.ascontiguousarray(voxels)


def _linear_operator(axis: _Axis) -> Float64Array:
    """New voxels from old ones along one axis by linear interpolation, (new, old)."""
    low, beyond, old = _sampled(axis)
    weights, rows = np.zeros((axis.count, old)), np.arange(axis.count)
    np.add.at(weights, (rows, np.clip(low, 0, old - 1)), 1.0 - beyond)
    np.add.at(weights, (rows, np.clip(low + 1, 0, old - 1)), beyond)
    return weights


def _spline_operator(axis: _Axis) -> Float64Array:
    """New voxels from old ones along one axis by the interpolating cubic B-spline, (new, old).

    As a matrix, three products of it resample a volume at the speed of BLAS.
    """
    low, beyond, old = _sampled(axis)
    if old == 1:
        return np.ones((axis.count, 1))
    before = 1.0 - beyond
    taps = before**3, 4 + 3 * beyond**3 - 6 * beyond**2, 4 + 3 * before**3 - 6 * before**2, beyond**3
    weights = np.zeros((axis.count, old))
    for k, tap in enumerate(taps):
        np.add.at(weights, (np.arange(axis.count), _mirrored(low - 1 + k, old)), tap)
    return np.asarray(weights @ _prefilter(old))


def _prefilter(size: int) -> Float64Array:
    """Coefficients (times 1/6) of the interpolating cubic B-spline from samples, (size, size).

    Unser, IEEE Signal Process Mag 16(6):22-38, 1999, box 2: a causal and an anticausal recursion, the ends
    mirrored at their voxel centers. ITK cuts the sum that starts the first one off where the pole's powers fall
    below 1e-10, and so does this.
    """
    pole = math.sqrt(3.0) - 2.0
    coefficients = np.eye(size)
    horizon = math.ceil(math.log(_START_TOLERANCE) / math.log(-pole))
    if horizon < size:
        start = np.concatenate([pole ** np.arange(horizon), np.zeros(size - horizon)])
    else:
        start = pole ** np.arange(size) + pole ** (2.0 * size - 2.0 - np.arange(size))
        start[[0, -1]] = 1.0, pole ** (size - 1)
        start /= 1.0 - pole ** (2 * size - 2)
    coefficients[0] = start
    for k in range(1, size):
        coefficients[k] += pole * coefficients[k - 1]
    coefficients[-1] = pole / (pole * pole - 1.0) * (coefficients[-1] + pole * coefficients[-2])
    for k in range(size - 2, -1, -1):
        coefficients[k] = pole * (coefficients[k + 1] - coefficients[k])
    return coefficients


def _sampled(axis: _Axis) -> tuple[npt.NDArray[np.intp], Float64Array, int]:
    """The old voxel below each new center, how far beyond it that lies, and the number of old voxels."""
    new = np.arange(axis.first, axis.first + axis.count)
    position = (new + 0.5) * axis.new_spacing_mm / axis.spacing_mm - 0.5 - axis.support.start
    low = np.floor(position).astype(np.intp)
    return low, position - low, axis.support.stop - axis.support.start


def _mirrored(index: npt.NDArray[np.intp], size: int) -> npt.NDArray[np.intp]:
    """Indices beyond the ends folded back at the outermost voxel centers."""
    folded = np.abs(index) % (2 * size - 2)
    return np.asarray(np.minimum(folded, 2 * size - 2 - folded))
