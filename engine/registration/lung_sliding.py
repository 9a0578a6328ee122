"""The lung slides along the chest wall: which tissue the deformation around the tumor may rest on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.kernels.backend import KernelBackend, sharing_residency
from engine.registration.coarse_to_fine import deform_coarsely, deform_finely
from engine.registration.comparison import ScanComparison
from engine.registration.control_grid import positions
from engine.registration.deformation import Deformation
from engine.registration.lesion_motion import map_to_fixed
from engine.registration.planning_features import PlanningFeatures

_MIN_SLIDING_MM: Final = 0.4
"""From here on chest wall and diaphragm move apart from the lung: 0.36 mm at most on lungs that do not slide, 0.3
to 2 mm on lungs that do."""

_SLIDING_REACH_MM: Final = 35.0

_WALL_DOUBT: Final = 0.5
_SLIDING_DOUBT: Final = 0.3
"""Share of what both deformations differ by at the tumor that counts as a standard deviation."""

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
    sliding_mm : float
        Root mean square difference, in lung, of the deformation with and without chest wall and diaphragm.
    doubt_mm2 : ndarray, (3, 3)
        Covariance of what is left open by the choice of the evidence.
    """

    deformation: Deformation
    comparison: ScanComparison
    sliding_mm: float
    doubt_mm2: Float64Array


def coarse_motion(comparison: ScanComparison, coarse: Deformation) -> _SurroundingMotion:
    """Take the coarse deformation as it is; whether the wall slides stays open."""
    variance = COARSE_ONLY_SD_MM**2 + (0.0 if comparison.has_lung else _NO_LUNG_SD_MM**2)
    return _SurroundingMotion(coarse, comparison.without_wall(), 0.0, np.eye(3) * variance)


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
        return _SurroundingMotion(all_tissue, comparison, 0.0, np.eye(3) * _NO_LUNG_SD_MM**2)
    lung, all_tissue = _with_and_without_wall(comparison, coarse, kernels)
    center = map_to_fixed(lung, planning.tumor_points_lps_mm).mean(axis=0)
    sliding_mm = _rms_difference_mm(lung, all_tissue, center, planning.tumor_radius_mm + _SLIDING_REACH_MM)
    between = (all_tissue.displacement_mm(center[None]) - lung.displacement_mm(center[None]))[0]
    if sliding_mm > _MIN_SLIDING_MM:
        doubt_mm2 = _SLIDING_DOUBT**2 * np.outer(between, between)
        return _SurroundingMotion(lung, comparison.in_lung(), sliding_mm, doubt_mm2)
    return _SurroundingMotion(all_tissue, comparison, sliding_mm, _WALL_DOUBT**2 * np.outer(between, between))


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
