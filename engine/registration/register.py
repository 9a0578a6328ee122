"""Registration from beginning to end: find the lesion, align it, deform its surroundings, judge the result."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.findings import RegistrationQuality
from engine.geometry import RigidTransform
from engine.kernels.backend import KernelBackend, beside
from engine.refusal import RefusalCode, RefusedError
from engine.registration.acceptance import require_trustworthy
from engine.registration.comparison import (
    Comparison,
    PlanningSide,
    compare_lesion,
    compare_whole,
    planning_side,
)
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation, Level, deform
from engine.registration.field import DisplacementField, field_of, field_with_rigid_tumor
from engine.registration.lesion_motion import LesionMotion, predict_lesion_motion, rigid_part
from engine.registration.localization import find_lesion, find_translation
from engine.registration.quality import judge, local_correlation
from engine.volume import CtVolume, LabelMask

COARSE_STIFFNESS: Final = (1000.0, 100.0)
FINE_STIFFNESS: Final = 10.0
COARSE_STEPS: Final = (4, 3)
FINE_STEPS: Final = 5
_COARSE_RELAXATION: Final = 1.5
"""On a coarse grid the local linear model asks for 0.4 of the way left; on the fine one for 0.6 and more."""

_TRANSLATION_SD_MM: Final = 2.5
"""Pose error per axis of the translation alone: 2 to 4 mm in all on the cases tried."""

_RIGID_SD_MM: Final = 1.2
"""Pose error per axis of the rigid part of the coarse deformation."""

_HURRIED_SD_MM: Final = 0.8
"""Added per axis where a deadline leaves time for the coarse deformation only."""

_LEAST_SLIDING_MM: Final = 0.4
"""From here on chest wall and diaphragm move apart from the lung: 0.36 mm at most on lungs that do not slide, 0.3
to 2 mm on lungs that do."""

_SLIDING_REACH_MM: Final = 35.0
_WALL_DOUBT: Final = 0.5
_SLIDING_DOUBT: Final = 0.3
"""Share of what both deformations differ by at the tumor that counts as a standard deviation."""

_FINE_NS_PER_VOXEL: Final = 3500.0
"""Duration of the fine deformation and of what follows it, on two cores of 2026."""

_NO_LUNG_SD_MM: Final = 0.5
"""Added per axis where there is too little lung around the tumor to tell whether the wall slides."""

_LEAST_SD_MM: Final = 0.15
"""No alignment is better than this at the lesion, whatever its surroundings say."""

_CONVERGENCE_SD_MM: Final = 4.0
"""Added per axis for each unit of convergence: tissue that was drawn in by 10 % hides 0.4 mm."""

_TRANSLATION_ROTATION_SD_DEG: Final = 3.0
_LEAST_ROTATION_SD_DEG: Final = 0.5


@dataclass(frozen=True, eq=False)
class Registration:
    """The planning CT mapped to the verification CT, with quality and uncertainty.

    Parameters
    ----------
    method : {'translation', 'rigid', 'deformable', 'deformable, coarse'}
    planning_from_verification : RigidTransform
        Motion of the tumor (without a tumor: of the whole scan).
    similarity : float
    translation_covariance_mm2 : ndarray, (3, 3)
        Uncertainty of the tumor's center in the verification frame.
    rotation_sd_deg : float
    quality : RegistrationQuality or None
        None for a preliminary alignment.
    deformation : Deformation or None
    comparison : Comparison or None
    field : DisplacementField or None
        Only where it was asked for.
    """

    method: str
    planning_from_verification: RigidTransform
    similarity: float
    translation_covariance_mm2: Float64Array
    rotation_sd_deg: float
    quality: RegistrationQuality | None = None
    deformation: Deformation | None = None
    comparison: Comparison | None = None
    field: DisplacementField | None = None

    @property
    def uncertainty_mm(self) -> float:
        """Expected error of the tumor's center, root mean square."""
        return float(np.sqrt(np.trace(self.translation_covariance_mm2)))

    @property
    def residual_mm(self) -> float | None:
        """What the images still ask for after the deformation."""
        return None if self.quality is None else self.quality.residual_mm


