"""The dense core of an ablation zone."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from engine.kernels.components import find_components
from engine.volume import CtVolume, LabelMask

_CORE_THRESHOLD_HU: Final = -350
"""Between ground glass (about -550 HU) and coagulated tissue (above -150 HU)."""

MIN_CORE_ML: Final = 0.05
"""What is smaller is a vessel, not a core."""


def find_core(ct: CtVolume, zone: LabelMask) -> LabelMask | None:
    """The dense core of a zone: connected voxels above ``_CORE_THRESHOLD_HU`` after light smoothing.

    Returns
    -------
    LabelMask or None
        On the grid of the CT; None where the zone has no core worth the name.
    """
    box = zone.bounding_box().padded(2).clipped(zone.geometry.shape_zyx).slices
    hu = ndimage.median_filter(ct.voxels_hu[box], size=3)
    dense = zone.voxels[box] & (hu > _CORE_THRESHOLD_HU)
    parts = find_components(dense, zone.geometry.spacing_zyx_mm)
    if len(parts) == 0 or parts.volumes_ml[0] < MIN_CORE_ML:
        return None
    voxels = np.zeros(zone.voxels.shape, dtype=np.bool_)
    voxels[box] = parts.labels == 1
    return LabelMask(voxels, zone.geometry, "ablation core")
