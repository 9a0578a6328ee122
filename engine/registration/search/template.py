"""The pattern by which a lesion is found: a coarse picture of its surroundings, and the vessels in its lung."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.hounsfield import AERATED_LUNG_HU
from engine.registration.region import ComparisonRegion
from engine.registration.search.rigid_fit import RigidTemplate, rigid_template

PATTERN_SPACING_MM: Final = 3.0
PATTERN_HALF_WIDTH_MM: Final = 50.0
"""Half width of the planning region that is looked for in the verification CT."""

_LOCAL_MEAN_MM: Final = 8.0

_VESSEL_MM: Final = 6.0
"""Vessels in lung up to twice this wide belong to it."""

_PICTURE_PLACES: Final = 6000
_VESSEL_PLACES: Final = 5000
_MIN_VESSEL_PLACES: Final = 1000
_PICTURE_BLUR: Final = 1.0
_VESSEL_BLUR: Final = 0.7
"""Voxels: vessels are thin, and the whole picture has to be captured from farther."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """A region at a few millimeters, its lung, and what is left of that without its local mean.

    Parameters
    ----------
    region : ComparisonRegion
    lung : ndarray of bool, (z, y, x)
    vessels : ComparisonRegion
        Vessels and fissures; 0 outside the lung.
    """

    region: ComparisonRegion
    lung: BoolArray
    vessels: ComparisonRegion


@dataclass(frozen=True, eq=False)
class SearchedPattern(Pattern):
    """The pattern that is looked for, with the places by which it is fitted.

    Parameters
    ----------
    picture_template, vessel_template : RigidTemplate
        Of the whole picture, and of the vessels in lung.
    """

    picture_template: RigidTemplate
    vessel_template: RigidTemplate

    @property
    def has_vessels(self) -> bool:
        """Whether there is enough lung to fit it alone."""
        return len(self.vessel_template.hu) >= _MIN_VESSEL_PLACES


def searched_pattern(
    region: ComparisonRegion, center_lps_mm: Float64Array, reach_mm: float
) -> SearchedPattern:
    """The pattern within reach of a point, ready to be looked for in another scan."""
    plain = pattern_of(region)
    picture = rigid_template(
        region, region.inside, center_lps_mm, reach_mm, places=_PICTURE_PLACES, blur_voxels=_PICTURE_BLUR
    )
    vessels = rigid_template(
        plain.vessels, plain.lung, center_lps_mm, reach_mm, places=_VESSEL_PLACES, blur_voxels=_VESSEL_BLUR
    )
    return SearchedPattern(region, plain.lung, plain.vessels, picture, vessels)


def pattern_of(region: ComparisonRegion) -> Pattern:
    """The lung and the vessels of a region."""
    lung = lung_of(region)
    return Pattern(region, lung, _vessels(lung, region))


def lung_of(region: ComparisonRegion) -> BoolArray:
    """Aerated lung with the vessels in it, (z, y, x); plain air, inside or outside the body, is none.

    Parameters
    ----------
    region : ComparisonRegion
        At a few millimeters.

    Returns
    -------
    ndarray of bool
    """
    aerated = (region.hu > AERATED_LUNG_HU[0]) & (region.hu < AERATED_LUNG_HU[1]) & region.inside
    solid = ndimage.binary_opening(aerated)
    steps = max(1, round(_VESSEL_MM / region.geometry.spacing_zyx_mm[0]))
    padded = np.pad(solid, steps + 1, mode="edge")
    closed = ndimage.binary_closing(padded, iterations=steps)
    inner = (slice(steps + 1, -steps - 1),) * 3
    return np.asarray(closed[inner], dtype=np.bool_)


def _vessels(lung: BoolArray, region: ComparisonRegion) -> ComparisonRegion:
    """Vessels and fissures alone: what is left without the local mean."""
    sigma = _LOCAL_MEAN_MM / region.geometry.spacing_zyx_mm[0]
    weight = lung.astype(np.float32)
    share = np.maximum(ndimage.gaussian_filter(weight, sigma), 1e-3)
    mean = ndimage.gaussian_filter(region.hu * weight, sigma) / share
    return replace(region, hu=np.asarray((region.hu - mean) * weight, dtype=np.float32))