def translate(
    planning: PlanningSide,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Registration:
    """Find the lesion by translation alone.

    Raises
    ------
    RefusedError
        The lesion is not found.
    """
    candidates, correlation = find_lesion(planning, verification, zone, kernels=kernels)
    matrix = candidates[0]
    if len(candidates) > 1:
        matrix = max(
            candidates, key=lambda one: _fit(compare_lesion(planning, verification, zone, one), kernels)
        )
    _require_in_view(planning, verification, matrix)
    return Registration(
        "translation", matrix, correlation, np.eye(3) * _TRANSLATION_SD_MM**2, _TRANSLATION_ROTATION_SD_DEG
    )


def _fit(comparison: Comparison, kernels: KernelBackend) -> float:
    """Mean local correlation in lung after a coarse deformation from a candidate."""
    correlated, weight = local_correlation(_deform_coarsely(comparison.in_lung(), kernels))
    return float((correlated * weight).sum() / max(weight.sum(), 1.0)) if weight.any() else -1.0


def align_rigidly(
    planning: PlanningSide,
    verification: CtVolume,
    zone: LabelMask | None,
    found: Registration,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Registration:
    """Align the lesion rigidly: the rigid part, at the tumor, of a coarse deformation.

    Parameters
    ----------
    planning, verification, zone
    found : Registration
        By translation.
    kernels : KernelBackend

    Returns
    -------
    Registration
    """
    start = found.planning_from_verification
    comparison = compare_lesion(planning, verification, zone, start, kernels=kernels)
    coarse = _deform_coarsely(comparison.without_wall(), kernels)
    tumor = _tumor_in_fixed(planning, coarse)
    moved = tumor + coarse.displacement_mm(tumor)
    return Registration(
        "rigid",
        start @ rigid_part(tumor, moved),
        found.similarity,
        np.eye(3) * _RIGID_SD_MM**2,
        _TRANSLATION_ROTATION_SD_DEG,
        deformation=coarse,
        comparison=comparison,
    )


def refine(
    planning: PlanningSide,
    rigid: Registration,
    *,
    deadline_s: float | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Registration:
    """Deform the surroundings finely, predict the tumor's motion from them, and judge the result.

    Parameters
    ----------
    planning : PlanningSide
    rigid : Registration
        By :func:`align_rigidly`.
    deadline_s : float, optional
        Seconds from now; where the fine deformation would take longer, the coarse one has to do and the
        uncertainty says so.
    kernels : KernelBackend

    Returns
    -------
    Registration

    Raises
    ------
    RefusedError
        The result cannot be trusted.
    """
    comparison, coarse = rigid.comparison, rigid.deformation
    assert comparison is not None  # noqa: S101 - a rigid alignment carries both
    assert coarse is not None  # noqa: S101
    hurried = deadline_s is not None and deadline_s < _fine_duration_s(comparison)
    judged = comparison.without_wall()
    if hurried:
        found, sliding_mm = coarse, 0.0
        doubt_mm2 = np.eye(3) * (_HURRIED_SD_MM**2 + (0.0 if comparison.has_lung else _NO_LUNG_SD_MM**2))
    elif comparison.has_lung:
        found, sliding_mm, doubt_mm2 = _with_and_without_wall(planning, comparison, coarse, kernels)
        judged = judged if sliding_mm > _LEAST_SLIDING_MM else comparison
    else:
        found = _deform_finely(comparison, coarse, kernels)
        sliding_mm, doubt_mm2 = 0.0, np.eye(3) * _NO_LUNG_SD_MM**2
    tumor = _tumor_in_fixed(planning, found)
    with ThreadPoolExecutor(1) as pool:
        judging = pool.submit(
            beside(judge),
            judged,
            found,
            coarse,
            _coarse_levels(comparison),
            sliding_mm=sliding_mm,
            kernels=kernels,
        )
        motion = predict_lesion_motion(found, tumor, comparison.void_radius_mm, kernels=kernels)
        quality = judging.result()
    require_trustworthy(quality)
    return Registration(
        "deformable, coarse" if hurried else "deformable",
        motion.moving_from_fixed,
        quality.similarity,
        _covariance(motion, quality, doubt_mm2),
        float(np.hypot(motion.rotation_sd_deg, _LEAST_ROTATION_SD_DEG)),
        quality=quality,
        deformation=found,
        comparison=comparison,
    )


def _with_and_without_wall(
    planning: PlanningSide, comparison: Comparison, coarse: Deformation, kernels: KernelBackend
) -> tuple[Deformation, float, Float64Array]:
    """Deform with lung alone and with all tissue; where they disagree in lung, the wall slides.

    Returns
    -------
    deformation, sliding_mm, covariance of the doubt between both, mm²
    """
    with ThreadPoolExecutor(1) as pool:
        wall = pool.submit(
            beside(
                lambda: _deform_finely(
                    comparison, _deform_coarsely(comparison, kernels, before=coarse), kernels
                )
            )
        )
        lung = _deform_finely(comparison.in_lung(), coarse, kernels)
        whole = wall.result()
    center = _tumor_in_fixed(planning, lung).mean(axis=0)
    away = np.linalg.norm(positions(lung.lattice) - center, axis=-1)
    strength = lung.tensor[..., [0, 3, 5]].sum(axis=-1)
    weight = np.minimum(strength, np.median(strength[strength > 0.0]))
    weight = np.where(away <= planning.tumor_radius_mm + _SLIDING_REACH_MM, weight, 0.0)
    apart = ((whole.nodes_mm - lung.nodes_mm) ** 2).sum(axis=-1)
    sliding_mm = float(np.sqrt((weight * apart).sum() / max(float(weight.sum()), 1e-9)))
    between = (whole.displacement_mm(center[None]) - lung.displacement_mm(center[None]))[0]
    slides = sliding_mm > _LEAST_SLIDING_MM
    share = _SLIDING_DOUBT if slides else _WALL_DOUBT
    return (lung if slides else whole), sliding_mm, share**2 * np.outer(between, between)


def register(
    fixed: CtVolume,
    moving: CtVolume,
    *,
    fixed_zone: LabelMask | None = None,
    moving_tumor: LabelMask | None = None,
    deadline_s: float | None = None,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Registration:
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
        Seconds for the whole call; see :func:`refine`.
    kernels : KernelBackend

    Returns
    -------
    Registration
        With its field: a fixed point p lies at p + d(p) in the moving CT.

    Raises
    ------
    RefusedError, GridMismatchError, EmptyMaskError
    """
    began = time.perf_counter()
    zone = None if fixed_zone is None else fixed_zone.require_on(fixed)

    def left_s() -> float | None:
        return None if deadline_s is None else deadline_s - (time.perf_counter() - began)

    if moving_tumor is None:
        return _register_whole(fixed, moving, zone, left_s(), kernels)
    tumor = moving_tumor.require_on(moving)
    planning = planning_side(moving, tumor)
    found = translate(planning, fixed, zone, kernels=kernels)
    rigid = align_rigidly(planning, fixed, zone, found, kernels=kernels)
    refined = refine(planning, rigid, deadline_s=left_s(), kernels=kernels)
    assert refined.deformation is not None  # noqa: S101 - refined just now
    assert refined.comparison is not None  # noqa: S101
    field = field_with_rigid_tumor(
        refined.deformation,
        refined.comparison.fine.fixed.geometry,
        refined.planning_from_verification,
        tumor,
        kernels=kernels,
    )
    return replace(refined, field=field)


def _register_whole(
    fixed: CtVolume,
    moving: CtVolume,
    zone: LabelMask | None,
    deadline_s: float | None,
    kernels: KernelBackend,
) -> Registration:
    began = time.perf_counter()
    start, _ = find_translation(moving, fixed, zone, kernels=kernels)
    comparison = compare_whole(moving, fixed, zone, start, kernels=kernels)
    coarse = _deform_coarsely(comparison, kernels)
    left_s = None if deadline_s is None else deadline_s - (time.perf_counter() - began)
    hurried = left_s is not None and left_s < _fine_duration_s(comparison)
    found = coarse if hurried else _deform_finely(comparison, coarse, kernels)
    quality = judge(comparison, found, coarse, _coarse_levels(comparison), kernels=kernels)
    require_trustworthy(quality)
    field = field_of(found, comparison.fine.fixed.geometry, kernels=kernels)
    places = positions(found.lattice).reshape(-1, 3)
    variance = quality.residual_mm**2 / 3.0 + _LEAST_SD_MM**2 + (_HURRIED_SD_MM**2 if hurried else 0.0)
    return Registration(
        "deformable, coarse" if hurried else "deformable",
        start @ rigid_part(places, places + found.displacement_mm(places)),
        quality.similarity,
        np.eye(3) * variance,
        _LEAST_ROTATION_SD_DEG,
        quality=quality,
        deformation=found,
        comparison=comparison,
        field=field,
    )


def _coarse_levels(comparison: Comparison) -> tuple[Level, ...]:
    grid_mm = comparison.fine.fixed.geometry.spacing_zyx_mm[0]
    return tuple(
        Level(2.0 * grid_mm, 8.0 * grid_mm, 6.0 * grid_mm, steps, stiffness, _COARSE_RELAXATION)
        for steps, stiffness in zip(COARSE_STEPS, COARSE_STIFFNESS, strict=True)
    )


def _deform_coarsely(
    comparison: Comparison, kernels: KernelBackend, *, before: Deformation | None = None
) -> Deformation:
    """Deform coarsely; from one found with other evidence, the last level is enough."""
    at, levels = comparison.coarse, _coarse_levels(comparison)
    if before is not None:
        levels = levels[-1:]
    return deform(
        at.fixed, at.moving, at.evidence, comparison.moving_from_fixed, levels, before=before, kernels=kernels
    )


def _deform_finely(comparison: Comparison, coarse: Deformation, kernels: KernelBackend) -> Deformation:
    at = comparison.fine
    grid_mm = at.fixed.geometry.spacing_zyx_mm[0]
    level = Level(grid_mm, 3.0 * grid_mm, 6.0 * grid_mm, FINE_STEPS, FINE_STIFFNESS)
    return deform(
        at.fixed,
        at.moving,
        at.evidence,
        comparison.moving_from_fixed,
        (level,),
        before=coarse,
        kernels=kernels,
    )


def _fine_duration_s(comparison: Comparison) -> float:
    return _FINE_NS_PER_VOXEL * 1e-9 * comparison.fine.evidence.size


def _tumor_in_fixed(planning: PlanningSide, found: Deformation) -> Float64Array:
    """The tumor's points in the fixed frame, carried back by the deformation at their center."""
    points = found.moving_from_fixed.inverse.apply(planning.tumor_points_lps_mm)
    center = points.mean(axis=0)
    place = center
    for _ in range(3):  # u is smooth: this converges by a factor of ten a turn
        place = center - found.displacement_mm(place[None])[0]
    return np.asarray(points - center + place)


def _covariance(motion: LesionMotion, quality: RegistrationQuality, doubt_mm2: Float64Array) -> Float64Array:
    variance = _LEAST_SD_MM**2 + (_CONVERGENCE_SD_MM * quality.convergence) ** 2
    return np.asarray(motion.covariance_mm2 + doubt_mm2 + variance * np.eye(3))


def _require_in_view(
    planning: PlanningSide, verification: CtVolume, planning_from_verification: RigidTransform
) -> None:
    center = planning_from_verification.inverse.apply(planning.tumor_center_lps_mm)
    if not verification.geometry.contains(center):
        raise RefusedError(
            RefusalCode.LESION_OUTSIDE_OVERLAP,
            "the lesion's place lies outside the verification CT; scan the lesion",
        )
