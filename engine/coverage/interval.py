"""How sure the coverage is: draws of the tumor's place and of the contours, all read off one distance.

TCR = 1 flips on one voxel: a perfect 5 mm ablation of an 18 mm tumor reads 0.93 after a shift of 1.3 mm.
So every number comes with the range it has when tumor and contours are where they might also be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from engine.arrays import BoolArray, Float32Array, Float64Array
from engine.coverage.contour_error import LocalDoubt, local_sd_mm, slice_sd_mm, smooth_modes, spread_out
from engine.coverage.grid import MeasurementField
from engine.findings import TARGET_MARGIN_MM
from engine.kernels.backend import KernelBackend
from engine.kernels.pose_draws import evaluate_draws

DRAWS: Final = 1000
"""The 5th and 95th percentiles of this many draws are good to about 0.7 percentile points."""

UNIFORM_SHARE: Final = 0.58
"""Of a reader's error, the part that moves a contour as a whole. The mean radii of four readers' contours of one
nodule differ by 0.44 mm (standard deviation); in all, each lies 0.76 mm off the others' surfaces (root mean square)."""

LOCAL_SHARE: Final = float(np.sqrt(1.0 - UNIFORM_SHARE**2))
"""And the part that differs from place to place: what is left of the same root mean square."""

_MAX_TUMOR_CONTOUR_SD_MM: Final = 2.0
"""Three of these beyond the target margin still lie on the measurement grid."""

_POINT_SPACING_MM: Final = 1.0
"""The target and the tumor's surface are sampled this finely for the draws."""

_OUT_OF_VIEW_MM: Final = 1e3
"""Stands for the distance to a surface that the grid does not hold."""


@dataclass(frozen=True, eq=False)
class PoseUncertainty:
    """Standard deviations of the tumor's pose in the verification frame.

    Parameters
    ----------
    translation_covariance_mm2 : ndarray, (3, 3)
        Of the tumor's center, LPS.
    rotation_sd_deg : float
        About each axis through the tumor's center.
    """

    translation_covariance_mm2: Float64Array
    rotation_sd_deg: float

    @property
    def sd_mm(self) -> float:
        """Root mean square over the axes, mm."""
        return float(np.sqrt(np.trace(self.translation_covariance_mm2) / 3.0))


@dataclass(frozen=True, eq=False)
class CoverageInterval:
    """Ranges that hold the true value with 90 % probability, and the chance of completeness.

    Parameters
    ----------
    tcr_90, minimal_mm_90 : tuple of float
        An infinite margin: nothing uncovered is in view.
    probability_complete : float
    in_lung : CoverageInterval, optional
        The same of what can be assessed in lung; None where nothing of the target can.
    """

    tcr_90: tuple[float, float]
    minimal_mm_90: tuple[float, float]
    probability_complete: float
    in_lung: CoverageInterval | None = None


