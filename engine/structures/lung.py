"""The lung around a lesion, from the planning CT.

The verification CT's own lung lacks the ablated tissue, so coverage is clipped to the planning lung.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.hounsfield import LUNG_THRESHOLD_HU
from engine.kernels.distance import distance_mm
from engine.structures.chest_air import air_outside_lung
from engine.volume import CtVolume, LabelMask

VESSEL_CLOSING_MM: Final = 4.0
"""Vessels, bronchial walls and small nodules up to about twice this width are closed over."""

_REGION_MM: Final = 40.0
"""How far around the tumor the lung is looked for."""


def segment_lung(ct: CtVolume, tumor: LabelMask) -> LabelMask:
    """Lung with its vessels and the tumor, within ``_REGION_MM`` of the tumor.

    Parameters
    ----------
    ct : CtVolume
        The planning CT.
    tumor : LabelMask
        On the grid of ``ct``; its voxels always belong to the result.

    Returns
    -------
    LabelMask
        On the cropped grid around the tumor. Where the planning CT ends, nothing is known: see
        :attr:`LabelMask.geometry`.
    """
    spacing = np.array(ct.geometry.spacing_zyx_mm)
    padding = np.ceil(_REGION_MM / spacing).astype(int)
    box = tumor.bounding_box().padded(padding).clipped(ct.geometry.shape_zyx)
    hu, in_tumor = ct.voxels_hu[box.slices], tumor.voxels[box.slices]
    aerated = (hu < LUNG_THRESHOLD_HU) & ~air_outside_lung(ct, tumor, box)
    lung = _filled(_close(aerated | in_tumor, spacing, VESSEL_CLOSING_MM) | in_tumor)
    return LabelMask(lung, ct.geometry.crop(box), "lung")


def _filled(marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """What lung encloses is lung, however dense: a consolidation, another nodule, a bulla with a thick wall."""
    labels, count = ndimage.label(~marked)
    faces = [labels.take([0, -1], axis=axis).ravel() for axis in range(3)]
    enclosed = np.ones(count + 1, dtype=np.bool_)
    enclosed[np.unique(np.concatenate(faces))] = False
    enclosed[0] = False
    return np.asarray(marked | enclosed[labels])


def _close(
    marked: npt.NDArray[np.bool_], spacing: npt.NDArray[np.float64], radius_mm: float
) -> npt.NDArray[np.bool_]:
    """Morphological closing with an exact ball, by two distance transforms."""
    pad = [(int(np.ceil(radius_mm / s)) + 1,) * 2 for s in spacing]
    padded = np.pad(marked, pad, mode="edge")
    grown = _distance_mm(padded, spacing, radius_mm) <= radius_mm
    closed = _distance_mm(~grown, spacing, radius_mm) > radius_mm
    return np.asarray(closed[tuple(slice(a, -b) for a, b in pad)] | marked)


def _distance_mm(
    marked: npt.NDArray[np.bool_], spacing: npt.NDArray[np.float64], enough_mm: float
) -> npt.NDArray[np.float32]:
    """Distance to the nearest marked voxel; infinite well beyond ``enough_mm``."""
    return distance_mm(marked, [float(s) for s in spacing], bound_mm=enough_mm + 1.0)
