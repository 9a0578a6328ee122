"""HU and masks of a scene on any grid of either frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array, Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms.ablation import RIM_MM, zone_hu
from engine.phantoms.conditions.fields import VerificationFields
from engine.phantoms.conditions.painting import Canvas, paint_after_zone, paint_before_zone
from engine.phantoms.conditions.scanner import Rendering
from engine.phantoms.conditions.scene import Scene
from engine.phantoms.scanning import TUMOR_HU, voxels_within
from engine.phantoms.thorax import EDGE_MM

_ENHANCING_HU: Final = (-50.0, 250.0)
"""Contrast medium shows in what is denser than the first and lighter than the second: blood and soft tissue."""

_TUMOR_ENHANCES: Final = 0.25
_HIDDEN_SHARE: Final = 0.75
"""The zone hides so much of what lay there: the tumor's outline fades."""


def planning_renderer(scene: Scene) -> Callable[[VolumeGeometry], Rendering]:
    """Shows the planning frame: chest and tumor."""

    def render(grid: VolumeGeometry) -> Rendering:
        index_map = scene.chest.geometry.index_from_lps @ grid.affine_lps_mm
        hu = resample(scene.chest.hu, index_map, grid.shape_zyx, order=3, fill=-1000.0).astype(np.float32)
        contrast = scene.description.contrast_hu
        if contrast:
            low, high = _ENHANCING_HU
            hu += contrast * np.clip((hu - low) / 80.0, 0.0, 1.0) * (hu < high)
        near, points = voxels_within(grid, scene.tumor.center_lps_mm, scene.tumor.max_radius_mm + 3.0)
        distance = scene.tumor.signed_distance_mm(points)
        _blend(hu, near, -distance, TUMOR_HU + _TUMOR_ENHANCES * contrast)
        tumor = np.zeros(grid.shape_zyx, dtype=np.bool_)
        tumor[near] = distance <= 0.0
        return Rendering(hu, {"tumor": tumor})

    return render


def verification_renderer(
    rng: np.random.Generator, scene: Scene, fields: VerificationFields
) -> Callable[[VolumeGeometry], Rendering]:
    """Shows the verification frame: everything moved, ablated, and what came of it."""
    center = scene.motion.tumor.verification_center
    reach = scene.tumor.max_radius_mm + scene.zone.reach_mm + 2.0

    def render(grid: VolumeGeometry) -> Rendering:
        on_grid = fields.on(grid)
        canvas = Canvas(on_grid, on_grid.hu(density_follows=scene.description.density_follows))
        paint_before_zone(canvas, scene.findings)
        near, points = voxels_within(grid, center, reach)
        distance = scene.motion.tumor_distance_mm(points)
        _blend(canvas.hu, near, -distance, TUMOR_HU)
        depth = scene.zone_depth_mm(points, distance)
        lung_depth = np.minimum(on_grid.wall_depth_mm[near], on_grid.lung_depth_mm[near])
        # Nothing is ablated outside lung and tumor.
        allowed = np.maximum(lung_depth, -distance)
        zone_depth, core_depth = np.minimum(depth, allowed), np.minimum(depth - RIM_MM, allowed)
        faded = (1.0 - _HIDDEN_SHARE) * canvas.hu[near] + _HIDDEN_SHARE * zone_hu(rng, zone_depth)
        _blend(canvas.hu, near, zone_depth, np.maximum(faded, canvas.hu[near] - 100.0))
        paint_after_zone(canvas, scene.findings)
        masks = {name: np.zeros(grid.shape_zyx, dtype=np.bool_) for name in ("zone", "core")}
        masks["zone"][near], masks["core"][near] = zone_depth >= 0.0, core_depth >= 0.0
        return Rendering(canvas.hu, masks)

    return render


def _blend(
    hu: Float32Array,
    near: tuple[npt.NDArray[np.intp], ...],
    depth_mm: Float64Array,
    inside_hu: float | Float64Array,
) -> None:
    """Mix in what lies inside a surface, with a partial-volume edge."""
    share = np.clip(0.5 + depth_mm / (2.0 * EDGE_MM), 0.0, 1.0)
    hu[near] += share * (inside_hu - hu[near])
