"""What an assessment gives: the answer and its maps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.coverage.grid import MeasurementField
from engine.coverage.surface_margin import measure_surface_margin
from engine.errors import PreconditionError
from engine.findings import (
    AlignmentFinding,
    AlignmentMethod,
    ColdSpot,
    CoverageFinding,
    LesionFinding,
    MarginFinding,
    PlanningFrameFinding,
)
from engine.geometry import RigidTransform, VolumeGeometry
from engine.radiomics.radscore import Radscore
from engine.refusal import Refusal
from engine.risk.absence import RiskAbsence
from engine.risk.model import SurvivalRisk
from engine.volume import CtVolume, LabelMask


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
    """Uncovered target in lung."""
    uncovered_outside: npt.NDArray[np.bool_]
    """Uncovered target outside the lung or at its edge: part of ``not_assessable``."""
    not_assessable: npt.NDArray[np.bool_]
    """Target outside the lung or at its edge."""
    margin_mm: npt.NDArray[np.float32]
    """Signed distance to the zone's surface, positive inside the zone."""
    surface_margin_mm: npt.NDArray[np.float64]
    """The margin at points spread over the tumor's surface, (N,); the margin's shares are theirs."""


@dataclass(frozen=True, eq=False)
class ComparedScans:
    """Both CTs as they were read; ``planning_from_verification`` is None where they were not aligned."""

    planning: CtVolume
    verification: CtVolume
    planning_from_verification: RigidTransform | None = None


def maps_of(
    grid: MeasurementField,
    ct_hu: npt.NDArray[np.int16],
    uncovered: npt.NDArray[np.bool_],
    uncovered_outside: npt.NDArray[np.bool_],
    target_margin_mm: float,
) -> AssessmentMaps:
    """The maps of a measurement; ``ct_hu`` and what is uncovered lie on its grid."""
    target = grid.distance_to_tumor_mm < target_margin_mm
    return AssessmentMaps(
        geometry=grid.geometry,
        ct_hu=ct_hu,
        tumor=grid.tumor,
        target=target,
        zone=grid.zone,
        core=grid.core,
        lung=grid.lung,
        uncovered=uncovered,
        uncovered_outside=uncovered_outside,
        not_assessable=target & ~grid.assessable,
        margin_mm=-grid.distance_to_zone_mm,
        surface_margin_mm=measure_surface_margin(grid).margin_mm,
    )


@dataclass(frozen=True, eq=False)
class AblationAssessment:
    """The answer to one verification CT; every number is None where ``refusal`` is set.

    ``zone`` is the ablation zone that was measured, on the grid of the verification CT; None in a refused answer.
    ``scans`` are there in a final answer, for its pictures.
    """

    preliminary: bool
    summary: str
    lesion: LesionFinding
    coverage: CoverageFinding = field(default_factory=CoverageFinding)
    margin: MarginFinding = field(default_factory=MarginFinding)
    planning_frame: PlanningFrameFinding = field(default_factory=PlanningFrameFinding)
    uncovered: tuple[ColdSpot, ...] = ()
    alignment: AlignmentFinding = field(default_factory=lambda: AlignmentFinding(AlignmentMethod.NONE))
    risk: SurvivalRisk | None = None
    risk_absence: RiskAbsence | None = None
    """Why there is no risk."""
    radscore: Radscore | None = None
    """Where the risk model has a signature."""
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None
    seed: int = 0
    draws: int = 0
    maps: AssessmentMaps | None = None
    zone: LabelMask | None = None
    scans: ComparedScans | None = None

    def require_zone(self) -> LabelMask:
        """Return the zone that was measured.

        Raises
        ------
        PreconditionError
            In a refused answer there is none.
        """
        if self.zone is None:
            raise PreconditionError("no ablation zone was measured: the assessment was refused")
        return self.zone
