"""Everything that needs only the planning CT, done before the verification CT arrives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.assessment.wording import slice_warning
from engine.coverage.interval import DRAWS
from engine.coverage.ratio import TARGET_MARGIN_MM
from engine.errors import InvalidRequestError
from engine.findings import SUPPLIED, ContourOrigin, LesionFinding
from engine.geometry import Vector3
from engine.kernels.backend import KernelBackend, resident
from engine.refusal import Refusal, RefusalCode, RefusedError
from engine.registration.comparison import PlanningSide, match_slice_mm, planning_side
from engine.stages import Stage, StageClock, StageListener
from engine.structures.lesion import choose_lesion, describe_lesion, grown_box_inside, touches_border
from engine.structures.lung import segment_lung
from engine.structures.model_contour import StructureSegmenter
from engine.structures.surface import StructureSurface
from engine.structures.tumor_search import find_tumor
from engine.volume import CtVolume, LabelMask


@dataclass(frozen=True)
class AssessmentSettings:
    """What a site may choose.

    Parameters
    ----------
    target_margin_mm : float
        Width of the target around the tumor.
    max_slice_mm : float
        Slice distance above which no number is given.
    draws, seed : int
        Of the coverage interval.
    registration_deadline_s : float, optional
        Where the fine deformation would take longer, the coarse one has to do, with a wider interval.
    kernels : KernelBackend
        Twin of the voxel kernels.
    """

    target_margin_mm: float = TARGET_MARGIN_MM
    max_slice_mm: float = 5.0
    draws: int = DRAWS
    seed: int = 20260101
    registration_deadline_s: float | None = None
    kernels: KernelBackend = KernelBackend.CPU


@dataclass(frozen=True, eq=False)
class PreparedPlanning:
    """All that needs only the planning CT; the tumor is empty where the refusal says that none was found.

    ``cautious_tumor`` is there where a model drew it: all that may belong to it.
    """

    planning: CtVolume
    tumor_surface: StructureSurface
    lesion: LesionFinding
    lung: LabelMask | None
    side: PlanningSide | None
    warnings: tuple[str, ...]
    timings_s: dict[str, float]
    refusal: Refusal | None
    cautious_tumor: LabelMask | None = None

    @property
    def tumor(self) -> LabelMask:
        """The tumor, on the grid of the planning CT."""
        return self.tumor_surface.mask


def prepare_planning(
    planning: CtVolume,
    tumor: LabelMask | None,
    *,
    target_lps_mm: Vector3 | None = None,
    tumor_segmenter: StructureSegmenter | None = None,
    settings: AssessmentSettings | None = None,
    listener: StageListener | None = None,
) -> PreparedPlanning:
    """Do everything that needs only the planning CT.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask, optional
        On the grid of ``planning``; segmented where not given.
    target_lps_mm : tuple of float, optional
        The navigation system's point in the tumor.
    tumor_segmenter : StructureSegmenter, optional
        Draws the tumor where none is given.
    settings : AssessmentSettings, optional
    listener : StageListener, optional

    Returns
    -------
    PreparedPlanning
        With a refusal where the planning side alone rules out a trustworthy number.

    Raises
    ------
    InvalidRequestError, GridMismatchError, EmptyMaskError, InterruptedAssessmentError, ModelError, BackendError
    """
    chosen = settings or AssessmentSettings()
    clock = StageClock(listener)
    drawn = None
    if tumor is None:
        with clock.stage(Stage.SEGMENT_TUMOR), resident(chosen.kernels):
            if tumor_segmenter is None:
                raise InvalidRequestError(
                    "no tumor mask was given and no segmentation model is installed; send the contoured tumor"
                )
            try:
                require_thin(planning.geometry.spacing_zyx_mm, "planning", chosen.max_slice_mm)
                drawn = find_tumor(planning, tumor_segmenter, target_lps_mm, kernels=chosen.kernels)
            except RefusedError as refused:
                return _without_tumor(planning, tumor_segmenter, refused.refusal, clock)
    with clock.stage(Stage.LOCATE_LESION):
        if drawn is not None:
            lesion_mask, warnings = drawn.mask, drawn.said
            lesion = replace(describe_lesion(lesion_mask, drawn.origin), contour_sd_mm=drawn.contour_sd_mm)
        else:
            assert tumor is not None  # noqa: S101 - it was drawn otherwise
            lesion_mask, warnings = choose_lesion(tumor.require_on(planning), target_lps_mm)
            lesion = describe_lesion(lesion_mask, SUPPLIED)
        refusal = _planning_refusal(planning, lesion_mask, chosen)
        surface = StructureSurface(lesion_mask)
        if refusal is None:
            _ = surface.occupancy  # here, where nobody waits for it
    lung = side = None
    if refusal is None:
        with clock.stage(Stage.SEGMENT_LUNG):
            lung = segment_lung(planning, lesion_mask)
        with clock.stage(Stage.REGISTRATION_FEATURES):
            side = planning_side(planning, lesion_mask)
            side.source(match_slice_mm(planning, planning))
            side.pattern(match_slice_mm(planning, planning))
    thick = slice_warning("planning", planning.geometry.spacing_zyx_mm, chosen.target_margin_mm)
    said = (*planning.acquisition.warnings, *warnings, *thick)
    cautious = None if drawn is None else drawn.cautious
    return PreparedPlanning(planning, surface, lesion, lung, side, said, clock.timings_s, refusal, cautious)


def _without_tumor(
    planning: CtVolume, segmenter: StructureSegmenter, refusal: Refusal, clock: StageClock
) -> PreparedPlanning:
    """The planning side of which no tumor is known."""
    none = LabelMask(np.zeros(planning.geometry.shape_zyx, dtype=np.bool_), planning.geometry, "tumor")
    lesion = LesionFinding(None, None, None, ContourOrigin.segmented_by(segmenter.identity), None)
    return PreparedPlanning(
        planning,
        StructureSurface(none),
        lesion,
        None,
        None,
        planning.acquisition.warnings,
        clock.timings_s,
        refusal,
    )


def require_thin(spacing_zyx_mm: Vector3, which: str, limit_mm: float) -> None:
    """Refuse slices farther apart than the site allows.

    Raises
    ------
    RefusedError
    """
    thickest = max(spacing_zyx_mm)
    if thickest > limit_mm * 1.01:
        raise RefusedError(
            RefusalCode.SLICES_TOO_THICK,
            f"the {which} CT has slices {thickest:.2f} mm apart, more than the limit of {limit_mm:g} mm; "
            "reconstruct thinner slices (1.25 mm or less)",
        )


def _planning_refusal(planning: CtVolume, tumor: LabelMask, settings: AssessmentSettings) -> Refusal | None:
    try:
        require_thin(planning.geometry.spacing_zyx_mm, "planning", settings.max_slice_mm)
    except RefusedError as refused:
        return refused.refusal
    if touches_border(tumor) or not grown_box_inside(tumor, settings.target_margin_mm, planning.geometry):
        return Refusal(
            RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
            f"the tumor with its {settings.target_margin_mm:g} mm margin reaches beyond the planning CT; "
            "send a planning CT that shows all of it",
        )
    return None
