"""A first registration that needs no ablation zone: what changed between the scans is found and left out by itself.

The zone is not known yet, and it is what changed most. So the planning CT is deformed onto the verification CT, what
still differs by far more than the rest is no evidence, and the deformation is found again without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from engine.arrays import BoolArray
from engine.assessment.planning import ScanPair
from engine.hounsfield import usual_difference_hu
from engine.kernels.components import find_components
from engine.registration.alignment import Translation
from engine.registration.coarse_to_fine import deform_coarsely
from engine.registration.comparison import ScanComparison, compare_lesion
from engine.registration.deformation import Deformation
from engine.registration.evidence import ZONE_HALO_MM
from engine.registration.field import DisplacementField
from engine.structures.warped_planning import WarpedPlanning

_ROUNDS: Final = 2

_OUTLIER_SDS: Final = 4.0
_MIN_CHANGE_HU: Final = 120.0
"""Differences beyond both are change. Breathing changes the density of lung by up to 100 HU; ground glass, the least
that an ablation does, is 150 HU and more above it."""

_MIN_CHANGED_ML: Final = 0.4
"""Smaller ones are vessels a little off their place, which is what the deformation is to mend."""


def register_first(pair: ScanPair, translation: Translation) -> WarpedPlanning:
    """The planning CT with its tumor, brought onto the verification CT around the lesion.

    Parameters
    ----------
    pair : ScanPair
    translation : Translation
        Found without a zone.
    """
    features, kernels = pair.prepared.features, pair.settings.kernels
    rigid = translation.planning_from_verification
    comparison = compare_lesion(features, pair.verification, None, rigid, kernels=kernels).without_wall()
    deformation = deform_coarsely(comparison, kernels)
    for _ in range(_ROUNDS):
        changed = _changed(comparison, deformation)
        if not changed.any():
            break
        deformation = deform_coarsely(_without(comparison, changed), kernels, initial=deformation)
    displacement = DisplacementField(deformation.nodes_mm[..., ::-1].astype(np.float32), deformation.lattice)
    return WarpedPlanning(pair.prepared.planning, pair.prepared.tumor, rigid, displacement, kernels)


def _changed(comparison: ScanComparison, deformation: Deformation) -> BoolArray:
    """Voxels of the coarse grid in or near tissue that differs by more than noise and breathing."""
    fixed, evidence = comparison.coarse.fixed, comparison.coarse.evidence
    known = np.isfinite(deformation.warped)
    difference = np.where(known, fixed.hu - deformation.warped, 0.0)
    compared = difference[known & evidence]
    if compared.size == 0:
        return np.zeros(evidence.shape, dtype=np.bool_)
    middle, sd = usual_difference_hu(compared)
    far = known & (np.abs(difference - middle) > max(_MIN_CHANGE_HU, _OUTLIER_SDS * sd))
    spacing = fixed.geometry.spacing_zyx_mm
    parts = find_components(np.ascontiguousarray(far), spacing, connectivity=6)
    large = np.flatnonzero(parts.volumes_ml >= _MIN_CHANGED_ML) + 1
    if len(large) == 0:
        return np.zeros(evidence.shape, dtype=np.bool_)
    changed = np.isin(parts.labels, large)
    return np.asarray(ndimage.distance_transform_edt(~changed, sampling=spacing) <= ZONE_HALO_MM)


def _without(comparison: ScanComparison, changed: BoolArray) -> ScanComparison:
    """The same with less evidence in the coarse comparison."""
    coarse = comparison.coarse
    return replace(
        comparison,
        coarse=replace(
            coarse, evidence=coarse.evidence & ~changed, lung_evidence=coarse.lung_evidence & ~changed
        ),
    )
