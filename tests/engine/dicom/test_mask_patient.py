"""A mask belongs to the patient of its CT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from engine.dicom.masks import read_dicom_mask
from engine.errors import InvalidRequestError, PatientMismatchError
from engine.input_warning import InputWarningCode
from engine.patient import Patient
from engine.volume import CtVolume, LabelMask
from tests.support.dicom_files import (
    ct_instances,
    encoded,
    mask_contours,
    segmentation,
    structure_set,
    write_segmentation,
)
from tests.support.dicom_series import phantom_ct

PHANTOM = phantom_ct()
UID = PHANTOM.geometry.frame_of_reference_uid
BLOB = np.zeros(PHANTOM.geometry.shape_zyx, np.bool_)
BLOB[2:4, 2:5, 3:7] = True


def ct(**values: Any) -> CtVolume:
    return CtVolume(PHANTOM.voxels_hu, PHANTOM.geometry, replace(PHANTOM.acquisition, **values))


def seg() -> Dataset:
    return segmentation(ct_instances(PHANTOM), {"tumor": BLOB})


def rtstruct() -> Dataset:
    contours = mask_contours(LabelMask(BLOB.copy(), PHANTOM.geometry))
    return structure_set({"tumor": contours}, frame_of_reference_uid=UID)


def read(dataset: Dataset, on: CtVolume) -> LabelMask:
    return read_dicom_mask(encoded(dataset), on, "tumor")


@pytest.mark.parametrize("make", [seg, rtstruct])
@pytest.mark.parametrize("in_frame", [True, False])
@pytest.mark.parametrize(
    ("drawn_for", "patient"),
    [
        (("T2", ""), {"patient_id": "T1"}),
        (("T2", "19500101"), {"patient_id": "T1", "patient_birth_date": "19500101"}),
        (("", "19510101"), {"patient_id": "T1", "patient_birth_date": "19500101"}),
        (("t1", ""), {"patient_id": "T1"}),
    ],
)
def test_a_mask_of_another_patient_is_refused(
    make: Any, in_frame: bool, drawn_for: tuple[str, str], patient: dict[str, str]
) -> None:
    dataset = make()
    dataset.PatientID, dataset.PatientBirthDate = drawn_for
    if not in_frame:
        strip_frame(dataset)
    with pytest.raises(PatientMismatchError, match="that was drawn on this CT") as caught:
        read(dataset, ct(**patient))
    assert "T1" not in str(caught.value)
    assert "T2" not in str(caught.value)


def strip_frame(dataset: Dataset) -> None:
    """Take the frame of reference away, as de-identification does."""
    if dataset.Modality == "SEG":
        dataset.FrameOfReferenceUID = ""
    else:
        dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = ""


@pytest.mark.parametrize("make", [seg, rtstruct])
def test_a_mask_of_the_same_patient_needs_no_word(make: Any) -> None:
    dataset = make()
    strip_frame(dataset)
    mask = read(dataset, ct(patient_id="PHANTOM"))
    assert np.array_equal(mask.voxels, BLOB)
    assert mask.warnings == ()
    assert mask.name == "tumor"


@pytest.mark.parametrize("make", [seg, rtstruct])
@pytest.mark.parametrize(("mask_id", "ct_id"), [("", "T1"), ("T1", ""), ("", "")])
def test_without_identifiers_the_frame_of_reference_proves_it(make: Any, mask_id: str, ct_id: str) -> None:
    dataset = make()
    dataset.PatientID = mask_id
    assert read(dataset, ct(patient_id=ct_id)).warnings == ()
    strip_frame(dataset)
    (warning,) = read(dataset, ct(patient_id=ct_id)).warnings
    assert warning.code is InputWarningCode.PATIENT_NOT_CHECKED


def rt_reference(dataset: Dataset, uid: str) -> None:
    """Name the series that a structure set was drawn on."""
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = uid
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [series], [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.4"])
def test_the_series_that_a_mask_was_drawn_on_is_compared(uid: str) -> None:
    on = ct(patient_id="PHANTOM", series_instance_uid="1.2.3")
    structures, segments = rtstruct(), seg()
    rt_reference(structures, uid)
    segments.ReferencedSeriesSequence[0].SeriesInstanceUID = uid
    for dataset in (structures, segments):
        warnings = read(dataset, on).warnings
        expected = [] if uid == "1.2.3" else [InputWarningCode.MASK_OF_OTHER_SERIES]
        assert [warning.code for warning in warnings] == expected
        assert all("(1.2.4) than its CT (1.2.3)" in str(warning) for warning in warnings)


def test_what_is_no_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="modality CT, not SEG or RTSTRUCT"):
        read(ct_instances(PHANTOM)[0], ct())
    write_segmentation(tmp_path / "seg", PHANTOM, {"tumor": BLOB})
    assert np.array_equal(read_dicom_mask(tmp_path / "seg", ct(patient_id="PHANTOM"), "tumor").voxels, BLOB)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Patient("A", "1"), Patient("A", "2"), True),
        (Patient("A"), Patient("B"), False),
        (Patient("", "1"), Patient("B", "1"), None),
        (Patient("", "1"), Patient("B", "2"), False),
        (Patient(), Patient(), None),
        (Patient("A"), Patient(), None),
    ],
)
def test_the_identifier_decides(one: Patient, other: Patient, same: bool | None) -> None:
    assert one.is_same_as(other) is same
    assert other.is_same_as(one) is same
    assert "A" not in repr(one)
