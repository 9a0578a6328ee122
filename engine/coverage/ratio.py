"""Target coverage ratio and minimal ablative margin, from one distance.

Source: Wang SB et al., Chin J Med Imaging Technol 42:336-341, 2026, section 1.2.2: the target is the tumor
grown by 5 mm, TCR = |target in zone| / |target|, and TCR = 1 means a minimal margin of at least 5 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float32Array
from engine.coverage.grid import MeasurementField
from engine.findings import TARGET_MARGIN_MM
from engine.kernels.coverage import count_coverage
from engine.volume import LabelMask


@dataclass(frozen=True)
class _TargetCoverage:
    """Coverage by one zone (or its core), counted where ``counted`` was true.

    Attributes
    ----------
    tcr : float
        0 to 1; exactly 1 when no counted voxel nearer than the target margin is uncovered.
    minimal_mm : float
        Least signed distance from the tumor to the zone's surface; negative where tumor lies outside.
    target_ml, covered_ml : float
    """

    tcr: float
    minimal_mm: float
    target_ml: float
    covered_ml: float

    @property
    def complete(self) -> bool:
        """No target voxel is uncovered; the same as a minimal margin of at least the target margin."""
        return self.tcr == 1.0


def measure_coverage(
    field: MeasurementField,
    covered: BoolArray,
    distance_to_cover_mm: Float32Array,
    *,
    target_margin_mm: float = TARGET_MARGIN_MM,
) -> tuple[_TargetCoverage, _TargetCoverage]:
    """Coverage of the whole target and of its part in lung.

    Parameters
    ----------
    field : MeasurementField
    covered : ndarray of bool, (z, y, x)
        The zone, or its core.
    distance_to_cover_mm : ndarray of float32, (z, y, x)
        Signed distance to the surface of ``covered``, negative inside.
    target_margin_mm : float

    Returns
    -------
    whole, in_lung : _TargetCoverage

    Notes
    -----
    A point of the target lies nearer to the tumor's surface than the margin. The margin of a tumor inside
    its zone is the distance to the nearest uncovered point, read off the same values, so that ``complete``
    and a minimal margin of at least the target margin are one statement. Where tumor lies outside the
    zone, the margin is minus the distance of its farthest such point to the zone.
    """
    counts = count_coverage(
        field.distance_to_tumor_mm, covered, field.assessable, (target_margin_mm,), kernels=field.kernels
    )
    outside = field.tumor & ~covered
    # The zone ends between two voxel centers: the first uncovered center lies past its surface by up to
    # one spacing, which the nearest of many makes negligible.
    whole = _coverage(
        counts.voxels[0],
        counts.covered[0],
        counts.nearest_uncovered_mm,
        _max_missed_distance_mm(field, distance_to_cover_mm, outside),
        field.voxel_ml,
    )
    in_lung = _coverage(
        counts.counted[0],
        counts.covered_and_counted[0],
        counts.nearest_uncovered_counted_mm,
        _max_missed_distance_mm(field, distance_to_cover_mm, outside & field.assessable),
        field.voxel_ml,
    )
    return whole, in_lung


def uncovered_in_lung(field: MeasurementField, target_margin_mm: float = TARGET_MARGIN_MM) -> BoolArray:
    """Target voxels in lung (or tumor) that the zone does not cover."""
    return np.asarray((field.distance_to_tumor_mm < target_margin_mm) & ~field.zone & field.assessable)


def uncovered_outside_lung(field: MeasurementField, target_margin_mm: float = TARGET_MARGIN_MM) -> BoolArray:
    """Target voxels outside the lung or at its edge that the zone does not cover."""
    return np.asarray((field.distance_to_tumor_mm < target_margin_mm) & ~field.zone & ~field.assessable)


def not_assessable_share(field: MeasurementField, target_margin_mm: float = TARGET_MARGIN_MM) -> float:
    """Share of the target outside the lung, where no zone can be seen."""
    target = field.distance_to_tumor_mm < target_margin_mm
    return float(np.count_nonzero(target & ~field.lung)) / float(np.count_nonzero(target))


def _max_missed_distance_mm(
    field: MeasurementField, distance_to_cover_mm: Float32Array, outside: BoolArray
) -> float | None:
    """Greatest distance, mm, of a tumor point outside the cover to it; None where no tumor voxel is outside."""
    if not outside.any():
        return None
    # The tumor's surface runs up to half a voxel beyond its outermost voxel center.
    tight = LabelMask(outside, field.geometry, "uncovered tumor").bounding_box()
    box = tight.padded(2).clipped(field.geometry.shape_zyx)
    grown = ndimage.binary_dilation(outside[box.slices]).astype(np.float32)
    index = field.tumor_surface_index - np.array(box.start_zyx)
    near = ndimage.map_coordinates(grown, index.T, order=0)
    surface = field.tumor_surface_index[near > 0]
    sampled = ndimage.map_coordinates(distance_to_cover_mm, surface.T, order=1, mode="nearest")
    return float(max(distance_to_cover_mm[outside].max(), sampled.max(initial=-np.inf)))


def _coverage(
    target: int, covered: int, nearest: float, beyond: float | None, voxel_ml: float
) -> _TargetCoverage:
    minimal = float(nearest) if beyond is None else -max(beyond, 0.0)
    return _TargetCoverage(
        # A target without a counted voxel has nothing that could be uncovered; none is claimed covered.
        tcr=float(covered) / float(target) if target else 0.0,
        minimal_mm=minimal,
        target_ml=float(target) * voxel_ml,
        covered_ml=float(covered) * voxel_ml,
    )
