"""In which lung a tumor lies: found only where the planning CT shows both lungs."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.findings import LungSide
from engine.geometry import Vector3
from engine.hounsfield import LUNG_THRESHOLD_HU
from engine.volume import CtVolume

_SPACING_MM: Final = 4.0
"""The CT is thinned to about this: the lungs' outline is all that matters."""

_SLAB_MM: Final = 60.0
"""The lungs are looked at this far above and below the tumor: gas in the bowel lies below."""

_MIN_PART_ML: Final = 20.0
"""Enclosed air smaller than this is bowel gas, an esophagus or a trachea."""

_MIN_SHARE: Final = 0.2
"""Each lung has at least this share of the air of both."""

_MIN_WIDTH_MM: Final = 150.0
"""Both lungs together are wider than this; one lung is not."""

_MAX_VALLEY_SHARE: Final = 0.5
"""Between the lungs there is at most this share of the air that the emptier lung has at its fullest."""

_MIN_OFFSET_MM: Final = 10.0
"""A tumor nearer to the middle than this belongs to neither side."""


def lung_side_of(ct: CtVolume, position_lps_mm: Vector3) -> LungSide | None:
    """Return the lung in which a position lies; None where that cannot be told from the CT.

    Parameters
    ----------
    ct : CtVolume
    position_lps_mm : tuple of float
        The tumor's centroid.

    Returns
    -------
    LungSide or None
        None where the air of the lungs reaches the lateral edge of the field of view, where it is not divided into two
        parts, and where the position lies between them.

    Notes
    -----
    The sides come from the air of both lungs and the valley between, never from the middle of the image: a field of
    view that was reconstructed around one lung has its middle in that lung.
    """
    left_mm, air_ml = _air_along_left(ct, position_lps_mm)
    valley_mm = _valley_between_lungs(left_mm, air_ml)
    if valley_mm is None:
        return None
    offset_mm = position_lps_mm[0] - valley_mm
    if abs(offset_mm) < _MIN_OFFSET_MM:
        return None
    return LungSide.LEFT if offset_mm > 0 else LungSide.RIGHT


def _air_along_left(ct: CtVolume, position_lps_mm: Vector3) -> tuple[Float64Array, Float64Array]:
    """Enclosed air, mL, in columns of ``_SPACING_MM`` toward the patient's left, and where each column lies, mm."""
    steps = [max(1, round(_SPACING_MM / spacing)) for spacing in ct.geometry.spacing_zyx_mm]
    thinned = ct.voxels_hu[:: steps[0], :: steps[1], :: steps[2]]
    upright = int(np.argmax(np.abs(np.array(ct.geometry.directions_zyx_lps)[:, 2])))
    voxel_ml = ct.geometry.voxel_volume_ml * float(np.prod(steps))
    air = _enclosed(thinned < LUNG_THRESHOLD_HU, upright, voxel_ml)
    positions = ct.geometry.to_lps(np.argwhere(air) * np.array(steps))
    near = positions[np.abs(positions[:, 2] - position_lps_mm[2]) <= _SLAB_MM, 0]
    if near.size == 0:
        return np.empty(0), np.empty(0)
    edges = np.arange(near.min() - _SPACING_MM, near.max() + 2 * _SPACING_MM, _SPACING_MM)
    counts, _ = np.histogram(near, edges)
    return (edges[:-1] + edges[1:]) / 2, ndimage.uniform_filter1d(counts * voxel_ml, 3, mode="constant")


def _enclosed(air: BoolArray, upright: int, voxel_ml: float) -> BoolArray:
    """Large parts of air that reach no lateral, anterior or posterior edge of the field of view."""
    labels, count = ndimage.label(air)
    sizes_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    kept = sizes_ml >= _MIN_PART_ML
    kept[0] = False
    for axis in range(3):
        if axis != upright:
            kept[np.unique(labels.take([0, -1], axis=axis))] = False
    return np.asarray(kept[labels])


def _valley_between_lungs(left_mm: Float64Array, air_ml: Float64Array) -> float | None:
    """Middle of the valley between two lungs; None where the air is not that of two."""
    total = air_ml.sum()
    if total == 0:
        return None
    share = np.cumsum(air_ml) / total
    between = np.flatnonzero((share >= _MIN_SHARE) & (share <= 1.0 - _MIN_SHARE))
    inside = left_mm[(share > 0.01) & (share < 0.99)]
    if between.size == 0 or np.ptp(inside) < _MIN_WIDTH_MM:
        return None
    lowest = between[air_ml[between] == air_ml[between].min()]
    first, last = int(lowest[0]), int(lowest[-1])
    emptier_peak = min(air_ml[: first + 1].max(), air_ml[last:].max())
    if air_ml[first] > _MAX_VALLEY_SHARE * emptier_peak:
        return None
    return float(left_mm[[first, last]].mean())
