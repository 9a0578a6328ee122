"""The clinical workflow: prepare the planning CT, then assess a verification CT.

Read top to bottom it is what happens in the room. Everything that needs only the planning CT is done in
:func:`prepare_planning`, before the verification CT arrives; :func:`assess_ablation` is the critical path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from engine.cold_spots import find_cold_spots
from engine.coverage import (
    margin_shares,
    measure_coverage,
    not_assessable_share,
    uncovered_in_lung,
)
from engine.errors import InvalidRequestError
from engine.findings import AlignmentFinding, ColdSpot, CoverageFinding, LesionFinding, MarginFinding
from engine.geometry import FloatArray, VolumeGeometry
from engine.interval import CoverageInterval, PoseUncertainty, coverage_interval
from engine.lesion import find_core, touches_border
from engine.measurement import MeasurementField, lay_out, region_hu
from engine.preparation import AssessmentSettings, PreparedPlanning, prepare_planning, require_thin
from engine.reading import check_same_patient
from engine.refusal import Refusal, RefusalCode, RefusedError
from engine.registration.comparison import PlanningSide
from engine.registration.deformable import Registration, align_rigidly, refine, translate
from engine.stages import Stage, StageClock, StageListener
from engine.survival import SurvivalModel, SurvivalRisk
from engine.volume import CtVolume, LabelMask
from engine.wording import preliminary_summary, refused_summary, slice_warning, summary

__all__ = [
    "AblationAssessment",
    "AlignmentFinding",
    "AssessmentMaps",
    "AssessmentSettings",
    "ClinicalInputs",
    "ColdSpot",
    "CoverageFinding",
    "LesionFinding",
    "MarginFinding",
    "PreparedPlanning",
    "Refusal",
    "SurvivalRisk",
    "assess_ablation",
    "prepare_planning",
]


@dataclass(frozen=True)
class ClinicalInputs:
    """Inputs of the risk model that do not come from the CT; absent ones widen its band."""

    sex: Literal["f", "m"] | None = None
    fibrinogen_g_per_l: float | None = None


@dataclass(frozen=True, eq=False)
class AssessmentMaps:
    """Masks and margin map on the measurement grid (verification frame, isotropic)."""

    geometry: VolumeGeometry
    ct_hu: npt.NDArray[np.int16]
    tumor: npt.NDArray[np.bool_]
    target: npt.NDArray[np.bool_]
    zone: npt.NDArray[np.bool_]
    core: npt.NDArray[np.bool_] | None
    lung: npt.NDArray[np.bool_]
    uncovered: npt.NDArray[np.bool_]
    margin_mm: npt.NDArray[np.float32]
    """Signed distance to the zone's surface, positive inside the zone."""


@dataclass(frozen=True, eq=False)
class AblationAssessment:
    """What is said of one verification CT; every number is None where ``refusal`` is set."""

    preliminary: bool
    summary: str
    lesion: LesionFinding
    coverage: CoverageFinding = field(default_factory=CoverageFinding)
    margin: MarginFinding = field(default_factory=MarginFinding)
    uncovered: tuple[ColdSpot, ...] = ()
    alignment: AlignmentFinding = field(default_factory=lambda: AlignmentFinding("none"))
    risk: SurvivalRisk | None = None
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None
    seed: int = 0
    draws: int = 0
    maps: AssessmentMaps | None = None


