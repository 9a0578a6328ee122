from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Point(_message.Message):
    __slots__ = ("x", "y", "z")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class VolumeGeometry(_message.Message):
    __slots__ = ("shape_zyx", "spacing_zyx_mm", "directions_zyx_lps", "origin_lps_mm", "frame_of_reference_uid")
    SHAPE_ZYX_FIELD_NUMBER: _ClassVar[int]
    SPACING_ZYX_MM_FIELD_NUMBER: _ClassVar[int]
    DIRECTIONS_ZYX_LPS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_LPS_MM_FIELD_NUMBER: _ClassVar[int]
    FRAME_OF_REFERENCE_UID_FIELD_NUMBER: _ClassVar[int]
    shape_zyx: _containers.RepeatedScalarFieldContainer[int]
    spacing_zyx_mm: _containers.RepeatedScalarFieldContainer[float]
    directions_zyx_lps: _containers.RepeatedScalarFieldContainer[float]
    origin_lps_mm: Point
    frame_of_reference_uid: str
    def __init__(self, shape_zyx: _Optional[_Iterable[int]] = ..., spacing_zyx_mm: _Optional[_Iterable[float]] = ..., directions_zyx_lps: _Optional[_Iterable[float]] = ..., origin_lps_mm: _Optional[_Union[Point, _Mapping]] = ..., frame_of_reference_uid: _Optional[str] = ...) -> None: ...
