"""Which of the air in a chest is lung: told by what it is connected with, where it ends and how it looks.

Lung of an emphysema is as light as the air of a room, so that no threshold divides them. The chest wall does: what lies
around the tumor without a wall between is its lung. Of the rest, what reaches the sides of the field of view is air
around the body or a mat, and what is light and has no vessels is gas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import AnyArray, BoolArray, Float32Array, Float64Array, Int16Array
from engine.geometry import Index3, VolumeGeometry, VoxelBox, index3
from engine.hounsfield import LUNG_THRESHOLD_HU
from engine.volume import CtVolume, LabelMask

_SPACING_MM: Final = 2.5
"""The CT is averaged to about this: a chest wall is at least 8 mm thick."""

_PADDING_BELOW_HU: Final = -1000
_CORNER: Final = 3
"""A corner of the scan that holds one value alone, this low, is padding around the reconstructed circle."""

_SHELLS_MM: Final = (8.0, 16.0, 30.0)
"""The tumor's own lung lies within the first of these that holds any air."""

_MIN_SHELL_SHARE: Final = 0.2
_MIN_PART_VOXELS: Final = 12

_SMOOTH_SPREAD_HU: Final = 25
"""Between the 20th and the 80th percentile of means over 7 mm: 41 to 96 HU in 19 parts of lung, half of it lighter
than -920 in one, 6 to 27 in most air around the body, 11 to 18 in gas of the bowel."""

_LIGHTER_HU: Final = 25


@dataclass(frozen=True)
class _Part:
    """Connected air.

    Parameters
    ----------
    label : int
    shell_counts : tuple of int
        Voxels in each of ``_SHELLS_MM`` around the tumor.
    reaches_side : bool
        It ends where the field of view does, above and below aside.
    spread_hu, median_hu : float
        Of local means.
    """

    label: int
    shell_counts: tuple[int, ...]
    reaches_side: bool
    spread_hu: float
    median_hu: float

    @property
    def smooth(self) -> bool:
        """Whether it has neither vessels nor slopes."""
        return self.spread_hu < _SMOOTH_SPREAD_HU


