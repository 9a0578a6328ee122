"""The resolutions at which a deformation is found: coarse with a stiff prior, then fine with a soft one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from engine.kernels.backend import KernelBackend
from engine.registration.comparison import ScanComparison
from engine.registration.deformation import Deformation, Level, deform

COARSE_STIFFNESS: Final = (1000.0, 100.0)
FINE_STIFFNESS: Final = 10.0
COARSE_STEPS: Final = (4, 3)
FINE_STEPS: Final = 5

_COARSE_RELAXATION: Final = 1.5
"""On a coarse grid the local linear model asks for 0.4 of the way left; on the fine one for 0.6 and more."""

_FINE_NS_PER_VOXEL: Final = 3500.0
"""Duration of the fine deformation and of what follows it, on two cores of 2026."""


def coarse_levels(comparison: ScanComparison) -> tuple[Level, ...]:
    """Levels of the coarse deformation, on every second voxel of the fine grid."""
    grid_mm = comparison.fine.fixed.geometry.spacing_zyx_mm[0]
    return tuple(
        Level(2.0 * grid_mm, 8.0 * grid_mm, 6.0 * grid_mm, steps, stiffness, _COARSE_RELAXATION)
        for steps, stiffness in zip(COARSE_STEPS, COARSE_STIFFNESS, strict=True)
    )


def deform_coarsely(
    comparison: ScanComparison, kernels: KernelBackend, *, initial: Deformation | None = None
) -> Deformation:
    """Deform at the coarse resolution.

    Parameters
    ----------
    comparison : ScanComparison
    kernels : KernelBackend
    initial : Deformation, optional
        A coarse deformation found with other evidence: from there the last level is enough.

    Returns
    -------
    Deformation
    """
    levels = coarse_levels(comparison)
    coarse = comparison.coarse
    return deform(
        coarse.fixed,
        coarse.moving,
        coarse.evidence,
        comparison.moving_from_fixed,
        levels if initial is None else levels[-1:],
        initial=initial,
        kernels=kernels,
    )


def deform_finely(comparison: ScanComparison, coarse: Deformation, kernels: KernelBackend) -> Deformation:
    """Deform at the fine resolution, from a coarse deformation."""
    fine = comparison.fine
    return deform(
        fine.fixed,
        fine.moving,
        fine.evidence,
        comparison.moving_from_fixed,
        (_fine_level(comparison),),
        initial=coarse,
        kernels=kernels,
    )


def settled(comparison: ScanComparison, deformation: Deformation, kernels: KernelBackend) -> Deformation:
    """A fine deformation as it is, with the data term that the evidence of ``comparison`` gives there."""
    fine = comparison.fine
    level = replace(_fine_level(comparison), steps=0)
    return deform(
        fine.fixed,
        fine.moving,
        fine.evidence,
        comparison.moving_from_fixed,
        (level,),
        initial=deformation,
        kernels=kernels,
    )


def _fine_level(comparison: ScanComparison) -> Level:
    grid_mm = comparison.fine.fixed.geometry.spacing_zyx_mm[0]
    return Level(grid_mm, 3.0 * grid_mm, 6.0 * grid_mm, FINE_STEPS, FINE_STIFFNESS)


def leaves_time_to_refine(comparison: ScanComparison, deadline_s: float | None) -> bool:
    """Whether the fine deformation and what follows it end within so many seconds; always without a deadline."""
    return deadline_s is None or deadline_s >= _FINE_NS_PER_VOXEL * 1e-9 * comparison.fine.evidence.size
