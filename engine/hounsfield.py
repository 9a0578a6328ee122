"""Hounsfield units that tell lung from what is not lung: one value for each idea."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.arrays import AnyArray

_SD_OF_MAD: Final = 1.4826
"""Standard deviation of a normal distribution whose absolute deviations from its median have the median 1."""

AIR_HU: Final = -1024
"""Air, and what padding becomes: outside the reconstructed circle there is nothing to see."""

AERATED_LUNG_HU: Final = (-970.0, -500.0)
"""Aerated lung without its vessels; air outside the body and in the bowel is lighter."""

LUNG_THRESHOLD_HU: Final = -400
"""Half-way between aerated lung (about -850) and soft tissue (about 50): the usual pleural threshold."""

OUTSIDE_AIR_HU: Final = -950
"""Air around the patient; even emphysema seldom forms a connected region below it."""


def padding_to_air(hu: AnyArray) -> AnyArray:
    """The same HU with air where padding lies below it.

    Scanners and converters fill what lies outside the reconstructed circle with values down to -3024, which no tissue
    has; the gray levels of radiomics would be counted from there.

    Parameters
    ----------
    hu : ndarray
        Real numbers, of any shape.

    Returns
    -------
    ndarray
        ``hu`` itself where it has no padding, else a new array of the same type.
    """
    return np.maximum(hu, hu.dtype.type(AIR_HU)) if hu.size and hu.min() < AIR_HU else hu


def usual_difference_hu(differences: AnyArray) -> tuple[float, float]:
    """Median and standard deviation of differences, whatever a minority of them does.

    Parameters
    ----------
    differences : ndarray
        HU; at least one.

    Returns
    -------
    median, sd : float
        The latter from the median absolute deviation.
    """
    median = float(np.median(differences))
    return median, _SD_OF_MAD * float(np.median(np.abs(differences - median)))
