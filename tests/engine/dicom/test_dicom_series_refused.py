"""Series that cannot be read say what is wrong, and where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian

from engine.dicom.series import read_series
from engine.errors import (
    DuplicateSlicePositionError,
    GantryTiltError,
    InputError,
    InvalidGeometryError,
    MissingSliceError,
    MixedSeriesError,
    NonUniformSpacingError,
    NotCtError,
    UnreadableFileError,
)
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded, write_ct_series
from tests.support.dicom_series import contents, phantom_ct, without


def test_a_missing_slice_is_located(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, phantom_ct(slices=8))
    paths[3].unlink()
    paths[4].unlink()
    with pytest.raises(
        MissingSliceError, match=r"2 slices .* between slice0002.dcm at .* and slice0005.dcm at"
    ):
        read_series(tmp_path)


def test_a_duplicate_position_is_located(tmp_path: Path) -> None:
    paths = write_ct_series(tmp_path, phantom_ct())
    (tmp_path / "again.dcm").write_bytes(paths[2].read_bytes())
    with pytest.raises(DuplicateSlicePositionError, match=r"again.dcm and slice0002.dcm at -395"):
        read_series(tmp_path)


def moved(ct: CtVolume, offsets_lps_mm: Sequence[tuple[float, float, float]]) -> list[bytes]:
    datasets = ct_instances(ct)
    for dataset, offset in zip(datasets, offsets_lps_mm, strict=True):
        dataset.ImagePositionPatient = [
            f"{float(v) + d:.6f}" for v, d in zip(dataset.ImagePositionPatient, offset, strict=True)
        ]
    return [encoded(d) for d in datasets]


def test_uneven_distances_are_refused_and_header_rounding_is_not() -> None:
    ct = phantom_ct()
    with pytest.raises(NonUniformSpacingError, match="slice distances run from"):
        read_series(moved(ct, [(0, 0, 0.3 * k * k) for k in range(6)]))
    rounded = read_series(moved(ct, [(0, 0, d) for d in (0, 0.05, -0.05, 0.05, 0, 0)]))
    assert rounded.geometry.spacing_zyx_mm[0] == 2.5


@pytest.mark.parametrize("degrees", [0.3, 5.0, -15.0])
def test_gantry_tilt_names_its_angle(degrees: float) -> None:
    shift = 2.5 * math.tan(math.radians(degrees))
    with pytest.raises(GantryTiltError, match=f"at {abs(degrees):.1f}°"):
        read_series(moved(phantom_ct(), [(0, shift * k, 0) for k in range(6)]))


def test_a_slice_beside_the_others_is_refused() -> None:
    with pytest.raises(InvalidGeometryError, match=r"instance 4 lies .* beside"):
        read_series(moved(phantom_ct(), [(0, 0, 0)] * 3 + [(4.0, 0, 0)] + [(0, 0, 0)] * 2))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, "there are 2 CT series"),
        ({"FrameOfReferenceUID": "1.2.3"}, "FrameOfReferenceUID"),
        ({"PatientID": "SECRET-7"}, "PatientID"),
        ({"Modality": "MR"}, "Modality"),
        ({"PixelSpacing": [0.7, 0.9]}, "pixel spacing"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.96, 0.28]}, "orientation"),
    ],
)
def test_mixed_series_name_what_differs(overrides: dict[str, Any], named: str) -> None:
    ct = phantom_ct()
    datasets = ct_instances(ct)
    for keyword, value in overrides.items():
        setattr(datasets[-1], keyword, value)
    with pytest.raises(MixedSeriesError, match=named) as caught:
        read_series([encoded(d) for d in datasets])
    assert "SECRET" not in str(caught.value)


def test_another_size_is_a_mixed_series() -> None:
    datasets = ct_instances(phantom_ct())
    datasets[2].Rows, datasets[2].Columns = 9, 7
    with pytest.raises(MixedSeriesError, match="rows and columns"):
        read_series([encoded(d) for d in datasets])


@pytest.mark.parametrize(
    "overrides",
    [
        {"Modality": "MR"},
        {"Modality": ""},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"RescaleType": "EDW"},
        {"RescaleSlope": "0"},
        {"SamplesPerPixel": 3},
    ],
)
def test_what_is_no_ct_in_hu_is_refused(overrides: dict[str, Any]) -> None:
    with pytest.raises(NotCtError):
        read_series(contents(phantom_ct(), **overrides))


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_no_rescale_is_no_hu(keyword: str) -> None:
    with pytest.raises(NotCtError, match=keyword):
        read_series(without(ct_instances(phantom_ct()), keyword))


@pytest.mark.parametrize(
    "keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"]
)
def test_missing_geometry_is_named(keyword: str) -> None:
    with pytest.raises(InvalidGeometryError, match=keyword):
        read_series(without(ct_instances(phantom_ct()), keyword))


@pytest.mark.parametrize(
    "keyword", ["PixelData", "BitsStored", "PixelRepresentation", "PhotometricInterpretation"]
)
def test_missing_pixel_attributes_are_unreadable(keyword: str) -> None:
    with pytest.raises(UnreadableFileError):
        read_series(without(ct_instances(phantom_ct()), keyword))


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PixelSpacing", "DS", "0\\0"),
        ("PixelSpacing", "DS", "-1\\1"),
        ("PixelSpacing", "DS", "1"),
        ("ImagePositionPatient", "DS", "nan\\0\\0"),
        ("ImagePositionPatient", "DS", "1e30\\0\\0"),
        ("ImagePositionPatient", "DS", "abc\\0\\0"),
        ("ImageOrientationPatient", "DS", "1\\0\\0\\1\\0\\0"),
        ("ImageOrientationPatient", "DS", "0\\0\\0\\0\\0\\0"),
        ("ImageOrientationPatient", "DS", "2\\0\\0\\0\\2\\0"),
        ("Rows", "US", 65535),
        ("Rows", "US", 0),
    ],
)
def test_impossible_geometry_is_refused(keyword: str, vr: str, value: Any) -> None:
    datasets = ct_instances(phantom_ct())
    for dataset in datasets:
        if vr == "DS":
            dataset[keyword] = pydicom.DataElement(keyword, "LO", value)  # unchecked text on the wire
        else:
            dataset[keyword] = pydicom.DataElement(keyword, vr, value)
    with pytest.raises(InvalidGeometryError):
        read_series([encoded(d) for d in datasets])


def test_a_single_slice_is_no_volume() -> None:
    with pytest.raises(InvalidGeometryError, match="only slice"):
        read_series(contents(phantom_ct(slices=1)))


@pytest.mark.parametrize(
    "content", [b"", b"not an image", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\x02\0\0\0UL"]
)
def test_what_is_not_dicom_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableFileError):
        read_series([content])


def test_empty_folders_and_lost_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no DICOM image"):
        read_series(tmp_path)
    with pytest.raises(UnreadableFileError, match="nothing was sent"):
        read_series([])
    with pytest.raises(UnreadableFileError, match="does not exist"):
        read_series(tmp_path / "nowhere")
    write_ct_series(tmp_path, phantom_ct())
    (tmp_path / "lost").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match="lost is empty"):
        read_series(tmp_path)


def test_truncated_pixel_data_are_refused() -> None:
    sent = contents(phantom_ct())
    sent[2] = sent[2][:-20]
    with pytest.raises(UnreadableFileError, match="instance 3"):
        read_series(sent)


INTACT = contents(phantom_ct(slices=2))


@settings(max_examples=80, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6),
    cut=st.one_of(st.none(), st.integers(0, 2**16)),
)
def test_damaged_bytes_never_raise_anything_untyped(changes: list[tuple[int, int]], cut: int | None) -> None:
    damaged = bytearray(INTACT[0])
    for place, value in changes:
        damaged[132 + place % (len(damaged) - 132)] = value
    kept = len(damaged) if cut is None else cut % len(damaged)
    try:
        volume = read_series([bytes(damaged[:kept]), INTACT[1]])
    except InputError:
        return
    assert volume.voxels_hu.dtype == np.int16


def test_big_endian_gives_the_same_hu() -> None:
    ct = phantom_ct()
    datasets = ct_instances(ct)
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset["PixelData"].VR = "OW"
    sent = []
    for dataset in datasets:
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, dataset, little_endian=False, implicit_vr=False, enforce_file_format=True)
        sent.append(buffer.getvalue())
    assert np.array_equal(read_series(sent).voxels_hu, ct.voxels_hu)
