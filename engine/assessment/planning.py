"""Everything that needs only the planning CT, done before the verification CT arrives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from engine.assessment.axis_order import AxisOrder
from engine.assessment.wording import drawn_by_model, slice_warning
from engine.coverage.interval import DRAWS
from engine.errors import InvalidRequestError
from engine.findings import READER_CONTOUR_SD_MM, SUPPLIED, TARGET_MARGIN_MM, ContourOrigin, LesionFinding
from engine.geometry import Vector3
from engine.input_warning import messages
from engine.kernels.backend import KernelBackend, resident
from engine.refusal import Refusal, RefusalCode, RefusedError
from engine.registration.planning_features import PlanningFeatures, match_slice_mm, planning_features
from engine.stages import Stage, StageClock, StageListener
from engine.structures.lesion import choose_lesion, describe_lesion, grown_box_inside, touches_border
from engine.structures.lung import segment_lung
from engine.structures.lung_doubt import require_plausible_lung
from engine.structures.lung_side import lung_side_of
from engine.structures.model_contour import ModelContour, StructureSegmenter
from engine.structures.surface import StructureSurface
from engine.structures.tumor_search import find_tumor
from engine.unit_doubt import require_hounsfield
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
    contour_sd_mm : float
        Standard deviation of a contour that was supplied, off the structure's surface: that of the site's readers.
    """

    target_margin_mm: float = TARGET_MARGIN_MM
    max_slice_mm: float = 5.0
    draws: int = DRAWS
    seed: int = 20260101
    registration_deadline_s: float | None = None
    kernels: KernelBackend = KernelBackend.CPU
    contour_sd_mm: float = READER_CONTOUR_SD_MM


@dataclass(frozen=True, eq=False)
class PreparedPlanning:
    """All that needs only the planning CT.

    Parameters
    ----------
    planning : CtVolume
        Its axes in the order in which everything is measured; the tumor's likewise.
    tumor_surface : StructureSurface
    lesion : LesionFinding
    lung : LabelMask
        Around the tumor.
    features : PlanningFeatures
        What the registration needs of the planning CT.
    warnings : tuple of str
    timings_s : dict of str to float
    cautious_tumor : LabelMask, optional
        All that may belong to a tumor that a model drew.
    """

    planning: CtVolume
    tumor_surface: StructureSurface
    lesion: LesionFinding
    lung: LabelMask
    features: PlanningFeatures
    warnings: tuple[str, ...]
    timings_s: dict[str, float]
    cautious_tumor: LabelMask | None = None

    @property
    def refusal(self) -> None:
        """None: nothing about the planning CT rules out a number."""
        return

    @property
    def tumor(self) -> LabelMask:
        """The tumor, on the grid of the planning CT."""
        return self.tumor_surface.mask


@dataclass(frozen=True, eq=False)
class RefusedPlanning:
    """A planning CT that alone rules out a trustworthy number; ``lesion`` as far as it is known."""

    planning: CtVolume
    lesion: LesionFinding
    refusal: Refusal
    warnings: tuple[str, ...]
    timings_s: dict[str, float]


PlanningOutcome: TypeAlias = PreparedPlanning | RefusedPlanning


def require_prepared(planning: PlanningOutcome) -> PreparedPlanning:
    """Return a prepared planning side.

    Raises
    ------
    RefusedError
        It was refused.
    """
    if isinstance(planning, RefusedPlanning):
        raise RefusedError.again(planning.refusal)
    return planning


@dataclass(frozen=True, eq=False)
class ScanPair:
    """A prepared planning side, and the verification CT that is assessed with it."""

    prepared: PreparedPlanning
    verification: CtVolume
    settings: AssessmentSettings


@dataclass(frozen=True, eq=False)
class _LocatedTumor:
    """The tumor that is measured."""

    mask: LabelMask
    lesion: LesionFinding
    warnings: tuple[str, ...]
    cautious: LabelMask | None = None


