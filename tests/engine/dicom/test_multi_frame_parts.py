"""Frames that are no CT slices, and multi-frame images that were sent in parts."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from engine.dicom.series import read_series
from engine.errors import DuplicateSlicePositionError, MissingSliceError, NotCtError, UnreadableFileError
from engine.input_warning import InputWarningCode
from tests.support.dicom_files import ct_instances, encoded
from tests.support.dicom_series import multi_frame, phantom_ct

CT = phantom_ct()
NO_SLICES = [
    ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"],
    ["DERIVED", "PRIMARY", "VOLUME", "SUBTRACTION"],
    ["DERIVED", "SECONDARY", "VOLUME", "MAXIMUM"],
    ["DERIVED", "SECONDARY", "MIP", "NONE"],
    ["DERIVED", "PRIMARY", "VOLUME", "STD_DEVIATION"],
    ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"],
]
SLICES = [
    ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
    ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"],
    ["DERIVED", "SECONDARY", "AXIAL", "MEAN"],
    ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR"],
]


def typed(item: Dataset, frame_type: list[str], **attributes: str) -> None:
    group = Dataset()
    group.FrameType = frame_type
    for keyword, value in attributes.items():
        setattr(group, keyword, value)
    item.CTImageFrameTypeSequence = [group]


@pytest.mark.parametrize("frame_type", NO_SLICES)
def test_frames_that_are_no_slices_are_left_out_and_said(frame_type: list[str]) -> None:
    """The last frame of the data set lies lowest."""
    dataset = multi_frame(CT)
    for item in dataset.PerFrameFunctionalGroupsSequence:
        typed(item, SLICES[0])
    typed(dataset.PerFrameFunctionalGroupsSequence[-1], frame_type)
    read = read_series([encoded(dataset)])
    assert np.array_equal(read.voxels_hu, CT.voxels_hu[1:])
    assert [warning.code for warning in read.warnings] == [InputWarningCode.OTHER_OBJECTS_LEFT_OUT]
    assert "left out: 1 " in read.warnings[0].message


@pytest.mark.parametrize("frame_type", NO_SLICES)
def test_an_image_without_a_slice_is_refused(frame_type: list[str]) -> None:
    dataset = multi_frame(CT)
    typed(dataset.SharedFunctionalGroupsSequence[0], frame_type)
    with pytest.raises(NotCtError, match="holds no CT slice"):
        read_series([encoded(dataset)])
    typed(dataset.SharedFunctionalGroupsSequence[0], SLICES[0], VolumeBasedCalculationTechnique="MAX_IP")
    with pytest.raises(NotCtError, match="max ip"):
        read_series([encoded(dataset)])


@pytest.mark.parametrize("frame_type", SLICES)
def test_frames_in_hu_are_read(frame_type: list[str]) -> None:
    dataset = multi_frame(CT)
    typed(dataset.SharedFunctionalGroupsSequence[0], frame_type)
    read = read_series([encoded(dataset)])
    assert np.array_equal(read.voxels_hu, CT.voxels_hu)
    assert read.warnings == ()


@pytest.mark.parametrize("image_type", NO_SLICES)
def test_single_slices_of_such_types_are_no_ct(image_type: list[str]) -> None:
    with pytest.raises(NotCtError):
        read_series([encoded(dataset) for dataset in ct_instances(CT, ImageType=image_type)])


def test_single_slices_of_such_types_are_left_out_and_said() -> None:
    datasets = ct_instances(CT)
    datasets[0].ImageType = ["DERIVED", "PRIMARY", "AXIAL", "SUBTRACTION"]
    read = read_series([encoded(dataset) for dataset in datasets])
    assert np.array_equal(read.voxels_hu, CT.voxels_hu[1:])
    assert "1 subtraction" in read.warnings[0].message


def in_parts(count: int, total: int | None) -> list[Dataset]:
    """An image of six frames in parts of equal size."""
    parts = []
    uid, size = generate_uid(), 6 // count
    for number in range(count):
        part = multi_frame(CT)
        frames = slice(number * size, (number + 1) * size)
        bytes_per_frame = len(part.PixelData) // 6
        part.PixelData = part.PixelData[frames.start * bytes_per_frame : frames.stop * bytes_per_frame]
        part.PerFrameFunctionalGroupsSequence = part.PerFrameFunctionalGroupsSequence[frames]
        part.NumberOfFrames, part.SOPInstanceUID = size, generate_uid()
        part.file_meta.MediaStorageSOPInstanceUID = part.SOPInstanceUID
        part.SeriesInstanceUID = part.FrameOfReferenceUID = "1.2.3"
        part.ConcatenationUID, part.InConcatenationNumber = uid, number + 1
        if total is not None:
            part.InConcatenationTotalNumber = total
        parts.append(part)
    return parts


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_whole_concatenation_is_read(count: int) -> None:
    read = read_series([encoded(part) for part in reversed(in_parts(count, count))])
    assert np.array_equal(read.voxels_hu, CT.voxels_hu)


@pytest.mark.parametrize(
    ("kept", "total", "named"),
    [
        ([0], 3, "2 of them not there .the first is number 2"),
        ([0, 1], 3, "1 of them not there .the first is number 3"),
        ([1, 2], 3, "number 1"),
        ([0, 1, 2], 4, "number 4"),
        ([0, 1, 2], None, "does not say of how many"),
        ([0], None, "does not say of how many"),
    ],
)
def test_a_part_without_the_others_is_refused(kept: list[int], total: int | None, named: str) -> None:
    parts = in_parts(3, total)
    with pytest.raises(MissingSliceError, match=named):
        read_series([encoded(parts[index]) for index in kept])


def test_parts_that_are_there_twice_or_contradict_each_other_are_refused() -> None:
    parts = in_parts(3, 3)
    with pytest.raises(DuplicateSlicePositionError, match="4 parts are there"):
        read_series([encoded(part) for part in (*parts, parts[1])])
    with pytest.raises(DuplicateSlicePositionError, match="of 2, and 3 parts"):
        read_series([encoded(part) for part in in_parts(3, 2)])
    parts[2].InConcatenationTotalNumber = 4
    with pytest.raises(UnreadableFileError, match="differ in how many"):
        read_series([encoded(part) for part in parts])
    for part in in_parts(3, 3):
        del part.ConcatenationUID
        with pytest.raises(MissingSliceError):
            read_series([encoded(part)])
