"""What a supplied mask has that tissue has not: lost slices, small holes, stray voxels; and which parts it has.

Nothing is repaired here. One lost voxel deep in a zone turns a margin of 7 mm into none, one stray voxel makes a
complete coverage incomplete: the reader has to know, and to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from engine.arrays import BoolArray, Float64Array
from engine.geometry import Index3, Vector3, VolumeGeometry, VoxelBox, index3
from engine.kernels.components import Components, find_components
from engine.structures.slice_gaps import SliceGap, empty_slices, lost_in_planes
from engine.volume import LabelMask

_THICK_SLICE_RATIO: Final = 1.1
"""Slices were stacked along the axis whose spacing exceeds the others' by this factor, where there is one."""

_CHANNEL_VOXELS: Final = 5
"""A cavity one voxel wide and this long is a lost row or column. 254 readers' contours of nodules (LIDC) have
cavities of up to 4 voxels in a row, nine in ten of them none or one."""

_BLOCK_VOXELS: Final = 16
_BOX_VOXELS: Final = 1 << 22
"""The box of a mask of more voxels than this is searched for its clusters first, in blocks: one stray voxel must
not make the box of a tumor that of a CT."""

_CLUSTERS: Final = 64
"""More clusters than these cost more, one by one, than their common box."""

_MEASURED_PARTS: Final = 20
"""Smaller parts than so many are counted, and their distances are not measured."""


@dataclass(frozen=True)
class MaskPiece:
    """A connected part of a mask, or a connected cavity in it.

    Parameters
    ----------
    voxels : int
    volume_ml : float
    place_lps_mm : tuple of float
        Mean position of its voxels.
    distance_mm : float, optional
        Of a part: from the nearest of its voxels to the nearest one of the largest part.
    """

    voxels: int
    volume_ml: float
    place_lps_mm: Vector3
    distance_mm: float | None = None


@dataclass(frozen=True)
class MaskInspection:
    """What was found in one mask.

    Parameters
    ----------
    voxels : int
    volume_ml : float
    parts : tuple of MaskPiece
        Connected by faces, edges or corners; largest first.
    holes : tuple of MaskPiece
        Cavities that are enclosed on all sides, largest first.
    channels, pits : tuple of MaskPiece
        Cavities one voxel wide that are open to the outside: long ones, and single voxels; largest first.
    gaps : tuple of SliceGap
        By place.
    slice_axis : int
        Array axis along which slices are stacked.
    """

    voxels: int
    volume_ml: float
    parts: tuple[MaskPiece, ...]
    holes: tuple[MaskPiece, ...]
    channels: tuple[MaskPiece, ...]
    pits: tuple[MaskPiece, ...]
    gaps: tuple[SliceGap, ...]
    slice_axis: int

    @property
    def empty_slices(self) -> int:
        """Number of slices without a voxel between marked ones, and of those in which a whole part is missing."""
        return sum(gap.count for gap in self.gaps if gap.empty or gap.lost)


@dataclass(frozen=True, eq=False)
class _Cluster:
    """Parts of a mask that lie near each other, with one layer of empty voxels around them.

    Parameters
    ----------
    marked : ndarray of bool, (z, y, x)
    start_zyx : tuple of int
        Index of its first voxel on the mask's grid; may be -1.
    grid : VolumeGeometry
        Of ``marked``.
    """

    marked: BoolArray
    start_zyx: Index3
    grid: VolumeGeometry

    @classmethod
    def of(cls, marked: BoolArray, start_zyx: Index3, grid: VolumeGeometry) -> _Cluster:
        """The cluster of voxels that begin at an index of a grid."""
        padded = np.pad(marked, 1)
        box = VoxelBox.placed(np.subtract(start_zyx, 1), padded.shape)
        return cls(padded, box.start_zyx, grid.crop(box))


@dataclass(frozen=True, eq=False)
class _Part:
    """One connected part, and where to find its voxels."""

    piece: MaskPiece
    label: int
    components: Components
    grid: VolumeGeometry

    def surface_lps_mm(self) -> Float64Array:
        """Positions of its outermost voxels, (n, 3) LPS mm."""
        row = self.label - 1
        start = self.components.starts_zyx[row]
        box = VoxelBox.between(start, self.components.stops_zyx[row])
        marked = self.components.labels[box.slices] == self.label
        return self.grid.to_lps(np.argwhere(marked & ~ndimage.binary_erosion(marked)) + start)


def inspect_mask(mask: LabelMask) -> MaskInspection:
    """Look for separate parts, holes, channels, pits and lost slices.

    Parameters
    ----------
    mask : LabelMask
        On any grid.

    Returns
    -------
    MaskInspection

    Raises
    ------
    EmptyMaskError
    """
    axis = _slice_axis(mask.geometry)
    clusters = list(_clusters(mask))
    box = mask.bounding_box()
    whole = [
        replace(gap, first=gap.first + box.start_zyx[axis])
        for gap in empty_slices(mask.voxels[box.slices], mask.geometry.crop(box), axis)
    ]
    parts = sorted(
        (part for cluster in clusters for part in _parts(cluster)), key=lambda part: -part.piece.voxels
    )
    holes, narrow = [], []
    for cluster in clusters:
        enclosed, open_cavities = _cavities(cluster)
        holes += enclosed
        narrow += open_cavities
    voxels = sum(part.piece.voxels for part in parts)
    return MaskInspection(
        voxels=voxels,
        volume_ml=voxels * mask.geometry.voxel_volume_ml,
        parts=_measured(parts),
        holes=_largest_first(holes),
        channels=_largest_first(piece for piece in narrow if piece.voxels >= _CHANNEL_VOXELS),
        pits=_largest_first(piece for piece in narrow if piece.voxels < _CHANNEL_VOXELS),
        gaps=(*whole, *(gap for cluster in clusters for gap in _gaps(cluster, axis, whole))),
        slice_axis=axis,
    )


