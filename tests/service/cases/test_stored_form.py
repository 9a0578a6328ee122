"""Requests and headers on disk: what comes back is what was stored."""

from __future__ import annotations

import math

import pytest

from engine.acquisition_time import TimeSource
from engine.errors import PreconditionError
from engine.geometry import VolumeGeometry, VoxelBox
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import Acquisition
from service.cases.requests import CaseRequest
from service.cases.series import DicomContent, SeriesHeader, SeriesRole, VoxelContent
from service.cases.stored_form import decode_header, decode_request, encode
from service.record.report import AssessmentReport

LEFT_OUT = InputWarning(InputWarningCode.FILES_LEFT_OUT, "IM011 – left out")
GRID = VolumeGeometry((2, 3, 4), (2.5, 0.1 + 0.2, 0.7), origin_lps_mm=(-1.0, 1e-9, 1e6))
REQUESTS = [
    CaseRequest(""),
    CaseRequest("once", sex="f", fibrinogen_g_per_l=3.1, target_lps_mm=(1.0, -2.0, 1 / 3)),
]
CONTENTS: list[DicomContent | VoxelContent] = [
    DicomContent((12, 1 << 40), "GTV 1 µ", "Lung 1.0", (LEFT_OUT,)),
    VoxelContent(
        GRID,
        Acquisition(
            "P1",
            "19700101",
            "1.2",
            "1.3",
            "Lung",
            "HFS",
            2.5,
            "2026-01-02T03:04:05.5+01:00",
            TimeSource.SERIES,
            "Br64d/3",
            312,
            (LEFT_OUT, InputWarning(InputWarningCode.NO_AIR, "none")),
        ),
    ),
    VoxelContent(GRID, Acquisition(slice_thickness_mm=math.inf), box=VoxelBox((0, 0, 1), (1, 3, 4))),
]


def header(content: DicomContent | VoxelContent) -> SeriesHeader:
    return SeriesHeader("case", SeriesRole.TUMOR_MASK, 24, "ab" * 32, content, "planning")


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_comes_back(request_: CaseRequest) -> None:
    assert decode_request(encode(request_)) == request_


@pytest.mark.parametrize("content", CONTENTS)
def test_a_header_comes_back(content: DicomContent | VoxelContent) -> None:
    back = decode_header(encode(header(content)))
    assert back == header(content)
    assert type(back.content) is type(content)
    assert isinstance(back.role, SeriesRole)


def test_equal_headers_are_equal_bytes() -> None:
    stored = {encode(header(content)) for content in CONTENTS * 2}
    assert len(stored) == len(CONTENTS)


@pytest.mark.parametrize("stored", [b"\x0a\x24 a message of an older version", b"{}", b'{"role": 9}', b"[]"])
def test_what_another_version_stored_is_refused(stored: bytes) -> None:
    with pytest.raises(PreconditionError, match="another version"):
        decode_header(stored)
    with pytest.raises(PreconditionError, match="another version"):
        decode_request(stored)


def test_a_report_of_another_version_is_refused() -> None:
    with pytest.raises(PreconditionError, match="another version"):
        AssessmentReport.from_bytes(b"\x08\x02\x12\x04")
