import datetime

from coldspot.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RiskAbsenceCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RISK_ABSENCE_CODE_UNSPECIFIED: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_PRELIMINARY: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_REFUSED: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_NO_MODEL: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_DEMO_MODEL_IN_CLINICAL_MODE: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_UNUSABLE_INPUT: _ClassVar[RiskAbsenceCode]
    RISK_ABSENCE_CODE_NO_SIGNATURE: _ClassVar[RiskAbsenceCode]

class AssessmentPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSESSMENT_PHASE_UNSPECIFIED: _ClassVar[AssessmentPhase]
    ASSESSMENT_PHASE_PRELIMINARY: _ClassVar[AssessmentPhase]
    ASSESSMENT_PHASE_FINAL: _ClassVar[AssessmentPhase]

class ContourKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTOUR_KIND_UNSPECIFIED: _ClassVar[ContourKind]
    CONTOUR_KIND_NONE: _ClassVar[ContourKind]
    CONTOUR_KIND_SUPPLIED: _ClassVar[ContourKind]
    CONTOUR_KIND_MODEL: _ClassVar[ContourKind]
    CONTOUR_KIND_THRESHOLDED: _ClassVar[ContourKind]
    CONTOUR_KIND_DEMO_MODEL: _ClassVar[ContourKind]

class AnatomicalDirection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ANATOMICAL_DIRECTION_UNSPECIFIED: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_LEFT: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_RIGHT: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_ANTERIOR: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_POSTERIOR: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_SUPERIOR: _ClassVar[AnatomicalDirection]
    ANATOMICAL_DIRECTION_INFERIOR: _ClassVar[AnatomicalDirection]

class AlignmentMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALIGNMENT_METHOD_UNSPECIFIED: _ClassVar[AlignmentMethod]
    ALIGNMENT_METHOD_NONE: _ClassVar[AlignmentMethod]
    ALIGNMENT_METHOD_RIGID: _ClassVar[AlignmentMethod]
    ALIGNMENT_METHOD_DEFORMABLE: _ClassVar[AlignmentMethod]
    ALIGNMENT_METHOD_DEFORMABLE_COARSE: _ClassVar[AlignmentMethod]

class RefusalCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_CODE_UNSPECIFIED: _ClassVar[RefusalCode]
    REFUSAL_CODE_TARGET_CUT_BY_FIELD_OF_VIEW: _ClassVar[RefusalCode]
    REFUSAL_CODE_ZONE_CUT_BY_FIELD_OF_VIEW: _ClassVar[RefusalCode]
    REFUSAL_CODE_LESION_OUTSIDE_OVERLAP: _ClassVar[RefusalCode]
    REFUSAL_CODE_ALIGNMENT_RESIDUAL_TOO_HIGH: _ClassVar[RefusalCode]
    REFUSAL_CODE_WRONG_SIDE: _ClassVar[RefusalCode]
    REFUSAL_CODE_LUNG_CHANGED: _ClassVar[RefusalCode]
    REFUSAL_CODE_FOLDING: _ClassVar[RefusalCode]
    REFUSAL_CODE_SLICES_TOO_THICK: _ClassVar[RefusalCode]
    REFUSAL_CODE_NO_ZONE: _ClassVar[RefusalCode]
    REFUSAL_CODE_LESION_NOT_FOUND: _ClassVar[RefusalCode]
    REFUSAL_CODE_SEVERAL_LESIONS: _ClassVar[RefusalCode]
    REFUSAL_CODE_SLICE_DISTANCE_DOUBTFUL: _ClassVar[RefusalCode]
    REFUSAL_CODE_LUNG_DOUBTFUL: _ClassVar[RefusalCode]
