"""What the registration needs of the planning CT alone, made before the verification CT arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.registration.region import SourceRegion, comparison_region, source_region
from engine.registration.search.template import (
    PATTERN_HALF_WIDTH_MM,
    PATTERN_SPACING_MM,
    SearchedPattern,
    searched_pattern,
)
from engine.volume import CtVolume, LabelMask

MIN_GRID_SPACING_MM: Final = 1.5

BLURRING_SLICE_MM: Final = 3.0
"""Slices farther apart blur the table axis enough to pull contours along it."""

_REACH_MM: Final = 50.0
"""Surroundings of the tumor that are registered: its own radius more than this, to every side."""

_MIN_HALF_WIDTH_MM: Final = 65.0
_MOVING_PADDING_MM: Final = 16.0
"""How far a bending lung may take the border of the region."""

_MAX_TUMOR_POINTS: Final = 300
"""Points of the tumor at which its motion is predicted."""


@dataclass(frozen=True, eq=False)
class PlanningFeatures:
    """The planning CT with its tumor, and the regions of it that are compared; they are kept once made.

    Parameters
    ----------
    ct : CtVolume
    tumor_center_lps_mm : ndarray, (3,)
    tumor_radius_mm : float
    tumor_points_lps_mm : ndarray, (N, 3)
        Throughout the tumor.
    """

    ct: CtVolume
    tumor_center_lps_mm: Float64Array
    tumor_radius_mm: float
    tumor_points_lps_mm: Float64Array
    _sources: dict[float, SourceRegion] = field(default_factory=dict, repr=False)
    _patterns: dict[float, SearchedPattern] = field(default_factory=dict, repr=False)

    @property
    def half_width_mm(self) -> float:
        """Half width of the region that is registered."""
        return max(_MIN_HALF_WIDTH_MM, self.tumor_radius_mm + _REACH_MM)

    def source(self, match_mm: float) -> SourceRegion:
        """The surroundings of the tumor, ready for comparison; kept for the next call."""
        if match_mm not in self._sources:
            half = self.half_width_mm + _MOVING_PADDING_MM
            self._sources[match_mm] = source_region(
                self.ct,
                self.tumor_center_lps_mm - half,
                self.tumor_center_lps_mm + half,
                MIN_GRID_SPACING_MM,
                match_slice_mm=match_mm,
            )
        return self._sources[match_mm]

    def pattern(self, match_mm: float) -> SearchedPattern:
        """What is searched for in the verification CT; cached by ``match_mm``."""
        if match_mm not in self._patterns:
            half = PATTERN_HALF_WIDTH_MM + max(0.0, self.tumor_radius_mm - 15.0)
            region = comparison_region(
                self.ct, self.tumor_center_lps_mm, half, PATTERN_SPACING_MM, match_slice_mm=match_mm
            )
            self._patterns[match_mm] = searched_pattern(region, self.tumor_center_lps_mm, half)
        return self._patterns[match_mm]


def planning_features(planning: CtVolume, tumor: LabelMask) -> PlanningFeatures:
    """Measure the tumor; its surroundings are computed when first asked for.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask
        On the grid of ``planning``.

    Returns
    -------
    PlanningFeatures
    """
    points = tumor.geometry.to_lps(np.argwhere(tumor.voxels).astype(float))
    center = points.mean(axis=0)
    return PlanningFeatures(
        planning,
        center,
        float(np.linalg.norm(points - center, axis=1).max()),
        points[:: max(1, len(points) // _MAX_TUMOR_POINTS)],
    )


def match_slice_mm(moving: CtVolume, fixed: CtVolume) -> float:
    """The thicker slice distance, where it is thick enough to matter; else 0."""
    thicker = max(moving.geometry.spacing_zyx_mm[0], fixed.geometry.spacing_zyx_mm[0])
    return thicker if thicker > BLURRING_SLICE_MM else 0.0
