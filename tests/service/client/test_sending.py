"""What a client sends is what the engine would read: one rule for folders, series, structures and what is noticed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from coldspot.v1 import service_pb2

from engine.dicom.series import read_series
from engine.errors import ColdspotError, InvalidRequestError, MixedSeriesError, UnreadableFileError
from engine.files.image_file import write_volume
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarning, InputWarningCode
from engine.volume import Acquisition, CtVolume, LabelMask
from service.cases.series import DicomContent, VoxelContent
from service.client.sending import Outgoing, ct_content, mask_content
from service.wire.requests import series_header
from tests.support.dicom_files import ct_instances, write_ct_series, write_datasets, write_segmentation
from tests.support.dicom_series import phantom_ct

CT = phantom_ct()


def lay_nothing(folder: Path) -> None:
    pass


def lay_a_note(folder: Path) -> None:
    (folder / "note.txt").write_text("a note")


def lay_a_mask(folder: Path) -> None:
    (folder / "mask.nrrd").write_bytes(b"NRRD")


def lay_deeper(folder: Path) -> None:
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "slice0003.dcm").rename(folder / "a" / "b" / "c" / "slice0003.dcm")


def take_a_preamble(folder: Path) -> None:
    path = folder / "slice0005.dcm"
    path.write_bytes(path.read_bytes()[132:])
    path.rename(folder / "slice0005")


def hide(folder: Path) -> None:
    (folder / ".old.dcm").write_bytes((folder / "slice0001.dcm").read_bytes())


def damage(folder: Path) -> None:
    (folder / "slice0002.dcm").write_bytes(b"lost")


def empty(folder: Path) -> None:
    (folder / "slice0002.dcm").write_bytes(b"")


def add_a_series(folder: Path) -> None:
    write_datasets(folder / "more", ct_instances(phantom_ct(seed=3), SeriesNumber=8))


def add_a_report(folder: Path) -> None:
    write_datasets(folder / "more", ct_instances(phantom_ct(slices=1), Modality="SR"))


LAID = [
    lay_nothing,
    lay_a_note,
    lay_a_mask,
    lay_deeper,
    take_a_preamble,
    hide,
    damage,
    empty,
    add_a_series,
    add_a_report,
]


def arrived(outgoing: Outgoing) -> VoxelContent | DicomContent:
    """What the service understands of a header."""
    header = outgoing.header("case", service_pb2.SERIES_ROLE_PLANNING_CT, "")
    return series_header(service_pb2.UploadHeader.FromString(header.SerializeToString())).content


@pytest.mark.parametrize("lay", LAID)
@pytest.mark.parametrize("choice", ["", "8"])
def test_client_and_engine_have_one_rule(tmp_path: Path, lay: Callable[[Path], None], choice: str) -> None:
    write_ct_series(tmp_path, CT)
    lay(tmp_path)
    try:
        read = read_series(tmp_path, choice)
    except ColdspotError as refused:
        with pytest.raises(type(refused), match=re.escape(str(refused))):
            ct_content(tmp_path, choice)
        return
    outgoing = ct_content(tmp_path, choice)
    content = arrived(outgoing)
    assert isinstance(content, DicomContent)
    sent = read_series([bytes(part) for part in outgoing.parts])
    assert np.array_equal(sent.voxels_hu, read.voxels_hu)
    assert (*content.warnings, *sent.warnings) == read.warnings


def test_what_each_kind_of_folder_gives(tmp_path: Path) -> None:
    """The rule above would hold for a reader that refuses everything."""
    outcomes = []
    for number, lay in enumerate(LAID):
        folder = tmp_path / str(number)
        write_ct_series(folder, CT)
        lay(folder)
        try:
            outcomes.append([w.code.value for w in read_series(folder).warnings])
        except (UnreadableFileError, MixedSeriesError) as refused:
            outcomes.append([refused.code])
    assert outcomes == [
        [],
        ["companion_files"],
        ["files_left_out"],
        [],
        [],
        ["files_left_out"],
        ["unreadable_file"],
        ["unreadable_file"],
        ["mixed_series"],
        ["other_objects_left_out"],
    ]


def test_a_volume_keeps_its_header_and_its_warnings() -> None:
    acquisition = Acquisition(
        patient_id="P",
        study_instance_uid="1.2",
        series_instance_uid="1.3",
        series_description="Lung 1.0",
        patient_position="HFP",
        slice_thickness_mm=1.25,
        acquired_at="2026-01-02T03:04:05+01:00",
        convolution_kernel="Br64d/3",
        instance_count=312,
        warnings=(InputWarning(InputWarningCode.NO_AIR, "no voxel below −200 HU"),),
    )
    content = arrived(ct_content(CtVolume(CT.voxels_hu, CT.geometry, acquisition)))
    assert isinstance(content, VoxelContent)
    assert content.acquisition == acquisition


def test_what_the_client_noticed_in_a_file_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    write_volume(path, np.full((3, 4, 5), 900, np.int16), VolumeGeometry((3, 4, 5), (1.0, 1.0, 1.0)))
    assert [w.code for w in arrived(ct_content(path)).warnings] == [InputWarningCode.NO_AIR]


def test_warnings_of_a_mask_are_sent() -> None:
    warning = InputWarning(InputWarningCode.ORIENTATION_NOT_STATED, "no side")
    mask = LabelMask(
        np.ones((2, 2, 2), np.bool_), VolumeGeometry((2, 2, 2), (1.0, 1.0, 1.0)), "tumor", (warning,)
    )
    assert arrived(mask_content(mask, "tumor")).warnings == (warning,)


def test_a_code_that_is_not_known_here_counts_as_other() -> None:
    outgoing = ct_content(CT)
    outgoing.content.warnings.add(code="of_a_later_version", message="noticed")
    assert arrived(outgoing).warnings == (InputWarning(InputWarningCode.OTHER, "noticed"),)


@pytest.mark.parametrize(("count", "length"), [(101, 1), (1, 4001)])
def test_a_sender_does_not_notice_without_end(count: int, length: int) -> None:
    outgoing = ct_content(CT)
    for _ in range(count):
        outgoing.content.warnings.add(code="other", message="x" * length)
    with pytest.raises(InvalidRequestError, match="at most 100 warnings"):
        arrived(outgoing)


@pytest.mark.parametrize(
    "moment", ["yesterday", "20260102", "2026-13-01", "2026-01-02T25:00:00", "0001-01-01"]
)
def test_a_time_that_is_none_is_refused(moment: str) -> None:
    content = ct_content(CtVolume(CT.voxels_hu, CT.geometry, Acquisition(acquired_at=moment)))
    with pytest.raises(InvalidRequestError, match="acquired_at is an ISO 8601"):
        arrived(content)


@pytest.mark.parametrize("structure", ["tumor", "1.5", "x1"])
def test_labels_of_an_image_file_have_no_names(tmp_path: Path, structure: str) -> None:
    path = tmp_path / "mask.nii.gz"
    write_volume(path, np.eye(4, dtype=np.uint8).reshape(1, 4, 4), VolumeGeometry((1, 4, 4), (1.0, 1.0, 1.0)))
    with pytest.raises(InvalidRequestError, match="is not a label value"):
        mask_content(path, "tumor", structure)


def test_a_label_of_a_segment_travels_as_it_is(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "seg", CT, {"Lung tumor": np.ones(CT.geometry.shape_zyx, np.bool_)})
    content = arrived(mask_content(tmp_path / "seg", "tumor", "Lung tumor"))
    assert isinstance(content, DicomContent)
    assert content.structure == "Lung tumor"
