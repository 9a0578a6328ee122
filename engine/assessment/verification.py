"""The clinical workflow: prepare the planning CT, then assess a verification CT.

Read top to bottom it is what happens in the room. Everything that needs only the planning CT is done before the
verification CT arrives, in :func:`engine.assessment.planning.prepare_planning`; :func:`assess_ablation` is the
critical path.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from engine.arrays import Float64Array
from engine.assessment.outcome import AblationAssessment, maps_of
from engine.assessment.planning import AssessmentSettings, PreparedPlanning, require_thin
from engine.assessment.same_patient import check_same_patient
from engine.assessment.wording import (
    contours_to_check,
    preliminary_summary,
    refused_summary,
    slice_warning,
    summary,
)
from engine.assessment.zone import ZoneContour, place_lesion, segmented_contour, supplied_contour
from engine.coverage.cold_spots import find_cold_spots
from engine.coverage.figures import SURE_ENOUGH, find_coverage, with_interval
from engine.coverage.grid import MeasurementField, lay_out, region_hu
from engine.coverage.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.coverage.ratio import measure_coverage, uncovered_in_lung
from engine.errors import InvalidRequestError, RadiomicsError
from engine.findings import (
    NO_CONTOUR,
    SUPPLIED,
    AlignmentFinding,
    ContourOrigin,
    CoverageFinding,
    LesionFinding,
    MarginFinding,
)
from engine.kernels.backend import resident
from engine.radiomics.radscore import Radscore
from engine.refusal import Refusal, RefusalCode, RefusedError
from engine.registration.comparison import PlanningSide
from engine.registration.register import Registration, align_rigidly, refine, translate
from engine.risk.clinical_inputs import ClinicalInputs
from engine.risk.model import SurvivalModel, SurvivalRisk
from engine.risk.signature import radscore_for, risk_of, signature_of
from engine.stages import Stage, StageClock, StageListener
from engine.structures.model_contour import StructureSegmenter
from engine.structures.surface import StructureSurface
from engine.structures.zone_search import REACH_MM
from engine.volume import CtVolume, LabelMask


def assess_ablation(
    prepared: PreparedPlanning,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    core: LabelMask | None = None,
    zone_segmenter: StructureSegmenter | None = None,
    clinical: ClinicalInputs | None = None,
    risk_model: SurvivalModel | None = None,
    include_risk_if_complete: bool = False,
    on_preliminary: Callable[[AblationAssessment], None] | None = None,
    settings: AssessmentSettings | None = None,
    listener: StageListener | None = None,
) -> AblationAssessment:
    """Measure coverage, margin, cold spots and risk of one verification CT.

    Parameters
    ----------
    prepared : PreparedPlanning
    verification : CtVolume
    zone : LabelMask, optional
        Ablation zone with its ground glass, on the grid of ``verification``; segmented where not given.
    core : LabelMask, optional
        Its dense core; looked for by HU where neither given nor segmented.
    zone_segmenter : StructureSegmenter, optional
        Draws the zone where none is given.
    clinical : ClinicalInputs, optional
    risk_model : SurvivalModel, optional
        Without one the risk stays empty.
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
    run = _Run(
        prepared,
        verification,
        clinical or ClinicalInputs(),
        settings or AssessmentSettings(),
        zone_segmenter,
        listener,
    )
    try:
        with resident(run.settings.kernels):
            return run.assess(zone, core, risk_model, include_risk_if_complete, on_preliminary)
    except RefusedError as refused:
        return run.refused(refused.refusal)


