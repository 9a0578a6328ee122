"""Finding the lesion of the planning CT in the verification CT, up to 40 mm off and turned by up to 40°."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn

import numpy as np

from engine.arrays import BoolArray, Float64Array
from engine.geometry import RigidTransform
from engine.kernels.backend import KernelBackend
from engine.refusal import RefusalCode, RefusedError
from engine.registration.evidence import ZONE_HALO_MM, distance_from
from engine.registration.planning_features import PlanningFeatures, match_slice_mm
from engine.registration.region import ComparisonRegion, comparison_region
from engine.registration.search.rigid_search import MIN_SURE_SCORE, RigidSearch, SearchBox
from engine.registration.search.template import PATTERN_SPACING_MM, Pattern, pattern_of
from engine.registration.search.translation import masked_correlation, translation_candidates
from engine.volume import CtVolume, LabelMask

_MAX_STEPS: Final = 90
"""A whole chest is searched on a grid of at most this many voxels along an axis."""

_SEARCH_MM: Final = 40.0
"""The lesion is looked for up to this far beyond what the planning region itself needs."""

_MIN_CORRELATION: Final = 0.75
"""Same patient: 0.88 and more on every case tried; another patient's or a mirrored chest: up to 0.70."""

_PEAKS: Final = 12
_PICTURE_CANDIDATES: Final = 2
_LUNG_CANDIDATES: Final = 3
"""Candidates of each kind that are fitted, of so many peaks: most of these lie too far from the zone."""

_SAME_PLACE_MM: Final = 9.0
"""Nearer candidates are the same: the rigid fit that follows captures twice that much."""

_MIN_MIRRORED_CORRELATION: Final = 0.85
"""From here on the mirror image fits as well as the same patient would."""


