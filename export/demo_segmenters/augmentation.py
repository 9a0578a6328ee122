"""What a training patch goes through: place, mirror, calibration, noise, kernel, slice thickness."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from export.demo_segmenters.patches import Patch
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
    image = image * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.uniform(-40.0, 40.0))
    if rng.random() < 0.5:
        image = image + rng.normal(0.0, rng.uniform(0.0, 40.0), image.shape).astype(np.float32)
    if rng.random() < 0.3:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.9))
    if rng.random() < 0.25:
        image = _thick(image, int(rng.integers(2, 5)))
    image = (np.clip(image, LOW_HU, HIGH_HU) - MEAN_HU) / SD_HU
    return np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(labels, dtype=np.int64)


def _thick(image: npt.NDArray[np.float32], together: int) -> npt.NDArray[np.float32]:
    """Slices averaged in groups, each repeated."""
    whole = len(image) // together * together
    groups = image[:whole].reshape(-1, together, *image.shape[1:]).mean(axis=1)
    return np.concatenate([np.repeat(groups, together, axis=0), image[whole:]])
