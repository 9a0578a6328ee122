"""The lung slides along the chest wall: which tissue the deformation around the tumor may rest on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import Float64Array
from engine.kernels.backend import KernelBackend, sharing_residency
from engine.registration.coarse_to_fine import deform_coarsely, deform_finely, settled
from engine.registration.comparison import ScanComparison
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation
from engine.registration.judging.breathing_step import BreathingStep, find_breathing_step
from engine.registration.judging.remaining_motion import RemainingMotion, remaining_motion
from engine.registration.lesion_motion import map_to_fixed
from engine.registration.planning_features import PlanningFeatures

_MIN_SLIDING_MM: Final = 0.4
"""From here on chest wall and diaphragm move apart from the lung: 0.36 mm at most on lungs that do not slide, 0.3
to 2 mm on lungs that do."""

_SLIDING_REACH_MM: Final = 35.0

_WALL_DOUBT: Final = 0.5
_SLIDING_DOUBT: Final = 0.3
"""Share of what both deformations differ by at the tumor that counts as a standard deviation."""

_STEP_DOUBT: Final = 0.4
_STEP_REACH_MM: Final = 20.0
"""A tumor beside a step of 2 to 6 mm was put off along it by half of it at the plane, by a third 8 to 15 mm away, by a
tenth at 25 mm."""

_OWN_EVIDENCE: Final = 0.5
_PASSAGE_NODES: Final = 0.7
"""Lung with this share of the usual evidence of its own moves as that says; over so many nodes it joins the rest."""

COARSE_ONLY_SD_MM: Final = 0.8
"""Added per axis where a deadline leaves time for the coarse deformation only."""

_NO_LUNG_SD_MM: Final = 0.5
"""Added per axis where there is too little lung around the tumor to tell whether the wall slides."""


@dataclass(frozen=True, eq=False)
class _SurroundingMotion:
    """The deformation around the tumor.

    Parameters
    ----------
    deformation : Deformation
    comparison : ScanComparison
        With the evidence that the deformation rests on.
    of_all_tissue : Deformation
        The one that rests on chest wall and diaphragm, too, as far as it was found.
    step : BreathingStep, optional
        Of one of the scans.
    sliding_mm : float
        Root mean square difference, in lung, of the deformation with and without chest wall and diaphragm.
    doubt_mm2 : ndarray, (3, 3)
        Covariance of what is left open by the choice of the evidence, and by a step.
    """

    deformation: Deformation
    comparison: ScanComparison
    of_all_tissue: Deformation
    step: BreathingStep | None
    sliding_mm: float
    doubt_mm2: Float64Array

    @property
    def step_mm(self) -> float:
        """Size of the step; 0 without one."""
        return 0.0 if self.step is None else self.step.size_mm


def coarse_motion(comparison: ScanComparison, coarse: Deformation) -> _SurroundingMotion:
    """Take the coarse deformation as it is; whether the wall slides stays open."""
    variance = COARSE_ONLY_SD_MM**2 + (0.0 if comparison.has_lung else _NO_LUNG_SD_MM**2)
    return _SurroundingMotion(coarse, comparison.without_wall(), coarse, None, 0.0, np.eye(3) * variance)


def fine_motion(
    planning: PlanningFeatures, comparison: ScanComparison, coarse: Deformation, kernels: KernelBackend
) -> _SurroundingMotion:
    """Deform finely: with lung alone where the wall slides, with all tissue elsewhere.

    Parameters
    ----------
    planning : PlanningFeatures
    comparison : ScanComparison
        With all tissue as evidence.
    coarse : Deformation
        Found with lung alone where there is enough of it.
    kernels : KernelBackend

    Returns
    -------
    _SurroundingMotion
    """
    if not comparison.has_lung:
        all_tissue = deform_finely(comparison, coarse, kernels)
        center = map_to_fixed(all_tissue, planning.tumor_points_lps_mm).mean(axis=0)
        step = find_breathing_step(all_tissue, comparison)
        doubt_mm2 = np.eye(3) * _NO_LUNG_SD_MM**2 + _step_doubt_mm2(step, center)
        return _SurroundingMotion(all_tissue, comparison, all_tissue, step, 0.0, doubt_mm2)
    lung, all_tissue = _with_and_without_wall(comparison, coarse, kernels)
    center = map_to_fixed(lung, planning.tumor_points_lps_mm).mean(axis=0)
    step = find_breathing_step(all_tissue, comparison)
    sliding_mm = _rms_difference_mm(lung, all_tissue, center, planning.tumor_radius_mm + _SLIDING_REACH_MM)
    slides = sliding_mm > _MIN_SLIDING_MM
    between = (all_tissue.displacement_mm(center[None]) - lung.displacement_mm(center[None]))[0]
    share = _SLIDING_DOUBT if slides else _WALL_DOUBT
    return _SurroundingMotion(
        lung if slides else all_tissue,
        comparison.in_lung() if slides else comparison,
        all_tissue,
        step,
        sliding_mm,
        share**2 * np.outer(between, between) + _step_doubt_mm2(step, center),
    )


def deform_whole(
    comparison: ScanComparison, coarse: Deformation, kernels: KernelBackend
) -> tuple[Deformation, RemainingMotion]:
    """Deform two whole scans finely: lung as its own evidence says, the rest as all does.

    Chest wall and diaphragm slide along the lung; with one smooth field for both a whole recess of lung went with them.

    Parameters
    ----------
    comparison : ScanComparison
    coarse : Deformation
        Found with all tissue.
    kernels : KernelBackend

    Returns
    -------
    deformation : Deformation
    remaining : RemainingMotion
        What lung alone (without enough of it: everything) still asks for.
    """
    if not comparison.has_lung:
        all_tissue = deform_finely(comparison, coarse, kernels)
        return all_tissue, remaining_motion(all_tissue, kernels=kernels)
    in_lung = comparison.in_lung()
    with ThreadPoolExecutor(1) as pool:
        of_all = pool.submit(sharing_residency(deform_finely), comparison, coarse, kernels)
        lung = deform_finely(in_lung, deform_coarsely(in_lung, kernels), kernels)
        all_tissue = of_all.result()
    strength = lung.tensor[..., [0, 3, 5]].sum(axis=-1)
    usual = float(np.median(strength[strength > 0.0])) if (strength > 0.0).any() else 1.0
    share = np.clip(strength / (_OWN_EVIDENCE * usual), 0.0, 1.0)
    share = ndimage.gaussian_filter(share, _PASSAGE_NODES)[..., None]
    nodes_mm = share * lung.nodes_mm + (1.0 - share) * all_tissue.nodes_mm
    both = replace(all_tissue, nodes_mm=nodes_mm)
    remaining = remaining_motion(settled(in_lung, both, kernels), kernels=kernels)
    return settled(comparison, both, kernels), remaining


def _step_doubt_mm2(step: BreathingStep | None, center: Float64Array) -> Float64Array:
    """Covariance (3, 3) of a place near a step: which of the two breaths it belongs to is not told."""
    if step is None:
        return np.zeros((3, 3))
    sd_mm = _STEP_DOUBT * float(np.exp(-step.distance_mm(center) / _STEP_REACH_MM)) * step.offset_lps_mm
    return np.outer(sd_mm, sd_mm)


def _with_and_without_wall(
    comparison: ScanComparison, coarse: Deformation, kernels: KernelBackend
) -> tuple[Deformation, Deformation]:
    """Deform with lung alone, and with all tissue."""

    def with_wall() -> Deformation:
        return deform_finely(comparison, deform_coarsely(comparison, kernels, initial=coarse), kernels)

    with ThreadPoolExecutor(1) as pool:
        all_tissue = pool.submit(sharing_residency(with_wall))
        lung = deform_finely(comparison.in_lung(), coarse, kernels)
        return lung, all_tissue.result()


def _rms_difference_mm(
    lung: Deformation, all_tissue: Deformation, center: Float64Array, radius_mm: float
) -> float:
    """Root mean square difference of two deformations near the tumor, mm, weighted by the evidence in lung."""
    distance_mm = np.linalg.norm(positions(lung.lattice) - center, axis=-1)
    strength = lung.tensor[..., [0, 3, 5]].sum(axis=-1)
    weight = np.minimum(strength, np.median(strength[strength > 0.0]))
    weight = np.where(distance_mm <= radius_mm, weight, 0.0)
    squared_mm2 = ((all_tissue.nodes_mm - lung.nodes_mm) ** 2).sum(axis=-1)
    return float(np.sqrt((weight * squared_mm2).sum() / max(float(weight.sum()), 1e-9)))
