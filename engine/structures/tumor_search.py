"""The tumor in a planning CT without a mask: segmented, and chosen by the navigation system's target point.

Without a target point one candidate at the lung is taken, with a warning. Several are a refusal that lists them:
which of two nodules was ablated is nothing that a size or a probability could tell.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from engine.errors import InvalidRequestError
from engine.findings import ContourOrigin
from engine.geometry import Vector3
from engine.hounsfield import AERATED_LUNG_HU
from engine.kernels.backend import KernelBackend
from engine.refusal import LesionCandidate, RefusalCode, RefusedError
from engine.segmentation import Box
from engine.structures.model_contour import (
    DOUBTFUL_PROBABILITY,
    ModelContour,
    Parts,
    StructureSegmenter,
    min_contour_sd_mm,
    segment_parts,
)
from engine.volume import CtVolume

_HALF_WIDTHS_MM: Final = (45.0, 80.0)
"""Around a target point this much is segmented, and once more the wider box where the tumor is cut by it."""

_CANDIDATE_REACH_MM: Final = 10.0
"""A target point this far from a candidate of the model still means it: navigation systems aim at a tumor's middle, and
a small one may be drawn a slice or two off. Less than the 20 mm from a supplied mask
(:mod:`engine.structures.lesion`): a reader has chosen that one, a model marks whatever looks like a
tumor."""

_MIN_TARGETED_ML: Final = 0.03
"""A ball of 4 mm; smaller parts are noise even where a target point says that there is a tumor."""

_MIN_CANDIDATE_ML: Final = 0.1
"""Without a target point: a ball of 6 mm."""

_SHELL_MM: Final = 5.0
_MIN_LUNG_SHARE: Final = 0.15
"""Share of what lies within ``_SHELL_MM`` of a candidate that has to be lung: a nodule at the pleura has a quarter
and more."""

_MAX_LISTED: Final = 8


def find_tumor(
    planning: CtVolume,
    segmenter: StructureSegmenter,
    target_lps_mm: Vector3 | None = None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ModelContour:
    """Segment the tumor that is meant.

    Parameters
    ----------
    planning : CtVolume
    segmenter : StructureSegmenter
        Of tumors; what its manifest declares as tumor counts.
    target_lps_mm : tuple of float, optional
        The navigation system's point in the tumor.
    kernels : KernelBackend

    Returns
    -------
    ModelContour

    Raises
    ------
    InvalidRequestError
        The target lies outside the planning CT.
    RefusedError
        No candidate (``lesion_not_found``), or several and no target (``several_lesions``).
    """
    if target_lps_mm is not None:
        return _at_target(planning, segmenter, target_lps_mm, kernels)
    parts = segment_parts(segmenter, planning, None, kernels)
    large = [k for k, ml in enumerate(parts.components.volumes_ml) if ml >= _MIN_CANDIDATE_ML]
    candidates = [k for k in large if _lung_share(parts, k) >= _MIN_LUNG_SHARE]
    listed = tuple(_candidate(parts, k) for k in candidates)
    if not candidates:
        elsewhere = f" ({len(large)} of its candidates do not lie at the lung)" if large else ""
        raise RefusedError(
            RefusalCode.LESION_NOT_FOUND,
            f"the tumor model found no tumor of at least {_MIN_CANDIDATE_ML:g} mL in or at the lung of the planning "
            f"CT{elsewhere}; give the navigation system's target point, or send the contoured tumor",
        )
    if len(candidates) > 1:
        shown = "; ".join(f"{n}) {one}" for n, one in enumerate(listed[:_MAX_LISTED], 1))
        more = f"; and {len(listed) - _MAX_LISTED} smaller ones" if len(listed) > _MAX_LISTED else ""
        raise RefusedError(
            RefusalCode.SEVERAL_LESIONS,
            f"the tumor model found {len(listed)} candidates in the planning CT: {shown}{more}. Choose one by its "
            "target point, or send the contoured tumor",
            listed,
        )
    warning = (
        f"no target point was given: the only candidate of the tumor model, {listed[0]}, was taken; check it"
    )
    return _contour(parts, candidates[0], segmenter, (warning,))


def _at_target(
    planning: CtVolume, segmenter: StructureSegmenter, target_lps_mm: Vector3, kernels: KernelBackend
) -> ModelContour:
    if not planning.geometry.contains(np.array(target_lps_mm)):
        raise InvalidRequestError(
            "the target point lies outside the planning CT; check that it is in LPS mm of the planning CT",
            "target_lps_mm",
        )
    for half_width_mm in _HALF_WIDTHS_MM:
        parts = segment_parts(segmenter, planning, Box.around(target_lps_mm, half_width_mm), kernels)
        chosen, distance_mm = _nearest(parts, target_lps_mm)
        if distance_mm > _CANDIDATE_REACH_MM:
            _refuse_far(parts, chosen, distance_mm, half_width_mm)
        if not parts.cut_by_box(chosen):
            break
    else:
        raise RefusedError(
            RefusalCode.LESION_NOT_FOUND,
            f"what the tumor model found at the target point goes on beyond {_HALF_WIDTHS_MM[-1]:g} mm: no tumor; "
            "send the contoured tumor",
        )
    warnings = []
    if distance_mm > 0.0:
        warnings.append(
            f"the target point lies {distance_mm:.1f} mm outside the tumor that was segmented; check its contour"
        )
    return _contour(parts, chosen, segmenter, tuple(warnings))


def _nearest(parts: Parts, target_lps_mm: Vector3) -> tuple[int, float]:
    """The part nearest to a place, and how far its nearest voxel's edge is; -1 without a part."""
    target = parts.geometry.to_index(np.array(target_lps_mm))
    spacing = np.array(parts.geometry.spacing_zyx_mm)
    nearest, min_distance_mm = -1, np.inf
    for part, volume_ml in enumerate(parts.components.volumes_ml):
        if volume_ml < _MIN_TARGETED_ML:
            break  # the largest come first
        gap = np.maximum(np.abs(parts.voxel_indices(part) - target) - 0.5, 0.0) * spacing
        distance_mm = float(np.sqrt((gap**2).sum(axis=1).min()))
        if distance_mm < min_distance_mm:
            nearest, min_distance_mm = part, distance_mm
    return nearest, min_distance_mm


