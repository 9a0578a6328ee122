"""What is true of a phantom: counted on the implicit shapes, apart from masks and from the code under test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.geometry import FloatArray, Vector3

TRUTH_SPACING_MM: Final = 0.4
TARGET_MARGIN_MM: Final = 5.0
LEAST_REGION_ML: Final = 0.01


@dataclass(frozen=True)
class TrueRegion:
    """An uncovered part of the target in lung, verification frame."""

    volume_ml: float
    centroid_lps_mm: Vector3


@dataclass(frozen=True)
class TrueCoverage:
    """TCR and minimal margin, counted over all or over lung alone."""

    tcr: float
    minimal_margin_mm: float


@dataclass(frozen=True)
class PhantomTruth:
    """The answers an assessment should give."""

    tcr: float
    minimal_margin_mm: float
    complete: bool
    lung_clipped: TrueCoverage
    not_assessable_share: float
    core: TrueCoverage
    uncovered: tuple[TrueRegion, ...]
    tumor_volume_ml: float
    planning_from_verification: tuple[tuple[float, ...], ...]
    least_jacobian: float
    rigid: bool

    @property
    def uncovered_ml(self) -> tuple[float, ...]:
        """Volumes of the uncovered regions, largest first."""
        return tuple(region.volume_ml for region in self.uncovered)


@dataclass(frozen=True, eq=False)
class TruthField:
    """The implicit shapes on a fine lattice of the verification frame around the tumor."""

    points_lps_mm: FloatArray
    tumor_distance_mm: FloatArray
    zone_depth_mm: FloatArray
    core_depth_mm: FloatArray
    in_lung: npt.NDArray[np.bool_]


def truth_lattice(center_lps_mm: FloatArray, half_width_mm: float) -> FloatArray:
    """Points (n, n, n, 3) of a lattice with ``TRUTH_SPACING_MM``, LPS mm, indexed (z, y, x)."""
    axis = np.arange(-half_width_mm, half_width_mm + TRUTH_SPACING_MM, TRUTH_SPACING_MM)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    return np.stack([x, y, z], axis=-1) + center_lps_mm


def find_truth(
    field: TruthField,
    *,
    tumor_volume_ml: float,
    planning_from_verification: FloatArray,
    least_jacobian: float,
    rigid: bool,
) -> PhantomTruth:
    """Count coverage and margins on the lattice."""
    zone, core = field.zone_depth_mm >= 0.0, field.core_depth_mm >= 0.0
    target = field.tumor_distance_mm < TARGET_MARGIN_MM
    everywhere = np.ones(target.shape, dtype=np.bool_)
    whole = _coverage(field, zone, everywhere)
    clipped = _coverage(field, zone, field.in_lung)
    return PhantomTruth(
        tcr=whole.tcr,
        minimal_margin_mm=whole.minimal_margin_mm,
        complete=whole.tcr == 1.0,
        lung_clipped=clipped,
        not_assessable_share=float((target & ~field.in_lung).sum() / target.sum()),
        core=_coverage(field, core, everywhere),
        uncovered=_regions(field, target & ~zone & field.in_lung),
        tumor_volume_ml=tumor_volume_ml,
        planning_from_verification=tuple(tuple(float(v) for v in row) for row in planning_from_verification),
        least_jacobian=least_jacobian,
        rigid=rigid,
    )


def _coverage(
    field: TruthField, covered: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]
) -> TrueCoverage:
    target = (field.tumor_distance_mm < TARGET_MARGIN_MM) & counted
    tcr = float((target & covered).sum() / target.sum())
    missed = counted & ~covered
    outside = missed & (field.tumor_distance_mm < 0.0)
    if outside.any():
        # Lattice distance to the nearest covered point, which lies half a spacing behind the surface.
        to_cover = ndimage.distance_transform_edt(~covered, sampling=TRUTH_SPACING_MM)
        return TrueCoverage(tcr, -float(to_cover[outside].max()) + 0.5 * TRUTH_SPACING_MM)
    # The nearest missed lattice point lies on average half a spacing beyond the zone's surface along it;
    # the nearest of many lies much closer, so nothing is taken off.
    least = float(field.tumor_distance_mm[missed].min()) if missed.any() else float("inf")
    return TrueCoverage(tcr, least)


def _regions(field: TruthField, uncovered: npt.NDArray[np.bool_]) -> tuple[TrueRegion, ...]:
    labels, count = ndimage.label(uncovered, structure=np.ones((3, 3, 3)))
    regions = []
    for label in range(1, count + 1):
        inside = labels == label
        volume_ml = float(inside.sum()) * TRUTH_SPACING_MM**3 / 1000.0
        if volume_ml >= LEAST_REGION_ML:
            x, y, z = (float(v) for v in field.points_lps_mm[inside].mean(axis=0))
            regions.append(TrueRegion(volume_ml, (x, y, z)))
    return tuple(sorted(regions, key=lambda region: -region.volume_ml))


Sampler = Callable[[FloatArray], FloatArray]
"""Values at positions (..., 3) in LPS mm of the planning frame."""