class _Run:
    """One pass through the workflow; holds what every stage needs."""

    def __init__(
        self,
        prepared: PreparedPlanning,
        verification: CtVolume,
        clinical: ClinicalInputs,
        settings: AssessmentSettings,
        zone_segmenter: StructureSegmenter | None,
        listener: StageListener | None,
    ) -> None:
        self.prepared, self.verification = prepared, verification
        self.clinical, self.settings, self.zone_segmenter = clinical, settings, zone_segmenter
        self.clock = StageClock(listener)
        self.warnings = [*prepared.warnings, *verification.acquisition.warnings]
        self.zone_origin = NO_CONTOUR  # of a refused assessment too

    def assess(
        self,
        zone: LabelMask | None,
        core: LabelMask | None,
        risk_model: SurvivalModel | None,
        include_risk_if_complete: bool,
        on_preliminary: Callable[[AblationAssessment], None] | None,
    ) -> AblationAssessment:
        clock, kernels = self.clock, self.settings.kernels
        with clock.stage(Stage.LOCATE_ZONE):
            self._require_measurable()
            if zone is not None:
                self.zone_origin = SUPPLIED
            supplied = None if zone is None else supplied_contour(self.verification, zone, core)
            place = self._place_of_lesion() if supplied is None else None
        if supplied is None:
            with clock.stage(Stage.SEGMENT_ZONE):
                at = self._segmented(place, core)
        else:
            at = supplied
        with clock.stage(Stage.COARSE_ALIGNMENT), ThreadPoolExecutor(1) as beside:
            beside.submit(at.draw_surfaces)
            side = self._planning_side()
            found = translate(side, self.verification, at.zone, kernels=kernels)
            self._require_same_place(place, found)
            rigid = align_rigidly(side, self.verification, at.zone, found, kernels=kernels)
        if on_preliminary is not None:
            with clock.stage(Stage.PRELIMINARY):
                on_preliminary(self._preliminary(at, rigid))
        with clock.stage(Stage.REGISTRATION):
            fine = refine(side, rigid, deadline_s=self.settings.registration_deadline_s, kernels=kernels)
        with clock.stage(Stage.COVERAGE):
            grid = self._lay_out(at, fine)
            self._require_target_in_view(grid)
            measured = self._measure(grid, at)
            uncovered = uncovered_in_lung(grid, self.settings.target_margin_mm)
            spots = find_cold_spots(grid, uncovered)
        with clock.stage(Stage.INTERVAL):
            interval = self._interval(grid, at, fine)
            sure = interval.probability_complete >= SURE_ENOUGH and self._surely_covered(at, fine)
        radscore = None
        if risk_model is not None and signature_of(risk_model) is not None:
            with clock.stage(Stage.RADIOMICS):
                radscore = self._radscore(risk_model, at)
        with clock.stage(Stage.RISK):
            risk = self._risk(risk_model, radscore, interval.probability_complete, include_risk_if_complete)
        coverage, margin = with_interval(*measured, interval, sure=sure or not self._to_check())
        return AblationAssessment(
            preliminary=False,
            summary=summary(coverage, margin, spots, self._to_check()),
            coverage=coverage,
            margin=margin,
            uncovered=spots,
            alignment=self._alignment(fine),
            lesion=self._lesion(fine),
            risk=risk,
            radscore=radscore,
            timings_s=dict(clock.timings_s),
            warnings=tuple(dict.fromkeys(self.warnings)),
            seed=self.settings.seed,
            draws=self.settings.draws,
            maps=maps_of(
                grid,
                region_hu(self.verification, grid.geometry, kernels),
                uncovered,
                self.settings.target_margin_mm,
            ),
        )

    def refused(self, refusal: Refusal) -> AblationAssessment:
        return AblationAssessment(
            preliminary=False,
            summary=refused_summary(refusal, self._to_check()),
            lesion=replace(
                self.prepared.lesion, volume_ml=None, longest_diameter_mm=None, contour_sd_mm=None
            ),
            coverage=CoverageFinding(
                target_margin_mm=self.settings.target_margin_mm, zone_origin=self.zone_origin
            ),
            alignment=AlignmentFinding(
                "none",
                planning_frame_of_reference_uid=self.prepared.planning.geometry.frame_of_reference_uid,
                verification_frame_of_reference_uid=self.verification.geometry.frame_of_reference_uid,
            ),
            timings_s=dict(self.clock.timings_s),
            warnings=tuple(dict.fromkeys(self.warnings)),
            refusal=refusal,
            seed=self.settings.seed,
        )

    def _require_measurable(self) -> None:
        if self.prepared.refusal is not None:
            raise RefusedError.again(self.prepared.refusal)
        self.warnings += check_same_patient(self.prepared.planning, self.verification)
        spacing = self.verification.geometry.spacing_zyx_mm
        self.warnings += slice_warning("verification", spacing, self.settings.target_margin_mm)
        require_thin(spacing, "verification", self.settings.max_slice_mm)

    def _place_of_lesion(self) -> Registration:
        if self.zone_segmenter is None:
            raise InvalidRequestError(
                "no ablation zone mask was given and no segmentation model is installed; send the zone"
            )
        return place_lesion(
            self._planning_side(), self.verification, self.zone_segmenter, kernels=self.settings.kernels
        )

    def _segmented(self, place: Registration | None, core: LabelMask | None) -> ZoneContour:
        assert place is not None  # noqa: S101 - found where no zone was supplied
        assert self.zone_segmenter is not None  # noqa: S101 - likewise
        self.zone_origin = ContourOrigin.segmented_by(self.zone_segmenter.identity)
        tumor = place.planning_from_verification.inverse.apply(self._planning_side().tumor_points_lps_mm)
        at = segmented_contour(
            self.verification, self.zone_segmenter, tumor, core, kernels=self.settings.kernels
        )
        self.warnings += at.said
        return at

    def _require_same_place(self, place: Registration | None, found: Registration) -> None:
        """Refuse where the lesion's place with the segmented zone is not the one where it was looked for."""
        if place is None:
            return
        apart_mm = float(np.linalg.norm(self._tumor_center(place) - self._tumor_center(found)))
        if apart_mm > REACH_MM:
            raise RefusedError(
                RefusalCode.ALIGNMENT_RESIDUAL_TOO_HIGH,
                f"the lesion's place is {apart_mm:.0f} mm off (at most {REACH_MM:g} mm) once the segmented zone is "
                "left out of the comparison: it is not known where the lesion lies; send the contoured zone",
            )

    def _to_check(self) -> str:
        return contours_to_check(self.prepared.lesion.origin, self.zone_origin)

    def _planning_side(self) -> PlanningSide:
        assert self.prepared.side is not None  # noqa: S101 - a prepared side without refusal has it
        return self.prepared.side

    def _require_target_in_view(self, grid: MeasurementField) -> None:
        geometry = self.verification.geometry
        if geometry.contains(grid.geometry.corners_lps_mm()).all():
            return  # the whole grid is in view: a box lies in a box where its corners do
        target = np.argwhere(grid.distance_to_tumor_mm < self.settings.target_margin_mm).astype(float)
        if not geometry.contains(grid.geometry.to_lps(target)).all():
            raise RefusedError(
                RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
                f"the tumor with its {self.settings.target_margin_mm:g} mm margin reaches beyond the "
                "verification CT; scan or reconstruct a larger field of view",
            )

    def _lay_out(self, at: ZoneContour, aligned: Registration) -> MeasurementField:
        return lay_out(
            self.prepared.tumor_surface,
            at.zone_surface,
            at.core_surface,
            self.prepared.lung,
            aligned.planning_from_verification,
            kernels=self.settings.kernels,
        )

    def _measure(self, grid: MeasurementField, at: ZoneContour) -> tuple[CoverageFinding, MarginFinding]:
        coverage, margin = find_coverage(
            grid,
            target_margin_mm=self.settings.target_margin_mm,
            zone_volume_ml=at.zone.volume_ml,
            zone_origin=self.zone_origin,
            core_origin=at.core_origin,
        )
        if coverage.tcr == 0.0 and at.contour_sd_mm is not None:
            raise RefusedError(
                RefusalCode.NO_ZONE,
                "the ablation zone that was segmented lies outside the target altogether: it may be of another lesion, "
                "or the model may have missed the one of this lesion; send the contoured zone",
            )
        if not (grid.tumor & grid.zone).any():
            self.warnings.append(
                "the ablation zone does not touch the tumor at all; check that zone and tumor are of one lesion"
            )
        return replace(coverage, zone_contour_sd_mm=at.contour_sd_mm), margin

    def _surely_covered(self, at: ZoneContour, aligned: Registration) -> bool:
        """Whether the contours cover each other on the side on which a model's error does no harm too."""
        zone, tumor = at.cautious or at.zone, self.prepared.cautious_tumor or self.prepared.tumor
        if zone is at.zone and tumor is self.prepared.tumor:
            return True  # both were supplied
        if not zone.voxels.any():
            return False
        cautious = lay_out(
            self.prepared.tumor_surface if tumor is self.prepared.tumor else StructureSurface(tumor),
            at.zone_surface if zone is at.zone else StructureSurface(zone),
            None,
            self.prepared.lung,
            aligned.planning_from_verification,
            kernels=self.settings.kernels,
        )
        whole, _ = measure_coverage(
            cautious,
            cautious.zone,
            cautious.distance_to_zone_mm,
            target_margin_mm=self.settings.target_margin_mm,
        )
        return whole.complete

    def _interval(self, grid: MeasurementField, at: ZoneContour, aligned: Registration) -> CoverageInterval:
        turn = aligned.planning_from_verification.inverse.rotation
        planning, verification = self.prepared.planning.geometry, self.verification.geometry
        return coverage_interval(
            grid,
            PoseUncertainty(aligned.translation_covariance_mm2, aligned.rotation_sd_deg),
            planning_slice=(
                turn @ np.array(planning.directions_zyx_lps[0]),
                planning.spacing_zyx_mm[0],
            ),
            verification_slice=(
                np.array(verification.directions_zyx_lps[0]),
                verification.spacing_zyx_mm[0],
            ),
            tumor_contour_sd_mm=self.prepared.lesion.contour_sd_mm,
            zone_contour_sd_mm=at.contour_sd_mm,
            draws=self.settings.draws,
            seed=self.settings.seed,
            target_margin_mm=self.settings.target_margin_mm,
        )

    def _preliminary(self, at: ZoneContour, rigid: Registration) -> AblationAssessment:
        tumor, zone = self.prepared.tumor_surface, at.zone_surface
        grid = lay_out(
            tumor, zone, None, None, rigid.planning_from_verification, kernels=self.settings.kernels
        )
        interval = self._interval(grid, at, rigid)
        coverage = CoverageFinding(
            tcr_interval_90=interval.tcr_90,
            target_margin_mm=self.settings.target_margin_mm,
            zone_origin=self.zone_origin,
            zone_contour_sd_mm=at.contour_sd_mm,
        )
        margin = MarginFinding(minimal_interval_90_mm=interval.minimal_mm_90)
        return AblationAssessment(
            preliminary=True,
            summary=preliminary_summary(interval.tcr_90, interval.minimal_mm_90, self._to_check()),
            coverage=coverage,
            margin=margin,
            alignment=self._alignment(rigid),
            lesion=self._lesion(rigid),
            timings_s=dict(self.clock.timings_s),
            warnings=tuple(dict.fromkeys(self.warnings)),
            seed=self.settings.seed,
            draws=self.settings.draws,
        )

    def _radscore(self, model: SurvivalModel, at: ZoneContour) -> Radscore | None:
        """The Radscore; None, with a warning, where this zone has none."""
        try:
            return radscore_for(model, self.verification, at.zone)
        except RadiomicsError as error:
            self.warnings.append(f"there is no Radscore, and no risk that needs one: {error}")
            return None

    def _risk(
        self,
        model: SurvivalModel | None,
        radscore: Radscore | None,
        probability_complete: float,
        include_if_complete: bool,
    ) -> SurvivalRisk | None:
        if model is None:
            return None
        return risk_of(
            model, self.clinical, probability_complete, radscore, include_if_complete=include_if_complete
        )

    def _tumor_center(self, at: Registration) -> Float64Array:
        inverse = at.planning_from_verification.inverse
        return np.asarray(
            inverse.rotation @ np.array(self.prepared.lesion.centroid_lps_mm) + inverse.translation_mm
        )

    def _lesion(self, at: Registration) -> LesionFinding:
        center = self._tumor_center(at)
        place = (float(center[0]), float(center[1]), float(center[2]))
        return replace(self.prepared.lesion, verification_centroid_lps_mm=place)

    def _alignment(self, at: Registration) -> AlignmentFinding:
        pose = PoseUncertainty(at.translation_covariance_mm2, at.rotation_sd_deg)
        return AlignmentFinding(
            method=at.method,
            planning_from_verification=at.planning_from_verification,
            similarity=at.similarity,
            residual_mm=at.residual_mm,
            pose_sd_mm=pose.sd_mm,
            quality=at.quality,
            planning_frame_of_reference_uid=self.prepared.planning.geometry.frame_of_reference_uid,
            verification_frame_of_reference_uid=self.verification.geometry.frame_of_reference_uid,
        )
