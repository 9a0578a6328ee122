"""nnU-Net's resampling between the CT's grid and the network's, by its rule of the coarse axis.

The numbers are those of ``resample_data_or_seg`` (skimage's ``resize``: voxel faces coincide, the border
voxel holds beyond its center, results are clipped to the input's range) to the rounding of float32,
computed slab by slab. Source: nnU-Net v2, ``default_resampling.py``; v1, ``preprocessing.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.errors import InvalidGeometryError
from engine.geometry import Vector3
from engine.kernels.arguments import FloatArray
from engine.kernels.resampling import resample
from engine.manifest import SegmentationSection
from engine.segmentation.region import Index3, index3

ANISOTROPY: Final = 3.0
"""The coarse axis is resampled apart where the largest spacing is more than this times the least."""

BORDER: Final = 12
"""Copies of the border voxel around a cubic spline: SciPy's choice for its mode ``nearest``. The spline's
memory of what lies beyond them is below 2e-7."""

HALO: Final = 16
"""Slices around a slab that its spline needs; their influence is below 1e-9 there."""

SLAB_VOXELS: Final = 1 << 24
"""Input voxels that are in float32 at a time: 64 MiB."""

SlabSource = Callable[[int, int, int], FloatArray]
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
    apart : int or None
        The axis that is resampled on its own, after the two others slice by slice.
    order_apart : int
        0 or 1, along that axis.
    """

    source: Index3
    target: Index3
    order: int
    apart: int | None = None
    order_apart: int = 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing is to be done."""
        return self.source == self.target

    def axis_order(self, axis: int) -> int:
        """Order of interpolation along one axis."""
        return self.order_apart if axis == self.apart else self.order


def network_shape(shape: Index3, spacing_mm: Vector3, target_mm: Vector3) -> Index3:
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
    target = network_shape(shape, spacing_mm, section.spacing_mm)
    apart = apart_axis(spacing_mm, section.spacing_mm, rule.separate_z)
    order = 1 if rule.method == "torch" else rule.data_order
    order_apart = 0 if rule.method == "torch" else rule.data_order_z
    return Resizing(shape, target, order, apart, order_apart)


def logits_resizing(section: SegmentationSection, shape: Index3, spacing_mm: Vector3) -> Resizing:
    """How the network's outputs come back, ``shape`` being the cropped CT's along the network's axes."""
    rule = section.resampling
    source = network_shape(shape, spacing_mm, section.spacing_mm)
    if section.framework == "nnunet_v2":
        apart = apart_axis(section.spacing_mm, spacing_mm, rule.separate_z)
    else:
        apart = _apart_axis_v1(section, spacing_mm)
    order = 1 if rule.method == "torch" else rule.logits_order
    order_apart = 0 if rule.method == "torch" else rule.logits_order_z
    return Resizing(source, shape, order, apart, order_apart)


def apart_axis(first_mm: Sequence[float], second_mm: Sequence[float], forced: bool | None) -> int | None:
    """Axis that is resampled apart by nnU-Net's rule, or None.

    The first spacing decides if it is anisotropic, else the second; the axis is that of the largest
    spacing, and there is none if two share it. ``forced`` True looks at the first alone.
    """
    if forced is False:
        return None
    for spacing in (first_mm,) if forced else (first_mm, second_mm):
        if forced or max(spacing) / min(spacing) > ANISOTROPY:
            coarse = [axis for axis, size in enumerate(spacing) if size == max(spacing)]
            return coarse[0] if len(coarse) == 1 else None
    return None


def _apart_axis_v1(section: SegmentationSection, spacing_mm: Vector3) -> int | None:
    """Version 1 asks the CT's spacing first, and reads the network's in the axes of the CT."""
    forced = section.resampling.separate_z
    found = apart_axis(spacing_mm, spacing_mm, forced)
    if found is not None or forced is not None or max(spacing_mm) / min(spacing_mm) > ANISOTROPY:
        return found
    of_ct = apart_axis(section.spacing_mm, section.spacing_mm, None)
    return None if of_ct is None else section.transpose_forward.index(of_ct)


def nearest_index(source: int, target: int) -> npt.NDArray[np.intp]:
    """Input index of every output voxel along one axis, order 0."""
    at = source / target * (np.arange(target) + 0.5) - 0.5
    index: npt.NDArray[np.intp] = np.clip(np.floor(at + 0.5), 0, source - 1).astype(np.intp)
    return index


def resize_volume(source: SlabSource, plan: Resizing, out: FloatArray) -> None:
    """Resample a volume into ``out``, reading it in slabs.

    Parameters
    ----------
    source : callable
        Gives slices of the volume; called with rising, possibly overlapping ranges.
    plan : Resizing
    out : ndarray of float32
        Of the plan's target shape; may be a view.

    Notes
    -----
    Reads each input voxel about once and holds ``SLAB_VOXELS`` of them, padded and as a spline.
    """
    if plan.is_identity:
        for start, stop in _slabs(plan.source, plan.source[0], 1.0):
            out[start:stop] = source(0, start, stop)
    elif plan.apart is not None:
        _resize_apart(source, plan, plan.apart, out)
    else:
        _resize_together(source, plan, out)


