"""Which of what a model calls zone is zone: it changed against the planning CT, and it ends at the pleura."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from engine.geometry import VoxelBox
from engine.hounsfield import AIR_HU, usual_difference_hu
from engine.kernels.backend import KernelBackend
from engine.kernels.components import Components, find_components
from engine.kernels.distance import distance_mm
from engine.registration.evidence import METAL_HALO_MM, METAL_HU
from engine.structures.model_contour import SURE_PROBABILITY, Parts
from engine.structures.warped_planning import WarpedPlanning
from engine.volume import LabelMask

MIN_CHANGED_SHARE: Final = 0.5
"""A part of which less than this changed is something that was there before. Of four zones in real CT 0.965 to 0.978
changed; of fibrosis only painted scenes were tried."""

_SMOOTHING_MM: Final = 1.5
_FOCUS_MM: Final = 8.0
_MIN_CHANGE_HU: Final = 70.0
_CHANGE_SDS: Final = 3.0
"""Changed is what is denser than before by more than both. The faintest ground glass (-750 HU) is 100 HU above lung."""

_AERATED_HU: Final = -500.0

_TUMOR_RIM_MM: Final = 2.0
"""Tumor is dense before and after, and its edge is not known better than this: it says nothing of change."""

_MIN_COMPARED_ML: Final = 0.1
_MIN_SEEN_VOXELS: Final = 500

_MIN_POCKET_VOXELS: Final = 4
_MAX_POCKET_ML: Final = 10.0

_MIN_ENCLOSED: Final = 0.85
"""New air of whose surroundings this share is zone is a bubble or a cavity of it; a pneumothorax lies at its edge."""


@dataclass(frozen=True, eq=False)
class Change:
    """How tissue differs from what was there before, on the grid of a segmentation's labels.

    Parameters
    ----------
    denser, new_air : ndarray of bool, (z, y, x)
        By more than noise and breathing; new air was tissue or lung.
    aerated : ndarray of bool, (z, y, x)
        Lung or air in the verification CT.
    comparable : ndarray of bool, (z, y, x)
        Neither tumor, nor metal, nor beyond the planning CT.
    outside_lung : ndarray of bool, (z, y, x)
        Neither lung nor tumor before; False where that is not known.
    """

    denser: BoolArray
    new_air: BoolArray
    aerated: BoolArray
    comparable: BoolArray
    outside_lung: BoolArray

    def changed_share(self, voxels: BoolArray, voxel_ml: float) -> float | None:
        """Share of a part that changed, of what can be compared; None where that is next to nothing."""
        compared = voxels & self.comparable & ~self.new_air
        count = int(np.count_nonzero(compared))
        if count * voxel_ml < _MIN_COMPARED_ML:
            return None
        return float(np.count_nonzero(compared & self.denser)) / count


def find_change(parts: Parts, before: WarpedPlanning, lung: LabelMask) -> Change:
    """Compare the verification CT with the planning CT warped onto it.

    Parameters
    ----------
    parts : Parts
    before : WarpedPlanning
    lung : LabelMask
        Of the planning CT, on its grid or a crop of it.
    """
    focus = _focus(parts)
    grid, spacing = parts.geometry.crop(focus), np.array(parts.geometry.spacing_zyx_mm)
    after = parts.ct.voxels_hu[focus.moved(parts.box.start_zyx).slices].astype(np.float32)
    planned = before.hu(grid)
    unsmoothed = after - planned
    difference = ndimage.gaussian_filter(unsmoothed, _SMOOTHING_MM / spacing, truncate=2.5)
    tumor = before.tumor_share(grid) > 0.5
    said = (planned > AIR_HU) & ~_within(after >= METAL_HU, spacing, METAL_HALO_MM, before.kernels)
    comparable = said & ~_within(tumor, spacing, _TUMOR_RIM_MM, before.kernels)
    unlabeled = parts.labels[focus.slices] == 0
    middle, limit = _limit_hu(difference, comparable & (planned < _AERATED_HU) & unlabeled)
    looked_at = LabelMask(np.ones(lung.geometry.shape_zyx, dtype=np.bool_), lung.geometry, "looked at")
    is_looked_at, in_lung = (before.mask_share(mask, grid) > 0.5 for mask in (looked_at, lung))
    aerated = after < _AERATED_HU

    def whole(marked: BoolArray) -> BoolArray:
        on_labels = np.zeros(parts.labels.shape, dtype=np.bool_)
        on_labels[focus.slices] = marked
        return on_labels

    return Change(
        whole(difference - middle > limit),
        whole(said & (unsmoothed - middle < -limit) & aerated),
        whole(aerated),
        whole(comparable),
        whole(is_looked_at & ~in_lung & ~tumor),
    )


def _focus(parts: Parts) -> VoxelBox:
    """What the model found, with some of the lung around it."""
    if len(parts.components) == 0:
        return VoxelBox.whole(parts.geometry.shape_zyx)
    start, stop = parts.components.starts_zyx.min(axis=0), parts.components.stops_zyx.max(axis=0)
    padding = np.ceil(_FOCUS_MM / np.array(parts.geometry.spacing_zyx_mm)).astype(int)
    return VoxelBox.between(start, stop).padded(padding).clipped(parts.geometry.shape_zyx)


def _within(marked: BoolArray, spacing: Float64Array, reach_mm: float, kernels: KernelBackend) -> BoolArray:
    """Voxels at most this far from a marked one."""
    if not marked.any():
        return marked
    return distance_mm(marked, [float(s) for s in spacing], bound_mm=reach_mm, kernels=kernels) <= reach_mm


def with_zone_alone(parts: Parts, change: Change, kernels: KernelBackend) -> Parts:
    """What the model calls zone without what lies beyond the pleura, and with its bubbles and cavities.

    Parameters
    ----------
    parts : Parts
    change : Change
        On the grid of ``parts``.
    kernels : KernelBackend
    """
    labels = np.where(change.outside_lung, 0, parts.labels)
    cavities = _enclosed(change, labels > 0, parts.geometry.spacing_zyx_mm)
    if cavities.any():
        box = VoxelBox.between(*_ends(cavities)).padded(1).clipped(cavities.shape).slices
        filling = nearest_label(labels[box], parts.geometry.spacing_zyx_mm)
        labels[box] = np.where(cavities[box], filling, labels[box])
    if np.array_equal(labels, parts.labels):
        return parts
    probability = np.where(cavities, np.maximum(parts.probability, SURE_PROBABILITY), parts.probability)
    return replace(
        parts,
        labels=labels.astype(np.uint8),
        probability=np.where(change.outside_lung, 0.0, probability).astype(np.float32),
        components=find_components(labels > 0, parts.geometry.spacing_zyx_mm, kernels=kernels),
    )


def _ends(marked: BoolArray) -> tuple[Int64Array, Int64Array]:
    """First and last index of marked voxels, (3,) each; the last exclusive."""
    index = np.argwhere(marked)
    return index.min(axis=0), index.max(axis=0) + 1


def nearest_label(labels: UInt8Array, spacing_zyx_mm: Sequence[float]) -> UInt8Array:
    """The label of the nearest labeled voxel, at every voxel: a core goes on under a needle, and around a cavity."""
    nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=spacing_zyx_mm, return_distances=False, return_indices=True
    )
    return np.asarray(labels[tuple(nearest)])


def united(parts: Parts, chosen: Sequence[int]) -> Parts:
    """Several parts as the first of them: they count together."""
    first, *others = chosen
    if not others:
        return parts
    found, rows = parts.components, list(chosen)
    sizes, volumes, centroids = (
        found.sizes_voxels.copy(),
        found.volumes_ml.copy(),
        found.centroids_index_zyx.copy(),
    )
    starts, stops = found.starts_zyx.copy(), found.stops_zyx.copy()
    centroids[first] = np.average(centroids[rows], axis=0, weights=sizes[rows])
    sizes[first], volumes[first] = sizes[rows].sum(), volumes[rows].sum()
    starts[first], stops[first] = starts[rows].min(axis=0), stops[rows].max(axis=0)
    labels = np.where(np.isin(found.labels, [part + 1 for part in others]), first + 1, found.labels)
    together = Components(labels.astype(np.int32), sizes, volumes, centroids, starts, stops)
    return replace(parts, components=together)


def _limit_hu(difference: Float32Array, unchanged: BoolArray) -> tuple[float, float]:
    """What breathing did to the density of lung, and what beyond it is change, HU."""
    seen = difference[unchanged]
    if seen.size < _MIN_SEEN_VOXELS:
        return 0.0, _MIN_CHANGE_HU
    middle, sd = usual_difference_hu(seen)
    return middle, max(_MIN_CHANGE_HU, _CHANGE_SDS * sd)


def _enclosed(change: Change, zone: BoolArray, spacing_zyx_mm: Sequence[float]) -> BoolArray:
    """Pockets of air that was not there before, with zone around them; a gap of lung that was left over is none."""
    inside = np.zeros(zone.shape, dtype=np.bool_)
    pockets = find_components(np.ascontiguousarray(change.aerated & ~zone), spacing_zyx_mm, connectivity=6)
    for pocket, (voxels, volume_ml) in enumerate(zip(pockets.sizes_voxels, pockets.volumes_ml, strict=True)):
        if voxels < _MIN_POCKET_VOXELS:
            break  # the largest come first
        tight = VoxelBox.between(pockets.starts_zyx[pocket], pockets.stops_zyx[pocket])
        box = tight.padded(1).clipped(zone.shape).slices
        if volume_ml > _MAX_POCKET_ML or not zone[box].any():
            continue
        own = pockets.labels[box] == pocket + 1
        shell = ndimage.binary_dilation(own) & ~own
        enclosed = np.count_nonzero(shell & zone[box]) >= _MIN_ENCLOSED * np.count_nonzero(shell)
        if enclosed and 2 * np.count_nonzero(own & change.new_air[box]) > np.count_nonzero(own):
            inside[box] |= own
    return inside
