"""The zone that is measured, supplied or segmented, with its core and its doubt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from engine.arrays import Float64Array
from engine.findings import NO_CONTOUR, SUPPLIED, THRESHOLDED, ContourOrigin
from engine.kernels.backend import KernelBackend
from engine.refusal import RefusalCode, RefusedError
from engine.registration.comparison import PlanningSide
from engine.registration.register import Registration, translate
from engine.structures.lesion import find_core, touches_border
from engine.structures.model_contour import StructureSegmenter, segment_parts
from engine.structures.surface import StructureSurface
from engine.structures.zone_search import find_zone
from engine.volume import CtVolume, LabelMask

_UNLIKE: Final = (RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH, RefusalCode.WRONG_SIDE)
"""Refusals that a zone which is taken for evidence can cause."""


@dataclass(frozen=True, eq=False)
class ZoneContour:
    """An ablation zone and its dense core, on the grid of the verification CT.

    Parameters
    ----------
    zone : LabelMask
    core : LabelMask or None
    origin, core_origin : ContourOrigin
    contour_sd_mm : float, optional
        Of a zone that a model drew.
    cautious : LabelMask, optional
        Where the model is sure of it; may be empty.
    said : tuple of str
        What a reader has to know of it.
    """

    zone: LabelMask
    core: LabelMask | None
    origin: ContourOrigin
    core_origin: ContourOrigin
    contour_sd_mm: float | None = None
    cautious: LabelMask | None = None
    said: tuple[str, ...] = ()

    @cached_property
    def zone_surface(self) -> StructureSurface:
        """Surface of the zone."""
        return StructureSurface(self.zone)

    @cached_property
    def core_surface(self) -> StructureSurface | None:
        """Surface of the core, where there is one."""
        return None if self.core is None else StructureSurface(self.core)

    def draw_surfaces(self) -> None:
        """Compute both surfaces now, for whoever needs them later."""
        for surface in (self.zone_surface, self.core_surface):
            if surface is not None:
                _ = surface.occupancy


def supplied_contour(verification: CtVolume, zone: LabelMask, core: LabelMask | None) -> ZoneContour:
    """Take a supplied zone; its core is looked for by HU where not given.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    RefusedError
        The zone is cut by the field of view.
    """
    zone.require_on(verification)
    _require_uncut(zone)
    if core is not None:
        return ZoneContour(zone, core.require_on(verification), SUPPLIED, SUPPLIED)
    found = find_core(verification, zone)
    return ZoneContour(zone, found, SUPPLIED, NO_CONTOUR if found is None else THRESHOLDED)


def segmented_contour(
    verification: CtVolume,
    segmenter: StructureSegmenter,
    tumor_points_lps_mm: Float64Array,
    core: LabelMask | None,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> ZoneContour:
    """Segment the zone at a lesion; see :func:`engine.structures.zone_search.find_zone`.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    RefusedError
        There is no zone, or it is cut by the field of view.
    """
    supplied = None if core is None else core.require_on(verification)
    found = find_zone(verification, segmenter, tumor_points_lps_mm, kernels=kernels)
    drawn = found.zone
    _require_uncut(drawn.mask)
    core_origin = found.core_origin if supplied is None else SUPPLIED
    return ZoneContour(
        drawn.mask,
        found.core if supplied is None else supplied,
        drawn.origin,
        core_origin,
        drawn.contour_sd_mm,
        drawn.cautious,
        drawn.said,
    )


def place_lesion(
    side: PlanningSide,
    verification: CtVolume,
    segmenter: StructureSegmenter,
    *,
    kernels: KernelBackend = KernelBackend.CPU,
) -> Registration:
    """Find the lesion's place before its zone is known.

    A zone that fills much of the surroundings makes them unlike the planning CT's. Where they are not found
    for that reason, all that the model calls zone is left out of the comparison; only then does it have to
    look at the whole CT.

    Raises
    ------
    RefusedError
        The lesion is not found.
    """
    try:
        return translate(side, verification, None, kernels=kernels)
    except RefusedError as refused:
        if refused.refusal.code not in _UNLIKE:
            raise
        parts = segment_parts(segmenter, verification, None, kernels)
        if len(parts.components) == 0:
            raise
        hidden = parts.on_ct(parts.labels > 0, "ablation zone")
        return translate(side, verification, hidden, kernels=kernels)


def _require_uncut(zone: LabelMask) -> None:
    if touches_border(zone):
        raise RefusedError(
            RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW,
            "the ablation zone reaches the edge of the verification CT and may go on beyond it; "
            "scan or reconstruct a larger field of view",
        )
