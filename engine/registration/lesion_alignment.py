"""Aligning the lesion: by translation, then rigidly, then by what the deformation of its surroundings predicts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.findings import RegistrationQuality
from engine.kernels.backend import KernelBackend, sharing_residency
from engine.refusal import RefusalCode, RefusedError
from engine.registration.acceptance import require_confirmed_pose, require_one_breath, require_trustworthy
from engine.registration.alignment import DeformableRegistration, RigidAlignment, Translation
from engine.registration.coarse_to_fine import coarse_levels, deform_coarsely, leaves_time_to_refine
from engine.registration.comparison import compare_lesion
from engine.registration.judging.block_matches import match_blocks
from engine.registration.judging.pose import judge_pose
from engine.registration.lesion_motion import (
    LesionMotion,
    map_to_fixed,
    predict_lesion_motion,
    rigid_part,
)
from engine.registration.lung_sliding import coarse_motion, fine_motion
from engine.registration.planning_features import PlanningFeatures
from engine.registration.quality import judge
from engine.registration.search.localization import find_lesion
from engine.volume import CtVolume, LabelMask

_TRANSLATION_SD_MM: Final = 2.5
"""Pose error per axis of the translation alone: 2 to 4 mm in all on the cases tried."""

_RIGID_SD_MM: Final = 1.2
"""Pose error per axis of the rigid part of the coarse deformation."""

MIN_SD_MM: Final = 0.15
"""No alignment is better than this at the lesion, whatever its surroundings say."""

_CONTRACTION_SD_MM: Final = 4.0
"""Added per axis for each unit of contraction: tissue that was drawn in by 10 % hides 0.4 mm."""

_TRANSLATION_ROTATION_SD_DEG: Final = 3.0
MIN_ROTATION_SD_DEG: Final = 0.5


def translate(
    planning: PlanningFeatures,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Translation:
    """Find the lesion's surroundings, moved and turned as a whole.

    Parameters
    ----------
    planning : PlanningFeatures
    verification : CtVolume
    zone : LabelMask, optional
        Ablation zone on the grid of ``verification``.
    kernels : KernelBackend

    Returns
    -------
    Translation

    Raises
    ------
    RefusedError
        The lesion is not found.
    """
    found, correlation = find_lesion(planning, verification, zone, kernels=kernels)
    if not verification.geometry.contains(found.inverse.apply(planning.tumor_center_lps_mm)):
        raise RefusedError(
            RefusalCode.LESION_OUTSIDE_OVERLAP,
            "the lesion's place lies outside the verification CT; scan the lesion",
        )
    return Translation(found, correlation, np.eye(3) * _TRANSLATION_SD_MM**2, _TRANSLATION_ROTATION_SD_DEG)


def align_rigidly(
    planning: PlanningFeatures,
    verification: CtVolume,
    zone: LabelMask | None,
    translation: Translation,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> RigidAlignment:
    """Align the lesion rigidly: the rigid part, at the tumor, of a coarse deformation.

    Parameters
    ----------
    planning, verification, zone
        As for :func:`translate`.
    translation : Translation
    kernels : KernelBackend

    Returns
    -------
    RigidAlignment
    """
    moving_from_fixed = translation.planning_from_verification
    comparison = compare_lesion(planning, verification, zone, moving_from_fixed, kernels=kernels)
    coarse = deform_coarsely(comparison.without_wall(), kernels)
    tumor = map_to_fixed(coarse, planning.tumor_points_lps_mm)
    return RigidAlignment(
        moving_from_fixed @ rigid_part(tumor, tumor + coarse.displacement_mm(tumor)),
        translation.similarity,
        np.eye(3) * _RIGID_SD_MM**2,
        _TRANSLATION_ROTATION_SD_DEG,
        comparison,
        coarse,
    )


def refine(
    planning: PlanningFeatures,
    rigid: RigidAlignment,
    *,
    deadline_s: float | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> DeformableRegistration:
    """Deform the surroundings finely, predict the tumor's motion from them, and judge the result.

    Parameters
    ----------
    planning : PlanningFeatures
    rigid : RigidAlignment
    deadline_s : float, optional
        Seconds from now; where the fine deformation would take longer, the coarse one has to do and the
        uncertainty says so.
    kernels : KernelBackend

    Returns
    -------
    DeformableRegistration

    Raises
    ------
    RefusedError
        The result cannot be trusted.
    """
    comparison, coarse = rigid.comparison, rigid.coarse
    coarse_only = not leaves_time_to_refine(comparison, deadline_s)
    place = rigid.planning_from_verification.inverse.apply(planning.tumor_center_lps_mm)
    with ThreadPoolExecutor(1) as pool:
        matches = pool.submit(sharing_residency(match_blocks), comparison, place, kernels=kernels)
        if coarse_only:
            surroundings = coarse_motion(comparison, coarse)
        else:
            surroundings = fine_motion(planning, comparison, coarse, kernels)
    deformation = surroundings.deformation
    tumor = map_to_fixed(deformation, planning.tumor_points_lps_mm)
    pose = judge_pose(matches.result(), deformation, tumor.mean(axis=0))
    require_one_breath(surroundings.step, tumor.mean(axis=0), planning.tumor_radius_mm)
    with ThreadPoolExecutor(1) as pool:
        judging = pool.submit(
            sharing_residency(judge),
            surroundings.comparison,
            deformation,
            coarse,
            coarse_levels(comparison),
            sliding_mm=surroundings.sliding_mm,
            breathing_step_mm=surroundings.step_mm,
            of_all_tissue=surroundings.of_all_tissue,
            kernels=kernels,
        )
        motion = predict_lesion_motion(deformation, tumor, comparison.void_radius_mm, kernels=kernels)
        quality = replace(
            judging.result(),
            rotation_deg=motion.moving_from_fixed.rotation_deg,
            judge_disagreement_mm=None if pose is None else pose.disagreement_mm,
        )
    require_trustworthy(quality)
    confirmed = require_confirmed_pose(pose)
    return DeformableRegistration(
        motion.moving_from_fixed,
        quality.similarity,
        _covariance_mm2(motion, quality, surroundings.doubt_mm2 + confirmed.doubt_mm2),
        float(np.hypot(motion.rotation_sd_deg, MIN_ROTATION_SD_DEG)),
        comparison,
        deformation,
        quality,
        coarse_only,
    )


def _covariance_mm2(
    motion: LesionMotion, quality: RegistrationQuality, doubt_mm2: Float64Array
) -> Float64Array:
    variance = MIN_SD_MM**2 + (_CONTRACTION_SD_MM * quality.contraction) ** 2
    return np.asarray(motion.covariance_mm2 + doubt_mm2 + variance * np.eye(3))
