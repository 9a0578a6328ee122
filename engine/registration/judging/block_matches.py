"""Places around the lesion matched between both scans one by one, for a judge that owes nothing to the deformation.

A deformation that went astray looks right to itself: what it minimised is small. Blocks of tissue where vessels
branch are looked for each on its own, over a reach that no deformation has, and kept only where no other
place fits nearly as well and the match found back ends where it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from engine.kernels.backend import KernelBackend
from engine.kernels.resampling import resample
from engine.registration.comparison import ScanComparison
from engine.registration.control_grid import positions

_HALF: Final = 2
"""A block reaches this many voxels of the coarse grid to every side: 15 mm wide at 3 mm."""

_REACH: Final = 4
"""It is looked for this many voxels off: 12 mm, and the rigid start is good to 7."""

_EDGE: Final = 2 * _HALF + 1
_MAX_PLACES: Final = 80
_APART: Final = 2
_AROUND_MM: Final = 45.0
_MIN_IN_LUNG: Final = 12
"""Fewer matches than this in lung, and the chest wall has to help, although the lung may slide along it."""

_MIN_CONTRAST_HU: Final = 15.0
_MIN_CORRELATION: Final = 0.6
_MAX_RUNNER_UP: Final = 0.9
"""Share of its correlation that the best of all other places may have."""

_MAX_RETURN_VOXELS: Final = 1.5
_MIN_KNOWN: Final = 0.9


@dataclass(frozen=True, eq=False)
class BlockMatches:
    """Places of the fixed CT and where each lies in the moving CT.

    Parameters
    ----------
    points_lps_mm : ndarray, (N, 3)
        In the fixed frame.
    shifts_mm : ndarray, (N, 3)
        From there to the match, before the comparison's rigid start: comparable to a deformation's displacement.
    """

    points_lps_mm: Float64Array
    shifts_mm: Float64Array


@dataclass(frozen=True, eq=False)
class _Image:
    """A scan on the coarse grid, with the blocks in it that are seen whole."""

    hu: Float32Array
    spread: Float32Array
    whole: BoolArray

    @classmethod
    def of(cls, hu: Float32Array, known: BoolArray) -> _Image:
        mean = ndimage.uniform_filter(hu, _EDGE)
        variance = ndimage.uniform_filter(hu * hu, _EDGE) - mean * mean
        whole = ndimage.uniform_filter(known.astype(np.float32), _EDGE, mode="constant") > _MIN_KNOWN
        return cls(hu, np.sqrt(np.maximum(variance, 1.0)), whole)


def match_blocks(
    comparison: ScanComparison, center_lps_mm: Float64Array, *, kernels: KernelBackend = KernelBackend.CPU
) -> BlockMatches:
    """Match blocks around a place, in lung where that gives enough of them.

    Parameters
    ----------
    comparison : ScanComparison
    center_lps_mm : ndarray, (3,)
        Where the tumor is thought to lie, fixed frame.
    kernels : KernelBackend

    Returns
    -------
    BlockMatches
    """
    level = comparison.coarse
    grid = level.fixed.geometry
    to_moving = (
        level.moving.geometry.index_from_lps @ comparison.moving_from_fixed.matrix @ grid.affine_lps_mm
    )
    hu = resample(level.moving.hu, to_moving, grid.shape_zyx, order=1, fill=np.nan, kernels=kernels)
    seen = np.isfinite(hu)
    fixed = _Image.of(level.fixed.hu, level.evidence)
    moving = _Image.of(np.where(seen, hu, np.float32(-1000.0)), seen)
    near = np.linalg.norm(positions(grid) - center_lps_mm, axis=-1) <= _AROUND_MM
    matches = BlockMatches(np.empty((0, 3)), np.empty((0, 3)))
    for evidence in (level.lung_evidence, level.evidence):
        places = _distinct_places(fixed.hu, fixed.whole & evidence & near)
        places, shifts = _matched(fixed, moving, places)
        in_mm = shifts[:, ::-1] * grid.spacing_zyx_mm[0]
        matches = BlockMatches(grid.to_lps(places.astype(float)), in_mm)
        if len(places) >= _MIN_IN_LUNG:
            break
    return matches


def _distinct_places(hu: Float32Array, where: BoolArray) -> Int64Array:
    """Where the HU change along every direction, spread out; (N, 3) voxels.

    By the determinant of the structure tensor over its second invariant (Förstner's corner, in three dimensions).
    """
    slopes = np.gradient(ndimage.gaussian_filter(hu, 0.5))
    xx, xy, xz, yy, yz, zz = (
        ndimage.uniform_filter(slopes[i] * slopes[j], 3)[where] for i in range(3) for j in range(i, 3)
    )
    first, second, third = yy * zz - yz * yz, xx * zz - xz * xz, xx * yy - xy * xy
    determinant = xx * first - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    order = np.argsort(-determinant / np.maximum(first + second + third, 1e-6), kind="stable")
    index = np.argwhere(where)[order]
    taken = np.zeros(hu.shape, dtype=np.bool_)
    chosen: list[Int64Array] = []
    for place in index:
        if len(chosen) == _MAX_PLACES:
            break
        if not taken[tuple(place)]:
            chosen.append(place)
            taken[tuple(slice(max(0, i - _APART), i + _APART + 1) for i in place)] = True
    return np.array(chosen, dtype=np.int64).reshape(-1, 3)


def _matched(fixed: _Image, moving: _Image, places: Int64Array) -> tuple[Int64Array, Float64Array]:
    """The places with a match that is clear and comes back, and their shifts in voxels."""
    there = _shifts(fixed, moving, places)
    clear = np.isfinite(there).all(axis=1)
    places, there = places[clear], there[clear]
    met = np.clip(np.rint(places + there).astype(np.int64), 0, np.array(fixed.hu.shape) - 1)
    back = met + _shifts(moving, fixed, met)
    returned = np.linalg.norm(back - places, axis=1) < _MAX_RETURN_VOXELS  # false for NaN
    return places[returned], there[returned]


def _shifts(blocks_of: _Image, searched: _Image, places: Int64Array) -> Float64Array:
    """Shift at which each block fits best, voxels (N, 3); NaN where it is not clear."""
    pad = _HALF + _REACH
    blocks = sliding_window_view(np.pad(blocks_of.hu, _HALF, mode="edge"), (_EDGE,) * 3)
    windows = sliding_window_view(np.pad(searched.hu, pad, mode="edge"), (_EDGE,) * 3)
    whole, spread = np.pad(searched.whole, _REACH), np.pad(searched.spread, _REACH, constant_values=1.0)
    shifts = np.full((len(places), 3), np.nan)
    for row, place in enumerate(places):
        block = blocks[tuple(place)].ravel()
        block = block - block.mean()
        contrast = float(np.sqrt(np.square(block).mean()))
        if contrast < _MIN_CONTRAST_HU:
            continue
        around = tuple(slice(i, i + 2 * _REACH + 1) for i in place)
        covariance = windows[around].reshape(-1, block.size) @ block / block.size
        correlation = covariance.reshape((2 * _REACH + 1,) * 3) / (contrast * spread[around])
        shifts[row] = _clear_peak(np.where(whole[around], correlation, np.float32(-1.0)))
    return shifts


def _clear_peak(correlation: npt.NDArray[np.float32]) -> Float64Array:
    """Offset of the best shift from none, to a part of a voxel; NaN where another fits nearly as well."""
    at = np.unravel_index(int(np.argmax(correlation)), correlation.shape)
    best = float(correlation[at])
    offset = np.full(3, np.nan)
    if best < _MIN_CORRELATION or min(at) == 0 or max(at) == 2 * _REACH:
        return offset
    others = correlation.copy()
    others[tuple(slice(max(0, int(i) - 2), int(i) + 3) for i in at)] = -1.0
    if float(others.max()) > _MAX_RUNNER_UP * best:
        return offset
    for axis in range(3):
        before, after = list(at), list(at)
        before[axis] -= 1
        after[axis] += 1
        low, high = float(correlation[tuple(before)]), float(correlation[tuple(after)])
        bend = low - 2.0 * best + high
        part = 0.5 * (low - high) / bend if bend < 0.0 and min(low, high) > -1.0 else 0.0
        offset[axis] = int(at[axis]) - _REACH + float(np.clip(part, -0.5, 0.5))
    return offset