RISK_ABSENCE_CODE_UNSPECIFIED: RiskAbsenceCode
RISK_ABSENCE_CODE_PRELIMINARY: RiskAbsenceCode
RISK_ABSENCE_CODE_REFUSED: RiskAbsenceCode
RISK_ABSENCE_CODE_NO_MODEL: RiskAbsenceCode
RISK_ABSENCE_CODE_DEMO_MODEL_IN_CLINICAL_MODE: RiskAbsenceCode
RISK_ABSENCE_CODE_UNUSABLE_INPUT: RiskAbsenceCode
RISK_ABSENCE_CODE_NO_SIGNATURE: RiskAbsenceCode
ASSESSMENT_PHASE_UNSPECIFIED: AssessmentPhase
ASSESSMENT_PHASE_PRELIMINARY: AssessmentPhase
ASSESSMENT_PHASE_FINAL: AssessmentPhase
CONTOUR_KIND_UNSPECIFIED: ContourKind
CONTOUR_KIND_NONE: ContourKind
CONTOUR_KIND_SUPPLIED: ContourKind
CONTOUR_KIND_MODEL: ContourKind
CONTOUR_KIND_THRESHOLDED: ContourKind
CONTOUR_KIND_DEMO_MODEL: ContourKind
ANATOMICAL_DIRECTION_UNSPECIFIED: AnatomicalDirection
ANATOMICAL_DIRECTION_LEFT: AnatomicalDirection
ANATOMICAL_DIRECTION_RIGHT: AnatomicalDirection
ANATOMICAL_DIRECTION_ANTERIOR: AnatomicalDirection
ANATOMICAL_DIRECTION_POSTERIOR: AnatomicalDirection
ANATOMICAL_DIRECTION_SUPERIOR: AnatomicalDirection
ANATOMICAL_DIRECTION_INFERIOR: AnatomicalDirection
ALIGNMENT_METHOD_UNSPECIFIED: AlignmentMethod
ALIGNMENT_METHOD_NONE: AlignmentMethod
ALIGNMENT_METHOD_RIGID: AlignmentMethod
ALIGNMENT_METHOD_DEFORMABLE: AlignmentMethod
ALIGNMENT_METHOD_DEFORMABLE_COARSE: AlignmentMethod
REFUSAL_CODE_UNSPECIFIED: RefusalCode
REFUSAL_CODE_TARGET_CUT_BY_FIELD_OF_VIEW: RefusalCode
REFUSAL_CODE_ZONE_CUT_BY_FIELD_OF_VIEW: RefusalCode
REFUSAL_CODE_LESION_OUTSIDE_OVERLAP: RefusalCode
REFUSAL_CODE_ALIGNMENT_RESIDUAL_TOO_HIGH: RefusalCode
REFUSAL_CODE_WRONG_SIDE: RefusalCode
REFUSAL_CODE_LUNG_CHANGED: RefusalCode
REFUSAL_CODE_FOLDING: RefusalCode
REFUSAL_CODE_SLICES_TOO_THICK: RefusalCode
REFUSAL_CODE_NO_ZONE: RefusalCode
REFUSAL_CODE_LESION_NOT_FOUND: RefusalCode
REFUSAL_CODE_SEVERAL_LESIONS: RefusalCode
REFUSAL_CODE_SLICE_DISTANCE_DOUBTFUL: RefusalCode
REFUSAL_CODE_LUNG_DOUBTFUL: RefusalCode

