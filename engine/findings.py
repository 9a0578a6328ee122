"""The results of an assessment without its voxels, in the order in which a reader wants them.

Lengths are mm, volumes mL, positions LPS mm. ``None`` means not measured; where a refusal is set, every
measured number is ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from engine.geometry import RigidTransform, Vector3
from engine.model_identity import ModelIdentity

TARGET_MARGIN_MM: Final = 5.0
"""The margin that the published thresholds refer to (Najafi 2021; Wang 2026)."""

READER_CONTOUR_SD_MM: Final = 0.75
"""By which a reader's contour lies off the structure's surface. Four readers' masks of one nodule (Dice among them 0.77
to 0.89) lie 0.54 to 1.40 mm (root mean square) off each other's surface: 0.76 mm for each; their mean radius alone
differs by 0.44 mm."""


class ContourKind(StrEnum):
    """How a contour came about."""

    NONE = "none"
    SUPPLIED = "supplied"
    MODEL = "model"
    DEMO_MODEL = "demo_model"
    THRESHOLDED = "thresholded"


@dataclass(frozen=True)
class ContourOrigin:
    """Where a contour came from; :mod:`engine.assessment.wording` puts it into words.

    Parameters
    ----------
    kind : ContourKind
    model : ModelIdentity, optional
        What drew it; there for ``MODEL`` and ``DEMO_MODEL`` alone.

    Raises
    ------
    ValueError
        If the kind and the model do not fit each other.
    """

    kind: ContourKind = ContourKind.NONE
    model: ModelIdentity | None = None

    def __post_init__(self) -> None:
        if self.model is None:
            fits = self.kind not in (ContourKind.MODEL, ContourKind.DEMO_MODEL)
        else:
            fits = self.kind is _kind_drawn_by(self.model)
        if not fits:
            raise ValueError("a contour that a model drew, and no other, has that model")

    @classmethod
    def segmented_by(cls, model: ModelIdentity) -> Self:
        """The origin of a contour that a model drew."""
        return cls(_kind_drawn_by(model), model)


def _kind_drawn_by(model: ModelIdentity) -> ContourKind:
    return ContourKind.DEMO_MODEL if model.demo else ContourKind.MODEL


NO_CONTOUR = ContourOrigin()
SUPPLIED = ContourOrigin(ContourKind.SUPPLIED)
THRESHOLDED = ContourOrigin(ContourKind.THRESHOLDED)
"""Found by its Hounsfield units."""


class AlignmentMethod(StrEnum):
    """How two scans were aligned."""

    NONE = "none"
    TRANSLATION = "translation"
    RIGID = "rigid"
    DEFORMABLE = "deformable"
    DEFORMABLE_COARSE = "deformable_coarse"
    """A deadline left no time for the fine deformation."""


@dataclass(frozen=True)
class CoverageFinding:
    """Coverage of the target, the tumor grown by ``target_margin_mm``, by the ablation zone.

    ``zone_contour_sd_mm`` is the standard deviation of the zone's contour off its surface. ``complete`` is None where
    TCR is 1 but not surely so; ``lung_clipped_complete`` likewise, and where nothing of the target can be assessed.
    """

    tcr: float | None = None
    tcr_interval_90: tuple[float, float] | None = None
    complete: bool | None = None
    probability_complete: float | None = None
    lung_clipped_tcr: float | None = None
    lung_clipped_tcr_interval_90: tuple[float, float] | None = None
    lung_clipped_complete: bool | None = None
    lung_clipped_probability_complete: float | None = None
    not_assessable_share: float | None = None
    core_tcr: float | None = None
    core_origin: ContourOrigin = NO_CONTOUR
    target_volume_ml: float | None = None
    zone_volume_ml: float | None = None
    target_margin_mm: float = TARGET_MARGIN_MM
    zone_origin: ContourOrigin = NO_CONTOUR
    zone_contour_sd_mm: float | None = None
    zone_changed_share: float | None = None
    zone_parts: int | None = None


@dataclass(frozen=True)
class MarginFinding:
    """The ablative margin: signed distance from the tumor to the zone's surface, mm.

    ``shares`` are those of the tumor surface below 0, 0 to 5, 5 to 10 and at least 10 mm.
    """

    minimal_mm: float | None = None
    minimal_interval_90_mm: tuple[float, float] | None = None
    shares: tuple[float, float, float, float] | None = None
    lung_clipped_minimal_mm: float | None = None
    lung_clipped_minimal_interval_90_mm: tuple[float, float] | None = None
    core_minimal_mm: float | None = None
    quantile_2_mm: float | None = None
    insufficient_surface_cm2: float | None = None


@dataclass(frozen=True)
class PlanningFrameFinding:
    """Coverage of the tissue that was there before, with the zone's contraction undone; never what calls complete.

    ``contraction`` is the mean share by which tissue in the zone was shortened.
    """

    tcr: float | None = None
    tcr_interval_90: tuple[float, float] | None = None
    minimal_mm: float | None = None
    minimal_interval_90_mm: tuple[float, float] | None = None
    contraction: float | None = None


class Direction(StrEnum):
    """A direction in the patient; :mod:`engine.assessment.wording` puts several of them into words."""

    LEFT = "left"
    RIGHT = "right"
    ANTERIOR = "anterior"
    POSTERIOR = "posterior"
    SUPERIOR = "superior"
    INFERIOR = "inferior"


class LungSide(StrEnum):
    """The lung in which a tumor lies, as the patient has it."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class ColdSpot:
    """A connected uncovered part of the target, for review.

    ``directions`` say where its centroid lies as seen from the tumor's, at most one for each axis; none where it lies
    around the tumor's center.
    """

    rank: int
    volume_ml: float
    centroid_lps_mm: Vector3
    deepest_lps_mm: Vector3
    deepest_mm: float
    directions: tuple[Direction, ...]
    distance_to_pleura_mm: float | None
    in_lung: bool = True


