"""What is true of a scene: coverage in the verification frame, and of the tissue that was there before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from engine.arrays import Float64Array
from engine.phantoms.ablation import RIM_MM
from engine.phantoms.conditions.motion import jacobian
from engine.phantoms.conditions.scene import Scene
from engine.phantoms.crossings import find_crossings
from engine.phantoms.scanning import stretched_between
from engine.phantoms.truth import (
    TARGET_MARGIN_MM,
    PhantomTruth,
    TrueCoverage,
    TruthField,
    find_truth,
    truth_lattice,
)

_PADDING_MM: Final = 6.5
_COARSE_MM: Final = 1.6


@dataclass(frozen=True)
class _SceneTruth:
    """Both truths.

    Parameters
    ----------
    plain : PhantomTruth
        In millimeters of the verification CT, the tumor where it lies then.
    planning_frame : TrueCoverage
        In millimeters of the planning CT: of the tissue that was there before.
    """

    plain: PhantomTruth
    planning_frame: TrueCoverage


def scene_truth(scene: Scene) -> _SceneTruth:
    """Measure a scene on its implicit shapes; masks and images have no part in it."""
    truth = _within(scene, _PADDING_MM)
    margins = (
        truth.plain.minimal_margin_mm,
        truth.plain.lung_clipped.minimal_margin_mm,
        truth.plain.core.minimal_margin_mm,
        truth.planning_frame.minimal_margin_mm,
    )
    if max(margins) < _PADDING_MM:
        return truth
    # What was found is no less than the truth, which may lie outside the lattice.
    return _within(scene, min(max(margins) + 0.5, scene.zone.reach_mm + 1.0))


def _within(scene: Scene, padding_mm: float) -> _SceneTruth:
    points = _lattice(scene, padding_mm)
    flat = points.reshape(-1, 3)
    planning, volume_ratio = _planning_positions(scene, points)
    distance = scene.motion.tumor_distance_mm(flat)
    depth = scene.zone_depth_mm(flat, distance, lambda: planning.reshape(-1, 3))
    lung_depth = stretched_between(
        points, lambda p: scene.lung_depth_mm(p.reshape(-1, 3)).reshape(p.shape[:-1])
    )
    field = TruthField(
        points, distance.reshape(points.shape[:-1]), depth.reshape(points.shape[:-1]), lung_depth, RIM_MM
    )
    plain = find_truth(
        field,
        tumor_volume_ml=scene.tumor.volume_ml / scene.motion.tumor.scale**3,
        planning_from_verification=scene.motion.tumor.rigid,
        min_jacobian=float(volume_ratio.min()),
        rigid=False,
    )
    return _SceneTruth(plain, _planning_frame(scene, field, planning, volume_ratio))


def _lattice(scene: Scene, padding_mm: float) -> Float64Array:
    """The smallest box of the truth's lattice that holds every point within ``padding_mm`` of the tumor."""
    half = np.arange(0.0, scene.tumor.max_radius_mm + padding_mm + _COARSE_MM, _COARSE_MM)
    axis = np.concatenate([-half[:0:-1], half])
    coarse = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    coarse += scene.motion.tumor.verification_center
    # No point is farther from a coarse one than half the diagonal of its cell.
    close = coarse[scene.motion.tumor_distance_mm(coarse) < padding_mm + 0.5 * np.sqrt(3.0) * _COARSE_MM]
    return truth_lattice(close.min(axis=0), close.max(axis=0))


def _planning_positions(scene: Scene, points: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Where the tissue at a lattice (nz, ny, nx, 3) was, and its planning volume over its verification volume."""
    with_tumor = scene.motion.tumor.apply(points)

    def beyond_tumor(coarse: Float64Array) -> Float64Array:
        flat = coarse.reshape(-1, 3)
        return (scene.motion.lung_to_planning(flat) - scene.motion.tumor.apply(flat)).reshape(coarse.shape)

    planning = with_tumor + stretched_between(points, beyond_tumor)
    spacing = float(points[0, 0, 1, 0] - points[0, 0, 0, 0])
    ratio = jacobian(planning.transpose(2, 1, 0, 3), spacing).transpose(2, 1, 0)
    return planning, ratio


def _planning_frame(
    scene: Scene, field: TruthField, planning: Float64Array, volume_ratio: Float64Array
) -> TrueCoverage:
    """Every lattice point counts with the volume that its tissue had; distances are taken where it was."""
    distance = scene.tumor.signed_distance_mm(planning)
    depth = np.minimum(field.ablation_depth_mm, np.maximum(field.lung_depth_mm, -field.tumor_distance_mm))
    surface = find_crossings(depth)
    weight = volume_ratio * (distance < TARGET_MARGIN_MM)
    tcr = float((weight * (depth >= 0.0)).sum() / weight.sum())
    edge = find_crossings(-distance)
    missed = np.concatenate(
        [planning[(distance <= 0.0) & (depth < 0.0)], edge.at(planning)[edge.at(depth) < 0.0]]
    )
    if not len(surface):
        margin = -np.inf if len(missed) else np.inf
    elif len(missed):
        margin = -float(np.max(cKDTree(surface.at(planning)).query(missed)[0]))
    else:
        margin = float(surface.at(distance).min())
    return TrueCoverage(
        1.0 if margin >= TARGET_MARGIN_MM else min(tcr, float(np.nextafter(1.0, 0.0))), float(margin)
    )
