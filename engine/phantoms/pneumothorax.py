"""A pneumothorax: air between lung and chest wall, the lung fallen back from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.volume import CtVolume, LabelMask

AIR_HU: Final = -990.0
_AIR_NOISE_HU: Final = 12.0
REACH_MM: Final = 80.0
"""The air lies on the lesion's side: its depth falls to nothing at this distance from the lesion."""

_FULL_WITHIN_SHARE: Final = 0.5
"""Within this share of the reach it has its full depth."""

_RETREAT_DEPTH_MM: Final = 45.0
"""Over this depth below the pleura the lung's retreat fades: towards the hilum it stays where it is."""

_FACES_MEDIASTINUM: Final = 0.5
"""Cosine between the pleura's outward normal and the way to the midline from which on there is no air."""

_FACING_SMOOTHING_MM: Final = 9.0
NORMAL_SMOOTHING_MM: Final = 4.0


@dataclass(frozen=True, eq=False)
class CollapsedLung:
    """The scan after the collapse.

    Parameters
    ----------
    ct : CtVolume
    masks : tuple of LabelMask
        Those given, moved with the lung.
    air : LabelMask
        Between lung and chest wall.
    """

    ct: CtVolume
    masks: tuple[LabelMask, ...]
    air: LabelMask


def collapse_lung(
    ct: CtVolume,
    lung: LabelMask,
    lesion_lps_mm: Float64Array,
    *,
    gap_mm: float = 10.0,
    masks: tuple[LabelMask, ...] = (),
    seed: int = 0,
) -> CollapsedLung:
    """Let air between lung and chest wall on the side of a lesion.

    Every place in lung takes its tissue from nearer the pleura: at the bottom of the air from the pleura
    itself, deeper down from less far away. A deformation that no registration of a lung expects.

    Parameters
    ----------
    ct : CtVolume
        Usually the verification CT; real or a phantom's. Upright: axes along LPS.
    lung : LabelMask
        All lung with its vessels and lesions, on the grid of ``ct``.
    lesion_lps_mm : ndarray, (3,)
    gap_mm : float
        Depth of the air next to the lesion.
    masks : tuple of LabelMask
        On the grid of ``ct``: zone, core, tumor, moved with the lung.
    seed : int
        Of the air's noise.

    Returns
    -------
    CollapsedLung

    Raises
    ------
    GridMismatchError, EmptyMaskError
    """
    grid = lung.require_on(ct).geometry
    spacing = grid.spacing_zyx_mm
    depth = ndimage.distance_transform_edt(np.pad(lung.voxels, 1, mode="edge"), sampling=spacing)
    depth = np.asarray(depth[1:-1, 1:-1, 1:-1], dtype=np.float64)
    gap = gap_mm * _nearness(grid, lesion_lps_mm) * _facing_the_wall(depth, grid, lesion_lps_mm)
    air = lung.voxels & (depth < gap)
    below = np.clip((depth - gap) / _RETREAT_DEPTH_MM, 0.0, 1.0)
    retreat = np.where(lung.voxels, gap * (1.0 - below) ** 2, 0.0)
    displacement = _outward(depth, spacing, NORMAL_SMOOTHING_MM) * retreat[..., None] / np.array(spacing)
    moved = resample(
        ct.voxels_hu.astype(np.float32),
        np.eye(4),
        grid.shape_zyx,
        displacement=np.ascontiguousarray(displacement, dtype=np.float32),
        displacement_map=np.eye(4),
        order=1,
        fill=-1000.0,
    )
    noise = np.random.default_rng(seed).normal(0.0, _AIR_NOISE_HU, int(air.sum()))
    moved[air] = AIR_HU + noise
    hu = np.clip(np.rint(np.where(lung.voxels, moved, ct.voxels_hu)), -1024, 3071).astype(np.int16)
    moved_masks = tuple(_moved_mask(mask.require_on(ct), displacement, air) for mask in masks)
    return CollapsedLung(CtVolume(hu, grid, ct.acquisition), moved_masks, LabelMask(air, grid, "air"))


def _nearness(grid: VolumeGeometry, place_lps_mm: Float64Array) -> Float64Array:
    """1 near a place, 0 from ``REACH_MM`` on, smooth in between."""
    center = grid.to_index(place_lps_mm)
    offsets_mm = [
        (np.arange(n) - o) * s for n, o, s in zip(grid.shape_zyx, center, grid.spacing_zyx_mm, strict=True)
    ]
    distance = np.sqrt(
        offsets_mm[0][:, None, None] ** 2
        + offsets_mm[1][None, :, None] ** 2
        + offsets_mm[2][None, None, :] ** 2
    )
    share = np.clip((1.0 - distance / REACH_MM) / (1.0 - _FULL_WITHIN_SHARE), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _facing_the_wall(depth: Float64Array, grid: VolumeGeometry, lesion_lps_mm: Float64Array) -> Float64Array:
    """1 where the pleura faces the chest wall, 0 where it faces the mediastinum, which holds the lung."""
    outward = _outward(depth, grid.spacing_zyx_mm, _FACING_SMOOTHING_MM)
    to_midline = -np.sign(lesion_lps_mm[0]) * np.array([1.0, 0.0, 0.0])
    medial = outward @ (np.array(grid.directions_zyx_lps) @ to_midline)
    share = np.clip(1.0 - medial / _FACES_MEDIASTINUM, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _outward(
    depth: Float64Array, spacing_zyx_mm: tuple[float, float, float], smoothing_mm: float
) -> Float64Array:
    """Unit vectors (z, y, x, 3) in index axes, mm, towards the pleura."""
    smooth = ndimage.gaussian_filter(depth, [smoothing_mm / s for s in spacing_zyx_mm])
    slope = np.stack([np.gradient(smooth, s, axis=axis) for axis, s in enumerate(spacing_zyx_mm)], axis=-1)
    return np.asarray(-slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 0.2))


def _moved_mask(mask: LabelMask, displacement: Float64Array, air: BoolArray) -> LabelMask:
    """The mask after the lung's displacement (z, y, x, 3) in voxels, without the air."""
    moved = resample(
        mask.voxels,
        np.eye(4),
        mask.geometry.shape_zyx,
        displacement=np.ascontiguousarray(displacement, dtype=np.float32),
        displacement_map=np.eye(4),
        order=0,
    )
    return LabelMask(moved & ~air, mask.geometry, mask.name)
