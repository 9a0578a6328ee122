"""From a CT to the network's input: crop to what is not zero, normalize and resample.

Version 2 normalizes, then resamples (``default_preprocessor.py``); version 1 resamples, then normalizes
(``preprocessing.py``). Voxels are int16 until a slab of them is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array
from engine.errors import NotCtError
from engine.geometry import Index3, Vector3, VoxelBox
from engine.manifest import Channel, SegmentationSection
from engine.segmentation.resampling import Resizing, data_resizing, logits_resizing, resize_volume

_MIN_SD: Final = 1e-8
"""nnU-Net's guard against an image of one value."""


@dataclass(frozen=True, eq=False)
class NetworkImage:
    """A CT as the network takes it.

    Parameters
    ----------
    voxels : ndarray of float32, (channel, z, y, x)
        Along the network's axes, padded with zeros to at least one patch.
    inside : VoxelBox
        Where the image lies in the padded array.
    nonzero : VoxelBox
        The part of the CT it was made from, along the network's axes.
    back : Resizing
        How outputs return to that part.
    """

    voxels: Float32Array
    inside: VoxelBox
    nonzero: VoxelBox
    back: Resizing


def network_image(
    volumes: Sequence[npt.NDArray[Any]], spacing_zyx_mm: Vector3, section: SegmentationSection
) -> NetworkImage:
    """Prepare a CT, and what else the network takes, for a network.

    Parameters
    ----------
    volumes : sequence of ndarray, (z, y, x)
        One for each channel, on one grid: int16 or float32.
    spacing_zyx_mm : tuple of float
    section : SegmentationSection

    Raises
    ------
    NotCtError
        If every voxel is zero.
    InvalidGeometryError
        If the CT is thinner than one voxel of the network.
    """
    forward = section.transpose_forward
    transposed = [volume.transpose(forward) for volume in volumes]
    z, y, x = (spacing_zyx_mm[axis] for axis in forward)
    spacing_mm = (z, y, x)
    nonzero = (
        _nonzero_box(transposed)
        if section.crop_to_nonzero
        else VoxelBox.placed((0, 0, 0), transposed[0].shape)
    )
    plan = data_resizing(section, nonzero.shape_zyx, spacing_mm)
    padded, inside = _padded(len(volumes), plan.target, section.patch_shape)
    prepare = _normalize_then_resample if section.framework == "nnunet_v2" else _resample_then_normalize
    for volume, channel, out in zip(transposed, section.channels, padded, strict=True):
        prepare(volume[nonzero.slices], channel, plan, out[inside.slices])
    return NetworkImage(padded, inside, nonzero, logits_resizing(section, nonzero.shape_zyx, spacing_mm))


def _nonzero_box(volumes: Sequence[npt.NDArray[Any]]) -> VoxelBox:
    """The bounding box of what is not zero in any volume; looks at slices from each end until one is not empty.

    Raises
    ------
    NotCtError
        If every voxel is zero.
    """
    start, stop = [], []
    for axis in range(3):
        slices = [np.moveaxis(volume, axis, 0) for volume in volumes]
        depth = len(slices[0])
        first = next((i for i in range(depth) if any(volume[i].any() for volume in slices)), None)
        if first is None:
            raise NotCtError("every voxel of the CT is 0; export it in Hounsfield units")
        start.append(first)
        stop.append(next(i for i in range(depth, 0, -1) if any(volume[i - 1].any() for volume in slices)))
    return VoxelBox.between(start, stop)


def _padded(channels: int, shape: Index3, patch: Index3) -> tuple[Float32Array, VoxelBox]:
    """Zeros of at least a patch, and where an image of ``shape`` is centered in them."""
    size = np.maximum(shape, patch)
    start = (size - shape) // 2
    return np.zeros((channels, *size), dtype=np.float32), VoxelBox.placed(start, shape)


@dataclass(frozen=True)
class _Scaling:
    """``(clip(x, low, high) - offset) / divisor``."""

    offset: float = 0.0
    divisor: float = 1.0
    low: float | None = None
    high: float | None = None

    def apply(self, voxels: Float32Array) -> Float32Array:
        """Normalize in place, in float32 as nnU-Net does."""
        if self.low is not None or self.high is not None:
            np.clip(voxels, self.low, self.high, out=voxels)
        voxels -= np.float32(self.offset)
        voxels /= np.float32(self.divisor)
        return voxels


def _scaling(channel: Channel, voxels: npt.NDArray[np.generic], mask: BoolArray | None = None) -> _Scaling:
    """The channel's normalization; the schemes without numbers of their own look at the image."""
    if channel.scheme == "ct":
        return _Scaling(channel.mean, max(channel.sd, _MIN_SD), channel.low, channel.high)
    if channel.scheme == "zscore":
        seen = voxels if mask is None else voxels[mask]
        mean, sd = seen.mean(dtype=np.float64), seen.std(dtype=np.float64)
        return _Scaling(float(mean), max(float(sd), _MIN_SD))
    if channel.scheme == "rescale_0_1":
        low, high = float(voxels.min()), float(voxels.max())
        return _Scaling(low, max(high - low, _MIN_SD))
    return _Scaling()


def _normalize_then_resample(
    hu: npt.NDArray[Any], channel: Channel, plan: Resizing, out: Float32Array
) -> None:
    masked = channel.masked and channel.scheme == "zscore"
    mask = ndimage.binary_fill_holes(hu != 0) if masked else None
    scaling = _scaling(channel, hu, mask)

    def slab(axis: int, start: int, stop: int) -> Float32Array:
        values = np.moveaxis(hu, axis, 0)[start:stop].astype(np.float32, order="C")
        if mask is None:
            return scaling.apply(values)
        here = np.moveaxis(mask, axis, 0)[start:stop]
        values[here] = scaling.apply(values[here])
        return values

    resize_volume(slab, plan, out)


def _resample_then_normalize(
    hu: npt.NDArray[Any], channel: Channel, plan: Resizing, out: Float32Array
) -> None:
    def slab(axis: int, start: int, stop: int) -> Float32Array:
        return np.moveaxis(hu, axis, 0)[start:stop].astype(np.float32, order="C")

    resize_volume(slab, plan, out)
    _scaling(channel, out).apply(out)
