"""What a kept scene goes through each time it is trained on: place, mirror, calibration, noise."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array
from export.demo_segmenters.scenes.scene import Patch
from export.demo_segmenters.tasks import DemoTask, SceneChannel

_UPRIGHT: Final = (1, 2)
"""Axes of a slice: they may change places, slices keep theirs."""


def augmented(
    patch: Patch, task: DemoTask, rng: np.random.Generator, size: int
) -> tuple[Float32Array, npt.NDArray[np.int64]]:
    """Normalized channels (channel, size, size, size) and labels (size, size, size)."""
    low = rng.integers(0, [n - size + 1 for n in patch.labels.shape])
    box = tuple(slice(int(a), int(a) + size) for a in low)
    images, labels = patch.channels[:, *box].astype(np.float32), patch.labels[box]
    for axis in range(3):
        if rng.random() < 0.5:
            images, labels = np.flip(images, axis + 1), np.flip(labels, axis)
    if rng.random() < 0.5:
        images, labels = images.swapaxes(*(axis + 1 for axis in _UPRIGHT)), labels.swapaxes(*_UPRIGHT)
    seen = [
        _normalized(_varied(image, rng) if kind.is_scanned else image, kind)
        for image, kind in zip(images, task.channels, strict=True)
    ]
    return np.stack(seen), np.ascontiguousarray(labels, dtype=np.int64)


def network_input(patch: Patch, task: DemoTask, inner: tuple[slice, slice, slice]) -> Float32Array:
    """The channels of a part of a scene as they are, normalized, (channel, z, y, x)."""
    images = patch.channels[:, *inner].astype(np.float32)
    return np.stack([_normalized(image, kind) for image, kind in zip(images, task.channels, strict=True)])


def _varied(hu: Float32Array, rng: np.random.Generator) -> Float32Array:
    hu = hu * np.float32(rng.uniform(0.94, 1.06)) + np.float32(rng.uniform(-25.0, 25.0))
    if rng.random() < 0.3:
        hu = hu + np.float32(rng.uniform(0.0, 30.0)) * rng.standard_normal(hu.shape, dtype=np.float32)
    return hu


def _normalized(image: Float32Array, kind: SceneChannel) -> Float32Array:
    window = kind.channel
    clipped = np.clip(image / np.float32(kind.per_unit), window.low, window.high)
    return np.ascontiguousarray((clipped - window.mean) / window.sd, dtype=np.float32)