def _refuse_far(parts: Parts, nearest: int, distance_mm: float, half_width_mm: float) -> None:
    what_to_do = "check that the point is in LPS mm of the planning CT, or send the contoured tumor"
    if nearest < 0:
        raise RefusedError(
            RefusalCode.LESION_NOT_FOUND,
            f"the tumor model found no tumor within {half_width_mm:g} mm of the target point; {what_to_do}",
        )
    candidate = _candidate(parts, nearest)
    raise RefusedError(
        RefusalCode.LESION_NOT_FOUND,
        f"the tumor model found no tumor within {_CANDIDATE_REACH_MM:g} mm of the target point; its nearest candidate, "
        f"{candidate}, lies {distance_mm:.0f} mm away; {what_to_do}",
        (candidate,),
    )


def _candidate(parts: Parts, part: int) -> LesionCandidate:
    return LesionCandidate(float(parts.components.volumes_ml[part]), parts.place_lps_mm(part))


def _contour(
    parts: Parts, part: int, segmenter: StructureSegmenter, warnings: tuple[str, ...]
) -> ModelContour:
    mask = parts.on_ct(parts.voxels(part), "tumor")
    cautious = parts.on_ct(parts.grown_to(part, DOUBTFUL_PROBABILITY), "tumor")
    sd_mm = parts.contour_sd_mm(part, min_contour_sd_mm(segmenter.identity))
    return ModelContour(mask, ContourOrigin.segmented_by(segmenter.identity), sd_mm, cautious, warnings)


def _lung_share(parts: Parts, part: int) -> float:
    """Fraction of the shell of ``_SHELL_MM`` around a part that is aerated lung, 0 to 1."""
    spacing = np.array(parts.geometry.spacing_zyx_mm)
    box = parts.box_of(part, _SHELL_MM + 2.0)
    marked = parts.components.labels[box.slices] == part + 1
    shell = ~marked & (ndimage.distance_transform_edt(~marked, sampling=spacing) <= _SHELL_MM)
    on_ct = box.moved(parts.box.start_zyx)
    hu = ndimage.uniform_filter(parts.ct.voxels_hu[on_ct.slices].astype(np.float32), size=3)
    lung = (hu > AERATED_LUNG_HU[0]) & (hu < AERATED_LUNG_HU[1])
    return float(np.count_nonzero(shell & lung)) / max(1, int(np.count_nonzero(shell)))