def air_outside_lung(ct: CtVolume, tumor: LabelMask, box: VoxelBox) -> BoolArray:
    """Mark where air, if there is any, is not that of a lung.

    Parameters
    ----------
    ct : CtVolume
    tumor : LabelMask
        On the grid of ``ct``.
    box : VoxelBox
        Its surroundings.

    Returns
    -------
    ndarray of bool, (z, y, x) of the box
        Nearer to air around the body or to gas than to lung; what of it is tissue means nothing.
    """
    upright = int(np.argmax(np.abs(np.array(ct.geometry.directions_zyx_lps)[:, 2])))
    slab = _slab(ct.geometry, box, upright)
    steps = index3([max(1, int(_SPACING_MM / s + 0.3)) for s in ct.geometry.spacing_zyx_mm])
    hu = _block_means(ct.voxels_hu[slab.slices], steps)
    spacing = np.array(ct.geometry.spacing_zyx_mm) * steps
    void = _padding(ct.voxels_hu[slab.slices], steps)
    light = (hu < LUNG_THRESHOLD_HU) & ~void
    labels, count = ndimage.label(ndimage.binary_erosion(light | void, border_value=1) & light)
    in_tumor = _blocks_with(tumor.voxels[slab.slices], steps)
    to_tumor = ndimage.distance_transform_edt(~in_tumor, sampling=spacing)
    parts = tuple(_parts(labels, count, hu, void, to_tumor, upright))
    outside = np.isin(labels, [part.label for part in _outside(parts)])
    if not (outside.any() or void.any()):
        return np.zeros(box.shape_zyx, dtype=np.bool_)
    inside, tissue = labels > 0, ~(light | void)
    if void.any():  # behind the edge of the circle lung goes on, behind the skin it does not
        outside |= void & _at_nearest(outside | tissue, inside | tissue, spacing)
    is_outside = _at_nearest(outside, inside | void, spacing)
    offset = np.array(box.start_zyx) - slab.start_zyx
    index = [
        np.minimum((np.arange(n) + o) // k, size - 1)
        for n, o, k, size in zip(box.shape_zyx, offset, steps, hu.shape, strict=True)
    ]
    return np.asarray(is_outside[np.ix_(*index)])


def _at_nearest(values: BoolArray, known: BoolArray, spacing: Float64Array) -> BoolArray:
    """Values where they are known, elsewhere those of the nearest place where they are; false where nothing is."""
    if not known.any():
        return np.zeros_like(values)
    nearest = ndimage.distance_transform_edt(
        ~known, sampling=spacing, return_distances=False, return_indices=True
    )
    return np.asarray(values[tuple(nearest)])


def _outside(parts: tuple[_Part, ...]) -> Iterator[_Part]:
    """Parts that are not lung; the tumor's own lung never is one."""
    own = _own_lung(parts)
    for part in parts:
        if part is own:
            continue
        behind_wall = part.reaches_side and own is not None and not own.reaches_side
        lighter = own is None or part.median_hu < own.median_hu - _LIGHTER_HU
        apart = part.reaches_side and part.shell_counts[1] == 0
        if behind_wall or (lighter and (part.smooth or apart)):
            yield part


def _own_lung(parts: tuple[_Part, ...]) -> _Part | None:
    """The air that the tumor lies in or next to; None where there is none."""
    for shell in range(len(_SHELLS_MM)):
        most = max((part.shell_counts[shell] for part in parts), default=0)
        if most:
            near = [part for part in parts if part.shell_counts[shell] >= _MIN_SHELL_SHARE * most]
            return min(near, key=lambda part: _unlike_lung(part, shell))
    return None


def _unlike_lung(part: _Part, shell: int) -> tuple[bool, float, bool, int]:
    """Order of parts next to a tumor at the wall: with vessels, heavier, inside the body, larger."""
    return part.smooth, -part.median_hu if part.smooth else 0.0, part.reaches_side, -part.shell_counts[shell]


def _parts(
    labels: AnyArray, count: int, hu: Float32Array, void: BoolArray, to_tumor: AnyArray, upright: int
) -> Iterator[_Part]:
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    in_shells = [np.bincount(labels[to_tumor <= mm], minlength=count + 1) for mm in _SHELLS_MM]
    at_side = [labels.take([0, -1], axis=axis).ravel() for axis in range(3) if axis != upright]
    if void.any():
        at_side.append(labels[ndimage.binary_dilation(void)])
    at_side_labels = set(np.unique(np.concatenate(at_side)).tolist())
    means = _local_means(hu, labels > 0)
    for label, where in enumerate(ndimage.find_objects(labels), 1):
        if sizes[label] < _MIN_PART_VOXELS:
            continue
        of_part = means[where][labels[where] == label]
        low, median, high = np.percentile(of_part, [20, 50, 80])
        counts = tuple(int(shell[label]) for shell in in_shells)
        yield _Part(label, counts, label in at_side_labels, float(high - low), float(median))


def _slab(geometry: VolumeGeometry, box: VoxelBox, upright: int) -> VoxelBox:
    """All that lies between head and foot ends of a box."""
    start, stop = [0, 0, 0], list(geometry.shape_zyx)
    start[upright], stop[upright] = box.start_zyx[upright], box.stop_zyx[upright]
    return VoxelBox.between(start, stop)


def _block_means(hu: Int16Array, steps: Index3) -> Float32Array:
    """Means of blocks; what does not fill a block at the far ends is left out."""
    size = [n // k for n, k in zip(hu.shape, steps, strict=True)]
    total = np.zeros(size, dtype=np.float32)
    for part in _every(hu, steps):
        total += part
    return total / np.float32(np.prod(steps))


def _blocks_with(marked: BoolArray, steps: Index3) -> BoolArray:
    found = np.zeros([n // k for n, k in zip(marked.shape, steps, strict=True)], dtype=np.bool_)
    for part in _every(marked, steps):
        found |= part
    return found


def _every(voxels: AnyArray, steps: Index3) -> Iterator[AnyArray]:
    """Each first, second, … voxel of every block."""
    size = [n // k for n, k in zip(voxels.shape, steps, strict=True)]
    for start in np.ndindex(*steps):
        yield voxels[
            tuple(slice(first, first + n * k, k) for first, n, k in zip(start, size, steps, strict=True))
        ]


def _padding(hu: Int16Array, steps: Index3) -> BoolArray:
    """Blocks of the one value that fills the corners of a field of view."""
    size = [n // k for n, k in zip(hu.shape, steps, strict=True)]
    ends = (slice(None, _CORNER), slice(-_CORNER, None))
    corners = [hu[z, y, x] for z in ends for y in ends for x in ends]
    values = {int(corner.flat[0]) for corner in corners if (corner == corner.flat[0]).all()}
    void = np.zeros(size, dtype=np.bool_)
    for value in values:
        if value <= _PADDING_BELOW_HU:
            void |= ~_blocks_with(hu != value, steps)
    return void


def _local_means(hu: Float32Array, marked: BoolArray) -> Float32Array:
    """Means over 3 x 3 x 3 blocks of what is marked alone."""
    weight = marked.astype(np.float32)
    total = ndimage.uniform_filter(hu * weight, 3, mode="constant")
    return np.asarray(total / np.maximum(ndimage.uniform_filter(weight, 3, mode="constant"), 1e-3))