def coverage_interval(
    field: MeasurementField,
    pose: PoseUncertainty,
    *,
    planning_slice: tuple[Float64Array, float],
    verification_slice: tuple[Float64Array, float],
    tumor_contour_sd_mm: float,
    zone_contour_sd_mm: float,
    tumor_local_sd: float | LocalDoubt = 0.0,
    zone_local_sd: float | LocalDoubt = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
    target_margin_mm: float = TARGET_MARGIN_MM,
) -> CoverageInterval:
    """Draw poses and contours and measure each draw.

    Parameters
    ----------
    field : MeasurementField
    pose : PoseUncertainty
        The alignment's own.
    planning_slice, verification_slice : (unit normal (3,) in the verification frame, distance in mm)
        Slice direction and distance of both scans.
    tumor_contour_sd_mm, zone_contour_sd_mm : float
        By which each contour as a whole lies off its structure. A tumor's is cut off at ``_MAX_TUMOR_CONTOUR_SD_MM``.
    tumor_local_sd, zone_local_sd : float or LocalDoubt
        By which they lie off it in places, mm: everywhere the same, or place by place.
    draws, seed : int
    target_margin_mm : float

    Returns
    -------
    CoverageInterval

    Notes
    -----
    TCR, margin and completeness come from the same draw: the margin is minus the greatest distance to
    the zone over the tumor's surface, both contours moved by their drawn offsets; a draw is complete
    when its margin reaches the target margin, and then its TCR is 1. In lung the same draws are measured to the nearest
    uncovered place that can be assessed, and only such places are counted; the pleura stays where it is.

    Contours stray as a whole and in places (:mod:`engine.coverage.contour_error`); for the TCR, the mean of the latter
    where the margin falls short counts as one of the whole zone. A minimum over places that stray is smaller than that
    over places that do not, so the draws of margin and TCR lie too low: they are moved up until their median is what
    was measured without errors, and never beyond.
    """
    rng = np.random.default_rng(seed)
    tumor_offset = rng.normal(0.0, min(tumor_contour_sd_mm, _MAX_TUMOR_CONTOUR_SD_MM), draws)
    zone_offset = rng.normal(0.0, zone_contour_sd_mm, draws)
    translation = rng.multivariate_normal(np.zeros(3), pose.translation_covariance_mm2, draws)
    rotation = Rotation.from_rotvec(rng.normal(0.0, np.deg2rad(pose.rotation_sd_deg), (draws, 3))).as_matrix()

    max_distance_mm = target_margin_mm + float(np.abs(tumor_offset).max())
    points, values = _target_points(field, max_distance_mm)
    surface = spread_out(field.tumor_surface_index, _step(field))
    surface_lps_mm = field.geometry.to_lps(surface)
    parts_mm = (
        local_sd_mm(tumor_local_sd, surface_lps_mm),
        local_sd_mm(zone_local_sd, surface_lps_mm),
        slice_sd_mm(_finite(field.distance_to_tumor_mm), field.geometry, surface, planning_slice),
        slice_sd_mm(_finite(field.distance_to_zone_mm), field.geometry, surface, verification_slice),
    )
    modes = smooth_modes(surface_lps_mm) * np.sqrt(np.sum(np.square(parts_mm), axis=0))[:, None]
    drawn = _Draws(
        _with_undisturbed(_index_maps(field, rotation, translation), np.eye(3, 4)),
        _with_undisturbed(tumor_offset, 0.0),
        _with_undisturbed(zone_offset, 0.0),
        modes,
        _with_undisturbed(rng.normal(size=(draws, modes.shape[1])), 0.0),
        target_margin_mm,
        field.kernels,
    )
    whole = drawn.measure(field.distance_to_zone_mm, points, values, surface)
    counted = _sampled(field.assessable, points)
    if counted.all():
        return replace(whole, in_lung=whole)
    if not (counted & (values < target_margin_mm)).any():
        return whole
    in_lung = drawn.measure(field.distance_to_missed_lung_mm, points[counted], values[counted], surface)
    return replace(whole, in_lung=in_lung)


def _with_undisturbed(drawn: Float64Array, undisturbed: Float64Array | float) -> Float64Array:
    """The draws behind one in which nothing is off."""
    first = np.broadcast_to(np.asarray(undisturbed, dtype=np.float64), drawn.shape[1:])
    return np.concatenate([first[None], drawn])