def prepare_planning(
    planning: CtVolume,
    tumor: LabelMask | None,
    *,
    target_lps_mm: Vector3 | None = None,
    tumor_segmenter: StructureSegmenter | None = None,
    settings: AssessmentSettings | None = None,
    listener: StageListener | None = None,
) -> PlanningOutcome:
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
    PreparedPlanning or RefusedPlanning
        The latter where the planning side alone rules out a trustworthy number.

    Raises
    ------
    InputError, InterruptedAssessmentError, ModelError, BackendError
    """
    chosen = settings or AssessmentSettings()
    clock = StageClock(listener)
    order = AxisOrder.upright(planning.geometry)
    planning, tumor = order.ct(planning), None if tumor is None else order.mask(tumor)
    require_hounsfield(planning, "planning")
    contour: LabelMask | ModelContour | RefusedPlanning
    if tumor is not None:
        contour = tumor
    else:
        with clock.stage(Stage.SEGMENT_TUMOR), resident(chosen.kernels):
            contour = _segment_tumor(planning, tumor_segmenter, target_lps_mm, chosen, clock.timings_s)
        if isinstance(contour, RefusedPlanning):
            return contour
    with clock.stage(Stage.LOCATE_LESION):
        located = _locate_tumor(contour, planning, target_lps_mm, chosen)
        refusal = planning_refusal(planning, located.mask, chosen)
        surface = StructureSurface(located.mask)
        if refusal is None:
            _ = surface.occupancy  # here, where nobody waits for it
    thick = slice_warning("planning", planning.geometry.spacing_zyx_mm, chosen.target_margin_mm)
    drawn = drawn_by_model("tumor", located.lesion.origin)
    warnings = (*messages(planning.acquisition.warnings), *drawn, *located.warnings, *thick)
    if refusal is not None:
        return RefusedPlanning(planning, located.lesion, refusal, warnings, clock.timings_s)
    with clock.stage(Stage.SEGMENT_LUNG):
        lung = segment_lung(planning, located.mask)
        try:
            require_plausible_lung(planning, located.mask, lung, chosen.target_margin_mm)
        except RefusedError as refused:
            return RefusedPlanning(planning, located.lesion, refused.refusal, warnings, clock.timings_s)
        lesion = _with_lung_side(planning, located.lesion)
    with clock.stage(Stage.REGISTRATION_FEATURES):
        features = planning_features(planning, located.mask)
        features.source(match_slice_mm(planning, planning))
        features.pattern(match_slice_mm(planning, planning))
    return PreparedPlanning(
        planning, surface, lesion, lung, features, warnings, clock.timings_s, located.cautious
    )


def _segment_tumor(
    planning: CtVolume,
    segmenter: StructureSegmenter | None,
    target_lps_mm: Vector3 | None,
    settings: AssessmentSettings,
    timings_s: dict[str, float],
) -> ModelContour | RefusedPlanning:
    """Let the model draw the tumor; if it is refused, only the model is known of the lesion's contour."""
    if segmenter is None:
        raise InvalidRequestError(
            "no tumor mask was given and no segmentation model is installed; send the contoured tumor"
        )
    try:
        require_thin(planning.geometry.spacing_zyx_mm, "planning", settings.max_slice_mm)
        return find_tumor(planning, segmenter, target_lps_mm, kernels=settings.kernels)
    except RefusedError as refused:
        unknown = LesionFinding(None, None, None, ContourOrigin.segmented_by(segmenter.identity), None)
        return RefusedPlanning(
            planning,
            unknown,
            refused.refusal,
            messages(planning.acquisition.warnings),
            timings_s,
        )


def _locate_tumor(
    contour: LabelMask | ModelContour,
    planning: CtVolume,
    target_lps_mm: Vector3 | None,
    settings: AssessmentSettings,
) -> _LocatedTumor:
    """Describe the tumor that was drawn, or the part of a supplied mask that is meant."""
    if isinstance(contour, ModelContour):
        lesion = replace(describe_lesion(contour.mask, contour.origin), contour_sd_mm=contour.contour_sd_mm)
        return _LocatedTumor(contour.mask, lesion, contour.warnings, contour.cautious)
    mask, warnings = choose_lesion(contour.require_on(planning), target_lps_mm)
    lesion = replace(describe_lesion(mask, SUPPLIED), contour_sd_mm=settings.contour_sd_mm)
    return _LocatedTumor(mask, lesion, (*messages(contour.warnings), *warnings))


def _with_lung_side(planning: CtVolume, lesion: LesionFinding) -> LesionFinding:
    place = lesion.centroid_lps_mm
    return lesion if place is None else replace(lesion, lung_side=lung_side_of(planning, place))


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


def planning_refusal(
    planning: CtVolume, tumor: LabelMask | None, settings: AssessmentSettings
) -> Refusal | None:
    """Return why a planning CT, with its tumor where that is known, rules out a number; None if it does not.

    Parameters
    ----------
    planning : CtVolume
    tumor : LabelMask or None
        On the grid of ``planning``.
    settings : AssessmentSettings
    """
    try:
        require_thin(planning.geometry.spacing_zyx_mm, "planning", settings.max_slice_mm)
    except RefusedError as refused:
        return refused.refusal
    if tumor is None:
        return None
    if touches_border(tumor) or not grown_box_inside(tumor, settings.target_margin_mm, planning.geometry):
        return Refusal(
            RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
            f"the tumor with its {settings.target_margin_mm:g} mm margin reaches beyond the planning CT; "
            "send a planning CT that shows all of it",
        )
    return None
