"""Definition of the self-similarity codes: one volume of patch distances per pair of neighbors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Int64Array


def encode(
    hu: Float32Array,
    pairs: Int64Array,
    radius: int,
    dilation: int,
    shares: Float32Array,
    min_total: np.float32,
) -> npt.NDArray[np.uint64]:
    """Code the patch distances that fall below ``shares`` of their sum, itself at least ``min_total``."""
    padded = np.pad(hu, dilation + radius, mode="edge")
    patches = tuple(n + 2 * radius for n in hu.shape)
    distances = []
    for pair in pairs:
        first, second = (
            padded[tuple(slice(s, s + n) for s, n in zip(dilation * (1 + offset), patches, strict=True))]
            for offset in pair
        )
        distances.append(_box_sum((first - second) ** 2, 2 * radius + 1))
    excess = np.stack(distances) - np.min(distances, axis=0)
    total = excess[0]
    for other in excess[1:]:
        total = total + other
    total = np.maximum(total, min_total)
    codes = np.zeros(hu.shape, dtype=np.uint64)
    for k, distance in enumerate(excess):
        for level, share in enumerate(shares):
            codes |= (distance < share * total).astype(np.uint64) << np.uint64(len(shares) * k + level)
    return codes


def _box_sum(values: Float32Array, size: int) -> Float32Array:
    """Sums of ``size`` neighbors along z, then y, then x, each from first to last."""
    for axis in range(3):
        count = values.shape[axis] - size + 1
        shifted = [np.take(values, range(i, i + count), axis) for i in range(size)]
        values = shifted[0]
        for other in shifted[1:]:
            values = values + other
    return values
