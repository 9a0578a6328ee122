"""What a kept patch goes through each time it is trained on: place, mirror, calibration, noise."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from export.demo_segmenters.scenes import Patch
from export.demo_segmenters.tasks import HIGH_HU, LOW_HU, MEAN_HU, SD_HU

TRAINING_PATCH: Final = 56


def augmented(
    patch: Patch, rng: np.random.Generator, size: int = TRAINING_PATCH
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Normalized image and labels, (size, size, size) each."""
    low = rng.integers(0, [n - size + 1 for n in patch.hu.shape])
    box = tuple(slice(int(a), int(a) + size) for a in low)
    image, labels = patch.hu[box].astype(np.float32), patch.labels[box]
    for axis in range(3):
        if rng.random() < 0.5:
            image, labels = np.flip(image, axis), np.flip(labels, axis)
    if rng.random() < 0.5:
        image, labels = image.swapaxes(1, 2), labels.swapaxes(1, 2)
    image = image * np.float32(rng.uniform(0.92, 1.08)) + np.float32(rng.uniform(-30.0, 30.0))
    if rng.random() < 0.3:
        image = image + rng.normal(0.0, rng.uniform(0.0, 30.0), image.shape).astype(np.float32)
    image = (np.clip(image, LOW_HU, HIGH_HU) - MEAN_HU) / SD_HU
    return np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(labels, dtype=np.int64)
