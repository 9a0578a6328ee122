"""A whole phantom procedure: planning CT, verification CT, masks and truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.geometry import FloatArray, Vector3
from engine.phantoms.ablation import AblationKind, random_ablation
from engine.phantoms.motion import random_motion
from engine.phantoms.scanning import Scene, grid_around, scan_planning, scan_verification, scene_truth
from engine.phantoms.thorax import lung_depth_mm, render_thorax
from engine.phantoms.truth import PhantomTruth
from engine.phantoms.tumor import LobulatedTumor, random_tumor
from engine.volume import CtVolume, LabelMask

_DEEP_LPS_MM: Final = (-70.0, 8.0, 10.0)
_PLEURAL_Y_Z_MM: Final = (8.0, 10.0)


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
    noise_hu: float = 18.0,
    size_mm: float = 100.0,
    planning_spacing_zyx_mm: Vector3 = (1.0, 0.8, 0.8),
    verification_spacing_zyx_mm: Vector3 = (1.0, 0.75, 0.75),
) -> PhantomProcedure:
    """Make a phantom procedure; the same arguments give the same voxels.

    Parameters
    ----------
    seed : int
    kind : {'complete', 'miss', 'under', 'half'}
        What the ablation leaves.
    minimal_margin_mm : float, optional
        Margin along the zone's worst direction; the true one is in the truth.
    tumor_volume_ml : float, optional
        Drawn like those of real nodules if None.
    pleural : bool
        The tumor touches the pleura.
    rigid_only, contraction, greatest_bend_mm
        See :func:`engine.phantoms.motion.random_motion`.
    noise_hu : float
    size_mm : float
        Edge of both scans.
    planning_spacing_zyx_mm, verification_spacing_zyx_mm : tuple of float

    Returns
    -------
    PhantomProcedure
    """
    rng = np.random.default_rng(seed)
    tumor = random_tumor(rng, _DEEP_LPS_MM, volume_ml=tumor_volume_ml)
    reach = tumor.reach_mm
    if pleural:
        tumor = _moved_to_pleura(tumor)
    center = tumor.center_lps_mm
    motion = random_motion(
        rng, center, reach, rigid_only=rigid_only, contraction=contraction, greatest_bend_mm=greatest_bend_mm
    )
    chest = render_thorax(rng, center, np.full(3, 0.5 * size_mm + 26.0))
    scene = Scene(
        chest.hu,
        chest.geometry,
        lung_depth_mm,
        tumor,
        reach,
        motion,
        random_ablation(rng, kind, minimal_margin_mm),
        noise_hu,
        tumor_in_chest=False,
    )
    # Neither grid is centered on the tumor, and the headers do not align the scans.
    ours = grid_around(center + rng.uniform(-6, 6, 3), size_mm, planning_spacing_zyx_mm, f"2.25.{seed}1")
    theirs = grid_around(
        motion.verification_center + rng.uniform(-6, 6, 3),
        size_mm,
        verification_spacing_zyx_mm,
        f"2.25.{seed}2",
    )
    planning, tumor_mask = scan_planning(rng, scene, ours)
    verification, zone, core = scan_verification(rng, scene, theirs)
    return PhantomProcedure(
        planning, tumor_mask, verification, zone, core, _point(center), scene_truth(scene)
    )


def _moved_to_pleura(tumor: LobulatedTumor) -> LobulatedTumor:
    """The same shape, its center as deep below the lateral pleura as two thirds of its reach."""
    y, z = _PLEURAL_Y_Z_MM
    across = np.linspace(-140.0, -60.0, 400)
    depth = lung_depth_mm(np.stack([across, np.full(400, y), np.full(400, z)], axis=-1))
    x = float(across[int(np.argmax(depth >= 0.65 * tumor.reach_mm))])
    return replace(tumor, center=np.array([x, y, z]))


def _point(place: FloatArray) -> Vector3:
    return float(place[0]), float(place[1]), float(place[2])
