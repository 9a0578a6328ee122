"""What the service needs of the engine.

The service is built on the :class:`Pipeline` protocol alone; ``coldspot serve`` passes in the one of
:mod:`service.pipeline.engine`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from service.cases.volumes import ImageReader

if TYPE_CHECKING:
    from pathlib import Path

    from engine.assessment.outcome import AblationAssessment
    from engine.assessment.planning import PlanningOutcome
    from engine.geometry import Vector3
    from engine.model_identity import ModelIdentity
    from engine.progress import TextProgress
    from engine.risk.clinical_inputs import ClinicalInputs
    from engine.stages import StageListener
    from engine.volume import CtVolume, LabelMask
    from service.pipeline.sheet.facts import SheetFacts


class ModelPurpose(StrEnum):
    """What a model of the service is for."""

    RISK = "risk"
    TUMOR = "tumor"
    ABLATION_ZONE = "ablation_zone"


@dataclass(frozen=True)
class ServedModel:
    """A model that the service has loaded, and what runs it.

    Parameters
    ----------
    identity : ModelIdentity
    purpose : ModelPurpose
    backend : str
        What runs it, if that differs from the backend of the pipeline.
    backend_chosen_by : str
        The measurement by which its backend was chosen, in words.
    """

    identity: ModelIdentity
    purpose: ModelPurpose
    backend: str = ""
    backend_chosen_by: str = ""


@dataclass(frozen=True)
class PipelineDescription:
    """Kernels, backends and models in use: for server info, metrics and the provenance of every result."""

    kernels: str
    inference_backend: str
    registration: str = ""
    models: tuple[ServedModel, ...] = ()
    mock: bool = False
    """Whether answers are canned: nothing is measured."""


class Pipeline(ImageReader, Protocol):
    """Reads images, prepares the planning side and measures the verification side."""

    def describe(self) -> PipelineDescription:
        """Return which kernels, backends and models compute the answers."""

    def load_kernels(self, progress: TextProgress) -> None:
        """Load the kernels, or compile them, which takes about a minute; ``progress`` is told which."""

    def warm_up(self) -> None:
        """Make the first assessment as fast as the second."""

    def self_test(self) -> None:
        """Measure a phantom of known truth.

        Raises
        ------
        SelfTestError
        """

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

        Without a tumor mask, segment the tumor; with a demo model only if that is allowed.
        """

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
        """Measure one verification CT; with little time left, coarser and with a wider interval.

        Without a zone mask, segment the zone; with a demo model only if that is allowed.
        """

    def write_artifacts(self, assessment: AblationAssessment, facts: SheetFacts, folder: Path) -> None:
        """Write masks, margin map and sheet of a final assessment into ``folder``; of a refused one the sheet."""
