"""The ablation zone with its dense core: where both came from, and how sure their contours are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from engine.findings import NO_CONTOUR, SUPPLIED, THRESHOLDED, ContourOrigin
from engine.refusal import RefusalCode, RefusedError
from engine.structures.core import find_core
from engine.structures.lesion import touches_border
from engine.structures.surface import StructureSurface
from engine.volume import CtVolume, LabelMask


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
        Where the model is sure of the zone; may be empty.
    warnings : tuple of str
        For the reader of the assessment.
    changed_share : float, optional
        Of a zone that a model drew: share that changed against the planning CT.
    parts : int, optional
        Of a zone that a model drew: disjoint parts that count together.
    """

    zone: LabelMask
    core: LabelMask | None
    origin: ContourOrigin
    core_origin: ContourOrigin
    contour_sd_mm: float | None = None
    cautious: LabelMask | None = None
    warnings: tuple[str, ...] = ()
    changed_share: float | None = None
    parts: int | None = None

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


def supplied_zone(verification: CtVolume, zone: LabelMask, core: LabelMask | None) -> ZoneContour:
    """Take a supplied zone; a core that was not supplied is looked for by its Hounsfield units.

    Raises
    ------
    GridMismatchError, EmptyMaskError
    RefusedError
        The zone is cut by the field of view.
    """
    zone.require_on(verification)
    require_uncut(zone)
    if core is not None:
        return ZoneContour(zone, core.require_on(verification), SUPPLIED, SUPPLIED)
    dense = find_core(verification, zone)
    return ZoneContour(zone, dense, SUPPLIED, NO_CONTOUR if dense is None else THRESHOLDED)


def require_uncut(zone: LabelMask) -> None:
    """Refuse a zone that reaches the edge of its CT.

    Raises
    ------
    RefusedError
    """
    if touches_border(zone):
        raise RefusedError(
            RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW,
            "the ablation zone reaches the edge of the verification CT and may go on beyond it; "
            "scan or reconstruct a larger field of view",
        )
