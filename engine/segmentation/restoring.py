"""The network's outputs back on the CT: resampled slab by slab, a running maximum, no volume of logits.

Source: nnU-Net v2, ``export_prediction.py``; v1, ``segmentation_export.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from engine.arrays import Float16Array, Float32Array, UInt8Array
from engine.geometry import VoxelBox
from engine.kernels.resampling import resample
from engine.manifest import SegmentationSection
from engine.segmentation.resampling import Resizing, index_map, nearest_index, neighbors
from engine.segmentation.sliding_window import Slab

_CHUNK_VOXELS: Final = 1 << 20
"""CT voxels that are restored at a time: what a core's cache holds."""


class Restorer:
    """Turns slabs of outputs, in rising order, into labels.

    Parameters
    ----------
    section : SegmentationSection
    plan : Resizing
        From the network's grid to that of the CT's crop.
    inside : VoxelBox
        Where the image lies in the padded volume that the slabs are of.
    labels : ndarray of uint8
        Written; a view of the CT's crop along the network's axes.
    foreground : ndarray of float16, optional
        Likewise: the probability of the labels that count.
    """

    def __init__(
        self,
        section: SegmentationSection,
        plan: Resizing,
        inside: VoxelBox,
        labels: UInt8Array,
        foreground: Float16Array | None,
    ) -> None:
        self._section = section
        self._is_v2 = section.framework == "nnunet_v2"
        self._of_two = self._is_v2 and section.uses_softmax and section.output_count == 2
        self._plan = plan
        self._inside = inside
        self._labels, self._foreground = labels, foreground
        self._lower, self._upper, _ = neighbors(plan.source[0], plan.target[0], plan.axis_order(0))
        self._next = 0
        self._held: Float32Array | None = None
        self._held_start = 0

    def take(self, slab: Slab) -> None:
        """Restore all slices of the CT that this slab completes."""
        outputs = unpadded(slab, self._inside)
        if outputs is None or self._next == len(self._lower):
            return
        start, values = outputs
        if self._held is not None:
            values, start = np.concatenate([self._held, values], axis=1), self._held_start
        available = start + values.shape[1]
        ready = int(np.searchsorted(self._upper, available, side="left"))
        for first, last in self._chunks(ready):
            self._restore(values, start, first, last)
        self._next = ready
        if ready < len(self._lower):
            # The next slice of the CT may lie between the last one here and the first one to come.
            keep = min(int(self._lower[ready]), available)
            self._held, self._held_start = values[:, keep - start :].copy(), keep

    def _chunks(self, ready: int) -> Iterator[tuple[int, int]]:
        step = max(_CHUNK_VOXELS // (self._plan.target[1] * self._plan.target[2]), 1)
        for first in range(self._next, ready, step):
            yield first, min(first + step, ready)

    def _restore(self, outputs: Float32Array, start: int, first: int, last: int) -> None:
        """Decide the labels of slices ``first`` to ``last`` from outputs that begin at ``start``."""
        low, high = int(self._lower[first]), int(self._upper[last - 1]) + 1
        block = outputs[:, low - start : high - start]
        labels = np.zeros((last - first, *self._plan.target[1:]), dtype=np.uint8)
        if self._of_two:
            block = block[1:] - block[:1]  # resampling is linear: their difference says as much as both
        channels = (_resized(channel, low, first, last, self._plan) for channel in block)
        if self._of_two:
            probability = _label_regions(
                channels, labels, (1,), (True,), 0.0, with_probability=self._foreground is not None
            )
        elif self._section.uses_softmax:
            probability = _label_by_maximum(
                channels, labels, self._section, with_probability=self._foreground is not None
            )
        else:
            order, threshold = self._section.regions_class_order, 0.0 if self._is_v2 else 0.5
            probability = _label_regions(
                channels,
                labels,
                order,
                self._section.counted_outputs,
                threshold,
                with_probability=self._foreground is not None,
            )
        self._labels[first:last] = labels
        if self._foreground is not None and probability is not None:
            self._foreground[first:last] = probability


def unpadded(slab: Slab, inside: VoxelBox) -> tuple[int, Float32Array] | None:
    """The part of a slab that lies in the image, and its first slice there."""
    first, last = (
        max(slab.start, inside.start_zyx[0]),
        min(slab.start + slab.outputs.shape[1], inside.stop_zyx[0]),
    )
    if first >= last:
        return None
    _, y, x = inside.slices
    return first - inside.start_zyx[0], slab.outputs[:, first - slab.start : last - slab.start, y, x]


def _resized(channel: Float32Array, low: int, first: int, last: int, plan: Resizing) -> Float32Array:
    """One output on slices ``first`` to ``last`` of the CT; ``channel`` begins at slice ``low``."""
    if plan.is_identity:
        return channel
    shape = (last - first, plan.target[1], plan.target[2])
    linear = [plan.axis_order(axis) == 1 for axis in range(3)]
    for axis in range(3):
        if not linear[axis]:
            index = nearest_index(plan.source[axis], plan.target[axis])
            channel = channel.take(index[first:last] - low if axis == 0 else index, axis=axis)
    if not any(linear):
        return channel
    matrix = index_map(plan, first, low)
    for axis in range(3):
        if not linear[axis]:
            matrix[axis] = np.eye(3, 4)[axis]
    return resample(np.ascontiguousarray(channel), matrix, shape, order=1)


def _label_by_maximum(
    channels: Iterator[Float32Array],
    labels: UInt8Array,
    section: SegmentationSection,
    *,
    with_probability: bool,
) -> Float32Array | None:
    """Write the index of the largest output (the first among equals) to ``labels``, one output at a time.

    Returns the probability of the labels that count, None where it is not wanted.
    """
    background = next(channels)
    best = background.copy()
    share = _StructureShare(background, section) if with_probability else None
    for number, channel in enumerate(channels, start=1):
        larger = channel > best
        np.copyto(best, channel, where=larger)
        labels[larger] = number
        if share is not None:
            share.add(channel, counts=section.counted_outputs[number])
    return None if share is None else share.probability


class _StructureShare:
    """Probability of the outputs that count, from one output after the other: logits, or probabilities (version 1)."""

    def __init__(self, background: Float32Array, section: SegmentationSection) -> None:
        self._is_v2 = section.framework == "nnunet_v2"
        self._background = background
        self._counted = np.zeros_like(background)
        self._ignored = np.zeros_like(background)

    def add(self, channel: Float32Array, *, counts: bool) -> None:
        """Take the next output."""
        total = self._counted if counts else self._ignored
        with np.errstate(over="ignore"):  # an infinite sum means a probability of 1, or of 0
            total += np.exp(channel - self._background) if self._is_v2 else channel

    @property
    def probability(self) -> Float32Array:
        """Of all that were added and count."""
        if not self._is_v2:
            return np.asarray(np.clip(1 - self._background - self._ignored, 0, 1), dtype=np.float32)
        # Beyond every finite sum both may be infinite: then which is larger is not known, and neither is taken.
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            others = (1 + self._ignored) / self._counted
        return np.asarray(1 / (1 + np.nan_to_num(others, nan=np.inf, posinf=np.inf)), dtype=np.float32)


def _label_regions(
    channels: Iterator[Float32Array],
    labels: UInt8Array,
    order: Sequence[int],
    counted: Sequence[bool],
    threshold: float,
    *,
    with_probability: bool,
) -> Float32Array | None:
    """Write each region's label where its output is above ``threshold``; later ones win.

    Returns the probability of the regions that count, the largest of them; a later region that does not count takes
    away what it probably is. Outputs are logits where they are ``threshold`` at 0, else probabilities.
    """
    best: Float32Array | None = None
    for written, counts, channel in zip(order, counted, channels, strict=True):
        labels[channel > threshold] = written
        if not with_probability:
            continue
        if counts:
            best = channel.copy() if best is None else np.maximum(best, channel, out=best)
        elif best is not None:
            best = np.minimum(best, 2 * threshold - channel, out=best)
    if best is None or threshold > 0:
        return best
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-best)), dtype=np.float32)
