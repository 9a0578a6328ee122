"""nnU-Net's resampling between the CT's grid and the network's, by its rule of the coarse axis.

The numbers are those of ``resample_data_or_seg`` (skimage's ``resize``: voxel faces coincide, the border
voxel holds beyond its center, results are clipped to the input's range) to the rounding of float32,
computed slab by slab. Source: nnU-Net v2, ``default_resampling.py``; v1, ``preprocessing.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float32Array
from engine.errors import InvalidGeometryError
from engine.geometry import Index3, Vector3, index3
from engine.manifest import SegmentationSection

_ANISOTROPY: Final = 3.0
"""The coarse axis is resampled apart where the largest spacing is more than this times the least."""

_NEGLIGIBLE: Final = 1e-9
"""Weights of a spline below this are left out: its memory fades by 0.27 a voxel."""

SLAB_VOXELS: Final = 1 << 21
"""Voxels that are in float32 at a time: 8 MiB."""

_SlabSource = Callable[[int, int, int], Float32Array]
"""``source(axis, start, stop)``: slices of a volume with ``axis`` first, float32, C-contiguous."""


@dataclass(frozen=True)
class Resizing:
    """From one grid to another over the same extent.

    Parameters
    ----------
    source, target : tuple of int
        Voxels along each axis.
    order : int
        0 nearest, 1 linear, 3 cubic spline.
    separate_axis : int or None
        The axis that is resampled on its own, after the two others slice by slice.
    separate_order : int
        0 or 1, along that axis.
    """

    source: Index3
    target: Index3
    order: int
    separate_axis: int | None = None
    separate_order: int = 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing is to be done."""
        return self.source == self.target

    def axis_order(self, axis: int) -> int:
        """Order of interpolation along one axis."""
        return self.separate_order if axis == self.separate_axis else self.order


def _network_shape(shape: Index3, spacing_mm: Vector3, target_mm: Vector3) -> Index3:
    """Voxels of the network's grid over the extent of ``shape``, rounded half to even.

    Raises
    ------
    InvalidGeometryError
        If there would be none along an axis.
    """
    sizes = [round(s / t * n) for s, t, n in zip(spacing_mm, target_mm, shape, strict=True)]
    if min(sizes) < 1:
        raise InvalidGeometryError(
            f"{shape} voxels of {spacing_mm} mm are less than one voxel of the model's {target_mm} mm; "
            "give a larger region"
        )
    return index3(sizes)


def data_resizing(section: SegmentationSection, shape: Index3, spacing_mm: Vector3) -> Resizing:
    """How the image goes to the network's grid; ``shape`` and ``spacing_mm`` along its axes."""
    rule = section.resampling
    target = _network_shape(shape, spacing_mm, section.spacing_mm)
    separate_axis = find_separate_axis(spacing_mm, section.spacing_mm, rule.separate_z)
    order = 1 if rule.method == "torch" else rule.data_order
    separate_order = 0 if rule.method == "torch" else rule.data_order_z
    return Resizing(shape, target, order, separate_axis, separate_order)


def logits_resizing(section: SegmentationSection, shape: Index3, spacing_mm: Vector3) -> Resizing:
    """How the network's outputs come back, ``shape`` being the cropped CT's along the network's axes."""
    rule = section.resampling
    source = _network_shape(shape, spacing_mm, section.spacing_mm)
    if section.framework == "nnunet_v2":
        separate_axis = find_separate_axis(section.spacing_mm, spacing_mm, rule.separate_z)
    else:
        separate_axis = _separate_axis_v1(section, spacing_mm)
    order = 1 if rule.method == "torch" else rule.logits_order
    separate_order = 0 if rule.method == "torch" else rule.logits_order_z
    return Resizing(source, shape, order, separate_axis, separate_order)