def _resize_together(source: SlabSource, plan: Resizing, out: FloatArray) -> None:
    """All three axes at once, in slabs along the first."""
    depth, scale = plan.source[0], plan.source[0] / plan.target[0]
    low, high = np.inf, -np.inf
    for first, last in _slabs(plan.source, plan.target[0], scale):
        start = max(int(scale * (first + 0.5) - 0.5) - HALO, 0)
        stop = min(int(scale * (last - 0.5) - 0.5) + 2 + HALO, depth)
        slab = source(0, start, stop)
        low, high = min(low, float(slab.min())), max(high, float(slab.max()))
        # Border copies belong to the ends of the volume; inside it the halo takes their place.
        ends = (BORDER if start == 0 else 0, BORDER if stop == depth else 0)
        out[first:last] = _resize_block(slab, start, ends, plan, first, last)
    if plan.order == 3:
        np.clip(out, low, high, out=out)


def _resize_block(
    slab: FloatArray, start: int, ends: tuple[int, int], plan: Resizing, first: int, last: int
) -> FloatArray:
    """Output slices ``first`` to ``last`` from the input slices of a slab that begins at ``start``."""
    if plan.order == 0:
        z = nearest_index(plan.source[0], plan.target[0])[first:last] - start
        y, x = (nearest_index(plan.source[axis], plan.target[axis]) for axis in (1, 2))
        return slab[np.ix_(z, y, x)]
    matrix = index_map(plan, first, start)
    if plan.order == 3:
        slab = np.pad(slab, (ends, (BORDER, BORDER), (BORDER, BORDER)), mode="edge")
        matrix[:, 3] += (ends[0], BORDER, BORDER)
    shape = (last - first, plan.target[1], plan.target[2])
    return resample(slab, matrix, shape, order=plan.order)


def index_map(plan: Resizing, first: int, start: int) -> npt.NDArray[np.float64]:
    """Affine (3, 4) from an output index counted from slice ``first`` to an input one from ``start``."""
    scale = np.divide(plan.source, plan.target)
    matrix = np.zeros((3, 4))
    matrix[range(3), range(3)] = scale
    matrix[:, 3] = 0.5 * scale - 0.5
    matrix[0, 3] += scale[0] * first - start
    return matrix


def _resize_apart(source: SlabSource, plan: Resizing, axis: int, out: FloatArray) -> None:
    """Slice by slice across ``axis``, each clipped to its own range, then along it."""
    others = [a for a in range(3) if a != axis]
    across = Resizing(
        (1, plan.source[others[0]], plan.source[others[1]]),
        (1, plan.target[others[0]], plan.target[others[1]]),
        plan.order,
    )
    depth, target = plan.source[axis], plan.target[axis]
    lower, upper, weight = neighbors(depth, target, plan.order_apart)
    slices: dict[int, FloatArray] = {}
    turned = np.moveaxis(out, axis, 0)
    for i in range(target):
        for z in {int(lower[i]), int(upper[i])} - slices.keys():
            slices[z] = _resize_slice(source(axis, z, z + 1), across)
        turned[i] = slices[int(lower[i])]
        if weight[i] > 0:
            turned[i] += weight[i] * (slices[int(upper[i])] - slices[int(lower[i])])
        for z in [z for z in slices if z < lower[i]]:
            del slices[z]


def _resize_slice(image: FloatArray, plan: Resizing) -> FloatArray:
    """One slice (1, y, x) to (y, x)."""
    if plan.is_identity:
        plane: FloatArray = image[0]
        return plane
    resized: FloatArray = _resize_block(image, 0, (0, 0), plan, 0, 1)[0]
    if plan.order == 3:
        np.clip(resized, image.min(), image.max(), out=resized)
    return resized


def neighbors(
    source: int, target: int, order: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], FloatArray]:
    """Input indices on both sides of every output voxel along one axis, and the upper one's weight."""
    if order == 0 or source == target:
        nearest = nearest_index(source, target)
        return nearest, nearest, np.zeros(target, dtype=np.float32)
    at = np.clip(source / target * (np.arange(target) + 0.5) - 0.5, 0, source - 1)
    lower = np.floor(at).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (at - lower).astype(np.float32)


def _slabs(source: Index3, target_depth: int, scale: float) -> list[tuple[int, int]]:
    """Ranges of output slices whose input is about ``SLAB_VOXELS``."""
    slices = max(SLAB_VOXELS // (source[1] * source[2]), 2 * HALO)
    step = max(int(slices / scale), 1)
    return [(first, min(first + step, target_depth)) for first in range(0, target_depth, step)]
