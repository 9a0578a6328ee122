"""The engine behind the service's :class:`service.pipeline.protocol.Pipeline` protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.assessment.planning import AssessmentSettings, prepare_planning
from engine.assessment.verification import assess_ablation
from engine.kernels.backend import is_compiled, require_kernels
from engine.registration import coarse_to_fine
from engine.registration.planning_features import MIN_GRID_SPACING_MM
from engine.risk.absence import RiskAbsence
from engine.volume import CtVolume, LabelMask
from service.pipeline.bundles import installed_bundles, load_risk_model
from service.pipeline.image_reader import EngineImageReader
from service.pipeline.permission import DrawingPermission
from service.pipeline.protocol import ModelPurpose, PipelineDescription, ServedModel
from service.pipeline.segmenters import InstalledSegmenter, find_segmenter, interruptible

if TYPE_CHECKING:
    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PlanningOutcome
    from engine.geometry import Vector3
    from engine.progress import TextProgress
    from engine.risk.clinical_inputs import ClinicalInputs
    from engine.stages import StageListener
    from service.pipeline.sheet.facts import SheetFacts
    from service.settings import Settings


RESERVED_S: Final = 4.0
"""Seconds of a deadline that are kept for the stages before and after the registration, on two cores of 2026."""

_RESERVED_FOR_SEGMENTATION_S: Final = 6.0
"""Kept in addition where the zone has to be segmented: patches of a box of about 11 cm."""

_LOADING: Final = "loading the kernels"
_COMPILING: Final = "compiling the kernels for this machine: about a minute, the first time only"

REGISTRATION: Final = (
    f"grid {MIN_GRID_SPACING_MM:g} mm, bending "
    + ", ".join(f"{weight:g}" for weight in (*coarse_to_fine.COARSE_STIFFNESS, coarse_to_fine.FINE_STIFFNESS))
    + ", steps "
    + ", ".join(str(steps) for steps in (*coarse_to_fine.COARSE_STEPS, coarse_to_fine.FINE_STEPS))
)
"""The settings of the registration in words, for the provenance of every result."""


class EnginePipeline(EngineImageReader):
    """Reads, prepares and measures with :mod:`engine`.

    Parameters
    ----------
    settings : Settings

    Raises
    ------
    BackendError
        If the kernels that the settings name cannot run here; no others are taken instead.
    ModelError, InvalidRequestError
        If a model that is installed or named cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        require_kernels(settings.kernel_backend)
        self.assessment_settings = AssessmentSettings(
            max_slice_mm=settings.max_slice_mm,
            registration_deadline_s=settings.registration_deadline_s,
            kernels=settings.kernel_backend,
            contour_sd_mm=settings.reader_contour_sd_mm,
        )
        bundles = installed_bundles(settings.models_dir)
        self.risk_model = load_risk_model(settings, bundles)
        self.tumor_segmenter = find_segmenter(settings, bundles, "tumor_model", settings.tumor_model, "tumor")
        self.zone_segmenter = find_segmenter(
            settings, bundles, "zone_model", settings.zone_model, "ablation_zone"
        )
        self._permission = DrawingPermission(settings.clinical_mode)
        self._segmenters_tested = False

    def describe(self) -> PipelineDescription:
        """Return which kernels, backends and models compute the answers."""
        models = [segmenter.describe() for segmenter in self.segmenters()]
        backend = "none"
        if not isinstance(self.risk_model, RiskAbsence):
            models.insert(0, ServedModel(self.risk_model.identity, ModelPurpose.RISK))
            backend = self.risk_model.backend
        kernels = self.assessment_settings.kernels.value
        return PipelineDescription(kernels, backend, REGISTRATION, tuple(models))

    def segmenters(self) -> list[InstalledSegmenter]:
        """Return the segmentation models that are used here."""
        return [model for model in (self.tumor_segmenter, self.zone_segmenter) if model is not None]

    def load_kernels(self, progress: TextProgress) -> None:
        """Load the kernels by measuring a small phantom, which compiles those that are not on disk.

        Raises
        ------
        BackendError
        """
        from engine.selftest import phantom  # noqa: PLC0415 - phantoms

        kernels = self.assessment_settings.kernels
        progress(_LOADING if is_compiled(kernels) else _COMPILING)
        phantom.warm_up(kernels)

    def warm_up(self) -> None:
        """Compile the kernels, draw a sheet, and open the segmentation models and test them on a phantom.

        Raises
        ------
        SelfTestError, ModelError, BackendError
        """
        from service.pipeline.warming import warm_up  # noqa: PLC0415 - phantoms and matplotlib

        warm_up(self.assessment_settings.kernels, self.tumor_segmenter, self.zone_segmenter)
        self._segmenters_tested = True

    def self_test(self) -> None:
        """Measure a phantom of known truth, and segment one if the warm-up has not.

        Raises
        ------
        SelfTestError
        """
        from service.pipeline.warming import check_segmenters, measure_phantom  # noqa: PLC0415 - likewise

        measure_phantom(self.assessment_settings.kernels)
        if not self._segmenters_tested:
            check_segmenters(self.tumor_segmenter, self.zone_segmenter)
            self._segmenters_tested = True

    def prepare(
        self,
        planning: CtVolume,
        tumor: LabelMask | None,
        *,
        target_lps_mm: Vector3 | None,
        allow_demo_models: bool,
        listener: StageListener,
    ) -> PlanningOutcome:
        """Do everything that needs only the planning CT, and return the outcome.

        Raises
        ------
        InvalidRequestError
            If the tumor was not sent, and no model may draw it.
        """
        if tumor is None:
            self._permission.require_drawn(self.tumor_segmenter, "tumor", allow_demo_models=allow_demo_models)
        return prepare_planning(
            planning,
            tumor,
            target_lps_mm=target_lps_mm,
            tumor_segmenter=interruptible(self.tumor_segmenter, listener),
            settings=self.assessment_settings,
            listener=listener,
        )

    def assess(
        self,
        prepared: PlanningOutcome,
        verification: CtVolume,
        zone: LabelMask | None,
        *,
        core: LabelMask | None,
        clinical: ClinicalInputs,
        include_risk_if_complete: bool,
        allow_demo_models: bool,
        time_left_s: float | None,
        on_preliminary: Callable[[AblationAssessment], None],
        listener: StageListener,
    ) -> AblationAssessment:
        """Measure one verification CT.

        Raises
        ------
        InvalidRequestError
            If a contour was not sent, and no model may draw it.
        """
        self._permission.require_allowed(prepared.lesion.origin, allow_demo_models=allow_demo_models)
        if zone is None and prepared.refusal is None:
            self._permission.require_drawn(
                self.zone_segmenter, "ablation zone", allow_demo_models=allow_demo_models
            )
        return assess_ablation(
            prepared,
            verification,
            zone,
            core=core,
            zone_segmenter=interruptible(self.zone_segmenter, listener),
            clinical=clinical,
            risk_model=self.risk_model,
            settings=within_deadline(
                self.assessment_settings,
                time_left_s,
                RESERVED_S + (_RESERVED_FOR_SEGMENTATION_S if zone is None else 0.0),
            ),
            include_risk_if_complete=include_risk_if_complete,
            on_preliminary=on_preliminary,
            listener=listener,
        )

    def write_artifacts(self, assessment: AblationAssessment, facts: SheetFacts, folder: Path) -> None:
        """Write masks, margin map and sheet of a final assessment into ``folder``; of a refused one the sheet."""
        from service.pipeline.artifact_files import write_artifacts  # noqa: PLC0415 - matplotlib

        write_artifacts(assessment, facts, folder)


def within_deadline(
    settings: AssessmentSettings,
    time_left_s: float | None,
    reserved_s: float = RESERVED_S,
) -> AssessmentSettings:
    """Return settings that give the registration no more time than a caller's deadline leaves it.

    ``reserved_s`` is kept for everything else.
    """
    if time_left_s is None:
        return settings
    registration_s = max(0.0, time_left_s - reserved_s)
    chosen_s = settings.registration_deadline_s
    return replace(
        settings,
        registration_deadline_s=registration_s if chosen_s is None else min(registration_s, chosen_s),
    )
