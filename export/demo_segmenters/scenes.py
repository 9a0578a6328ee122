"""Training scenes: a chest, a lesion or none, a burn or none, and what the scanner makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from engine.arrays import Float64Array
from engine.geometry import VolumeGeometry
from engine.kernels.resampling import resample
from engine.phantoms.chest import Chest
from engine.phantoms.scanning import voxels_within
from export.demo_segmenters.artifacts import add_needle, scanned
from export.demo_segmenters.burns import Burn, draw_burn
from export.demo_segmenters.chests import draw_chest
from export.demo_segmenters.lesions import PaintedTumor, add_consolidation, draw_tumor
from export.demo_segmenters.tasks import DemoTask

EDGE: Final = 80
"""Voxels of a kept patch along each axis: room to shift a training patch in."""

AIR_HU: Final = -1024.0
_OFF_CENTER_MM: Final = 14.0

_DRAWN_AROUND_MM: Final = 0.3
"""Readers draw around a nodule, not through the middle of its blurred edge."""

_NO_LESION_SHARE: Final = 0.12
_NO_BURN_SHARE: Final = 0.15
_NEEDLE_SHARE: Final = {"zone": 0.35, "tumor": 0.15}
_CONSOLIDATION_SHARE: Final = 0.15
_PART_SOLID_SHARE: Final = 0.25
_SEVERAL_SHARE: Final = 0.2
_THICK_SHARE: Final = 0.3


@dataclass(frozen=True, eq=False)
class Patch:
    """HU and labels of one kept patch, int16 and uint8, (z, y, x)."""

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]


def draw_scene(rng: np.random.Generator, task: DemoTask, real: list[Chest]) -> Patch:
    """Draw what one patch of a task shows, and its labels.

    Parameters
    ----------
    rng : numpy.random.Generator
    task : DemoTask
    real : list of Chest
        Real chests to paint into in addition to the procedural ones.
    """
    half_mm = 0.5 * EDGE * task.spacing_mm
    chest, center_lps_mm = draw_chest(rng, real, half_mm + 4.0)
    tumors = _draw_tumors(rng, chest, center_lps_mm)
    main = draw_tumor(rng, center_lps_mm, part_solid=False) if not tumors else tumors[0]
    burn = None
    if task.name == "zone" and rng.random() >= _NO_BURN_SHARE:
        radius = float(np.cbrt(3000.0 * main.shape.volume_ml / (4.0 * np.pi)))
        burn = draw_burn(rng, center_lps_mm, main.shape.signed_distance_mm, radius, chest.lung_depth_mm)
    middle = center_lps_mm + rng.uniform(-_OFF_CENTER_MM, _OFF_CENTER_MM, 3)
    fine = _fine_grid(rng, middle, half_mm + 3.0)
    hu = _tissue(rng, chest, fine)
    for tumor in tumors:
        _paint_tumor(hu, fine, tumor)
    if burn is not None:
        _paint_burn(rng, hu, fine, burn, center_lps_mm)
    if rng.random() < _NEEDLE_SHARE[task.name]:
        add_needle(rng, hu, fine, center_lps_mm)
    slices_together = int(rng.integers(2, 6)) if rng.random() < _THICK_SHARE else 1
    image, scan_geometry = scanned(rng, hu, fine, slices_together)
    low = middle - 0.5 * (EDGE - 1) * task.spacing_mm
    x, y, z = (float(v) for v in low)
    grid = VolumeGeometry((EDGE,) * 3, (task.spacing_mm,) * 3, origin_lps_mm=(x, y, z))
    return Patch(_resampled(image, scan_geometry, grid), _labels(task, grid, tumors, burn, center_lps_mm))


def _draw_tumors(rng: np.random.Generator, chest: Chest, center_lps_mm: Float64Array) -> list[PaintedTumor]:
    """Draw no tumor, one, or several; the first lies at ``center_lps_mm``."""
    if rng.random() < _NO_LESION_SHARE:
        return []
    tumors = [draw_tumor(rng, center_lps_mm, part_solid=rng.random() < _PART_SOLID_SHARE)]
    if rng.random() < _SEVERAL_SHARE:
        for _ in range(int(rng.integers(1, 3))):
            center = center_lps_mm + rng.uniform(-40.0, 40.0, 3)
            is_apart = float(np.linalg.norm(center - center_lps_mm)) > 22.0
            if is_apart and float(chest.lung_depth_mm(center[None])[0]) > 3.0:
                tumors.append(draw_tumor(rng, center, part_solid=rng.random() < _PART_SOLID_SHARE))
    return tumors


def _fine_grid(rng: np.random.Generator, middle: Float64Array, half_mm: float) -> VolumeGeometry:
    """The scanner's grid before slices are put together."""
    dz, across = float(rng.uniform(0.7, 1.3)), float(rng.uniform(0.6, 0.95))
    nz, nyx = (int(2.0 * half_mm / s) + 1 for s in (dz, across))
    x, y, z = (float(v) for v in middle - half_mm)
    return VolumeGeometry((nz, nyx, nyx), (dz, across, across), origin_lps_mm=(x, y, z))