def _slice_axis(grid: VolumeGeometry) -> int:
    """The axis of the thickest voxels; of isotropic ones, the axis nearest to the direction from feet to head."""
    thickest = int(np.argmax(grid.spacing_zyx_mm))
    _, second, first = sorted(grid.spacing_zyx_mm)
    if first >= _THICK_SLICE_RATIO * second:
        return thickest
    return int(np.argmax(np.abs(np.array(grid.directions_zyx_lps)[:, 2])))


def _clusters(mask: LabelMask) -> Iterator[_Cluster]:
    """Yield the parts of a mask in groups that lie apart from each other."""
    box = mask.bounding_box()
    marked = mask.voxels[box.slices]
    groups, count = _groups_of_blocks(marked) if marked.size > _BOX_VOXELS else (None, 1)
    if groups is None or count > _CLUSTERS:
        yield _Cluster.of(marked, box.start_zyx, mask.geometry)
        return
    for group, found in enumerate(ndimage.find_objects(groups), 1):
        here = groups[found] == group
        for axis in range(3):
            here = np.repeat(here, _BLOCK_VOXELS, axis=axis)
        start = index3([_BLOCK_VOXELS * part.start for part in found])
        part = VoxelBox.placed(start, here.shape).clipped(index3(marked.shape))
        ours = here[tuple(slice(0, size) for size in part.shape_zyx)] & marked[part.slices]
        yield _Cluster.of(ours, index3(np.add(box.start_zyx, start)), mask.geometry)


def _groups_of_blocks(marked: BoolArray) -> tuple[npt.NDArray[np.int32], int]:
    """Label the blocks with marked voxels; blocks that touch have one label. Return the number of labels too."""
    blocks = marked
    for axis, size in enumerate(marked.shape):
        blocks = np.logical_or.reduceat(blocks, np.arange(0, size, _BLOCK_VOXELS), axis=axis)
    labels, count = ndimage.label(blocks, np.ones((3, 3, 3)))
    return np.asarray(labels, dtype=np.int32), int(count)


def _parts(cluster: _Cluster) -> Iterator[_Part]:
    components = find_components(cluster.marked, cluster.grid.spacing_zyx_mm)
    for label, piece in enumerate(_pieces(components, cluster.grid), 1):
        yield _Part(piece, label, components, cluster.grid)


def _cavities(cluster: _Cluster) -> tuple[list[MaskPiece], list[MaskPiece]]:
    """Cavities that are enclosed, and those one voxel wide that are open to the outside."""
    background = find_components(~cluster.marked, cluster.grid.spacing_zyx_mm, connectivity=6)
    outside = int(background.labels[0, 0, 0])
    enclosed = [piece for label, piece in enumerate(_pieces(background, cluster.grid), 1) if label != outside]
    between = np.zeros(cluster.marked.shape, dtype=np.uint8)
    for axis in range(3):
        planes = np.moveaxis(cluster.marked, axis, 0)
        np.moveaxis(between, axis, 0)[1:-1] += planes[:-2] & planes[2:]
    narrow = find_components((between >= 2) & (background.labels == outside), cluster.grid.spacing_zyx_mm)
    return enclosed, list(_pieces(narrow, cluster.grid))


def _gaps(cluster: _Cluster, slice_axis: int, whole: Iterable[SliceGap]) -> Iterator[SliceGap]:
    for axis in range(3):
        start = cluster.start_zyx[axis]
        known = (
            {plane - start for gap in whole for plane in range(gap.first, gap.first + gap.count)}
            if axis == slice_axis
            else set()
        )
        for gap in lost_in_planes(cluster.marked, cluster.grid, axis, known):
            yield replace(gap, first=gap.first + start)


def _pieces(components: Components, grid: VolumeGeometry) -> Iterator[MaskPiece]:
    for voxels, volume_ml, center in zip(
        components.sizes_voxels,
        components.volumes_ml,
        grid.to_lps(components.centroids_index_zyx),
        strict=True,
    ):
        x, y, z = (float(v) for v in center)
        yield MaskPiece(int(voxels), float(volume_ml), (x, y, z))


def _measured(parts: Sequence[_Part]) -> tuple[MaskPiece, ...]:
    """All parts; the larger ones with their distance to the largest."""
    pieces = [part.piece for part in parts]
    if len(parts) > 1:
        largest = cKDTree(parts[0].surface_lps_mm())
        for row, part in enumerate(parts[1:_MEASURED_PARTS], 1):
            distance, _ = largest.query(part.surface_lps_mm())
            pieces[row] = replace(part.piece, distance_mm=float(np.min(distance)))
    return tuple(pieces)


def _largest_first(pieces: Iterable[MaskPiece]) -> tuple[MaskPiece, ...]:
    return tuple(sorted(pieces, key=lambda piece: -piece.voxels))
