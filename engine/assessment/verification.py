"""The clinical workflow: prepare the planning CT, then assess a verification CT.

Read top to bottom it follows the procedure. Everything that needs only the planning CT is done before the
verification CT arrives, in :func:`engine.assessment.planning.prepare_planning`; :func:`assess_ablation` is the
critical path.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from engine.assessment.answer import final_answer, preliminary_answer, refused_answer
from engine.assessment.axis_order import AxisOrder
from engine.assessment.measuring import (
    confirm_complete,
    measure,
    measure_interval,
    preliminary_interval,
)
from engine.assessment.outcome import AblationAssessment
from engine.assessment.planning import (
    AssessmentSettings,
    PlanningOutcome,
    ScanPair,
    require_prepared,
    require_thin,
)
from engine.assessment.planning_frame import measure_planning_frame, widened_by_contraction
from engine.assessment.same_patient import check_same_patient
from engine.assessment.wording import drawn_by_model, slice_warning
from engine.assessment.zone import LesionPlace, place_lesion, require_same_place, segment_zone
from engine.coverage.grid import MeasurementField
from engine.coverage.interval import CoverageInterval
from engine.errors import RadiomicsError
from engine.findings import NO_CONTOUR, SUPPLIED, ContourOrigin, PlanningFrameFinding
from engine.geometry import VolumeGeometry
from engine.input_warning import messages
from engine.kernels.backend import resident, sharing_residency
from engine.radiomics.radscore import Radscore
from engine.refusal import RefusedError
from engine.registration.alignment import DeformableRegistration, RigidAlignment
from engine.registration.lesion_alignment import align_rigidly, refine, translate
from engine.risk.absence import NO_MODEL, RiskAbsence
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.risk.signature import radscore_for, risk_of, signature_of
from engine.stages import Stage, StageClock, StageListener
from engine.structures.model_contour import StructureSegmenter
from engine.structures.zone import ZoneContour, supplied_zone
from engine.unit_doubt import require_hounsfield
from engine.volume import CtVolume, LabelMask


def assess_ablation(
    planning: PlanningOutcome,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    core: LabelMask | None = None,
    zone_segmenter: StructureSegmenter | None = None,
    clinical: ClinicalInputs | None = None,
    risk_model: SurvivalModel | RiskAbsence = NO_MODEL,
    include_risk_if_complete: bool = False,
    on_preliminary: Callable[[AblationAssessment], None] | None = None,
    settings: AssessmentSettings | None = None,
    listener: StageListener | None = None,
) -> AblationAssessment:
    """Measure coverage, margin, cold spots and risk of one verification CT.

    Parameters
    ----------
    planning : PreparedPlanning or RefusedPlanning
        Of :func:`engine.assessment.planning.prepare_planning`.
    verification : CtVolume
    zone : LabelMask, optional
        Ablation zone with its ground glass, on the grid of ``verification``; segmented where not given.
    core : LabelMask, optional
        Its dense core; looked for by HU where neither given nor segmented.
    zone_segmenter : StructureSegmenter, optional
        Draws the zone where none is given.
    clinical : ClinicalInputs, optional
    risk_model : SurvivalModel or RiskAbsence
        Without one the answer says why.
    include_risk_if_complete : bool
    on_preliminary : callable, optional
        Gets the answer of the rigid alignment: ranges, not for decision.
    settings : AssessmentSettings, optional
    listener : StageListener, optional
        May stop the work between two stages.

    Returns
    -------
    AblationAssessment
        Either numbers or a refusal.

    Raises
    ------
    InputError, InterruptedAssessmentError, ModelError, BackendError
    """
    chosen = settings or AssessmentSettings()
    clock = StageClock(listener)
    order, stored_grid = AxisOrder.upright(verification.geometry), verification.geometry
    verification = order.ct(verification)
    zone, core = (None if mask is None else order.mask(mask) for mask in (zone, core))
    masks = [mask for mask in (zone, core) if mask is not None]
    warnings = (
        *planning.warnings,
        *messages(verification.acquisition.warnings),
        *(message for mask in masks for message in messages(mask.warnings)),
    )
    zone_origin = NO_CONTOUR  # as far as it is known, should the assessment be refused
    place: LesionPlace | None = None
    with resident(chosen.kernels):
        try:
            with clock.stage(Stage.LOCATE_ZONE):
                pair = ScanPair(require_prepared(planning), verification, chosen)
                warnings += compare_headers(pair.prepared.planning, verification, chosen)
                require_thin(verification.geometry.spacing_zyx_mm, "verification", chosen.max_slice_mm)
                if zone is None:
                    place = place_lesion(pair, zone_segmenter)
                else:
                    zone_origin = SUPPLIED
                    contour = supplied_zone(verification, zone, core)
            if place is not None:
                zone_origin = ContourOrigin.segmented_by(place.segmenter.identity)
                with clock.stage(Stage.SEGMENT_ZONE):
                    contour = segment_zone(pair, place, core)
            warnings += (*drawn_by_model("ablation zone", contour.origin), *contour.warnings)
            with clock.stage(Stage.COARSE_ALIGNMENT):
                rigid = _align(pair, contour, place)
            if on_preliminary is not None:
                with clock.stage(Stage.PRELIMINARY):
                    ranges = preliminary_interval(pair, contour, rigid)
                    early = preliminary_answer(pair, contour, rigid, ranges, warnings, clock.timings_s)
                    on_preliminary(_as_stored(early, order, stored_grid))
            with clock.stage(Stage.REGISTRATION):
                fine = _refine(pair, rigid)
            with clock.stage(Stage.COVERAGE):
                measurement = measure(pair, contour, fine)
        except RefusedError as refused:
            return refused_answer(
                planning,
                verification,
                chosen,
                refused.refusal,
                zone_origin,
                warnings,
                clock.timings_s,
            )
        with clock.stage(Stage.INTERVAL):
            interval, before = _measure_intervals(pair, contour, fine, measurement.grid)
            confirmed = confirm_complete(pair, contour, fine, interval)
        radscore, without_radscore = _measure_radscore(risk_model, verification, contour.zone, clock)
        risk: SurvivalRisk | RiskAbsence
        with clock.stage(Stage.RISK):
            if isinstance(risk_model, RiskAbsence):
                risk = risk_model
            else:
                risk = risk_of(
                    risk_model,
                    clinical or ClinicalInputs(),
                    interval.probability_complete,
                    radscore,
                    include_if_complete=include_risk_if_complete,
                )
        answer = final_answer(
            pair,
            contour,
            fine,
            measurement,
            interval,
            confirmed,
            before,
            radscore=radscore,
            risk=risk,
            warnings=(*warnings, *measurement.warnings, *without_radscore),
            timings_s=clock.timings_s,
        )
        return _as_stored(answer, order, stored_grid)


def _as_stored(answer: AblationAssessment, order: AxisOrder, grid: VolumeGeometry) -> AblationAssessment:
    """The answer with its zone on the grid of the verification CT as it was given."""
    if order.unchanged or answer.zone is None:
        return answer
    zone = replace(answer.zone, voxels=order.inverse.ordered(answer.zone.voxels), geometry=grid)
    return replace(answer, zone=zone)


def compare_headers(
    planning: CtVolume, verification: CtVolume, settings: AssessmentSettings
) -> tuple[str, ...]:
    """Refuse scans that do not belong together, or a verification CT that is not in Hounsfield units.

    Returns
    -------
    tuple of str
        Warnings about how the two were acquired.

    Raises
    ------
    PatientMismatchError, SameSeriesError, AcquiredOutOfOrderError, NotCtError
    """
    together = check_same_patient(planning, verification)
    require_hounsfield(verification, "verification")
    return (
        *together,
        *slice_warning("verification", verification.geometry.spacing_zyx_mm, settings.target_margin_mm),
    )


def _align(pair: ScanPair, contour: ZoneContour, place: LesionPlace | None) -> RigidAlignment:
    """Align the lesion rigidly; its place must be the one where a segmented zone was looked for."""
    features, kernels = pair.prepared.features, pair.settings.kernels
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contour.draw_surfaces)
        translation = translate(features, pair.verification, contour.zone, kernels=kernels)
        if place is not None:
            require_same_place(place, translation, pair.prepared.lesion)
        return align_rigidly(features, pair.verification, contour.zone, translation, kernels=kernels)


def _refine(pair: ScanPair, rigid: RigidAlignment) -> DeformableRegistration:
    settings = pair.settings
    return refine(
        pair.prepared.features, rigid, deadline_s=settings.registration_deadline_s, kernels=settings.kernels
    )


def _measure_intervals(
    pair: ScanPair, contour: ZoneContour, alignment: DeformableRegistration, grid: MeasurementField
) -> tuple[CoverageInterval, PlanningFrameFinding]:
    """How sure the measurement is, and beside it the figure of the tissue that was there before."""
    with ThreadPoolExecutor(1) as pool:
        measuring = pool.submit(sharing_residency(measure_planning_frame), pair, contour, alignment)
        interval = measure_interval(pair, contour, alignment, grid)
        before = measuring.result()
    return widened_by_contraction(interval, before), before


def _measure_radscore(
    model: SurvivalModel | RiskAbsence, verification: CtVolume, zone: LabelMask, clock: StageClock
) -> tuple[Radscore | None, tuple[str, ...]]:
    """The Radscore of the zone, or a warning where this zone has none; neither for a model without a signature."""
    if isinstance(model, RiskAbsence) or signature_of(model) is None:
        return None, ()
    with clock.stage(Stage.RADIOMICS):
        try:
            return radscore_for(model, verification, zone), ()
        except RadiomicsError as error:
            return None, (f"there is no Radscore, and no risk that needs one: {error}",)