class Assessment(_message.Message):
    __slots__ = ("phase", "summary", "coverage", "margin", "uncovered", "alignment", "lesion", "risk", "timings_s", "latency_s", "warnings", "refusal", "provenance", "clinical_mode", "risk_absence", "planning_frame")
    class TimingsSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    UNCOVERED_FIELD_NUMBER: _ClassVar[int]
    ALIGNMENT_FIELD_NUMBER: _ClassVar[int]
    LESION_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_S_FIELD_NUMBER: _ClassVar[int]
    LATENCY_S_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    CLINICAL_MODE_FIELD_NUMBER: _ClassVar[int]
    RISK_ABSENCE_FIELD_NUMBER: _ClassVar[int]
    PLANNING_FRAME_FIELD_NUMBER: _ClassVar[int]
    phase: AssessmentPhase
    summary: str
    coverage: Coverage
    margin: Margin
    uncovered: _containers.RepeatedCompositeFieldContainer[UncoveredRegion]
    alignment: Alignment
    lesion: LesionFinding
    risk: Risk
    timings_s: _containers.ScalarMap[str, float]
    latency_s: float
    warnings: _containers.RepeatedScalarFieldContainer[str]
    refusal: Refusal
    provenance: Provenance
    clinical_mode: bool
    risk_absence: RiskAbsence
    planning_frame: PlanningFrame
    def __init__(self, phase: _Optional[_Union[AssessmentPhase, str]] = ..., summary: _Optional[str] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ..., margin: _Optional[_Union[Margin, _Mapping]] = ..., uncovered: _Optional[_Iterable[_Union[UncoveredRegion, _Mapping]]] = ..., alignment: _Optional[_Union[Alignment, _Mapping]] = ..., lesion: _Optional[_Union[LesionFinding, _Mapping]] = ..., risk: _Optional[_Union[Risk, _Mapping]] = ..., timings_s: _Optional[_Mapping[str, float]] = ..., latency_s: _Optional[float] = ..., warnings: _Optional[_Iterable[str]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., clinical_mode: _Optional[bool] = ..., risk_absence: _Optional[_Union[RiskAbsence, _Mapping]] = ..., planning_frame: _Optional[_Union[PlanningFrame, _Mapping]] = ...) -> None: ...

class RiskAbsence(_message.Message):
    __slots__ = ("code", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: RiskAbsenceCode
    reason: str
    def __init__(self, code: _Optional[_Union[RiskAbsenceCode, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("tcr", "tcr_interval_90", "complete", "probability_complete", "lung_clipped", "core", "target_volume_ml", "zone_volume_ml", "target_margin_mm", "zone_source", "zone_contour_sd_mm", "zone_origin", "zone_changed_share", "zone_parts")
    TCR_FIELD_NUMBER: _ClassVar[int]
    TCR_INTERVAL_90_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    LUNG_CLIPPED_FIELD_NUMBER: _ClassVar[int]
    CORE_FIELD_NUMBER: _ClassVar[int]
    TARGET_VOLUME_ML_FIELD_NUMBER: _ClassVar[int]
    ZONE_VOLUME_ML_FIELD_NUMBER: _ClassVar[int]
    TARGET_MARGIN_MM_FIELD_NUMBER: _ClassVar[int]
    ZONE_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ZONE_CONTOUR_SD_MM_FIELD_NUMBER: _ClassVar[int]
    ZONE_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    ZONE_CHANGED_SHARE_FIELD_NUMBER: _ClassVar[int]
    ZONE_PARTS_FIELD_NUMBER: _ClassVar[int]
    tcr: float
    tcr_interval_90: _geometry_pb2.Interval
    complete: bool
    probability_complete: float
    lung_clipped: LungClippedCoverage
    core: CoreCoverage
    target_volume_ml: float
    zone_volume_ml: float
    target_margin_mm: float
    zone_source: str
    zone_contour_sd_mm: float
    zone_origin: ContourOrigin
    zone_changed_share: float
    zone_parts: int
    def __init__(self, tcr: _Optional[float] = ..., tcr_interval_90: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ..., complete: _Optional[bool] = ..., probability_complete: _Optional[float] = ..., lung_clipped: _Optional[_Union[LungClippedCoverage, _Mapping]] = ..., core: _Optional[_Union[CoreCoverage, _Mapping]] = ..., target_volume_ml: _Optional[float] = ..., zone_volume_ml: _Optional[float] = ..., target_margin_mm: _Optional[float] = ..., zone_source: _Optional[str] = ..., zone_contour_sd_mm: _Optional[float] = ..., zone_origin: _Optional[_Union[ContourOrigin, _Mapping]] = ..., zone_changed_share: _Optional[float] = ..., zone_parts: _Optional[int] = ...) -> None: ...

class PlanningFrame(_message.Message):
    __slots__ = ("tcr", "tcr_interval_90", "minimal_mm", "minimal_interval_90_mm", "contraction")
    TCR_FIELD_NUMBER: _ClassVar[int]
    TCR_INTERVAL_90_FIELD_NUMBER: _ClassVar[int]
    MINIMAL_MM_FIELD_NUMBER: _ClassVar[int]
    MINIMAL_INTERVAL_90_MM_FIELD_NUMBER: _ClassVar[int]
    CONTRACTION_FIELD_NUMBER: _ClassVar[int]
    tcr: float
    tcr_interval_90: _geometry_pb2.Interval
    minimal_mm: float
    minimal_interval_90_mm: _geometry_pb2.Interval
    contraction: float
    def __init__(self, tcr: _Optional[float] = ..., tcr_interval_90: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ..., minimal_mm: _Optional[float] = ..., minimal_interval_90_mm: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ..., contraction: _Optional[float] = ...) -> None: ...

class ContourOrigin(_message.Message):
    __slots__ = ("kind", "model")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    kind: ContourKind
    model: ModelIdentity
    def __init__(self, kind: _Optional[_Union[ContourKind, str]] = ..., model: _Optional[_Union[ModelIdentity, _Mapping]] = ...) -> None: ...

class ModelIdentity(_message.Message):
    __slots__ = ("id", "version", "sha256", "demo", "manifest_sha256")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    DEMO_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    id: str
    version: str
    sha256: str
    demo: bool
    manifest_sha256: str
    def __init__(self, id: _Optional[str] = ..., version: _Optional[str] = ..., sha256: _Optional[str] = ..., demo: _Optional[bool] = ..., manifest_sha256: _Optional[str] = ...) -> None: ...

class LungClippedCoverage(_message.Message):
    __slots__ = ("tcr", "not_assessable_share", "tcr_interval_90", "complete", "probability_complete")
    TCR_FIELD_NUMBER: _ClassVar[int]
    NOT_ASSESSABLE_SHARE_FIELD_NUMBER: _ClassVar[int]
    TCR_INTERVAL_90_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    tcr: float
    not_assessable_share: float
    tcr_interval_90: _geometry_pb2.Interval
    complete: bool
    probability_complete: float
    def __init__(self, tcr: _Optional[float] = ..., not_assessable_share: _Optional[float] = ..., tcr_interval_90: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ..., complete: _Optional[bool] = ..., probability_complete: _Optional[float] = ...) -> None: ...

class CoreCoverage(_message.Message):
    __slots__ = ("tcr", "source", "origin")
    TCR_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    tcr: float
    source: str
    origin: ContourOrigin
    def __init__(self, tcr: _Optional[float] = ..., source: _Optional[str] = ..., origin: _Optional[_Union[ContourOrigin, _Mapping]] = ...) -> None: ...

class Margin(_message.Message):
    __slots__ = ("minimal_mm", "minimal_interval_90_mm", "shares", "lung_clipped", "core", "quantile_2_mm", "insufficient_surface_cm2")
    MINIMAL_MM_FIELD_NUMBER: _ClassVar[int]
    MINIMAL_INTERVAL_90_MM_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    LUNG_CLIPPED_FIELD_NUMBER: _ClassVar[int]
    CORE_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_2_MM_FIELD_NUMBER: _ClassVar[int]
    INSUFFICIENT_SURFACE_CM2_FIELD_NUMBER: _ClassVar[int]
    minimal_mm: float
    minimal_interval_90_mm: _geometry_pb2.Interval
    shares: MarginShares
    lung_clipped: LungClippedMargin
    core: CoreMargin
    quantile_2_mm: float
    insufficient_surface_cm2: float
    def __init__(self, minimal_mm: _Optional[float] = ..., minimal_interval_90_mm: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ..., shares: _Optional[_Union[MarginShares, _Mapping]] = ..., lung_clipped: _Optional[_Union[LungClippedMargin, _Mapping]] = ..., core: _Optional[_Union[CoreMargin, _Mapping]] = ..., quantile_2_mm: _Optional[float] = ..., insufficient_surface_cm2: _Optional[float] = ...) -> None: ...

class LungClippedMargin(_message.Message):
    __slots__ = ("minimal_mm", "minimal_interval_90_mm")
    MINIMAL_MM_FIELD_NUMBER: _ClassVar[int]
    MINIMAL_INTERVAL_90_MM_FIELD_NUMBER: _ClassVar[int]
    minimal_mm: float
    minimal_interval_90_mm: _geometry_pb2.Interval
    def __init__(self, minimal_mm: _Optional[float] = ..., minimal_interval_90_mm: _Optional[_Union[_geometry_pb2.Interval, _Mapping]] = ...) -> None: ...

class CoreMargin(_message.Message):
    __slots__ = ("minimal_mm",)
    MINIMAL_MM_FIELD_NUMBER: _ClassVar[int]
    minimal_mm: float
    def __init__(self, minimal_mm: _Optional[float] = ...) -> None: ...

class MarginShares(_message.Message):
    __slots__ = ("below_0_mm", "from_0_to_5_mm", "from_5_to_10_mm", "at_least_10_mm")
    BELOW_0_MM_FIELD_NUMBER: _ClassVar[int]
    FROM_0_TO_5_MM_FIELD_NUMBER: _ClassVar[int]
    FROM_5_TO_10_MM_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_10_MM_FIELD_NUMBER: _ClassVar[int]
    below_0_mm: float
    from_0_to_5_mm: float
    from_5_to_10_mm: float
    at_least_10_mm: float
    def __init__(self, below_0_mm: _Optional[float] = ..., from_0_to_5_mm: _Optional[float] = ..., from_5_to_10_mm: _Optional[float] = ..., at_least_10_mm: _Optional[float] = ...) -> None: ...

class UncoveredRegion(_message.Message):
    __slots__ = ("rank", "volume_ml", "centroid_lps_mm", "deepest_lps_mm", "deepest_mm", "direction", "distance_to_pleura_mm", "directions", "in_lung")
    RANK_FIELD_NUMBER: _ClassVar[int]
    VOLUME_ML_FIELD_NUMBER: _ClassVar[int]
    CENTROID_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    DEEPEST_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    DEEPEST_MM_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_TO_PLEURA_MM_FIELD_NUMBER: _ClassVar[int]
    DIRECTIONS_FIELD_NUMBER: _ClassVar[int]
    IN_LUNG_FIELD_NUMBER: _ClassVar[int]
    rank: int
    volume_ml: float
    centroid_lps_mm: _geometry_pb2.Point
    deepest_lps_mm: _geometry_pb2.Point
    deepest_mm: float
    direction: str
    distance_to_pleura_mm: float
    directions: _containers.RepeatedScalarFieldContainer[AnatomicalDirection]
    in_lung: bool
    def __init__(self, rank: _Optional[int] = ..., volume_ml: _Optional[float] = ..., centroid_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., deepest_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., deepest_mm: _Optional[float] = ..., direction: _Optional[str] = ..., distance_to_pleura_mm: _Optional[float] = ..., directions: _Optional[_Iterable[_Union[AnatomicalDirection, str]]] = ..., in_lung: _Optional[bool] = ...) -> None: ...

class Alignment(_message.Message):
    __slots__ = ("method", "planning_from_verification", "similarity", "residual_mm", "pose_sd_mm", "planning_frame_of_reference_uid", "verification_frame_of_reference_uid", "quality")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PLANNING_FROM_VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_MM_FIELD_NUMBER: _ClassVar[int]
    POSE_SD_MM_FIELD_NUMBER: _ClassVar[int]
    PLANNING_FRAME_OF_REFERENCE_UID_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FRAME_OF_REFERENCE_UID_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    method: AlignmentMethod
    planning_from_verification: _containers.RepeatedScalarFieldContainer[float]
    similarity: float
    residual_mm: float
    pose_sd_mm: float
    planning_frame_of_reference_uid: str
    verification_frame_of_reference_uid: str
    quality: RegistrationQuality
    def __init__(self, method: _Optional[_Union[AlignmentMethod, str]] = ..., planning_from_verification: _Optional[_Iterable[float]] = ..., similarity: _Optional[float] = ..., residual_mm: _Optional[float] = ..., pose_sd_mm: _Optional[float] = ..., planning_frame_of_reference_uid: _Optional[str] = ..., verification_frame_of_reference_uid: _Optional[str] = ..., quality: _Optional[_Union[RegistrationQuality, _Mapping]] = ...) -> None: ...

class RegistrationQuality(_message.Message):
    __slots__ = ("similarity", "residual_mm", "descriptor_residual", "inverse_consistency_mm", "min_jacobian", "max_jacobian", "folding_share", "evidence_share", "mismatched_share", "sliding_mm", "new_air_ml", "contraction", "rotation_deg", "judge_disagreement_mm", "axis_scale_error", "breathing_step_mm", "largest_residual_mm", "new_air_lps_mm")
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_MM_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTOR_RESIDUAL_FIELD_NUMBER: _ClassVar[int]
    INVERSE_CONSISTENCY_MM_FIELD_NUMBER: _ClassVar[int]
    MIN_JACOBIAN_FIELD_NUMBER: _ClassVar[int]
    MAX_JACOBIAN_FIELD_NUMBER: _ClassVar[int]
    FOLDING_SHARE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_SHARE_FIELD_NUMBER: _ClassVar[int]
    MISMATCHED_SHARE_FIELD_NUMBER: _ClassVar[int]
    SLIDING_MM_FIELD_NUMBER: _ClassVar[int]
    NEW_AIR_ML_FIELD_NUMBER: _ClassVar[int]
    CONTRACTION_FIELD_NUMBER: _ClassVar[int]
    ROTATION_DEG_FIELD_NUMBER: _ClassVar[int]
    JUDGE_DISAGREEMENT_MM_FIELD_NUMBER: _ClassVar[int]
    AXIS_SCALE_ERROR_FIELD_NUMBER: _ClassVar[int]
    BREATHING_STEP_MM_FIELD_NUMBER: _ClassVar[int]
    LARGEST_RESIDUAL_MM_FIELD_NUMBER: _ClassVar[int]
    NEW_AIR_LPS_MM_FIELD_NUMBER: _ClassVar[int]
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
    rotation_deg: float
    judge_disagreement_mm: float
    axis_scale_error: float
    breathing_step_mm: float
    largest_residual_mm: float
    new_air_lps_mm: _geometry_pb2.Point
    def __init__(self, similarity: _Optional[float] = ..., residual_mm: _Optional[float] = ..., descriptor_residual: _Optional[float] = ..., inverse_consistency_mm: _Optional[float] = ..., min_jacobian: _Optional[float] = ..., max_jacobian: _Optional[float] = ..., folding_share: _Optional[float] = ..., evidence_share: _Optional[float] = ..., mismatched_share: _Optional[float] = ..., sliding_mm: _Optional[float] = ..., new_air_ml: _Optional[float] = ..., contraction: _Optional[float] = ..., rotation_deg: _Optional[float] = ..., judge_disagreement_mm: _Optional[float] = ..., axis_scale_error: _Optional[float] = ..., breathing_step_mm: _Optional[float] = ..., largest_residual_mm: _Optional[float] = ..., new_air_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ...) -> None: ...

class LesionFinding(_message.Message):
    __slots__ = ("volume_ml", "centroid_lps_mm", "verification_centroid_lps_mm", "source", "longest_diameter_mm", "contour_sd_mm", "origin")
    VOLUME_ML_FIELD_NUMBER: _ClassVar[int]
    CENTROID_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_CENTROID_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LONGEST_DIAMETER_MM_FIELD_NUMBER: _ClassVar[int]
    CONTOUR_SD_MM_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    volume_ml: float
    centroid_lps_mm: _geometry_pb2.Point
    verification_centroid_lps_mm: _geometry_pb2.Point
    source: str
    longest_diameter_mm: float
    contour_sd_mm: float
    origin: ContourOrigin
    def __init__(self, volume_ml: _Optional[float] = ..., centroid_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., verification_centroid_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., source: _Optional[str] = ..., longest_diameter_mm: _Optional[float] = ..., contour_sd_mm: _Optional[float] = ..., origin: _Optional[_Union[ContourOrigin, _Mapping]] = ...) -> None: ...

class Risk(_message.Message):
    __slots__ = ("months", "probability", "band_90", "model", "statements", "flags", "probability_if_complete", "radscore")
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    BAND_90_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_IF_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RADSCORE_FIELD_NUMBER: _ClassVar[int]
    months: _containers.RepeatedScalarFieldContainer[int]
    probability: _containers.RepeatedScalarFieldContainer[float]
    band_90: _containers.RepeatedCompositeFieldContainer[_geometry_pb2.Interval]
    model: str
    statements: _containers.RepeatedScalarFieldContainer[str]
    flags: _containers.RepeatedScalarFieldContainer[str]
    probability_if_complete: _containers.RepeatedScalarFieldContainer[float]
    radscore: Radscore
    def __init__(self, months: _Optional[_Iterable[int]] = ..., probability: _Optional[_Iterable[float]] = ..., band_90: _Optional[_Iterable[_Union[_geometry_pb2.Interval, _Mapping]]] = ..., model: _Optional[str] = ..., statements: _Optional[_Iterable[str]] = ..., flags: _Optional[_Iterable[str]] = ..., probability_if_complete: _Optional[_Iterable[float]] = ..., radscore: _Optional[_Union[Radscore, _Mapping]] = ...) -> None: ...

class Radscore(_message.Message):
    __slots__ = ("value", "features")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    value: float
    features: _containers.RepeatedCompositeFieldContainer[SignatureFeature]
    def __init__(self, value: _Optional[float] = ..., features: _Optional[_Iterable[_Union[SignatureFeature, _Mapping]]] = ...) -> None: ...

class SignatureFeature(_message.Message):
    __slots__ = ("name", "value", "contribution", "within_reference")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    WITHIN_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    contribution: float
    within_reference: bool
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., contribution: _Optional[float] = ..., within_reference: _Optional[bool] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "reason", "candidates")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    code: RefusalCode
    reason: str
    candidates: _containers.RepeatedCompositeFieldContainer[LesionCandidate]
    def __init__(self, code: _Optional[_Union[RefusalCode, str]] = ..., reason: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[LesionCandidate, _Mapping]]] = ...) -> None: ...

class LesionCandidate(_message.Message):
    __slots__ = ("volume_ml", "place_lps_mm")
    VOLUME_ML_FIELD_NUMBER: _ClassVar[int]
    PLACE_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    volume_ml: float
    place_lps_mm: _geometry_pb2.Point
    def __init__(self, volume_ml: _Optional[float] = ..., place_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("software", "disclaimer", "planning_sha256", "verification_sha256", "tumor_sha256", "zone_sha256", "core_sha256", "registration", "kernels", "risk_model", "risk_model_sha256", "inference_backend", "seed", "draws", "assessed_at", "case_id", "assessment_id", "tumor_model", "tumor_model_sha256", "zone_model", "zone_model_sha256", "planning", "verification", "risk_model_manifest_sha256", "tumor_model_manifest_sha256", "zone_model_manifest_sha256")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    DISCLAIMER_FIELD_NUMBER: _ClassVar[int]
    PLANNING_SHA256_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_SHA256_FIELD_NUMBER: _ClassVar[int]
    TUMOR_SHA256_FIELD_NUMBER: _ClassVar[int]
    ZONE_SHA256_FIELD_NUMBER: _ClassVar[int]
    CORE_SHA256_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    RISK_MODEL_FIELD_NUMBER: _ClassVar[int]
    RISK_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_BACKEND_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DRAWS_FIELD_NUMBER: _ClassVar[int]
    ASSESSED_AT_FIELD_NUMBER: _ClassVar[int]
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    TUMOR_MODEL_FIELD_NUMBER: _ClassVar[int]
    TUMOR_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    ZONE_MODEL_FIELD_NUMBER: _ClassVar[int]
    ZONE_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    PLANNING_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    RISK_MODEL_MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    TUMOR_MODEL_MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    ZONE_MODEL_MANIFEST_SHA256_FIELD_NUMBER: _ClassVar[int]
    software: str
    disclaimer: str
    planning_sha256: str
    verification_sha256: str
    tumor_sha256: str
    zone_sha256: str
    core_sha256: str
    registration: str
    kernels: str
    risk_model: str
    risk_model_sha256: str
    inference_backend: str
    seed: int
    draws: int
    assessed_at: _timestamp_pb2.Timestamp
    case_id: str
    assessment_id: str
    tumor_model: str
    tumor_model_sha256: str
    zone_model: str
    zone_model_sha256: str
    planning: SeriesProvenance
    verification: SeriesProvenance
    risk_model_manifest_sha256: str
    tumor_model_manifest_sha256: str
    zone_model_manifest_sha256: str
    def __init__(self, software: _Optional[str] = ..., disclaimer: _Optional[str] = ..., planning_sha256: _Optional[str] = ..., verification_sha256: _Optional[str] = ..., tumor_sha256: _Optional[str] = ..., zone_sha256: _Optional[str] = ..., core_sha256: _Optional[str] = ..., registration: _Optional[str] = ..., kernels: _Optional[str] = ..., risk_model: _Optional[str] = ..., risk_model_sha256: _Optional[str] = ..., inference_backend: _Optional[str] = ..., seed: _Optional[int] = ..., draws: _Optional[int] = ..., assessed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., case_id: _Optional[str] = ..., assessment_id: _Optional[str] = ..., tumor_model: _Optional[str] = ..., tumor_model_sha256: _Optional[str] = ..., zone_model: _Optional[str] = ..., zone_model_sha256: _Optional[str] = ..., planning: _Optional[_Union[SeriesProvenance, _Mapping]] = ..., verification: _Optional[_Union[SeriesProvenance, _Mapping]] = ..., risk_model_manifest_sha256: _Optional[str] = ..., tumor_model_manifest_sha256: _Optional[str] = ..., zone_model_manifest_sha256: _Optional[str] = ...) -> None: ...

class SeriesProvenance(_message.Message):
    __slots__ = ("study_instance_uid", "series_instance_uid", "series_description", "acquired_at", "convolution_kernel", "slice_thickness_mm", "instance_count")
    STUDY_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_AT_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION_KERNEL_FIELD_NUMBER: _ClassVar[int]
    SLICE_THICKNESS_MM_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    study_instance_uid: str
    series_instance_uid: str
    series_description: str
    acquired_at: str
    convolution_kernel: str
    slice_thickness_mm: float
    instance_count: int
    def __init__(self, study_instance_uid: _Optional[str] = ..., series_instance_uid: _Optional[str] = ..., series_description: _Optional[str] = ..., acquired_at: _Optional[str] = ..., convolution_kernel: _Optional[str] = ..., slice_thickness_mm: _Optional[float] = ..., instance_count: _Optional[int] = ...) -> None: ...
