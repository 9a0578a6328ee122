"""Putting an ablation into a real planning CT: its verification CT is simulated, with known truth."""

from __future__ import annotations

import numpy as np

from engine.geometry import Vector3
from engine.phantoms.ablation import AblationKind
from engine.phantoms.chest import chest_of_ct
from engine.phantoms.free_deformation import DeformationKind
from engine.phantoms.procedure import Course, PhantomProcedure, run_course
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
    deformation: DeformationKind = "smooth",
    slide_mm: float = 6.0,
    noise_hu: float = 12.0,
    size_mm: float = 110.0,
    spacing_zyx_mm: Vector3 = (1.0, 0.75, 0.75),
) -> PhantomProcedure:
    """Simulate the verification CT of a real planning CT.

    Parameters
    ----------
    ct : CtVolume
        Planning CT, upright; deformed by one cubic resampling.
    tumor : LabelMask
        On the grid of ``ct``.
    seed : int
    kind, minimal_margin_mm, rigid_only, contraction, greatest_bend_mm, deformation, slide_mm, noise_hu, size_mm
        As in :class:`engine.phantoms.procedure.Course`.
    spacing_zyx_mm : tuple of float
        Of the verification CT.

    Returns
    -------
    PhantomProcedure
        With the given planning CT and tumor.
    """
    shape = SmoothedMask(tumor.require_on(ct))
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
        verification_spacing_zyx_mm=spacing_zyx_mm,
    )
    chest = chest_of_ct(ct, shape.center_lps_mm)
    return run_course(np.random.default_rng(seed), chest, shape, course, f"2.25.{seed}", planning=(ct, tumor))
