"""Where the lesion lies in the verification CT before its ablation zone is known, and the zone segmented there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.arrays import Float64Array
from engine.assessment.first_registration import register_first
from engine.assessment.planning import ScanPair
from engine.errors import InvalidRequestError
from engine.findings import SUPPLIED, LesionFinding
from engine.refusal import RefusalCode, RefusedError
from engine.registration.alignment import Alignment, Translation
from engine.registration.lesion_alignment import translate
from engine.structures.model_contour import StructureSegmenter, segment_parts
from engine.structures.warped_planning import WarpedPlanning
from engine.structures.zone import ZoneContour, require_uncut
from engine.structures.zone_search import ZONE_REACH_MM, find_zone
from engine.volume import LabelMask

_CAUSED_BY_THE_ZONE: Final = (RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH, RefusalCode.WRONG_SIDE)
"""Refusals that a zone which is taken for evidence can cause."""


@dataclass(frozen=True, eq=False)
class LesionPlace:
    """The lesion's place, found before its zone is known, what was there, and the model that draws the zone there."""

    alignment: Translation
    segmenter: StructureSegmenter
    before: WarpedPlanning


def place_lesion(pair: ScanPair, segmenter: StructureSegmenter | None) -> LesionPlace:
    """Find the lesion's place before its zone is known.

    A zone that fills much of the surroundings makes them unlike the planning CT's. Where they are not found
    for that reason, all that the model calls zone is left out of the comparison; only then does it have to
    look at the whole CT.

    Raises
    ------
    InvalidRequestError
        There is no model that could draw the zone.
    RefusedError
        The lesion is not found.
    """
    if segmenter is None:
        raise InvalidRequestError(
            "no ablation zone mask was given and no segmentation model is installed; send the zone"
        )
    features, verification, kernels = pair.prepared.features, pair.verification, pair.settings.kernels
    try:
        found = translate(features, verification, None, kernels=kernels)
    except RefusedError as refused:
        if refused.refusal.code not in _CAUSED_BY_THE_ZONE or segmenter.section.companions:
            raise  # a model that has to see what was there before cannot tell where
        parts = segment_parts(segmenter, verification, None, kernels)
        if len(parts.components) == 0:
            raise
        hidden = parts.on_ct(parts.labels > 0, "ablation zone")
        found = translate(features, verification, hidden, kernels=kernels)
    return LesionPlace(found, segmenter, register_first(pair, found))


def segment_zone(pair: ScanPair, place: LesionPlace, core: LabelMask | None) -> ZoneContour:
    """Segment the zone at the lesion's place; a supplied core takes the place of the segmented one.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    RefusedError
        There is no zone, or it is cut by the field of view.
    """
    supplied = None if core is None else core.require_on(pair.verification)
    contour = find_zone(
        pair.verification,
        place.segmenter,
        place.before.to_verification(pair.prepared.features.tumor_points_lps_mm),
        before=place.before,
        lung=pair.prepared.lung,
        kernels=pair.settings.kernels,
    )
    require_uncut(contour.zone)
    return contour if supplied is None else replace(contour, core=supplied, core_origin=SUPPLIED)


def lesion_center_lps_mm(alignment: Alignment, lesion: LesionFinding) -> Float64Array:
    """The tumor's centroid in the verification CT, (3,), LPS mm."""
    inverse = alignment.planning_from_verification.inverse
    return np.asarray(inverse.rotation @ np.array(lesion.centroid_lps_mm) + inverse.translation_mm)


def require_same_place(place: LesionPlace, alignment: Translation, lesion: LesionFinding) -> None:
    """Refuse where the lesion's place with the segmented zone is not the one where the zone was looked for.

    Raises
    ------
    RefusedError
    """
    before, now = (lesion_center_lps_mm(mapping, lesion) for mapping in (place.alignment, alignment))
    distance_mm = float(np.linalg.norm(before - now))
    if distance_mm > ZONE_REACH_MM:
        raise RefusedError(
            RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
            f"the lesion's place is {distance_mm:.0f} mm off (at most {ZONE_REACH_MM:g} mm) once the segmented zone is "
            "left out of the comparison: it is not known where the lesion lies; send the contoured zone",
        )
