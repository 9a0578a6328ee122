"""Measures of agreement that are added up call by call: labels, spread, cosine distance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import AnyArray, BoolArray

NEAR_TIE: Final = 0.01
"""Gap between the two best logits below which rounding may decide the label."""

_PART: Final = 2**22
"""Differences that are looked at together."""

_BLANK_SHARE: Final = 1e-4
"""An output whose values spread over less than this share of the reference's spread says nothing."""


def cosine_distances(expected: AnyArray, actual: AnyArray) -> npt.NDArray[np.float64]:
    """One minus the cosine between the vectors of each case.

    Parameters
    ----------
    expected, actual : ndarray of float, (N, F)

    Returns
    -------
    ndarray of float, (N,)
        0 for two zero vectors, 1 if one alone is zero.
    """
    reference = expected.reshape(len(expected), -1).astype(np.float64)
    candidate = actual.reshape(len(actual), -1).astype(np.float64)
    norms = np.linalg.norm(reference, axis=1), np.linalg.norm(candidate, axis=1)
    product = norms[0] * norms[1]
    # Half the squared distance of unit vectors: 1 - cos would lose half the digits to cancellation.
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = reference / norms[0][:, None] - candidate / norms[1][:, None]
    distance = 0.5 * np.square(difference).sum(axis=1)
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    return np.asarray(np.where(product > 0, distance, np.where(both_zero, 0.0, 1.0)))


@dataclass
class DifferenceSummary:
    """Absolute differences, summed up part by part; only the largest are kept.

    Parameters
    ----------
    capacity : int, optional
        How many are kept. While they are more than a thousandth of all the percentile is exact, beyond that it is
        an upper bound.
    """

    capacity: int = 2**22
    count: int = 0
    _sum: float = 0.0
    _largest: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))

    def add(self, expected: AnyArray, actual: AnyArray) -> None:
        """Add the differences of two arrays of one shape."""
        flat_expected, flat_actual = expected.reshape(-1), actual.reshape(-1)
        for start in range(0, flat_expected.size, _PART):
            part = slice(start, start + _PART)
            differences = np.abs(flat_expected[part] - flat_actual[part]).astype(np.float32, copy=False)
            self.count += differences.size
            self._sum += float(differences.sum(dtype=np.float64))
            kept = np.concatenate([self._largest, differences])
            surplus = kept.size - self.capacity
            self._largest = np.partition(kept, surplus)[surplus:].copy() if surplus > 0 else kept

    @property
    def max(self) -> float:
        """The largest difference."""
        return float(self._largest.max())

    @property
    def mean(self) -> float:
        """The mean difference."""
        return min(self._sum / self.count, self.max)

    @property
    def percentile_99_9(self) -> float:
        """The smallest difference that 99.9 % of all do not exceed."""
        above = self.count // 1000
        place = max(self._largest.size - 1 - above, 0)
        return float(np.partition(self._largest, place)[place])


@dataclass
class OutputSpread:
    """Range of each channel over all voxels and cases, of the reference and of the candidate."""

    _low: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _high: list[npt.NDArray[np.float64]] = field(default_factory=list)
    _per_channel: int = 0
    _single: tuple[float, float] = (0.0, 0.0)

    def add(self, expected: AnyArray, actual: AnyArray) -> None:
        """Widen the ranges by one call's outputs, (N, channel, …) or (N,)."""
        low, high = [], []
        for value in (expected, actual):
            others = tuple(axis for axis in range(value.ndim) if axis != 1)
            low.append(np.atleast_1d(value.min(axis=others)).astype(np.float64))
            high.append(np.atleast_1d(value.max(axis=others)).astype(np.float64))
        if not self._low:
            self._low, self._high = low, high
            # A single vector has no second case to differ from: its own numbers must.
            self._single = float(np.ptp(expected)), float(np.ptp(actual))
        self._low = [np.minimum(a, b) for a, b in zip(self._low, low, strict=True)]
        self._high = [np.maximum(a, b) for a, b in zip(self._high, high, strict=True)]
        self._per_channel += expected.size // low[0].size

    @property
    def is_blank(self) -> bool:
        """Whether the reference varies and the candidate does not."""
        if self._per_channel > 1:
            expected, actual = (float((self._high[i] - self._low[i]).max()) for i in (0, 1))
        else:
            expected, actual = self._single
        return expected > 0 and actual <= _BLANK_SHARE * expected


@dataclass
class LabelAgreement:
    """Labels of two sets of logits (N, K, z, y, x), counted.

    Parameters
    ----------
    exclusive : bool
        Whether the largest logit wins (its index is the label, 0 the background); otherwise each channel
        is a region of its own where it is above 0.
    """

    exclusive: bool
    voxels: int = 0
    flips: int = 0
    near_tie_flips: int = 0
    decided_foreground: int = 0
    candidate_foreground: int = 0
    min_dice: float = 1.0

    @property
    def decided_flips(self) -> int:
        """Flipped voxels that are no near ties."""
        return self.flips - self.near_tie_flips

    @property
    def is_blank(self) -> bool:
        """Whether the candidate finds nothing where the reference is sure of something."""
        return self.decided_foreground > 0 and self.candidate_foreground == 0

    def add(self, expected: AnyArray, actual: AnyArray) -> None:
        """Count one call's labels."""
        for reference, candidate in zip(expected, actual, strict=True):
            self._add_case(reference, candidate)

    def _add_case(self, expected: AnyArray, actual: AnyArray) -> None:
        near = _is_near_tie(expected, self.exclusive)
        reference, candidate = _structures(expected, self.exclusive), _structures(actual, self.exclusive)
        flipped = (reference != candidate).any(axis=0)
        self.voxels += flipped.size
        self.flips += int(np.count_nonzero(flipped))
        self.near_tie_flips += int(np.count_nonzero(flipped & near))
        self.decided_foreground += int(np.count_nonzero(reference.any(axis=0) & ~near))
        self.candidate_foreground += int(np.count_nonzero(candidate.any(axis=0)))
        for mask, twin in zip(reference, candidate, strict=True):
            total = int(np.count_nonzero(mask)) + int(np.count_nonzero(twin))
            if total:
                self.min_dice = min(self.min_dice, 2 * int(np.count_nonzero(mask & twin)) / total)


def _structures(logits: AnyArray, exclusive: bool) -> BoolArray:
    """Masks of all labels but the background, or of all regions, (structure, z, y, x)."""
    if not exclusive:
        return np.asarray(logits > 0)
    labels = logits.argmax(axis=0)
    return np.stack([labels == label for label in range(1, len(logits))])


def _is_near_tie(logits: AnyArray, exclusive: bool) -> BoolArray:
    """Voxels whose label depends on less than ``NEAR_TIE``."""
    if not exclusive:
        return np.asarray((np.abs(logits) < NEAR_TIE).any(axis=0))
    # One channel after the other: sorting them would copy them all.
    best, second = np.maximum(logits[0], logits[1]), np.minimum(logits[0], logits[1])
    for channel in logits[2:]:
        second = np.maximum(second, np.minimum(best, channel))
        best = np.maximum(best, channel)
    return np.asarray(best - second < NEAR_TIE)
