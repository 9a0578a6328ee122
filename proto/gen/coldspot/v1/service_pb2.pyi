import datetime

from coldspot.v1 import assessment_pb2 as _assessment_pb2
from coldspot.v1 import geometry_pb2 as _geometry_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeriesRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERIES_ROLE_UNSPECIFIED: _ClassVar[SeriesRole]
    SERIES_ROLE_PLANNING_CT: _ClassVar[SeriesRole]
    SERIES_ROLE_VERIFICATION_CT: _ClassVar[SeriesRole]
    SERIES_ROLE_TUMOR_MASK: _ClassVar[SeriesRole]
    SERIES_ROLE_ABLATION_ZONE_MASK: _ClassVar[SeriesRole]
    SERIES_ROLE_ABLATION_CORE_MASK: _ClassVar[SeriesRole]

class Sex(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEX_UNSPECIFIED: _ClassVar[Sex]
    SEX_FEMALE: _ClassVar[Sex]
    SEX_MALE: _ClassVar[Sex]

class StageState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_STATE_UNSPECIFIED: _ClassVar[StageState]
    STAGE_STATE_STARTED: _ClassVar[StageState]
    STAGE_STATE_FINISHED: _ClassVar[StageState]

class ModelPurpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODEL_PURPOSE_UNSPECIFIED: _ClassVar[ModelPurpose]
    MODEL_PURPOSE_RISK: _ClassVar[ModelPurpose]
    MODEL_PURPOSE_TUMOR: _ClassVar[ModelPurpose]
    MODEL_PURPOSE_ABLATION_ZONE: _ClassVar[ModelPurpose]
SERIES_ROLE_UNSPECIFIED: SeriesRole
SERIES_ROLE_PLANNING_CT: SeriesRole
SERIES_ROLE_VERIFICATION_CT: SeriesRole
SERIES_ROLE_TUMOR_MASK: SeriesRole
SERIES_ROLE_ABLATION_ZONE_MASK: SeriesRole
SERIES_ROLE_ABLATION_CORE_MASK: SeriesRole
SEX_UNSPECIFIED: Sex
SEX_FEMALE: Sex
SEX_MALE: Sex
STAGE_STATE_UNSPECIFIED: StageState
STAGE_STATE_STARTED: StageState
STAGE_STATE_FINISHED: StageState
MODEL_PURPOSE_UNSPECIFIED: ModelPurpose
MODEL_PURPOSE_RISK: ModelPurpose
MODEL_PURPOSE_TUMOR: ModelPurpose
MODEL_PURPOSE_ABLATION_ZONE: ModelPurpose

class OpenCaseRequest(_message.Message):
    __slots__ = ("request_id", "sex", "fibrinogen_g_per_l", "target_lps_mm")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    FIBRINOGEN_G_PER_L_FIELD_NUMBER: _ClassVar[int]
    TARGET_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    sex: Sex
    fibrinogen_g_per_l: float
    target_lps_mm: _geometry_pb2.Point
    def __init__(self, request_id: _Optional[str] = ..., sex: _Optional[_Union[Sex, str]] = ..., fibrinogen_g_per_l: _Optional[float] = ..., target_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ...) -> None: ...

class OpenCaseResponse(_message.Message):
    __slots__ = ("case_id",)
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    def __init__(self, case_id: _Optional[str] = ...) -> None: ...

class UpdateCaseRequest(_message.Message):
    __slots__ = ("case_id", "sex", "fibrinogen_g_per_l", "target_lps_mm", "update_mask")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    FIBRINOGEN_G_PER_L_FIELD_NUMBER: _ClassVar[int]
    TARGET_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    sex: Sex
    fibrinogen_g_per_l: float
    target_lps_mm: _geometry_pb2.Point
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, case_id: _Optional[str] = ..., sex: _Optional[_Union[Sex, str]] = ..., fibrinogen_g_per_l: _Optional[float] = ..., target_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateCaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UploadSeriesRequest(_message.Message):
    __slots__ = ("header", "chunk")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    header: UploadHeader
    chunk: bytes
    def __init__(self, header: _Optional[_Union[UploadHeader, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class UploadHeader(_message.Message):
    __slots__ = ("case_id", "role", "total_bytes", "sha256", "voxels", "dicom", "reference_series_id")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    VOXELS_FIELD_NUMBER: _ClassVar[int]
    DICOM_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    role: SeriesRole
    total_bytes: int
    sha256: bytes
    voxels: VoxelContent
    dicom: DicomContent
    reference_series_id: str
    def __init__(self, case_id: _Optional[str] = ..., role: _Optional[_Union[SeriesRole, str]] = ..., total_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ..., voxels: _Optional[_Union[VoxelContent, _Mapping]] = ..., dicom: _Optional[_Union[DicomContent, _Mapping]] = ..., reference_series_id: _Optional[str] = ...) -> None: ...

class VoxelContent(_message.Message):
    __slots__ = ("geometry", "patient_id", "study_instance_uid", "series_instance_uid", "slice_thickness_mm", "box", "series_description", "acquired_at", "convolution_kernel", "patient_position", "instance_count", "warnings")
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    PATIENT_ID_FIELD_NUMBER: _ClassVar[int]
    STUDY_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SERIES_INSTANCE_UID_FIELD_NUMBER: _ClassVar[int]
    SLICE_THICKNESS_MM_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    SERIES_DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ACQUIRED_AT_FIELD_NUMBER: _ClassVar[int]
    CONVOLUTION_KERNEL_FIELD_NUMBER: _ClassVar[int]
    PATIENT_POSITION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    geometry: _geometry_pb2.VolumeGeometry
    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    slice_thickness_mm: float
    box: VoxelBox
    series_description: str
    acquired_at: str
    convolution_kernel: str
    patient_position: str
    instance_count: int
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    def __init__(self, geometry: _Optional[_Union[_geometry_pb2.VolumeGeometry, _Mapping]] = ..., patient_id: _Optional[str] = ..., study_instance_uid: _Optional[str] = ..., series_instance_uid: _Optional[str] = ..., slice_thickness_mm: _Optional[float] = ..., box: _Optional[_Union[VoxelBox, _Mapping]] = ..., series_description: _Optional[str] = ..., acquired_at: _Optional[str] = ..., convolution_kernel: _Optional[str] = ..., patient_position: _Optional[str] = ..., instance_count: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ...) -> None: ...

class InputWarning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class VoxelBox(_message.Message):
    __slots__ = ("start_zyx", "stop_zyx")
    START_ZYX_FIELD_NUMBER: _ClassVar[int]
    STOP_ZYX_FIELD_NUMBER: _ClassVar[int]
    start_zyx: _containers.RepeatedScalarFieldContainer[int]
    stop_zyx: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, start_zyx: _Optional[_Iterable[int]] = ..., stop_zyx: _Optional[_Iterable[int]] = ...) -> None: ...

class DicomContent(_message.Message):
    __slots__ = ("instance_bytes", "structure", "series", "warnings")
    INSTANCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STRUCTURE_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    instance_bytes: _containers.RepeatedScalarFieldContainer[int]
    structure: str
    series: str
    warnings: _containers.RepeatedCompositeFieldContainer[InputWarning]
    def __init__(self, instance_bytes: _Optional[_Iterable[int]] = ..., structure: _Optional[str] = ..., series: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[InputWarning, _Mapping]]] = ...) -> None: ...

class UploadSeriesResponse(_message.Message):
    __slots__ = ("series_id", "role", "stored_bytes", "warnings")
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    series_id: str
    role: SeriesRole
    stored_bytes: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, series_id: _Optional[str] = ..., role: _Optional[_Union[SeriesRole, str]] = ..., stored_bytes: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class PrepareRequest(_message.Message):
    __slots__ = ("case_id", "planning_series_id", "tumor_series_id", "target_lps_mm", "allow_demo_models")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    PLANNING_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    TUMOR_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DEMO_MODELS_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    planning_series_id: str
    tumor_series_id: str
    target_lps_mm: _geometry_pb2.Point
    allow_demo_models: bool
    def __init__(self, case_id: _Optional[str] = ..., planning_series_id: _Optional[str] = ..., tumor_series_id: _Optional[str] = ..., target_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ..., allow_demo_models: _Optional[bool] = ...) -> None: ...

class PrepareResponse(_message.Message):
    __slots__ = ("stage", "prepared")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    stage: StageEvent
    prepared: Prepared
    def __init__(self, stage: _Optional[_Union[StageEvent, _Mapping]] = ..., prepared: _Optional[_Union[Prepared, _Mapping]] = ...) -> None: ...

class Prepared(_message.Message):
    __slots__ = ("lesion", "warnings", "timings_s", "refusal")
    class TimingsSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    LESION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_S_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    lesion: _assessment_pb2.LesionFinding
    warnings: _containers.RepeatedScalarFieldContainer[str]
    timings_s: _containers.ScalarMap[str, float]
    refusal: _assessment_pb2.Refusal
    def __init__(self, lesion: _Optional[_Union[_assessment_pb2.LesionFinding, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., timings_s: _Optional[_Mapping[str, float]] = ..., refusal: _Optional[_Union[_assessment_pb2.Refusal, _Mapping]] = ...) -> None: ...

class AssessRequest(_message.Message):
    __slots__ = ("case_id", "verification_series_id", "zone_series_id", "core_series_id", "include_risk_if_complete", "allow_demo_models")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    VERIFICATION_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    CORE_SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RISK_IF_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_DEMO_MODELS_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    verification_series_id: str
    zone_series_id: str
    core_series_id: str
    include_risk_if_complete: bool
    allow_demo_models: bool
    def __init__(self, case_id: _Optional[str] = ..., verification_series_id: _Optional[str] = ..., zone_series_id: _Optional[str] = ..., core_series_id: _Optional[str] = ..., include_risk_if_complete: _Optional[bool] = ..., allow_demo_models: _Optional[bool] = ...) -> None: ...

class AssessResponse(_message.Message):
    __slots__ = ("stage", "preliminary", "final")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PRELIMINARY_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    stage: StageEvent
    preliminary: _assessment_pb2.Assessment
    final: _assessment_pb2.Assessment
    def __init__(self, stage: _Optional[_Union[StageEvent, _Mapping]] = ..., preliminary: _Optional[_Union[_assessment_pb2.Assessment, _Mapping]] = ..., final: _Optional[_Union[_assessment_pb2.Assessment, _Mapping]] = ...) -> None: ...

class StageEvent(_message.Message):
    __slots__ = ("stage", "state", "duration_s")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    stage: str
    state: StageState
    duration_s: float
    def __init__(self, stage: _Optional[str] = ..., state: _Optional[_Union[StageState, str]] = ..., duration_s: _Optional[float] = ...) -> None: ...

class GetCaseRequest(_message.Message):
    __slots__ = ("case_id",)
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    def __init__(self, case_id: _Optional[str] = ...) -> None: ...

class GetCaseResponse(_message.Message):
    __slots__ = ("case_id", "series", "assessment_ids", "prepared", "opened_at", "sex", "fibrinogen_g_per_l", "target_lps_mm")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    PREPARED_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    FIBRINOGEN_G_PER_L_FIELD_NUMBER: _ClassVar[int]
    TARGET_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    series: _containers.RepeatedCompositeFieldContainer[StoredSeries]
    assessment_ids: _containers.RepeatedScalarFieldContainer[str]
    prepared: bool
    opened_at: _timestamp_pb2.Timestamp
    sex: Sex
    fibrinogen_g_per_l: float
    target_lps_mm: _geometry_pb2.Point
    def __init__(self, case_id: _Optional[str] = ..., series: _Optional[_Iterable[_Union[StoredSeries, _Mapping]]] = ..., assessment_ids: _Optional[_Iterable[str]] = ..., prepared: _Optional[bool] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sex: _Optional[_Union[Sex, str]] = ..., fibrinogen_g_per_l: _Optional[float] = ..., target_lps_mm: _Optional[_Union[_geometry_pb2.Point, _Mapping]] = ...) -> None: ...

class ListCasesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListCasesResponse(_message.Message):
    __slots__ = ("cases", "next_page_token")
    CASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    cases: _containers.RepeatedCompositeFieldContainer[CaseOverview]
    next_page_token: str
    def __init__(self, cases: _Optional[_Iterable[_Union[CaseOverview, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CaseOverview(_message.Message):
    __slots__ = ("case_id", "opened_at", "series_count", "assessment_count", "stored_bytes")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    SERIES_COUNT_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    opened_at: _timestamp_pb2.Timestamp
    series_count: int
    assessment_count: int
    stored_bytes: int
    def __init__(self, case_id: _Optional[str] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., series_count: _Optional[int] = ..., assessment_count: _Optional[int] = ..., stored_bytes: _Optional[int] = ...) -> None: ...

class StoredSeries(_message.Message):
    __slots__ = ("series_id", "role", "stored_bytes", "sha256")
    SERIES_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    series_id: str
    role: SeriesRole
    stored_bytes: int
    sha256: bytes
    def __init__(self, series_id: _Optional[str] = ..., role: _Optional[_Union[SeriesRole, str]] = ..., stored_bytes: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class GetAssessmentRequest(_message.Message):
    __slots__ = ("case_id", "assessment_id")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    assessment_id: str
    def __init__(self, case_id: _Optional[str] = ..., assessment_id: _Optional[str] = ...) -> None: ...

class GetAssessmentResponse(_message.Message):
    __slots__ = ("assessment",)
    ASSESSMENT_FIELD_NUMBER: _ClassVar[int]
    assessment: _assessment_pb2.Assessment
    def __init__(self, assessment: _Optional[_Union[_assessment_pb2.Assessment, _Mapping]] = ...) -> None: ...

class FetchArtifactRequest(_message.Message):
    __slots__ = ("case_id", "assessment_id", "name")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    ASSESSMENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    assessment_id: str
    name: str
    def __init__(self, case_id: _Optional[str] = ..., assessment_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class FetchArtifactResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class DeleteCaseRequest(_message.Message):
    __slots__ = ("case_id",)
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    def __init__(self, case_id: _Optional[str] = ...) -> None: ...

class DeleteCaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "disclaimer", "kernels", "inference_backend", "models", "max_series_bytes", "max_admitted", "clinical_mode", "mock", "served_models")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DISCLAIMER_FIELD_NUMBER: _ClassVar[int]
    KERNELS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_BACKEND_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_SERIES_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ADMITTED_FIELD_NUMBER: _ClassVar[int]
    CLINICAL_MODE_FIELD_NUMBER: _ClassVar[int]
    MOCK_FIELD_NUMBER: _ClassVar[int]
    SERVED_MODELS_FIELD_NUMBER: _ClassVar[int]
    version: str
    disclaimer: str
    kernels: str
    inference_backend: str
    models: _containers.RepeatedScalarFieldContainer[str]
    max_series_bytes: int
    max_admitted: int
    clinical_mode: bool
    mock: bool
    served_models: _containers.RepeatedCompositeFieldContainer[ServedModel]
    def __init__(self, version: _Optional[str] = ..., disclaimer: _Optional[str] = ..., kernels: _Optional[str] = ..., inference_backend: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ..., max_series_bytes: _Optional[int] = ..., max_admitted: _Optional[int] = ..., clinical_mode: _Optional[bool] = ..., mock: _Optional[bool] = ..., served_models: _Optional[_Iterable[_Union[ServedModel, _Mapping]]] = ...) -> None: ...

class ServedModel(_message.Message):
    __slots__ = ("identity", "purpose", "backend")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    identity: _assessment_pb2.ModelIdentity
    purpose: ModelPurpose
    backend: str
    def __init__(self, identity: _Optional[_Union[_assessment_pb2.ModelIdentity, _Mapping]] = ..., purpose: _Optional[_Union[ModelPurpose, str]] = ..., backend: _Optional[str] = ...) -> None: ...
