"""Air between lung and chest wall that the planning CT does not show: a pneumothorax.

Lung in a deeper breath, or with emphysema, can be nearly as light. What tells them apart is the place: air in the
pleural space is a layer along the wall, lung that became lighter is not. Gas in the bowel and air around the body are
parted from the lung by a wall.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import AnyArray, BoolArray, Float32Array
from engine.geometry import Vector3
from engine.hounsfield import LUNG_THRESHOLD_HU
from engine.kernels.backend import KernelBackend
from engine.kernels.distance import distance_mm
from engine.registration.region import WINDOW_HU, ComparisonRegion

_AERATED_HU: Final = -600.0
_NEAR_ZONE_MM: Final = 15.0
_BESIDE_ZONE_MM: Final = 1.5
"""The zone's own border is neither wall nor lung."""

_MIN_NEAR_SHARE: Final = 0.2
_MIN_LUNG_ML: Final = 5.0
_MIN_SPREAD_HU: Final = 25.0
"""Without a zone: local means of lung spread by more between their 20th and 80th percentile."""

_WALL_MM: Final = 3.0
"""What is thinner than twice this is a vessel, a fissure or a needle, and no wall."""

_BELOW_PLEURA_MM: Final = 6.0
"""Deeper than this, how much lighter or denser the lung has become in general is read off."""

_USUAL_MM: Final = 21.0
"""Width of the neighborhood whose lung in the planning CT says what is usual."""

_MIN_CONTRAST_HU: Final = 60.0
_SMOOTHING_MM: Final = 4.5

_AT_WALL_MM: Final = 3.3
_LAYER_VOXELS: Final = 1.5
"""So many voxels deep is what lies within ``_AT_WALL_MM``."""

_MIN_PART_ML: Final = 0.4
_MAX_PARTS: Final = 12

_MIN_LUNG_SHARE: Final = 0.5
_MIN_CHANGE_HU: Final = 25.0

_LEVELS: Final = ((0.3, 2.0), (0.45, 1.5))
"""How far from usual lung (0) to air (1), and what area along the wall, cm², such a part has by its volume, mL, to the
power of two thirds. At the first level lung of -970 to -900 HU, bowel gas and a lower skin have 1.5 at most, at the
second 0.98, in 86 scans; lenses of 10 mL have 2.3 and 1.9 and more, crescents 2.8 and 1.6."""


@dataclass(frozen=True)
class PleuralAir:
    """The largest layer of new air along the wall.

    Parameters
    ----------
    volume_ml : float
        0 without one; thin layers are blurred, and measured as less.
    place_lps_mm : tuple of float, optional
        Its middle in the verification CT.
    """

    volume_ml: float
    place_lps_mm: Vector3 | None = None


NO_AIR: Final = PleuralAir(0.0)


