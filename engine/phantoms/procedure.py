"""A whole phantom procedure: planning CT, verification CT, masks and truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.geometry import Vector3, VolumeGeometry, VoxelBox
from engine.phantoms.ablation import AblationKind, random_ablation
from engine.phantoms.chest import Chest, procedural_chest
from engine.phantoms.free_deformation import DeformationKind
from engine.phantoms.motion import random_motion
from engine.phantoms.scanning import Scene, grid_around, scan_planning, scan_verification, scene_truth
from engine.phantoms.thorax import lung_depth_mm
from engine.phantoms.truth import PhantomTruth
from engine.phantoms.tumor import LobulatedTumor, TumorShape, random_tumor
from engine.volume import CtVolume, LabelMask

_DEEP_LPS_MM: Final = (-70.0, 8.0, 10.0)
_PLEURAL_Y_Z_MM: Final = (8.0, 10.0)

CHEST_BEYOND_SCAN_MM: Final = 26.0
"""The chest is rendered this far beyond the scans: they are shifted, and the lung bends."""


@dataclass(frozen=True, eq=False)
class PhantomProcedure:
    """What the navigation system would send, and what is true of it."""

    planning: CtVolume
    tumor: LabelMask
    verification: CtVolume
    zone: LabelMask
    core: LabelMask
    target_lps_mm: Vector3
    truth: PhantomTruth


@dataclass(frozen=True)
class Course:
    """What happens to a patient between and in two scans.

    Parameters
    ----------
    kind : {'complete', 'miss', 'under', 'half'}
        What the ablation leaves.
    minimal_margin_mm : float, optional
        Margin along the zone's worst direction; the true one is in the truth.
    rigid_only, contraction, greatest_bend_mm, deformation, slide_mm
        See :func:`engine.phantoms.motion.random_motion`.
    noise_hu : float
    size_mm : float
        Edge of both scans.
    planning_spacing_zyx_mm, verification_spacing_zyx_mm : tuple of float
    """

    kind: AblationKind = "miss"
    minimal_margin_mm: float | None = None
    rigid_only: bool = False
    contraction: float = 0.05
    greatest_bend_mm: float = 4.0
    deformation: DeformationKind = "smooth"
    slide_mm: float = 6.0
    noise_hu: float = 18.0
    size_mm: float = 100.0
    planning_spacing_zyx_mm: Vector3 = (1.0, 0.8, 0.8)
    verification_spacing_zyx_mm: Vector3 = (1.0, 0.75, 0.75)


def make_procedure(
    seed: int = 0,
    *,
    kind: AblationKind = "miss",
    minimal_margin_mm: float | None = None,
    tumor_volume_ml: float | None = 3.0,
    pleural: bool = False,
    rigid_only: bool = False,
    contraction: float = 0.05,
    greatest_bend_mm: float = 4.0,
    deformation: DeformationKind = "smooth",
    slide_mm: float = 6.0,
    noise_hu: float = 18.0,
    size_mm: float = 100.0,
    planning_spacing_zyx_mm: Vector3 = (1.0, 0.8, 0.8),
    verification_spacing_zyx_mm: Vector3 = (1.0, 0.75, 0.75),
) -> PhantomProcedure:
    """Make a phantom procedure; the same arguments give the same voxels.

    Parameters
    ----------
    seed : int
    kind, minimal_margin_mm, rigid_only, contraction, greatest_bend_mm, deformation, slide_mm
        See :class:`Course`.
    tumor_volume_ml : float, optional
        Drawn like those of real nodules if None.
    pleural : bool
        The tumor touches the pleura.
    noise_hu, size_mm, planning_spacing_zyx_mm, verification_spacing_zyx_mm
        See :class:`Course`.

    Returns
    -------
    PhantomProcedure
    """
    rng = np.random.default_rng(seed)
    tumor = random_tumor(rng, _DEEP_LPS_MM, volume_ml=tumor_volume_ml)
    if pleural:
        tumor = _moved_to_pleura(tumor)
    course = Course(
        kind,
        minimal_margin_mm,
        rigid_only,
        contraction,
        greatest_bend_mm,
        deformation,
        slide_mm,
        noise_hu,
        size_mm,
        planning_spacing_zyx_mm,
        verification_spacing_zyx_mm,
    )
    chest = procedural_chest(rng, tumor.center_lps_mm, 0.5 * size_mm + CHEST_BEYOND_SCAN_MM)
    return run_course(rng, chest, tumor, course, f"2.25.{seed}")


def run_course(
    rng: np.random.Generator,
    chest: Chest,
    tumor: TumorShape,
    course: Course,
    frame: str,
    *,
    planning: tuple[CtVolume, LabelMask] | None = None,
) -> PhantomProcedure:
    """Plan, ablate and verify in a chest.

    Parameters
    ----------
    rng : numpy.random.Generator
    chest : Chest
    tumor : TumorShape
        In the frame of the chest.
    course : Course
    frame : str
        The frames of reference of both scans begin with this UID.
    planning : (CtVolume, LabelMask), optional
        The CT that the chest is from, with its own tumor; without it the tumor is put into the chest and
        the planning CT is scanned like the verification CT.

    Returns
    -------
    PhantomProcedure
    """
    scene = _draw_scene(rng, chest, tumor, course, tumor_in_chest=planning is not None)
    motion = scene.motion
    shift = motion.verification_center - motion.planning_center
    # Neither grid is centered on the tumor, and the headers do not align the scans.
    if planning is None:
        place = motion.planning_center + rng.uniform(-6, 6, 3)
        planning_grid = grid_around(place, course.size_mm, course.planning_spacing_zyx_mm, f"{frame}1")
        planning = scan_planning(rng, scene, within(planning_grid, chest.low_lps_mm, chest.high_lps_mm))
    place = motion.verification_center + rng.uniform(-6, 6, 3)
    verification_grid = grid_around(place, course.size_mm, course.verification_spacing_zyx_mm, f"{frame}2")
    verification_grid = within(verification_grid, chest.low_lps_mm + shift, chest.high_lps_mm + shift)
    verification, zone, core = scan_verification(rng, scene, verification_grid)
    x, y, z = (float(v) for v in motion.planning_center)
    return PhantomProcedure(*planning, verification, zone, core, (x, y, z), scene_truth(scene))


def _draw_scene(
    rng: np.random.Generator, chest: Chest, tumor: TumorShape, course: Course, *, tumor_in_chest: bool
) -> Scene:
    ablation = random_ablation(rng, course.kind, course.minimal_margin_mm)
    radius_mm = float(np.cbrt(3000.0 * tumor.volume_ml / (4.0 * np.pi)))
    motion = random_motion(
        rng,
        tumor.center_lps_mm,
        tumor.max_radius_mm,
        rigid_only=course.rigid_only,
        contraction=course.contraction,
        greatest_bend_mm=course.greatest_bend_mm,
        deformation=course.deformation,
        slide_mm=course.slide_mm,
        pleura=chest.pleura,
        tumor_distance_mm=tumor.signed_distance_mm,
        zone=ablation.center_and_radius_mm(radius_mm),
    )
    return Scene(
        chest.hu,
        chest.geometry,
        chest.lung_depth_mm,
        tumor,
        tumor.max_radius_mm,
        motion,
        ablation,
        course.noise_hu,
        tumor_in_chest=tumor_in_chest,
        chest_slice_mm=chest.slice_mm,
    )


def within(grid: VolumeGeometry, low: Float64Array, high: Float64Array) -> VolumeGeometry:
    """The part of an upright grid whose voxel centers lie in a box."""
    index = grid.to_index(np.stack([low, high]))
    start = np.maximum(np.ceil(index[0] - 1e-6), 0).astype(int)
    stop = np.minimum(np.floor(index[1] + 1e-6) + 1, grid.shape_zyx).astype(int)
    return grid.crop(VoxelBox.between(start, stop))


def _moved_to_pleura(tumor: LobulatedTumor) -> LobulatedTumor:
    """The same shape, its center as deep below the lateral pleura as two thirds of its reach."""
    y, z = _PLEURAL_Y_Z_MM
    across = np.linspace(-140.0, -60.0, 400)
    depth = lung_depth_mm(np.stack([across, np.full(400, y), np.full(400, z)], axis=-1))
    x = float(across[int(np.argmax(depth >= 0.65 * tumor.max_radius_mm))])
    return replace(tumor, center=np.array([x, y, z]))
