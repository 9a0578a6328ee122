"""Registering two CTs from beginning to end, with a displacement field as the result."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.kernels.backend import KernelBackend
from engine.registration.acceptance import require_trustworthy
from engine.registration.alignment import DeformableRegistration
from engine.registration.coarse_to_fine import (
    coarse_levels,
    deform_coarsely,
    leaves_time_to_refine,
)
from engine.registration.comparison import compare_whole
from engine.registration.control_grid import positions
from engine.registration.deformation import field_of
from engine.registration.field import DisplacementField
from engine.registration.judging.breathing_step import find_breathing_step
from engine.registration.judging.remaining_motion import DoubtfulRegion, remaining_motion
from engine.registration.lesion_alignment import (
    MIN_ROTATION_SD_DEG,
    MIN_SD_MM,
    align_rigidly,
    refine,
    translate,
)
from engine.registration.lesion_motion import rigid_part
from engine.registration.lung_sliding import COARSE_ONLY_SD_MM, deform_whole
from engine.registration.planning_features import planning_features
from engine.registration.quality import judge
from engine.registration.rigid_tumor import field_with_rigid_tumor
from engine.registration.search.localization import find_translation
from engine.volume import CtVolume, LabelMask

_SHARE_OF_EACH: Final = 0.5
"""Two whole scans are deformed twice, with lung alone and with everything."""


@dataclass(frozen=True, eq=False)
class RegisteredPair:
    """Two registered CTs.

    Parameters
    ----------
    alignment : DeformableRegistration
    field : DisplacementField
        A fixed point p lies at ``p + field(p)`` in the moving CT.
    doubtful : tuple of DoubtfulRegion
        Where the field should not be relied on; the worst first.
    """

    alignment: DeformableRegistration
    field: DisplacementField
    doubtful: tuple[DoubtfulRegion, ...] = ()


def register(
    fixed: CtVolume,
    moving: CtVolume,
    *,
    fixed_zone: LabelMask | None = None,
    moving_tumor: LabelMask | None = None,
    deadline_s: float | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> RegisteredPair:
    """Register two CTs; with a tumor its surroundings, else the whole of both.

    Parameters
    ----------
    fixed, moving : CtVolume
        After the ablation and before it.
    fixed_zone : LabelMask, optional
        Ablation zone on the grid of ``fixed``; it carries no evidence.
    moving_tumor : LabelMask, optional
        On the grid of ``moving``; it moves rigidly.
    deadline_s : float, optional
        Seconds for the whole call; see :func:`engine.registration.lesion_alignment.refine`.
    kernels : KernelBackend

    Returns
    -------
    RegisteredPair

    Raises
    ------
    RefusedError, GridMismatchError, EmptyMaskError
    """
    deadline = None if deadline_s is None else time.perf_counter() + deadline_s
    zone = None if fixed_zone is None else fixed_zone.require_on(fixed)
    if moving_tumor is None:
        return _register_whole(fixed, moving, zone, deadline, kernels)
    return _register_lesion(fixed, moving, zone, moving_tumor.require_on(moving), deadline, kernels)


def _register_lesion(
    fixed: CtVolume,
    moving: CtVolume,
    zone: LabelMask | None,
    tumor: LabelMask,
    deadline: float | None,
    kernels: KernelBackend,
) -> RegisteredPair:
    planning = planning_features(moving, tumor)
    translation = translate(planning, fixed, zone, kernels=kernels)
    rigid = align_rigidly(planning, fixed, zone, translation, kernels=kernels)
    alignment = refine(planning, rigid, deadline_s=_left_s(deadline), kernels=kernels)
    field = field_with_rigid_tumor(
        alignment.deformation,
        alignment.comparison.fine.fixed.geometry,
        alignment.planning_from_verification,
        tumor,
        kernels=kernels,
    )
    remaining = remaining_motion(alignment.deformation, kernels=kernels)
    return RegisteredPair(alignment, field, remaining.doubtful_regions())


def _register_whole(
    fixed: CtVolume,
    moving: CtVolume,
    zone: LabelMask | None,
    deadline: float | None,
    kernels: KernelBackend,
) -> RegisteredPair:
    moving_from_fixed, _ = find_translation(moving, fixed, zone, kernels=kernels)
    comparison = compare_whole(moving, fixed, zone, moving_from_fixed, kernels=kernels)
    coarse = deform_coarsely(comparison, kernels)
    left_s = _left_s(deadline)
    coarse_only = not leaves_time_to_refine(comparison, None if left_s is None else _SHARE_OF_EACH * left_s)
    if coarse_only:
        deformation, remaining = coarse, remaining_motion(coarse, kernels=kernels)
    else:
        deformation, remaining = deform_whole(comparison, coarse, kernels)
    step = find_breathing_step(deformation, comparison)
    quality = judge(
        comparison,
        deformation,
        coarse,
        coarse_levels(comparison),
        breathing_step_mm=0.0 if step is None else step.size_mm,
        of_lung=remaining,
        kernels=kernels,
    )
    require_trustworthy(quality)
    field = field_of(deformation, comparison.fine.fixed.geometry, kernels=kernels)
    nodes = positions(deformation.lattice).reshape(-1, 3)
    variance = quality.residual_mm**2 / 3.0 + MIN_SD_MM**2 + (COARSE_ONLY_SD_MM**2 if coarse_only else 0.0)
    alignment = DeformableRegistration(
        moving_from_fixed @ rigid_part(nodes, nodes + deformation.displacement_mm(nodes)),
        quality.similarity,
        np.eye(3) * variance,
        MIN_ROTATION_SD_DEG,
        comparison,
        deformation,
        quality,
        coarse_only,
    )
    return RegisteredPair(alignment, field, remaining.doubtful_regions())


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.perf_counter()