def find_pleural_air(
    fixed: ComparisonRegion,
    warped: Float32Array,
    zone_distance_mm: Float32Array | None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> PleuralAir:
    """Find the air of a pneumothorax in a verification CT.

    Parameters
    ----------
    fixed : ComparisonRegion
        The verification CT.
    warped : ndarray of float32, (z, y, x)
        The planning CT on the same grid, aligned, HU; NaN where it is not known.
    zone_distance_mm : ndarray of float32 or None
        Distance to the ablation zone on this grid.
    kernels : KernelBackend

    Returns
    -------
    PleuralAir
    """
    spacing_mm = fixed.geometry.spacing_zyx_mm[0]
    known = np.isfinite(warped) & fixed.inside
    planning = np.where(known, warped, np.float32(WINDOW_HU[0]))
    beside_zone = np.zeros_like(known) if zone_distance_mm is None else zone_distance_mm <= _BESIDE_ZONE_MM
    own = _own_lung(fixed, planning, known, beside_zone, zone_distance_mm)
    lung_before = own & known & (planning < _AERATED_HU)
    to_wall = _distance_to_wall(fixed, beside_zone, kernels)
    deep = lung_before & (to_wall > _BELOW_PLEURA_MM)
    if np.count_nonzero(deep) * fixed.geometry.voxel_volume_ml < _MIN_LUNG_ML:
        return NO_AIR
    share = _air_share(fixed.hu, planning, lung_before, deep, spacing_mm)
    counted = own & known & (fixed.hu < _AERATED_HU)
    smooth = _local_mean(share, counted, _odd(_SMOOTHING_MM, spacing_mm))
    layers = (
        layer
        for least_share, least_ratio in _LEVELS
        for layer in _layers(
            counted & (smooth > least_share),
            least_ratio,
            share,
            counted,
            to_wall,
            fixed,
            planning,
            lung_before,
        )
    )
    return max(layers, key=lambda layer: layer.volume_ml, default=NO_AIR)


def _own_lung(
    fixed: ComparisonRegion,
    planning: Float32Array,
    known: BoolArray,
    beside_zone: BoolArray,
    zone_distance_mm: Float32Array | None,
) -> BoolArray:
    """Air that no wall parts from the lung: that around the zone, or without one all that looks like lung before."""
    light = (fixed.hu < LUNG_THRESHOLD_HU) & fixed.inside & ~beside_zone
    labels, count = ndimage.label(_shrunk(light))
    if zone_distance_mm is not None:
        near = np.bincount(labels[zone_distance_mm < _NEAR_ZONE_MM], minlength=count + 1)
        near[0] = 0
        kept = (near > 0) & (near >= _MIN_NEAR_SHARE * near.max())
    else:
        kept = np.zeros(count + 1, dtype=np.bool_)
        kept[list(_with_structure(labels, planning, known, fixed.geometry.voxel_volume_ml))] = True
    return np.asarray(light & _grown(kept[labels]))


def _with_structure(
    labels: AnyArray, planning: Float32Array, known: BoolArray, voxel_ml: float
) -> Iterator[int]:
    """Parts of air whose place in the planning CT has vessels and slopes, as air around the body has not."""
    lung_before = known & (planning < _AERATED_HU)
    means = _local_mean(planning, lung_before, 3)
    for label, where in enumerate(ndimage.find_objects(labels), 1):
        part = labels[where] == label
        of_part = means[where][part & lung_before[where]]
        if of_part.size * voxel_ml >= _MIN_LUNG_ML:
            low, high = np.percentile(of_part, [20, 80])
            if high - low > _MIN_SPREAD_HU:
                yield label


def _distance_to_wall(
    fixed: ComparisonRegion, beside_zone: BoolArray, kernels: KernelBackend
) -> Float32Array:
    """Distance to tissue that is too thick for a vessel; infinite well below the pleura."""
    spacing = fixed.geometry.spacing_zyx_mm
    tissue = (fixed.hu > LUNG_THRESHOLD_HU) & fixed.inside & ~beside_zone
    steps = max(1, round(_WALL_MM / spacing[0]))
    wall = _grown(_shrunk(tissue, steps), steps) & tissue
    return distance_mm(wall, spacing, bound_mm=_BELOW_PLEURA_MM + 1.0, kernels=kernels)


def _air_share(
    hu: Float32Array, planning: Float32Array, lung_before: BoolArray, deep: BoolArray, spacing_mm: float
) -> Float32Array:
    """How far each place has gone from the lung that is usual around it (0) to air (1), breathing aside."""
    lighter_hu = np.float32(np.median((hu - planning)[deep]))
    every = (slice(None, None, 2),) * 3
    usual = _local_mean(planning[every], lung_before[every], _odd(_USUAL_MM, 2.0 * spacing_mm))
    usual = np.where(usual == 0.0, planning.min(), usual)
    usual = usual.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    nz, ny, nx = hu.shape
    expected = usual[:nz, :ny, :nx] + lighter_hu
    contrast = np.maximum(expected - np.float32(WINDOW_HU[0]), np.float32(_MIN_CONTRAST_HU))
    return np.asarray(np.clip((expected - hu) / contrast, -0.5, 1.2), dtype=np.float32)


def _layers(
    air: BoolArray,
    least_ratio: float,
    share: Float32Array,
    counted: BoolArray,
    to_wall: Float32Array,
    fixed: ComparisonRegion,
    planning: Float32Array,
    lung_before: BoolArray,
) -> Iterator[PleuralAir]:
    """Parts of new air that spread along the wall."""
    voxel_ml = fixed.geometry.voxel_volume_ml
    layer_cm2 = fixed.geometry.spacing_zyx_mm[0] ** 2 / _LAYER_VOXELS / 100.0
    at_wall_mm = max(_AT_WALL_MM, 1.5 * fixed.geometry.spacing_zyx_mm[0])
    labels, count = ndimage.label(air)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    boxes = ndimage.find_objects(labels)
    for label in np.argsort(-sizes)[:_MAX_PARTS]:
        if sizes[label] * voxel_ml < _MIN_PART_ML:
            break
        box = tuple(slice(max(0, along.start - 1), along.stop + 1) for along in boxes[label - 1])
        part = labels[box] == label
        grown = _grown(part) & counted[box]
        volume_ml = float(np.clip(share[box][grown], 0.0, 1.0).sum()) * voxel_ml
        area_cm2 = float(np.count_nonzero(part & (to_wall[box] <= at_wall_mm))) * layer_cm2
        along_wall = area_cm2 >= least_ratio * volume_ml ** (2.0 / 3.0)
        if volume_ml > 0.0 and along_wall and _was_lung(part, box, fixed.hu, planning, lung_before):
            middle = np.argwhere(part).mean(axis=0) + [along.start for along in box]
            x, y, z = (float(v) for v in fixed.geometry.to_lps(middle))
            yield PleuralAir(volume_ml, (x, y, z))


def _was_lung(
    part: BoolArray, box: tuple[slice, ...], hu: Float32Array, planning: Float32Array, lung_before: BoolArray
) -> bool:
    """Whether lung lay there before, and not tissue, as where the bowel has filled, or the same air."""
    before = part & lung_before[box]
    if np.count_nonzero(before) < _MIN_LUNG_SHARE * np.count_nonzero(part):
        return False
    return bool(np.median((planning[box] - hu[box])[before]) >= _MIN_CHANGE_HU)


def _local_mean(values: Float32Array, counted: BoolArray, voxels: int) -> Float32Array:
    """Mean of what counts in cubes of some voxels; 0 where nothing does."""
    weight = ndimage.uniform_filter(counted.astype(np.float32), voxels, mode="constant")
    total = ndimage.uniform_filter(np.where(counted, values, np.float32(0)), voxels, mode="constant")
    return np.asarray(total / np.maximum(weight, np.float32(1e-3)))


def _odd(length_mm: float, spacing_mm: float) -> int:
    """The odd number of voxels that comes closest to a length; 3 at least."""
    return max(3, 2 * round((length_mm / spacing_mm - 1.0) / 2.0) + 1)


def _grown(marked: BoolArray, steps: int = 1) -> BoolArray:
    """Marked voxels and what shares a face with them."""
    return ~_shrunk(~marked, steps)


def _shrunk(marked: BoolArray, steps: int = 1) -> BoolArray:
    """Marked voxels all of whose six neighbors on the grid are marked; an order quicker than morphology at large."""
    for _ in range(steps):
        kept = marked.copy()
        for axis in range(3):
            inner, outer = np.moveaxis(kept, axis, 0), np.moveaxis(marked, axis, 0)
            inner[1:] &= outer[:-1]
            inner[:-1] &= outer[1:]
        marked = kept
    return marked
