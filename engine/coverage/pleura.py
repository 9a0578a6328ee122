"""How near the pleura something may lie and still be told from it."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.coverage.grid import MIN_PLEURAL_TOLERANCE_MM

_MAX_TOLERANCE_MM: Final = 1.45
"""Whatever the doubt: an uncovered lump at the pleura that is 2 mm thick is a region in lung and decides. Its deepest
voxel of the measurement grid lies at least 1.5 mm from the nearest one outside the lung."""

_LUNG_CONTOUR_SD_MM: Final = 0.5
"""Of the lung's contour in the planning CT: about half a voxel."""

_SLICE_SHARE: Final = 0.15
"""Of a contour along the slice normal, as a share of the slice distance: half of a uniform error within a slice."""

_ONE_SIDED_95: Final = 1.645


def pleural_tolerance_mm(
    pose_sd_mm: float, zone_contour_sd_mm: float, slices_mm: tuple[float, float]
) -> float:
    """Depth below the pleura down to which an uncovered sliver can be an error of alignment and contours.

    Parameters
    ----------
    pose_sd_mm : float
        Of the tumor's place, along each axis.
    zone_contour_sd_mm : float
    slices_mm : (float, float)
        Slice distances of both scans.

    Returns
    -------
    float
        From ``MIN_PLEURAL_TOLERANCE_MM`` to 1.45 mm.

    Notes
    -----
    Where the zone ends at the pleura, the gap between both is the difference of three contours that were drawn in two
    scans: 95 % of the slivers that these errors leave are thinner than 1.645 of their standard deviation. In 22
    simulated procedures in which the zone reached the pleura the margin in lung was more than 1.5 mm too small in 18
    with 0.5 mm, in 4 with 1 mm and in 1 with 1.25 to 1.5 mm.
    """
    parts = (pose_sd_mm, zone_contour_sd_mm, _LUNG_CONTOUR_SD_MM, *(_SLICE_SHARE * mm for mm in slices_mm))
    tolerance = _ONE_SIDED_95 * float(np.sqrt(np.sum(np.square(parts))))
    return float(np.clip(tolerance, MIN_PLEURAL_TOLERANCE_MM, _MAX_TOLERANCE_MM))