def assess_ablation(
    prepared: PreparedPlanning,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    core: LabelMask | None = None,
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
    zone : LabelMask
        Ablation zone with its ground glass, on the grid of ``verification``.
    core : LabelMask, optional
        Its dense core; looked for by HU where not given.
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
    InputError, InterruptedAssessmentError, ModelError
    """
    run = _Run(
        prepared, verification, clinical or ClinicalInputs(), settings or AssessmentSettings(), listener
    )
    try:
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
        listener: StageListener | None,
    ) -> None:
        self.prepared, self.verification = prepared, verification
        self.clinical, self.settings = clinical, settings
        self.clock = StageClock(listener)
        self.warnings = [*prepared.warnings, *verification.acquisition.warnings]

    def assess(
        self,
        zone: LabelMask | None,
        core: LabelMask | None,
        risk_model: SurvivalModel | None,
        include_risk_if_complete: bool,
        on_preliminary: Callable[[AblationAssessment], None] | None,
    ) -> AblationAssessment:
        clock = self.clock
        with clock.stage(Stage.LOCATE_ZONE):
            zone, core, core_source = self._structures(zone, core)
        with clock.stage(Stage.COARSE_ALIGNMENT):
            side, backend = self._planning_side(), self.settings.backend
            found = translate(side, self.verification, zone, backend=backend)
            rigid = align_rigidly(side, self.verification, zone, found, backend=backend)
        if on_preliminary is not None:
            with clock.stage(Stage.PRELIMINARY):
                on_preliminary(self._preliminary(zone, core, rigid))
        with clock.stage(Stage.REGISTRATION):
            fine = refine(side, rigid, deadline_s=self.settings.registration_deadline_s, backend=backend)
        with clock.stage(Stage.COVERAGE):
            grid = self._lay_out(zone, core, fine)
            self._require_target_in_view(grid)
            measured = self._measure(grid, zone, core_source)
            uncovered = uncovered_in_lung(grid, self.settings.target_margin_mm)
            spots = find_cold_spots(grid, uncovered)
        with clock.stage(Stage.INTERVAL):
            interval = self._interval(grid, fine, self.settings.draws)
        with clock.stage(Stage.RISK):
            risk = self._risk(risk_model, interval.probability_complete, include_risk_if_complete)
        coverage, margin = _with_interval(*measured, interval)
        return AblationAssessment(
            preliminary=False,
            summary=summary(coverage, margin, spots),
            coverage=coverage,
            margin=margin,
            uncovered=spots,
            alignment=self._alignment(fine),
            lesion=self._lesion(fine),
            risk=risk,
            timings_s=dict(clock.timings_s),
            warnings=tuple(dict.fromkeys(self.warnings)),
            seed=self.settings.seed,
            draws=self.settings.draws,
            maps=self._maps(grid, uncovered),
        )

    def refused(self, refusal: Refusal) -> AblationAssessment:
        return AblationAssessment(
            preliminary=False,
            summary=refused_summary(refusal),
            lesion=replace(self.prepared.lesion, volume_ml=None, longest_diameter_mm=None),
            coverage=CoverageFinding(target_margin_mm=self.settings.target_margin_mm),
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

    def _structures(
        self, zone: LabelMask | None, core: LabelMask | None
    ) -> tuple[LabelMask, LabelMask | None, str]:
        if self.prepared.refusal is not None:
            raise RefusedError(self.prepared.refusal.code, self.prepared.refusal.reason)
        self.warnings += check_same_patient(self.prepared.planning, self.verification)
        spacing = self.verification.geometry.spacing_zyx_mm
        self.warnings += slice_warning("verification", spacing, self.settings.target_margin_mm)
        require_thin(spacing, "verification", self.settings.max_slice_mm)
        if zone is None:
            raise InvalidRequestError(
                "no ablation zone mask was given and no segmentation model is installed; send the zone"
            )
        zone.require_on(self.verification)
        if touches_border(zone):
            raise RefusedError(
                RefusalCode.ZONE_CUT_BY_FIELD_OF_VIEW,
                "the ablation zone reaches the edge of the verification CT and may go on beyond it; "
                "scan or reconstruct a larger field of view",
            )
        if core is not None:
            return zone, core.require_on(self.verification), "supplied"
        found = find_core(self.verification, zone)
        return zone, found, "found" if found is not None else "none"

    def _planning_side(self) -> PlanningSide:
        assert self.prepared.side is not None  # noqa: S101 - a prepared side without refusal has it
        return self.prepared.side

    def _require_target_in_view(self, grid: MeasurementField) -> None:
        target = np.argwhere(grid.distance_to_tumor_mm < self.settings.target_margin_mm).astype(float)
        if not self.verification.geometry.contains(grid.geometry.to_lps(target)).all():
            raise RefusedError(
                RefusalCode.TARGET_CUT_BY_FIELD_OF_VIEW,
                f"the tumor with its {self.settings.target_margin_mm:g} mm margin reaches beyond the "
                "verification CT; scan or reconstruct a larger field of view",
            )

    def _lay_out(self, zone: LabelMask, core: LabelMask | None, at: Registration) -> MeasurementField:
        assert self.prepared.lung is not None  # noqa: S101 - a prepared side without refusal has its lung
        return lay_out(
            self.prepared.tumor,
            zone,
            core,
            self.prepared.lung,
            at.planning_from_verification,
            backend=self.settings.backend,
        )

    def _measure(
        self, grid: MeasurementField, zone: LabelMask, core_source: str
    ) -> tuple[CoverageFinding, MarginFinding]:
        margin_mm = self.settings.target_margin_mm
        whole, in_lung = measure_coverage(
            grid, grid.zone, grid.distance_to_zone_mm, target_margin_mm=margin_mm
        )
        core = None
        if grid.core is not None and grid.distance_to_core_mm is not None:
            core, _ = measure_coverage(grid, grid.core, grid.distance_to_core_mm, target_margin_mm=margin_mm)
        if not (grid.tumor & grid.zone).any():
            self.warnings.append(
                "the ablation zone does not touch the tumor at all; check that zone and tumor are of one lesion"
            )
        coverage = CoverageFinding(
            tcr=whole.tcr,
            complete=whole.complete,
            lung_clipped_tcr=in_lung.tcr,
            not_assessable_share=not_assessable_share(grid, margin_mm),
            core_tcr=None if core is None else core.tcr,
            core_source=core_source,
            target_volume_ml=whole.target_ml,
            zone_volume_ml=zone.volume_ml,
            target_margin_mm=margin_mm,
        )
        margin = MarginFinding(
            minimal_mm=whole.minimal_mm,
            shares=margin_shares(grid),
            lung_clipped_minimal_mm=_finite(in_lung.minimal_mm),
            core_minimal_mm=None if core is None else core.minimal_mm,
        )
        return coverage, margin

    def _interval(self, grid: MeasurementField, at: Registration, draws: int) -> CoverageInterval:
        turn = np.linalg.inv(at.planning_from_verification)[:3, :3]
        planning, verification = self.prepared.planning.geometry, self.verification.geometry
        return coverage_interval(
            grid,
            PoseUncertainty(at.translation_covariance_mm2, at.rotation_sd_deg),
            planning_slice=(
                turn @ np.array(planning.directions_zyx_lps[0]),
                planning.spacing_zyx_mm[0],
            ),
            verification_slice=(
                np.array(verification.directions_zyx_lps[0]),
                verification.spacing_zyx_mm[0],
            ),
            draws=draws,
            seed=self.settings.seed,
            target_margin_mm=self.settings.target_margin_mm,
        )

    def _preliminary(
        self, zone: LabelMask, core: LabelMask | None, rigid: Registration
    ) -> AblationAssessment:
        grid = self._lay_out(zone, core, rigid)
        interval = self._interval(grid, rigid, self.settings.draws)
        coverage = CoverageFinding(
            tcr_interval_90=interval.tcr_90, target_margin_mm=self.settings.target_margin_mm
        )
        margin = MarginFinding(minimal_interval_90_mm=interval.minimal_mm_90)
        return AblationAssessment(
            preliminary=True,
            summary=preliminary_summary(interval.tcr_90, interval.minimal_mm_90),
            coverage=coverage,
            margin=margin,
            alignment=self._alignment(rigid),
            lesion=self._lesion(rigid),
            timings_s=dict(self.clock.timings_s),
            warnings=tuple(dict.fromkeys(self.warnings)),
            seed=self.settings.seed,
            draws=self.settings.draws,
        )

    def _risk(
        self, model: SurvivalModel | None, probability_complete: float, include_if_complete: bool
    ) -> SurvivalRisk | None:
        if model is None:
            return None
        return model.risk(
            self.clinical.sex,
            self.clinical.fibrinogen_g_per_l,
            probability_complete,
            include_if_complete=include_if_complete,
        )

    def _tumor_center(self, at: Registration) -> FloatArray:
        inverse = np.linalg.inv(at.planning_from_verification)
        return np.asarray(inverse[:3, :3] @ np.array(self.prepared.lesion.centroid_lps_mm) + inverse[:3, 3])

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

    def _maps(self, grid: MeasurementField, uncovered: npt.NDArray[np.bool_]) -> AssessmentMaps:
        return AssessmentMaps(
            geometry=grid.geometry,
            ct_hu=region_hu(self.verification, grid.geometry, self.settings.backend),
            tumor=grid.tumor,
            target=grid.distance_to_tumor_mm < self.settings.target_margin_mm,
            zone=grid.zone,
            core=grid.core,
            lung=grid.lung,
            uncovered=uncovered,
            margin_mm=-grid.distance_to_zone_mm,
        )


def _with_interval(
    coverage: CoverageFinding, margin: MarginFinding, interval: CoverageInterval
) -> tuple[CoverageFinding, MarginFinding]:
    return (
        replace(
            coverage,
            tcr_interval_90=interval.tcr_90,
            probability_complete=interval.probability_complete,
        ),
        replace(margin, minimal_interval_90_mm=interval.minimal_mm_90),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
