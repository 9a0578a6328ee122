"""A whole scene: what a network gets, and the truth behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.arrays import Float32Array
from engine.hounsfield import AIR_HU
from export.demo_segmenters.scenes.backgrounds import Background, LocalChest, chosen_background, local_chest
from export.demo_segmenters.scenes.burns import (
    Burn,
    draw_burn,
    paint_burn,
    vessel_distance_mm,
    with_heat_sink,
)
from export.demo_segmenters.scenes.fields import PatchGrid, pulled, share_within, smooth_noise
from export.demo_segmenters.scenes.mishaps import add_new_findings, add_old_disease, new_tract_mm
from export.demo_segmenters.scenes.motion import breathing_step_mm, contraction_mm, registration_error_mm
from export.demo_segmenters.scenes.needles import add_needle
from export.demo_segmenters.scenes.scanning import draw_slices, scanned
from export.demo_segmenters.scenes.tumors import Tumor, draw_tumor
from export.demo_segmenters.tasks import STEPS_PER_MM, DemoTask

EDGE: Final = 72
"""Voxels of a scene along each axis: room to shift a training patch in."""

_OFF_CENTER_MM: Final = 10.0
_NO_BURN_SHARE: Final = 0.1
_NO_TUMOR_SHARE: Final = 0.1
_HEAT_SINK_SHARE: Final = 0.3
_STEP_SHARE: Final = 0.1
_CUT_SHARE: Final = 0.08
"""Of scenes in which the planning CT's field of view ends; the engine gives air beyond."""

_NEEDLES: Final = {"zone": (0.6, 0.2, 0.12, 0.08), "tumor": (0.9, 0.1)}
"""Shares of scenes with 0, 1, 2 … needles."""

_SEVERAL_SHARE: Final = 0.25
_DRAWN_AROUND_MM: Final = 0.3
"""Readers draw around a nodule, not through the middle of its blurred edge."""

_FARTHEST_MM: Final = 60.0


@dataclass(frozen=True, eq=False)
class Patch:
    """One kept scene.

    Parameters
    ----------
    channels : ndarray of int16, (channel, z, y, x)
        As the task's channels: HU, or hundredths of a millimeter.
    labels : ndarray of uint8, (z, y, x)
    tumor_distance : ndarray of int16, (z, y, x)
        True signed distance to the tumor where it lies in the image, in hundredths of a millimeter.
    """

    channels: npt.NDArray[np.int16]
    labels: npt.NDArray[np.uint8]
    tumor_distance: npt.NDArray[np.int16]


def draw_scene(rng: np.random.Generator, task: DemoTask, real: list[Background]) -> Patch:
    """Draw a scene of a task.

    Parameters
    ----------
    rng : numpy.random.Generator
    task : DemoTask
    real : list of Background
        Real chests to paint into in addition to procedural ones.
    """
    grid = PatchGrid(EDGE, task.spacing_mm)
    chest = local_chest(rng, chosen_background(rng, real), grid)
    add_old_disease(rng, grid, chest)
    center = np.asarray(rng.uniform(-_OFF_CENTER_MM, _OFF_CENTER_MM, 3), dtype=np.float32)
    if task.name == "zone":
        return _zone_scene(rng, grid, chest, draw_tumor(rng, grid, 0.3 * center))
    tumors = [draw_tumor(rng, grid, center)] if rng.random() >= _NO_TUMOR_SHARE else []
    if tumors and rng.random() < _SEVERAL_SHARE:
        elsewhere = np.asarray(rng.uniform(-0.8, 0.8, 3) * grid.half_mm, dtype=np.float32)
        tumors.append(draw_tumor(rng, grid, elsewhere))
    return _tumor_scene(rng, grid, chest, tumors)


def _tumor_scene(rng: np.random.Generator, grid: PatchGrid, chest: LocalChest, tumors: list[Tumor]) -> Patch:
    hu = chest.hu
    distance = np.full(hu.shape, _FARTHEST_MM, dtype=np.float32)
    for tumor in tumors:
        hu = tumor.paint(hu, tumor.distance_mm)
        distance = np.minimum(distance, tumor.distance_mm)
    _add_needles(rng, grid, hu, "tumor")
    if rng.random() < _STEP_SHARE:
        step = breathing_step_mm(rng, grid)
        hu, distance = pulled(hu, step, grid), pulled(distance, step, grid)
    image = scanned(rng, hu, chest.lung_depth_mm, draw_slices(rng, grid))
    return Patch(
        _hounsfield(image)[None], (distance <= _DRAWN_AROUND_MM).astype(np.uint8), _hundredths(distance)
    )


