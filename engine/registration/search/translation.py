"""Coarse alignment: the translation at which two masked regions correlate best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from engine.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from engine.geometry import RigidTransform
from engine.registration.region import ComparisonRegion

_MIN_OVERLAP_SHARE: Final = 0.3
"""A shift that leaves less than this share of the smaller region in common is not considered."""

_PEAK_DISTANCE_MM: Final = 8.0
"""Candidates nearer than this to a better one are the same candidate."""


@dataclass(frozen=True, eq=False)
class _TranslationCandidate:
    """A translation with its correlation."""

    planning_from_verification: RigidTransform
    correlation: float


def translation_candidates(
    planning: ComparisonRegion,
    verification: ComparisonRegion,
    planning_known: BoolArray,
    verification_known: BoolArray,
    *,
    count: int = 3,
) -> list[_TranslationCandidate]:
    """Best translations over all shifts of one region against the other.

    Parameters
    ----------
    planning, verification : ComparisonRegion
        On axis-aligned grids of one spacing.
    planning_known, verification_known : ndarray of bool, (z, y, x)
        Voxels that carry evidence.
    count : int
        How many distinct candidates to return at most.

    Returns
    -------
    list of _TranslationCandidate
        Best first; empty where the regions have no evidence in common.

    Notes
    -----
    Masked normalised correlation through the Fourier domain: Padfield, IEEE Trans Image Process
    21:2706-2718, 2012.
    """
    spacing = planning.geometry.spacing_zyx_mm[0]
    correlation = masked_correlation(planning.hu, planning_known, verification.hu, verification_known)
    shape_v = np.array(verification.hu.shape)
    peaks = ndimage.maximum_filter(correlation, size=2 * int(_PEAK_DISTANCE_MM / spacing) + 1) == correlation
    index = np.argwhere(peaks & (correlation > 0.0))
    order = np.argsort(-correlation[tuple(index.T)], kind="stable")[:count]
    candidates = []
    for peak in index[order]:
        # The verification voxel 0 lies over planning voxel `shift`.
        shift_zyx = peak - (shape_v - 1) + _subvoxel(correlation, peak)
        over = planning.geometry.to_lps(shift_zyx)
        offset = over - np.array(verification.geometry.origin_lps_mm)
        candidates.append(
            _TranslationCandidate(RigidTransform.from_translation(offset), float(correlation[tuple(peak)]))
        )
    return candidates


def masked_correlation(
    fixed: Float32Array,
    fixed_known: BoolArray,
    moving: Float32Array,
    moving_known: BoolArray,
) -> Float64Array:
    """Normalised correlation at every shift; index ``moving.shape - 1`` is no shift, 0 where undefined.

    In single precision: about a common mean no sum loses more than a few of its digits.
    """
    shape = [fft.next_fast_len(a + b - 1, real=True) for a, b in zip(fixed.shape, moving.shape, strict=True)]
    full = tuple(slice(0, a + b - 1) for a, b in zip(fixed.shape, moving.shape, strict=True))

    def forward(values: Float32Array) -> npt.NDArray[np.complex64]:
        return np.asarray(fft.rfftn(values, shape, workers=2))

    def back(values: npt.NDArray[np.complex64]) -> Float32Array:
        return np.asarray(fft.irfftn(values, shape, workers=2))[full]

    scale, zero = np.float32(1.0 / 500.0), np.float32(0.0)
    mean = np.float32(fixed[fixed_known].mean(dtype=np.float64)) if fixed_known.any() else zero
    f = np.where(fixed_known, (fixed - mean) * scale, zero)
    m = np.where(moving_known, (moving - mean) * scale, zero)[::-1, ::-1, ::-1]
    f_known, f_sum, f_square = forward(fixed_known.astype(np.float32)), forward(f), forward(f * f)
    m_mask = moving_known[::-1, ::-1, ::-1].astype(np.float32)
    m_known, m_sum, m_square = forward(m_mask), forward(m), forward(m * m)

    overlap = np.maximum(back(f_known * m_known), np.float32(0.5))  # voxels
    fixed_sum, moving_sum = back(f_sum * m_known), back(f_known * m_sum)
    covariance = back(f_sum * m_sum) - fixed_sum * moving_sum / overlap
    fixed_var = np.maximum(back(f_square * m_known) - fixed_sum**2 / overlap, 0.0)
    moving_var = np.maximum(back(f_known * m_square) - moving_sum**2 / overlap, 0.0)
    spread = np.sqrt(fixed_var * moving_var)
    min_overlap = _MIN_OVERLAP_SHARE * min(fixed_known.sum(), moving_known.sum())
    defined = (overlap >= max(min_overlap, 1.0)) & (spread > 1e-3 * overlap)
    share = np.clip(covariance / np.where(defined, spread, 1.0), -1.0, 1.0)
    return np.where(defined, share, 0.0).astype(np.float64)


def _subvoxel(values: Float64Array, peak: Int64Array) -> Float64Array:
    """Offset of the peak from its voxel's center, voxels (z, y, x), by a parabola along each axis."""
    offset = np.zeros(3)
    for axis in range(3):
        if 0 < peak[axis] < values.shape[axis] - 1:
            before, after = peak.copy(), peak.copy()
            before[axis] -= 1
            after[axis] += 1
            a, b, c = values[tuple(before)], values[tuple(peak)], values[tuple(after)]
            bend = a - 2 * b + c
            offset[axis] = 0.5 * (a - c) / bend if bend < 0 else 0.0
    return np.clip(offset, -0.5, 0.5)
