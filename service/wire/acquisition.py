"""What a header says of a scan and what was noticed in it, as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from coldspot.v1 import service_pb2

from engine.acquisition_time import parse_acquired_at
from engine.errors import InvalidRequestError
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import Acquisition

_MAX_WARNINGS: Final = 100
_MAX_MESSAGE_CHARACTERS: Final = 4000
"""Bounds of what one sender may notice: all of it ends in the answer, and on a page."""


def described_acquisition(acquisition: Acquisition) -> service_pb2.VoxelContent:
    """Return voxels without a grid, described by what is known of their scan."""
    return service_pb2.VoxelContent(
        patient_id=acquisition.patient_id,
        study_instance_uid=acquisition.study_instance_uid,
        series_instance_uid=acquisition.series_instance_uid,
        series_description=acquisition.series_description,
        patient_position=acquisition.patient_position,
        slice_thickness_mm=acquisition.slice_thickness_mm,
        acquired_at=acquisition.acquired_at,
        convolution_kernel=acquisition.convolution_kernel,
        instance_count=acquisition.instance_count,
        warnings=warning_messages(acquisition.warnings),
    )


def acquisition_of(voxels: service_pb2.VoxelContent) -> Acquisition:
    """Return what is known of the scan of some voxels.

    Raises
    ------
    InvalidRequestError
        If its time is no time, or its warnings are too many or too long.
    """
    if voxels.acquired_at and parse_acquired_at(voxels.acquired_at) is None:
        raise InvalidRequestError(
            f"acquired_at is an ISO 8601 date or time, not {voxels.acquired_at[:40]!r}; leave it out if not known",
            "header.voxels.acquired_at",
        )
    return Acquisition(
        patient_id=voxels.patient_id,
        study_instance_uid=voxels.study_instance_uid,
        series_instance_uid=voxels.series_instance_uid,
        series_description=voxels.series_description,
        patient_position=voxels.patient_position,
        slice_thickness_mm=voxels.slice_thickness_mm if voxels.HasField("slice_thickness_mm") else None,
        acquired_at=voxels.acquired_at,
        convolution_kernel=voxels.convolution_kernel,
        instance_count=voxels.instance_count if voxels.HasField("instance_count") else None,
        warnings=warnings_of(voxels.warnings),
    )


def warning_messages(warnings: Iterable[InputWarning]) -> list[service_pb2.InputWarning]:
    """Return warnings as messages."""
    return [service_pb2.InputWarning(code=warning.code, message=warning.message) for warning in warnings]


def warnings_of(sent: Iterable[service_pb2.InputWarning]) -> tuple[InputWarning, ...]:
    """Return the warnings that a sender names; a code that is not known here counts as ``other``.

    Raises
    ------
    InvalidRequestError
        If they are too many or too long.
    """
    warnings = tuple(InputWarning(_code(warning.code), warning.message) for warning in sent)
    if len(warnings) > _MAX_WARNINGS or any(len(w.message) > _MAX_MESSAGE_CHARACTERS for w in warnings):
        raise InvalidRequestError(
            f"a header has at most {_MAX_WARNINGS} warnings of {_MAX_MESSAGE_CHARACTERS} characters",
            "header.warnings",
        )
    return warnings


def _code(code: str) -> InputWarningCode:
    try:
        return InputWarningCode(code)
    except ValueError:
        return InputWarningCode.OTHER
