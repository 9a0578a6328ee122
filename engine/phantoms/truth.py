"""What is true of a phantom: found on the implicit shapes, apart from masks and from the code under test.

The minimal margin is the least signed distance from the tumor's surface to the zone's: where the zone holds
the tumor, the least tumor distance on the zone's surface; otherwise, negative, how far from the zone the
farthest missed place of the tumor lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray, Float64Array
from engine.geometry import RigidTransform, Vector3
from engine.phantoms.crossings import Crossings, distance_to_samples, find_crossings

_TRUTH_SPACING_MM: Final = 0.4
TARGET_MARGIN_MM: Final = 5.0
_MIN_REGION_ML: Final = 0.01


@dataclass(frozen=True)
class TrueRegion:
    """An uncovered part of the target in lung, verification frame."""

    volume_ml: float
    centroid_lps_mm: Vector3


@dataclass(frozen=True)
class TrueCoverage:
    """TCR and minimal margin in mm, over all or over lung alone."""

    tcr: float
    minimal_margin_mm: float


@dataclass(frozen=True)
class PhantomTruth:
    """The answers an assessment should give.

    Parameters
    ----------
    tcr : float
        Share of the target (tumor and 5 mm around it) inside the zone; 1 only if ``complete``.
    minimal_margin_mm : float
        Negative where the zone misses tumor.
    complete : bool
        The minimal margin is at least 5 mm.
    lung_clipped : TrueCoverage
        Over lung and tumor alone.
    not_assessable_share : float
        Share of the target that lies outside lung and tumor.
    core : TrueCoverage
        By the dense core alone.
    uncovered : tuple of TrueRegion
        Parts of the target in lung outside the zone, largest first.
    tumor_volume_ml : float
    planning_from_verification : RigidTransform
        The rigid part of the motion.
    min_jacobian : float
        Of the whole motion.
    rigid : bool
        The motion is rigid everywhere.
    """

    tcr: float
    minimal_margin_mm: float
    complete: bool
    lung_clipped: TrueCoverage
    not_assessable_share: float
    core: TrueCoverage
    uncovered: tuple[TrueRegion, ...]
    tumor_volume_ml: float
    planning_from_verification: RigidTransform
    min_jacobian: float
    rigid: bool

    def to_json(self) -> dict[str, Any]:
        """The answers as JSON can hold them; the transform as its matrix."""
        return asdict(self) | {"planning_from_verification": self.planning_from_verification.matrix.tolist()}

    @property
    def uncovered_ml(self) -> tuple[float, ...]:
        """Volumes of the uncovered regions, largest first."""
        return tuple(region.volume_ml for region in self.uncovered)


@dataclass(frozen=True, eq=False)
class TruthField:
    """The implicit shapes on a fine lattice of the verification frame around the tumor.

    Parameters
    ----------
    points_lps_mm : ndarray, (nz, ny, nx, 3)
        As :func:`truth_lattice` makes them.
    tumor_distance_mm : ndarray, (nz, ny, nx)
        Signed distance to the tumor's surface, negative inside.
    ablation_depth_mm : ndarray, (nz, ny, nx)
        Positive inside the zone as it would be if lung were everywhere; continuous, but not necessarily a
        distance. The core is what lies deeper than ``rim_mm``.
    lung_depth_mm : ndarray, (nz, ny, nx)
        Positive in lung. Only there and in the tumor is anything ablated, and can coverage be assessed.
    rim_mm : float
        Width of the ground-glass rim.
    """

    points_lps_mm: Float64Array
    tumor_distance_mm: Float64Array
    ablation_depth_mm: Float64Array
    lung_depth_mm: Float64Array
    rim_mm: float

    @cached_property
    def allowed_mm(self) -> Float64Array:
        """Positive in lung and tumor."""
        return np.maximum(self.lung_depth_mm, -self.tumor_distance_mm)


def truth_lattice(low_lps_mm: Float64Array, high_lps_mm: Float64Array) -> Float64Array:
    """Points of a lattice with ``_TRUTH_SPACING_MM`` that covers a box.

    Parameters
    ----------
    low_lps_mm, high_lps_mm : ndarray, (3,)
        Opposite corners.

    Returns
    -------
    ndarray, (nz, ny, nx, 3)
        LPS mm.
    """
    x, y, z = (
        np.arange(low, high + _TRUTH_SPACING_MM, _TRUTH_SPACING_MM)
        for low, high in zip(low_lps_mm, high_lps_mm, strict=True)
    )
    return np.stack(np.meshgrid(z, y, x, indexing="ij")[::-1], axis=-1)


def find_truth(
    field: TruthField,
    *,
    tumor_volume_ml: float,
    planning_from_verification: RigidTransform,
    min_jacobian: float,
    rigid: bool,
) -> PhantomTruth:
    """Sum coverage over the lattice, and measure margins between the surfaces that cross its edges.

    Parameters
    ----------
    field : TruthField
    tumor_volume_ml, planning_from_verification, min_jacobian, rigid
        Written into the result unchanged.

    Returns
    -------
    PhantomTruth
        A margin that no zone surface on the lattice tells is infinite: positive if nothing is missed
        there, negative if the zone is not there at all.
    """
    in_lung = field.allowed_mm >= 0.0
    target = field.tumor_distance_mm < TARGET_MARGIN_MM
    whole, clipped = _coverage(field, field.ablation_depth_mm)
    core, _ = _coverage(field, field.ablation_depth_mm - field.rim_mm)
    complete = whole.minimal_margin_mm >= TARGET_MARGIN_MM
    missed = target & (field.ablation_depth_mm < 0.0) & in_lung
    return PhantomTruth(
        tcr=whole.tcr,
        minimal_margin_mm=whole.minimal_margin_mm,
        complete=complete,
        lung_clipped=clipped,
        not_assessable_share=float((target & ~in_lung).sum() / target.sum()),
        core=core,
        uncovered=() if complete else _regions(field, missed),
        tumor_volume_ml=tumor_volume_ml,
        planning_from_verification=planning_from_verification,
        min_jacobian=min_jacobian,
        rigid=rigid,
    )


def _coverage(field: TruthField, ablation_mm: Float64Array) -> tuple[TrueCoverage, TrueCoverage]:
    """Coverage by a zone or core, over all and over lung alone."""
    in_lung = field.allowed_mm >= 0.0
    depth_mm = np.minimum(ablation_mm, field.allowed_mm)
    surface = find_crossings(depth_mm)
    missed_mm = _max_missed_distance_mm(field, ablation_mm, depth_mm, surface)
    if missed_mm is None:
        whole_mm = _minimum(surface.at(field.tumor_distance_mm))
        # Within lung it is the ablation that ends, not the lung.
        end = find_crossings(ablation_mm)
        lung_mm = _minimum(end.at(field.tumor_distance_mm)[end.at(field.allowed_mm) >= 0.0])
    else:
        whole_mm = lung_mm = -missed_mm
    everywhere = np.ones_like(in_lung)
    return (
        TrueCoverage(_tcr(field, depth_mm, everywhere, whole_mm), whole_mm),
        TrueCoverage(_tcr(field, depth_mm, in_lung, lung_mm), lung_mm),
    )


def _minimum(margins_mm: Float64Array) -> float:
    return float(margins_mm.min(initial=np.inf))


def _tcr(field: TruthField, depth_mm: Float64Array, counted: BoolArray, minimal_margin_mm: float) -> float:
    """Covered share of the target; 1 if and only if the margin says so, however thin the sliver."""
    if minimal_margin_mm >= TARGET_MARGIN_MM:
        return 1.0
    depth_in_target_mm = (TARGET_MARGIN_MM - field.tumor_distance_mm)[counted]
    share = (
        _cell_share(np.minimum(depth_in_target_mm, depth_mm[counted])).sum()
        / _cell_share(depth_in_target_mm).sum()
    )
    return float(min(share, np.nextafter(1.0, 0.0)))


def _cell_share(depth_mm: Float64Array) -> Float64Array:
    """Fraction of a lattice cell, 0 to 1, inside a surface at this depth, mm, from its center."""
    return np.clip(0.5 + depth_mm / _TRUTH_SPACING_MM, 0.0, 1.0)


def _max_missed_distance_mm(
    field: TruthField, ablation_mm: Float64Array, depth_mm: Float64Array, surface: Crossings
) -> float | None:
    """Greatest distance from a missed place in the tumor to the zone; None if the zone holds the tumor."""
    edge = find_crossings(-field.tumor_distance_mm)
    missed_edge = edge.at(ablation_mm) < 0.0
    inside = np.flatnonzero((field.tumor_distance_mm <= 0.0) & (ablation_mm < 0.0))
    if not missed_edge.any() and not inside.size:
        return None
    if not (depth_mm >= 0.0).any():
        return float("inf")
    # Lattice distances choose the places worth measuring: they are off by less than two spacings.
    rough = ndimage.distance_transform_edt(depth_mm < 0.0, sampling=_TRUTH_SPACING_MM).ravel()
    on_edge = np.flatnonzero(missed_edge)
    worth = max(rough[inside].max(initial=0.0), rough[edge.inside[on_edge]].max(initial=0.0))
    worth -= 4.0 * _TRUTH_SPACING_MM
    on_edge = on_edge[rough[edge.inside[on_edge]] >= worth]
    places = np.concatenate(
        [
            edge.at(field.points_lps_mm)[on_edge],
            field.points_lps_mm.reshape(-1, 3)[inside[rough[inside] >= worth]],
        ]
    )
    return float(
        distance_to_samples(
            places, surface.at(field.points_lps_mm), _normals(depth_mm, surface), _TRUTH_SPACING_MM
        ).max()
    )


def _normals(depth_mm: Float64Array, surface: Crossings) -> Float64Array:
    """Unit normals (N, 3) in LPS of the zone's surface where it crosses lattice edges."""
    slope_zyx = np.gradient(depth_mm)
    slope = np.stack([surface.at(along) for along in slope_zyx[::-1]], axis=-1)
    return np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9))


def _regions(field: TruthField, uncovered: BoolArray) -> tuple[TrueRegion, ...]:
    labels, _ = ndimage.label(uncovered, structure=np.ones((3, 3, 3)))
    volumes_ml = np.bincount(labels.ravel()) * _TRUTH_SPACING_MM**3 / 1000.0
    regions = []
    for label in np.flatnonzero(volumes_ml[1:] >= _MIN_REGION_ML) + 1:
        x, y, z = (float(v) for v in field.points_lps_mm[labels == label].mean(axis=0))
        regions.append(TrueRegion(float(volumes_ml[label]), (x, y, z)))
    return tuple(sorted(regions, key=lambda region: -region.volume_ml))


Sampler = Callable[[Float64Array], Float64Array]
"""Values at positions (..., 3) in LPS mm of the planning frame."""