def find_lesion(
    planning: PlanningFeatures,
    fixed: CtVolume,
    zone: LabelMask | None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> tuple[RigidTransform, float]:
    """Find the surroundings of the tumor in the fixed CT, moved and turned.

    Ribs repeat every 2 to 3 cm and slide along the lung, so the whole picture can fit best one rib off, and
    a turned patient's fits best centimeters off. What is inside the lung is compared on its own too; from every
    place that either offers a rigid motion is fitted, and the one whose vessels agree best is taken.

    Parameters
    ----------
    planning : PlanningFeatures
    fixed : CtVolume
    zone : LabelMask, optional
        Where to look; without one, everywhere.
    kernels : KernelBackend

    Returns
    -------
    planning_from_fixed : RigidTransform
    correlation : float

    Raises
    ------
    RefusedError
        Nothing there resembles the planning region, or only its mirror image does.
    """
    match_mm = match_slice_mm(planning.ct, fixed)
    low, high = _box_lps_mm(fixed if zone is None else zone)
    padding = 0.0 if zone is None else _SEARCH_MM + 10.0
    with ThreadPoolExecutor(1) as pool:
        preparing = pool.submit(planning.pattern, match_mm)
        region = comparison_region(
            fixed,
            0.5 * (low + high),
            0.5 * (high - low) + padding,
            PATTERN_SPACING_MM,
            match_slice_mm=match_mm,
        )
        pattern, scene = preparing.result(), pattern_of(region)
    known = _known(scene.region, zone, kernels)
    reach_mm = np.inf if zone is None else _SEARCH_MM
    box = SearchBox(low - reach_mm, high + reach_mm, None if zone is None else 0.5 * (low + high))
    places, correlation = _places(planning, pattern, scene, known, box)
    found = RigidSearch.of(pattern, scene, known).best(places, box)
    if correlation < _MIN_CORRELATION and (found is None or found.score < MIN_SURE_SCORE):
        _refuse_dissimilar(pattern.region, scene.region, known, correlation)
    if found is None:
        _refuse_dissimilar(pattern.region, scene.region, known, 0.0)
    return found.fit.planning_from_verification(planning.tumor_center_lps_mm), correlation


def _places(
    planning: PlanningFeatures, pattern: Pattern, scene: Pattern, known: BoolArray, box: SearchBox
) -> tuple[list[Float64Array], float]:
    """Where the tumor's center may lie: by the whole picture, then by the lung; and the picture's correlation."""
    center = planning.tumor_center_lps_mm
    pictures = translation_candidates(
        pattern.region, scene.region, pattern.region.inside, known, count=_PEAKS
    )
    lungs = translation_candidates(
        pattern.vessels, scene.vessels, pattern.lung, scene.lung & known, count=_PEAKS
    )
    places: list[Float64Array] = []
    correlation = 0.0
    for candidates, count in ((pictures, _PICTURE_CANDIDATES), (lungs, _LUNG_CANDIDATES)):
        inside = [
            (c, place)
            for c in candidates
            if box.holds(place := c.planning_from_verification.inverse.apply(center))
        ][:count]
        if candidates is pictures and inside:
            correlation = inside[0][0].correlation
        for position, (_, place) in enumerate(inside):
            distances_mm = [float(np.linalg.norm(place - other)) for other in places]
            if not distances_mm or min(distances_mm) > _SAME_PLACE_MM:
                places.append(place)
            elif candidates is lungs and position == 0 and int(np.argmin(distances_mm)) == 0:  # both agree
                return places[:1], correlation
    return places, correlation


def find_translation(
    moving: CtVolume, fixed: CtVolume, zone: LabelMask | None, *, kernels: KernelBackend = KernelBackend.CPU
) -> tuple[RigidTransform, float]:
    """Find the translation between two whole scans.

    Parameters
    ----------
    moving, fixed : CtVolume
    zone : LabelMask, optional
        Ablation zone in the fixed CT; carries no evidence.
    kernels : KernelBackend

    Returns
    -------
    moving_from_fixed : RigidTransform
    correlation : float

    Raises
    ------
    RefusedError
    """
    boxes = _box_lps_mm(moving), _box_lps_mm(fixed)
    widest = max(float((high - low).max()) for low, high in boxes)
    spacing = max(PATTERN_SPACING_MM, widest / _MAX_STEPS)
    moving_region, fixed_region = (
        comparison_region(ct, 0.5 * (low + high), 0.5 * (high - low), spacing)
        for ct, (low, high) in zip((moving, fixed), boxes, strict=True)
    )
    return _best(moving_region, fixed_region, _known(fixed_region, zone, kernels))


def _best(
    moving: ComparisonRegion, fixed: ComparisonRegion, known: BoolArray
) -> tuple[RigidTransform, float]:
    candidates = translation_candidates(moving, fixed, moving.inside, known, count=1)
    correlation = candidates[0].correlation if candidates else 0.0
    if correlation < _MIN_CORRELATION:
        _refuse_dissimilar(moving, fixed, known, correlation)
    return candidates[0].planning_from_verification, correlation


def _known(fixed: ComparisonRegion, zone: LabelMask | None, kernels: KernelBackend) -> BoolArray:
    if zone is None:
        return fixed.inside
    return fixed.inside & (distance_from(zone, fixed.geometry, kernels) > ZONE_HALO_MM)


def _refuse_dissimilar(
    moving: ComparisonRegion, fixed: ComparisonRegion, known: BoolArray, correlation: float
) -> NoReturn:
    """Refuse; as the wrong side if the mirror image of the planning region fits."""
    mirrored = masked_correlation(moving.hu[:, :, ::-1], moving.inside[:, :, ::-1], fixed.hu, known).max()
    if mirrored >= _MIN_MIRRORED_CORRELATION:
        raise RefusedError(
            RefusalCode.WRONG_SIDE,
            f"the verification CT fits the mirror image of the planning CT (correlation {mirrored:.2f}) and not "
            f"the planning CT itself ({correlation:.2f}): wrong side, or left and right exchanged in an export.",
        )
    raise RefusedError(
        RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
        "the surroundings of the planning lesion are not found around the ablation zone "
        f"(correlation {correlation:.2f}, minimum {_MIN_CORRELATION:g}): another patient, another lesion, or a zone "
        "far from the lesion. Check that both scans and the zone belong together.",
    )


def _box_lps_mm(volume: CtVolume | LabelMask) -> tuple[Float64Array, Float64Array]:
    """Low and high corner of a mask's structure, or of a whole CT."""
    if isinstance(volume, LabelMask):
        box = volume.bounding_box()
        ends = np.array(list(np.ndindex(2, 2, 2)), dtype=float)
        corners = volume.geometry.to_lps(np.array(box.start_zyx) + ends * (np.array(box.shape_zyx) - 1))
    else:
        corners = volume.geometry.corners_lps_mm()
    return corners.min(axis=0), corners.max(axis=0)