def find_separate_axis(
    first_mm: Sequence[float], second_mm: Sequence[float], forced: bool | None
) -> int | None:
    """Axis that is resampled separately by nnU-Net's rule, or None.

    The first spacing decides if it is anisotropic, else the second; the axis is that of the largest
    spacing, and there is none if two share it. ``forced`` True looks at the first alone.
    """
    if forced is False:
        return None
    for spacing in (first_mm,) if forced else (first_mm, second_mm):
        if forced or max(spacing) / min(spacing) > _ANISOTROPY:
            coarse = [axis for axis, size in enumerate(spacing) if size == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def _separate_axis_v1(section: SegmentationSection, spacing_mm: Vector3) -> int | None:
    """Version 1 asks the CT's spacing first, and reads the network's in the axes of the CT."""
    forced = section.resampling.separate_z
    axis = find_separate_axis(spacing_mm, spacing_mm, forced)
    if axis is not None or forced is not None or max(spacing_mm) / min(spacing_mm) > _ANISOTROPY:
        return axis
    of_ct = find_separate_axis(section.spacing_mm, section.spacing_mm, None)
    return None if of_ct is None else section.transpose_forward.index(of_ct)


def nearest_index(source: int, target: int) -> npt.NDArray[np.intp]:
    """Input index of every output voxel along one axis, order 0."""
    position = source / target * (np.arange(target) + 0.5) - 0.5
    index: npt.NDArray[np.intp] = np.clip(np.floor(position + 0.5), 0, source - 1).astype(np.intp)
    return index


def resize_volume(source: _SlabSource, plan: Resizing, out: Float32Array) -> None:
    """Resample a volume into ``out``, reading it in slabs.

    Parameters
    ----------
    source : callable
        Gives slices of the volume; called with rising ranges that do not overlap.
    plan : Resizing
    out : ndarray of float32
        Of the plan's target shape; may be a view.

    Notes
    -----
    One axis after the other, in the plane first, each a product with the matrix of its spline: 512 columns
    that become 200 are 200 from then on. Reads each input voxel once; holds ``SLAB_VOXELS`` of them and
    all slices in their new plane.
    """
    if plan.is_identity:
        for start, stop in _slabs(plan.source):
            out[start:stop] = source(0, start, stop)
    elif plan.separate_axis is not None:
        _resize_separately(source, plan, plan.separate_axis, out)
    else:
        _resize_jointly(source, plan, out)


@lru_cache(maxsize=8)
def _axis_matrix(source: int, target: int, order: int) -> Float32Array:
    """Interpolation along one axis as a matrix (target, source): SciPy's, of every unit vector.

    Source: ``scipy.ndimage.zoom`` with the mode ``nearest`` and voxel faces that coincide, as skimage's
    ``resize`` calls it.
    """
    if order == 0:
        matrix = np.zeros((target, source))
        matrix[np.arange(target), nearest_index(source, target)] = 1
    else:
        unit = np.eye(source)
        degree: Literal[1, 3] = 3 if order == 3 else 1
        matrix = ndimage.zoom(unit, (target / source, 1.0), order=degree, mode="nearest", grid_mode=True)
    rounded: Float32Array = matrix.astype(np.float32)
    rounded.flags.writeable = False
    return rounded


def _in_plane(slab: Float32Array, rows: Float32Array, columns: Float32Array) -> Float32Array:
    """Slices (n, y, x) with their new rows and columns."""
    depth, height, width = slab.shape
    if len(columns) != width:
        slab = (slab.reshape(depth * height, width) @ columns.T).reshape(depth, height, len(columns))
    return slab if len(rows) == height else np.matmul(rows, slab)


def _resize_jointly(source: _SlabSource, plan: Resizing, out: Float32Array) -> None:
    """All three axes; the coarser plane is kept whole, and its slices mixed at the end."""
    along, rows, columns = (
        _axis_matrix(n, m, plan.order) for n, m in zip(plan.source, plan.target, strict=True)
    )
    planes = np.empty((plan.source[0], *plan.target[1:]), dtype=np.float32)
    low, high = np.inf, -np.inf
    for start, stop in _slabs(plan.source):
        slab = source(0, start, stop)
        low, high = min(low, float(slab.min())), max(high, float(slab.max()))
        planes[start:stop] = _in_plane(slab, rows, columns)
    for first, last in _slabs(plan.target):
        weights = along[first:last]
        near = np.flatnonzero(np.abs(weights).max(axis=0) > _NEGLIGIBLE)
        begin, end = int(near[0]), int(near[-1]) + 1
        mixed = weights[:, begin:end] @ planes[begin:end].reshape(end - begin, -1)
        np.clip(mixed, low, high, out=mixed)  # as skimage does: a spline overshoots
        out[first:last] = mixed.reshape(out[first:last].shape)


def _resize_separately(source: _SlabSource, plan: Resizing, axis: int, out: Float32Array) -> None:
    """Slice by slice across ``axis``, each clipped to its own range, then along it."""
    rows, columns = (
        _axis_matrix(plan.source[other], plan.target[other], plan.order)
        for other in range(3)
        if other != axis
    )
    depth, target = plan.source[axis], plan.target[axis]
    lower, upper, weight = neighbors(depth, target, plan.separate_order)
    slices: dict[int, Float32Array] = {}
    out_along_axis = np.moveaxis(out, axis, 0)
    for i in range(target):
        for z in {int(lower[i]), int(upper[i])} - slices.keys():
            image = source(axis, z, z + 1)
            slices[z] = np.clip(_in_plane(image, rows, columns)[0], image.min(), image.max())
        out_along_axis[i] = slices[int(lower[i])]
        if weight[i] > 0:
            out_along_axis[i] += weight[i] * (slices[int(upper[i])] - slices[int(lower[i])])
        for z in [z for z in slices if z < lower[i]]:
            del slices[z]


def index_map(plan: Resizing, first: int, start: int) -> npt.NDArray[np.float64]:
    """Affine (3, 4) from an output index counted from slice ``first`` to an input one from ``start``."""
    scale = np.divide(plan.source, plan.target)
    matrix = np.zeros((3, 4))
    matrix[range(3), range(3)] = scale
    matrix[:, 3] = 0.5 * scale - 0.5
    matrix[0, 3] += scale[0] * first - start
    return matrix


def neighbors(
    source: int, target: int, order: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float32Array]:
    """Input indices on both sides of every output voxel along one axis, and the upper one's weight."""
    if order == 0 or source == target:
        nearest = nearest_index(source, target)
        return nearest, nearest, np.zeros(target, dtype=np.float32)
    position = np.clip(source / target * (np.arange(target) + 0.5) - 0.5, 0, source - 1)
    lower = np.floor(position).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (position - lower).astype(np.float32)


def _slabs(shape: Index3) -> Iterator[tuple[int, int]]:
    """Ranges of slices of about ``SLAB_VOXELS``."""
    step = max(SLAB_VOXELS // (shape[1] * shape[2]), 1)
    for first in range(0, shape[0], step):
        yield first, min(first + step, shape[0])