def _zone_scene(rng: np.random.Generator, grid: PatchGrid, chest: LocalChest, tumor: Tumor) -> Patch:
    sink = _heat_sink_mm(rng, grid, chest, tumor) if rng.random() < _HEAT_SINK_SHARE else None
    contraction = contraction_mm(rng, grid, float(tumor.radius_mm + rng.uniform(0.0, 12.0)))
    after = LocalChest(pulled(chest.hu, contraction, grid), pulled(chest.lung_depth_mm, contraction, grid))
    tumor_mm = pulled(tumor.distance_mm, contraction, grid)
    burn = None
    if rng.random() >= _NO_BURN_SHARE:
        allowed = np.maximum(after.lung_depth_mm, -tumor_mm)
        burn = draw_burn(rng, grid, tumor_mm, tumor.radius_mm, allowed)
        burn = burn if sink is None else with_heat_sink(rng, grid, burn, pulled(sink, contraction, grid))
    hu = _after_ablation(rng, grid, tumor.paint(after.hu, tumor_mm), after.lung_depth_mm, burn)
    if rng.random() < _STEP_SHARE:
        step = breathing_step_mm(rng, grid)
        hu, tumor_mm = pulled(hu, step, grid), pulled(tumor_mm, step, grid)
        burn = None if burn is None else _stepped(burn, step, grid)
    slices = draw_slices(rng, grid)
    verification = scanned(rng, hu, after.lung_depth_mm, slices)
    planning, distance = _warped_planning(rng, grid, chest, tumor, contraction)
    if slices is not None and rng.random() < 0.5:
        # Warped onto the verification CT's own slices, not onto the network's grid.
        planning, distance = slices.seen_at_centers(planning), slices.seen_at_centers(distance)
    channels = np.stack([_hounsfield(verification), _hounsfield(planning), _hundredths(distance)])
    labels = np.zeros(hu.shape, dtype=np.uint8) if burn is None else burn.labels
    return Patch(channels, labels, _hundredths(tumor_mm))


def _heat_sink_mm(rng: np.random.Generator, grid: PatchGrid, chest: LocalChest, tumor: Tumor) -> Float32Array:
    """Paint a vessel near the tumor, in place; returns the distance to its surface."""
    vessel = vessel_distance_mm(rng, grid, tumor.radius_mm + 12.0)
    share = share_within(-vessel, 0.8) * share_within(chest.lung_depth_mm, 1.0)
    chest.hu[...] += share * np.maximum(40.0 - chest.hu, 0.0)
    return vessel


def _after_ablation(
    rng: np.random.Generator,
    grid: PatchGrid,
    hu: Float32Array,
    lung_depth_mm: Float32Array,
    burn: Burn | None,
) -> Float32Array:
    """The chest after the procedure, with what else it brought."""
    add_new_findings(rng, grid, hu, lung_depth_mm, new_tract_mm(rng, grid))
    if burn is not None:
        hu = paint_burn(rng, grid, hu, burn)
    _add_needles(rng, grid, hu, "zone")
    return hu


def _warped_planning(
    rng: np.random.Generator,
    grid: PatchGrid,
    chest: LocalChest,
    tumor: Tumor,
    contraction: Float32Array,
) -> tuple[Float32Array, Float32Array]:
    """The planning CT and the tumor's signed distance where a registration puts them."""
    error = registration_error_mm(rng, grid, chest.lung_depth_mm, contraction)
    before = tumor.paint(chest.hu, tumor.distance_mm)
    planning = scanned(rng, before, chest.lung_depth_mm, draw_slices(rng, grid))
    planning = pulled(planning, error, grid)
    if rng.random() < _CUT_SHARE:
        beyond = int(rng.integers(0, grid.edge // 3))
        axis = int(rng.integers(3))
        side = slice(0, beyond) if rng.random() < 0.5 else slice(grid.edge - beyond, grid.edge)
        np.moveaxis(planning, axis, 0)[side] = AIR_HU
    drawn = tumor.distance_mm + _contour_error_mm(rng, grid, tumor.radius_mm)
    return planning, pulled(drawn, error, grid)


def _stepped(burn: Burn, step: Float32Array, grid: PatchGrid) -> Burn:
    return Burn(pulled(burn.depth_mm, step, grid), pulled(burn.rim_mm, step, grid))


def _add_needles(rng: np.random.Generator, grid: PatchGrid, hu: Float32Array, kind: str) -> None:
    shares = _NEEDLES[kind]
    for _ in range(int(rng.choice(len(shares), p=shares))):
        add_needle(rng, grid, hu)


def _contour_error_mm(rng: np.random.Generator, grid: PatchGrid, radius_mm: float) -> Float32Array:
    """How far outside or inside the surface a tumor was drawn, smooth along it."""
    bias, uneven = rng.normal(0.0, 0.5), rng.uniform(0.0, min(1.0, 0.2 * radius_mm))
    return np.asarray(bias + uneven * smooth_noise(rng, grid, 8.0), dtype=np.float32)


def _hounsfield(hu: Float32Array) -> npt.NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(hu), -1024.0, 3071.0), dtype=np.int16)


def _hundredths(distance_mm: Float32Array) -> npt.NDArray[np.int16]:
    clipped = np.clip(distance_mm, -_FARTHEST_MM, _FARTHEST_MM)
    return np.asarray(np.rint(clipped * STEPS_PER_MM), dtype=np.int16)