@dataclass(frozen=True)
class RegistrationQuality:
    """How good a registration is, in the surroundings of the lesion (without one, everywhere).

    Parameters
    ----------
    similarity : float
        Correlation of the aligned scans over the evidence.
    residual_mm : float
        Root mean square of the displacement that the images still ask for.
    descriptor_residual : float
        Mean share of bits by which self-similarity descriptors (MIND-SSC) of the aligned scans differ.
    inverse_consistency_mm : float
        Root mean square distance after going there and, by a registration of its own, back.
    min_jacobian, max_jacobian : float
        Of the deformation; 0 or less is folded tissue.
    folding_share : float
    evidence_share : float
        Share of the surroundings, the zone left out, that both scans show.
    mismatched_share : float
        Share of the structured surroundings that do not match after alignment.
    sliding_mm : float
        Root mean square difference, in lung, of the deformation with and without chest wall and diaphragm.
    new_air_ml : float
        Largest layer of air between lung and chest wall that the planning CT does not show: a pneumothorax. Thin layers
        are blurred, and measured as less.
    contraction : float
        Mean share by which the zone with its halo contracted, beyond what breathing does farther out; negative if it
        grew.
    rotation_deg : float, optional
        By which the tumor's surroundings turned.
    judge_disagreement_mm : float, optional
        Between the tumor's place and where matches that the registration has not used put it.
    axis_scale_error : float, optional
        Largest deviation from 1 of the scale that the deformation needs along an axis.
    breathing_step_mm : float, optional
        Shift between slabs of one scan.
    largest_residual_mm : float, optional
        Largest local displacement that the images still ask for.
    new_air_lps_mm : tuple of float, optional
        Middle of that layer of air in the verification CT.
    """

    similarity: float
    residual_mm: float
    descriptor_residual: float
    inverse_consistency_mm: float
    min_jacobian: float
    max_jacobian: float
    folding_share: float
    evidence_share: float
    mismatched_share: float
    sliding_mm: float
    new_air_ml: float
    contraction: float
    rotation_deg: float | None = None
    judge_disagreement_mm: float | None = None
    axis_scale_error: float | None = None
    breathing_step_mm: float | None = None
    largest_residual_mm: float | None = None
    new_air_lps_mm: Vector3 | None = None


@dataclass(frozen=True, eq=False)
class AlignmentFinding:
    """How the planning CT was mapped to the verification CT.

    ``planning_from_verification`` maps an LPS position in the verification CT to its place in
    the planning CT; ``pose_sd_mm`` is the standard deviation of the tumor's place along each axis.
    """

    method: AlignmentMethod
    planning_from_verification: RigidTransform | None = None
    similarity: float | None = None
    residual_mm: float | None = None
    pose_sd_mm: float | None = None
    quality: RegistrationQuality | None = None
    planning_frame_of_reference_uid: str = ""
    verification_frame_of_reference_uid: str = ""


@dataclass(frozen=True)
class LesionFinding:
    """The tumor as it was contoured in the planning CT; ``contour_sd_mm`` is its contour's standard deviation.

    ``lung_side`` is None where the planning CT does not show both lungs.
    """

    volume_ml: float | None
    centroid_lps_mm: Vector3 | None
    verification_centroid_lps_mm: Vector3 | None
    origin: ContourOrigin
    longest_diameter_mm: float | None
    contour_sd_mm: float | None = None
    lung_side: LungSide | None = None
