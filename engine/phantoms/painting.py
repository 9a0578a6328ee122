"""Putting an ablation into a real planning CT: its verification CT is simulated, with known truth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.geometry import FloatArray, Vector3
from engine.lung import segment_lung
from engine.phantoms.ablation import AblationKind, random_ablation
from engine.phantoms.motion import random_motion
from engine.phantoms.procedure import PhantomProcedure
from engine.phantoms.scanning import Scene, grid_around, scan_verification, scene_truth
from engine.phantoms.tumor import SmoothedMask
from engine.volume import CtVolume, LabelMask


def paint_ablation(
    ct: CtVolume,
    tumor: LabelMask,
    *,
    seed: int = 0,
    kind: AblationKind = "miss",
    minimal_margin_mm: float | None = None,
    rigid_only: bool = False,
    contraction: float = 0.05,
    greatest_bend_mm: float = 6.0,
    noise_hu: float = 12.0,
    size_mm: float = 110.0,
    spacing_zyx_mm: Vector3 = (1.0, 0.75, 0.75),
) -> PhantomProcedure:
    """Simulate the verification CT of a real planning CT.

    Parameters
    ----------
    ct : CtVolume
        Planning CT; deformed by one cubic resampling.
    tumor : LabelMask
        On the grid of ``ct``.
    seed, kind, minimal_margin_mm, rigid_only, contraction, greatest_bend_mm, noise_hu, size_mm
        As in :func:`engine.phantoms.procedure.make_procedure`.
    spacing_zyx_mm : tuple of float
        Of the verification CT.

    Returns
    -------
    PhantomProcedure
        With the given planning CT and tumor.
    """
    rng = np.random.default_rng(seed)
    shape = SmoothedMask(tumor.require_on(ct))
    center, reach = shape.center_lps_mm, shape.reach_mm
    motion = random_motion(
        rng, center, reach, rigid_only=rigid_only, contraction=contraction, greatest_bend_mm=greatest_bend_mm
    )
    lung = segment_lung(ct, tumor)
    spacing = lung.geometry.spacing_zyx_mm
    depth = ndimage.distance_transform_edt(lung.voxels, sampling=spacing) - ndimage.distance_transform_edt(
        ~lung.voxels, sampling=spacing
    )

    def lung_depth_mm(points: FloatArray) -> FloatArray:
        index = np.moveaxis(lung.geometry.to_index(points), -1, 0)
        return np.asarray(ndimage.map_coordinates(depth, index, order=1, mode="nearest"))

    scene = Scene(
        ct.voxels_hu.astype(np.float32),
        ct.geometry,
        lung_depth_mm,
        shape,
        reach,
        motion,
        random_ablation(rng, kind, minimal_margin_mm),
        noise_hu,
        tumor_in_chest=True,
    )
    grid = grid_around(
        motion.verification_center + rng.uniform(-6, 6, 3), size_mm, spacing_zyx_mm, f"2.25.{seed}3"
    )
    verification, zone, core = scan_verification(rng, scene, grid)
    x, y, z = (float(v) for v in center)
    return PhantomProcedure(ct, tumor, verification, zone, core, (x, y, z), scene_truth(scene))
