"""What an assessment gives: the answer, its maps, and the clinical inputs of its risk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.coverage.grid import MeasurementField
from engine.findings import AlignmentFinding, ColdSpot, CoverageFinding, LesionFinding, MarginFinding
from engine.geometry import VolumeGeometry
from engine.radiomics.radscore import Radscore
from engine.refusal import Refusal
from engine.risk.model import SurvivalRisk


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


def maps_of(
    grid: MeasurementField,
    ct_hu: npt.NDArray[np.int16],
    uncovered: npt.NDArray[np.bool_],
    target_margin_mm: float,
) -> AssessmentMaps:
    """The maps of a measurement; ``ct_hu`` and ``uncovered`` lie on its grid."""
    return AssessmentMaps(
        geometry=grid.geometry,
        ct_hu=ct_hu,
        tumor=grid.tumor,
        target=grid.distance_to_tumor_mm < target_margin_mm,
        zone=grid.zone,
        core=grid.core,
        lung=grid.lung,
        uncovered=uncovered,
        margin_mm=-grid.distance_to_zone_mm,
    )


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
    radscore: Radscore | None = None
    """Where the risk model has a signature."""
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusal: Refusal | None = None
    seed: int = 0
    draws: int = 0
    maps: AssessmentMaps | None = None
