"""The clinical workflow: prepare the planning CT, then assess a verification CT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.geometry import Vector3, VolumeGeometry
from engine.refusal import Refusal
from engine.stages import StageListener
from engine.volume import CtVolume, LabelMask


# SKELETON: results and signatures other modules build against; bodies follow.
@dataclass(frozen=True)
class CoverageFinding:
    tcr: float | None
    tcr_interval_90: tuple[float, float] | None
    complete: bool | None
    probability_complete: float | None
    lung_clipped_tcr: float | None
    not_assessable_share: float | None
    core_tcr: float | None
    core_source: str  # "supplied" | "found" | "none"
    target_volume_ml: float | None
    zone_volume_ml: float | None
    target_margin_mm: float


@dataclass(frozen=True)
class MarginFinding:
    minimal_mm: float | None
    minimal_interval_90_mm: tuple[float, float] | None
    shares: tuple[float, float, float, float] | None  # <0, 0-5, 5-10, >=10 mm
    lung_clipped_minimal_mm: float | None
    core_minimal_mm: float | None


@dataclass(frozen=True)
class ColdSpot:
    rank: int
    volume_ml: float
    centroid_lps_mm: Vector3
    deepest_lps_mm: Vector3
    deepest_mm: float
    direction: str
    distance_to_pleura_mm: float | None


@dataclass(frozen=True)
class AlignmentFinding:
    method: str  # "translation" | "rigid" | "deformable"
    planning_from_verification: npt.NDArray[np.float64] | None  # 4x4, LPS mm
    similarity: float | None
    residual_mm: float | None
    pose_sd_mm: float | None
    planning_frame_of_reference_uid: str
    verification_frame_of_reference_uid: str


@dataclass(frozen=True)
class LesionFinding:
    volume_ml: float | None
    centroid_lps_mm: Vector3 | None
    verification_centroid_lps_mm: Vector3 | None
    source: str
    longest_diameter_mm: float | None


@dataclass(frozen=True)
class SurvivalRisk:  # will live in engine.survival
    months: tuple[int, ...]
    probability: tuple[float, ...]
    band_90: tuple[tuple[float, float], ...]
    model: str
    statements: tuple[str, ...]
    flags: tuple[str, ...]
    probability_if_complete: tuple[float, ...] = ()


@dataclass(frozen=True)
class AblationAssessment:
    preliminary: bool
    summary: str
    coverage: CoverageFinding
    margin: MarginFinding
    uncovered: tuple[ColdSpot, ...]
    alignment: AlignmentFinding
    lesion: LesionFinding
    risk: SurvivalRisk | None
    timings_s: dict[str, float]
    warnings: tuple[str, ...]
    refusal: Refusal | None
    seed: int
    draws: int
    # What was measured on, for artifacts; None when refused before it existed or preliminary.
    maps: "AssessmentMaps | None" = None


@dataclass(frozen=True, eq=False)
class AssessmentMaps:
    """Masks and margin map on the measurement grid (verification frame, isotropic, <= 0.5 mm)."""

    geometry: VolumeGeometry
    ct_hu: npt.NDArray[np.int16]
    tumor: npt.NDArray[np.bool_]
    target: npt.NDArray[np.bool_]
    zone: npt.NDArray[np.bool_]
    core: npt.NDArray[np.bool_] | None
    lung: npt.NDArray[np.bool_]
    uncovered: npt.NDArray[np.bool_]  # uncovered target in lung
    margin_mm: npt.NDArray[np.float32]  # signed distance to the zone's surface, positive inside the zone


@dataclass(frozen=True)
class ClinicalInputs:
    sex: str | None = None  # "f" | "m"
    fibrinogen_g_per_l: float | None = None


@dataclass(frozen=True, eq=False)
class PreparedPlanning:
    """All that needs only the planning CT; kept in memory (and rebuilt from disk after a restart)."""

    planning: CtVolume
    tumor: LabelMask
    lesion: LesionFinding
    warnings: tuple[str, ...]
    timings_s: dict[str, float]
    refusal: Refusal | None


def prepare_planning(
    planning: CtVolume,
    tumor: LabelMask | None,
    *,
    target_lps_mm: Vector3 | None = None,
    listener: StageListener | None = None,
) -> PreparedPlanning:
    raise NotImplementedError


def assess_ablation(
    prepared: PreparedPlanning,
    verification: CtVolume,
    zone: LabelMask | None,
    *,
    core: LabelMask | None = None,
    clinical: ClinicalInputs = ClinicalInputs(),
    include_risk_if_complete: bool = False,
    on_preliminary: Callable[[AblationAssessment], None] | None = None,
    listener: StageListener | None = None,
    # settings: frozen AssessmentSettings(target_margin_mm=5, max_slice_mm=5, draws=1000, seed=..., ...)
) -> AblationAssessment:
    raise NotImplementedError