def _tissue(rng: np.random.Generator, chest: Chest, grid: VolumeGeometry) -> npt.NDArray[np.float32]:
    to_index = chest.geometry.index_from_lps @ grid.affine_lps_mm
    hu = np.asarray(resample(chest.hu, to_index, grid.shape_zyx, order=3, fill=-1000.0), dtype=np.float32)
    if rng.random() < _CONSOLIDATION_SHARE:
        index = np.indices([(n + 1) // 2 for n in grid.shape_zyx]).reshape(3, -1).T * 2
        points = grid.to_lps(index)
        coarse = hu[::2, ::2, ::2].astype(np.float64).ravel()
        before = coarse.copy()
        add_consolidation(rng, coarse, points, chest.lung_depth_mm(points))
        added = (coarse - before).reshape([(n + 1) // 2 for n in grid.shape_zyx]).astype(np.float32)
        hu += added.repeat(2, 0).repeat(2, 1).repeat(2, 2)[tuple(slice(0, n) for n in grid.shape_zyx)]
    return hu


def _paint_tumor(hu: npt.NDArray[np.float32], grid: VolumeGeometry, tumor: PaintedTumor) -> None:
    near, points = voxels_within(grid, tumor.shape.center_lps_mm, tumor.shape.max_radius_mm + 2.0)
    hu[near] = tumor.paint(hu[near].astype(np.float64), tumor.shape.signed_distance_mm(points))


def _paint_burn(
    rng: np.random.Generator,
    hu: npt.NDArray[np.float32],
    grid: VolumeGeometry,
    burn: Burn,
    center_lps_mm: Float64Array,
) -> None:
    near, points = voxels_within(grid, center_lps_mm, burn.max_radius_mm + 1.0)
    if not len(points):
        return
    grain = [burn.mottle_mm / s for s in grid.spacing_zyx_mm]
    box = [int(i.max() - i.min()) + 1 for i in near]
    noise = ndimage.gaussian_filter(rng.standard_normal(box).astype(np.float32), grain)
    mottle = (noise / noise.std())[tuple(i - i.min() for i in near)]
    depth = burn.depth_mm(points)
    share = np.clip(0.5 + depth / 1.4, 0.0, 1.0)
    tissue_hu = hu[near].astype(np.float64)
    hu[near] = tissue_hu + share * (burn.hu(depth, tissue_hu, mottle) - tissue_hu)


def _labels(
    task: DemoTask,
    grid: VolumeGeometry,
    tumors: list[PaintedTumor],
    burn: Burn | None,
    center_lps_mm: Float64Array,
) -> npt.NDArray[np.uint8]:
    """Labels on the network's own grid, from the surfaces and not from any mask."""
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    if task.name == "zone":
        if burn is not None:
            near, points = voxels_within(grid, center_lps_mm, burn.max_radius_mm)
            depth = burn.depth_mm(points)
            labels[near] = (depth >= 0.0).astype(np.uint8) + (depth >= burn.rim_mm)
        return labels
    for tumor in tumors:
        near, points = voxels_within(grid, tumor.shape.center_lps_mm, tumor.shape.max_radius_mm + 1.0)
        labels[near] |= tumor.shape.signed_distance_mm(points) <= _DRAWN_AROUND_MM
    return labels


def _resampled(
    image: npt.NDArray[Any], geometry: VolumeGeometry, grid: VolumeGeometry
) -> npt.NDArray[np.int16]:
    """Resample to the network's grid: linear, but the nearest across thick slices, by nnU-Net's rule."""
    if geometry.spacing_zyx_mm[0] > 3.0 * geometry.spacing_zyx_mm[2]:
        z = grid.to_lps(np.stack([np.arange(EDGE), np.zeros(EDGE), np.zeros(EDGE)], axis=-1))
        slices = np.clip(np.rint(geometry.to_index(z)[:, 0]), 0, len(image) - 1).astype(int)
        image, spacing = image[slices], grid.spacing_zyx_mm[0]
        start = (*geometry.origin_lps_mm[:2], grid.origin_lps_mm[2])
        geometry = VolumeGeometry(image.shape, (spacing, *geometry.spacing_zyx_mm[1:]), origin_lps_mm=start)
    to_index = geometry.index_from_lps @ grid.affine_lps_mm
    hu = resample(image, to_index, grid.shape_zyx, order=1, fill=AIR_HU)
    return np.asarray(np.clip(hu, AIR_HU, 3071.0), dtype=np.int16)
