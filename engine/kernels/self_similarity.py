"""Self-similarity codes: what surrounds a voxel, in 60 bits that two images can be compared by."""

from __future__ import annotations

import math
import operator
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Int64Array
from engine.errors import InvalidRequestError
from engine.kernels.arguments import require_volume
from engine.kernels.backend import KernelBackend, select

_LEVELS = 6
CODE_BITS = 12 * (_LEVELS - 1)
"""Bits of a code: 12 patch distances, each in as many bits as lie between its levels."""

_MAX_ABS_HU = 1e6
"""Beyond any CT; keeps sums of squares far from what float32 cannot hold."""

_MIN_MEAN_HU2 = 1e-6
"""Squared differences below this are rounding of float32 HU, not tissue: all 12 count as equal."""

# first the neighbors whose pairs step forward along their first axis, then those facing them
_NEIGHBORS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0), (1, 0, 0))
PAIRS: Int64Array = np.array(
    [pair for pair in combinations(_NEIGHBORS, 2) if any(np.add(*pair))], dtype=np.int64
)
"""Neighbors (z, y, x) whose patches are compared, (12, 2, 3): all pairs that do not face each other."""

_THRESHOLDS = np.array([-math.log((i + 1.5) / _LEVELS) for i in range(_LEVELS - 1)])


class _SelfSimilarityTwin(Protocol):
    """What every backend's ``self_similarity`` module offers."""

    def encode(
        self,
        hu: Float32Array,
        pairs: Int64Array,
        radius: int,
        dilation: int,
        shares: Float32Array,
        min_total: np.float32,
    ) -> npt.NDArray[np.uint64]:
        """Code the patch distances that fall below ``shares`` of their sum, itself at least ``min_total``."""


def self_similarity_codes(
    hu: Float32Array, *, radius: int = 1, dilation: int = 2, kernels: KernelBackend = KernelBackend.CPU
) -> npt.NDArray[np.uint64]:
    """Code the self-similarity context of every voxel in 60 bits.

    Parameters
    ----------
    hu : ndarray of float32, (z, y, x)
        Finite; beyond the border its outermost voxels are repeated. Not changed.
    radius : int
        Of the patches, voxels: they are cubes of ``2 * radius + 1``.
    dilation : int
        Distance of the six patches from the voxel, voxels.
    kernels : KernelBackend

    Returns
    -------
    ndarray of uint64, (z, y, x)
        Bits ``5 * k`` to ``5 * k + 4`` hold pair ``k`` of ``PAIRS`` as a bar of ones, longer for patches
        more alike. The Hamming distance of two codes is the sum over pairs of differences in level.

    Raises
    ------
    InvalidGeometryError, InvalidRequestError, BackendError

    Notes
    -----
    MIND-SSC: Heinrich, Jenkinson, Papiez, Brady and Schnabel, "Towards realtime multimodal fusion for
    image-guided interventions using self-similarities", MICCAI 2013: squared
    differences of the patches, less their least, over their mean, in six levels of equal width of
    ``exp(-distance)``. All backends add in one order and give the same bits.
    """
    hu = require_volume(hu, "hu", np.float32)
    radius, dilation = _require_count(radius, "radius"), _require_count(dilation, "dilation")
    if not (hu.min() >= -_MAX_ABS_HU and hu.max() <= _MAX_ABS_HU):  # false for NaN
        raise InvalidRequestError(
            f"hu must be finite and within ±{_MAX_ABS_HU:g}; fill what was not scanned with air"
        )
    patch = (2 * radius + 1) ** 3
    shares = (_THRESHOLDS / len(PAIRS)).astype(np.float32)
    min_total = np.float32(_MIN_MEAN_HU2 * patch * len(PAIRS))
    twin: _SelfSimilarityTwin = select(kernels, "self_similarity")
    return twin.encode(hu, PAIRS, radius, dilation, shares, min_total)


def _require_count(value: Any, name: str) -> int:
    """Return a whole number of at least one.

    Raises
    ------
    InvalidRequestError
    """
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise InvalidRequestError(f"{name} {value!r} must be a whole number of at least 1")
    return count