@dataclass(frozen=True, eq=False)
class _Draws:
    """Drawn poses and contours; in the first of them nothing is off.

    Parameters
    ----------
    index_maps : ndarray, (D, 3, 4)
    tumor_offset_mm, zone_offset_mm : ndarray, (D,)
        Positive outward.
    modes : ndarray, (M, K)
        Of the local error at the points of the tumor's surface, mm.
    weights : ndarray, (D, K)
    target_margin_mm : float
    kernels : KernelBackend
    """

    index_maps: Float64Array
    tumor_offset_mm: Float64Array
    zone_offset_mm: Float64Array
    modes: Float64Array
    weights: Float64Array
    target_margin_mm: float
    kernels: KernelBackend

    def measure(
        self, distance_mm: Float32Array, points: Float64Array, values: Float64Array, surface: Float64Array
    ) -> CoverageInterval:
        """Ranges over the draws: of the covered share of ``points``, and of the margin over ``surface``."""
        finite = _finite(distance_mm)
        at_surface = ndimage.map_coordinates(finite, surface.T, order=1, mode="nearest")
        # Only errors where the margin falls short of the target's move the coverage; by how much it does, they count.
        shortfall = np.maximum(at_surface + self.target_margin_mm, 0.0)
        counting = shortfall if shortfall.any() else (at_surface == at_surface.max()).astype(np.float64)
        local_mm = self.weights @ (counting @ self.modes / counting.sum())
        drawn = evaluate_draws(
            finite,
            points,
            values,
            surface,
            self.index_maps,
            self.target_margin_mm + self.tumor_offset_mm,
            self.zone_offset_mm - local_mm,
            self.modes,
            self.weights,
            kernels=self.kernels,
        )
        margin = _about_the_first(self.zone_offset_mm - self.tumor_offset_mm - drawn.max_on_surface)
        complete = margin >= self.target_margin_mm
        tcr = _about_the_first(drawn.covered / np.maximum(drawn.included, 1))
        tcr = np.where(complete, 1.0, np.clip(tcr, 0.0, 1.0))
        low, high = _range_90(margin)
        return CoverageInterval(
            tcr_90=_range_90(tcr),
            minimal_mm_90=(_finite_margin(low), _finite_margin(high)),
            probability_complete=float(np.count_nonzero(complete)) / len(margin),
        )


def _about_the_first(drawn: Float64Array) -> Float64Array:
    """The draws behind the first one, moved up until the first one is their median."""
    return np.asarray(drawn[1:] + max(float(drawn[0] - np.median(drawn[1:])), 0.0))


def _target_points(field: MeasurementField, max_distance_mm: float) -> tuple[Float64Array, Float64Array]:
    """Indices and tumor distances of target voxels, thinned to ``_POINT_SPACING_MM``."""
    step = _step(field)
    thinned = field.distance_to_tumor_mm[::step, ::step, ::step]
    index = np.argwhere(thinned < max_distance_mm)
    return index.astype(np.float64) * step, thinned[tuple(index.T)].astype(np.float64)


def _step(field: MeasurementField) -> int:
    """Voxels from one sampled point to the next."""
    return max(1, round(_POINT_SPACING_MM / field.geometry.spacing_zyx_mm[0]))


def _sampled(mask: BoolArray, points: Float64Array) -> BoolArray:
    """The values of a mask at whole indices (N, 3)."""
    return np.asarray(mask[tuple(points.astype(np.int64).T)])


def _index_maps(field: MeasurementField, rotation: Float64Array, translation: Float64Array) -> Float64Array:
    """For each draw, the affine from an unperturbed index of the field to the drawn one, (D, 3, 4)."""
    center = field.geometry.to_lps(field.tumor_surface_index.mean(axis=0))
    moved = np.tile(np.eye(4), (len(rotation), 1, 1))
    moved[:, :3, :3] = rotation
    moved[:, :3, 3] = center - rotation @ center + translation
    maps = field.geometry.index_from_lps @ moved @ field.geometry.affine_lps_mm
    return np.ascontiguousarray(maps[:, :3, :])


def _finite(distance: Float32Array) -> Float32Array:
    """Distances of a zone without a surface on the grid (all inside, all outside) made finite."""
    if np.isfinite(distance).all():
        return distance  # itself: a device may have it already
    return np.nan_to_num(distance, posinf=_OUT_OF_VIEW_MM, neginf=-_OUT_OF_VIEW_MM)


def _finite_margin(margin_mm: float) -> float:
    """The margin, infinite where nothing uncovered is in view."""
    return margin_mm if margin_mm < 0.5 * _OUT_OF_VIEW_MM else float("inf")


def _range_90(drawn: Float64Array) -> tuple[float, float]:
    low, high = np.quantile(drawn, (0.05, 0.95))
    return float(low), float(high)
