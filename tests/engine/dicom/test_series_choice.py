"""Which series of a folder is read: the only CT, or the one a person names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from engine.dicom.series import read_series
from engine.dicom.series_choice import SeriesSummary, choose_mask_file, list_series
from engine.errors import InvalidRequestError, MixedSeriesError, NotCtError
from engine.input_warning import InputWarningCode
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, write_datasets
from tests.support.dicom_series import multi_frame, phantom_ct

LUNG, SOFT = phantom_ct(seed=1), phantom_ct(seed=2)


def series(ct: CtVolume, number: int, description: str, kernel: str = "", **overrides: Any) -> list[Dataset]:
    return ct_instances(
        ct, SeriesNumber=number, SeriesDescription=description, ConvolutionKernel=kernel, **overrides
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two CT series, a localizer and a dose report, each in a folder of its own."""
    write_datasets(tmp_path / "a", series(LUNG, 3, "Lung 2.5", "Br64d"))
    write_datasets(tmp_path / "b", series(SOFT, 4, "Soft tissue", "Br40d"))
    scout = series(phantom_ct(slices=2), 1, "Topogram", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_datasets(tmp_path / "c", scout)
    report = series(phantom_ct(slices=1), 999, "Dose", Modality="SR")
    write_datasets(tmp_path / "d", report)
    return tmp_path


def test_several_series_are_listed_and_none_is_guessed(study: Path) -> None:
    with pytest.raises(MixedSeriesError) as caught:
        read_series(study)
    assert str(caught.value) == (
        f"there are 2 CT series in {study}: 3 'Lung 2.5' (kernel Br64d, 6 slices of 2.5 mm); "
        "4 'Soft tissue' (kernel Br40d, 6 slices of 2.5 mm); "
        "choose one by its number, UID or description (option --…-series)"
    )


def test_a_list_names_what_a_person_needs(study: Path) -> None:
    listed = list_series(study)
    assert [(s.number, s.description, s.kernel, s.slices, s.slice_thickness_mm) for s in listed] == [
        (1, "Topogram", "", 0, 2.5),
        (3, "Lung 2.5", "Br64d", 6, 2.5),
        (4, "Soft tissue", "Br40d", 6, 2.5),
        (999, "Dose", "", 0, 2.5),
    ]


@pytest.mark.parametrize(
    ("choice", "ct"), [("3", LUNG), ("4", SOFT), ("lung 2.5", LUNG), (" Soft tissue ", SOFT)]
)
def test_a_number_or_a_description_chooses(study: Path, choice: str, ct: CtVolume) -> None:
    read = read_series(study, choice)
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    (warning,) = read.warnings
    assert warning.code is InputWarningCode.OTHER_OBJECTS_LEFT_OUT
    assert "1 SR, 2 localizer, 6 slice of series" in str(warning)
    assert read.acquisition.convolution_kernel == ("Br64d" if ct is LUNG else "Br40d")


def test_a_uid_chooses(study: Path) -> None:
    for summary, ct in zip(list_series(study)[1:3], (LUNG, SOFT), strict=True):
        assert np.array_equal(read_series(study, summary.uid).voxels_hu, ct.voxels_hu)


@pytest.mark.parametrize(
    ("choice", "error", "said"),
    [
        ("7", InvalidRequestError, "no series in .* is numbered or called '7', only 1 'Topogram'"),
        ("lung", InvalidRequestError, "'lung'"),
        ("1", NotCtError, "holds no CT slice"),
        ("999", NotCtError, "holds no CT slice"),
    ],
)
def test_a_choice_that_names_no_ct_is_refused(
    study: Path, choice: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        read_series(study, choice)


def test_a_choice_that_names_several_is_refused_with_their_uids(tmp_path: Path) -> None:
    write_datasets(tmp_path / "a", series(LUNG, 3, "Thorax"))
    write_datasets(tmp_path / "b", series(SOFT, 3, "Thorax"))
    uids = [summary.uid for summary in list_series(tmp_path)]
    for choice in ("3", "thorax"):
        with pytest.raises(MixedSeriesError) as caught:
            read_series(tmp_path, choice)
        assert all(uid in str(caught.value) for uid in uids)
    assert np.array_equal(read_series(tmp_path, uids[0]).voxels_hu, LUNG.voxels_hu)


def test_a_number_that_a_report_shares_names_the_ct(tmp_path: Path) -> None:
    write_datasets(tmp_path / "a", series(LUNG, 3, "Lung"))
    write_datasets(tmp_path / "b", series(phantom_ct(slices=1), 3, "Report", Modality="SR"))
    assert np.array_equal(read_series(tmp_path, "3").voxels_hu, LUNG.voxels_hu)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"Modality": "SR"}, "1 SR"),
        ({"Modality": "MR"}, "1 MR"),
        ({"ImageType": ["DERIVED", "SECONDARY", "LOCALIZER"]}, "1 localizer"),
        ({"SOPClassUID": SecondaryCaptureImageStorage, "ImagePositionPatient": None}, "1 secondary capture"),
    ],
)
def test_what_lies_beside_one_ct_is_said_and_no_second_series(
    tmp_path: Path, overrides: dict[str, Any], said: str
) -> None:
    write_datasets(tmp_path / "a", series(LUNG, 3, "Lung"))
    other = series(phantom_ct(slices=1), 9, "other", **overrides)
    if overrides.get("ImagePositionPatient", 1) is None:
        del other[0].ImagePositionPatient
    write_datasets(tmp_path / "b", other)
    read = read_series(tmp_path)
    assert np.array_equal(read.voxels_hu, LUNG.voxels_hu)
    assert [str(w) for w in read.warnings] == [f"beside the CT slices, left out: {said}"]


def test_a_localizer_within_the_series_is_left_out_with_a_word(tmp_path: Path) -> None:
    datasets = series(LUNG, 3, "Lung")
    scout = phantom_ct(slices=1)
    datasets += ct_instances(
        CtVolume(scout.voxels_hu, scout.geometry),
        SeriesInstanceUID=datasets[0].SeriesInstanceUID,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    write_datasets(tmp_path, datasets)
    read = read_series(tmp_path)
    assert np.array_equal(read.voxels_hu, LUNG.voxels_hu)
    assert str(read.warnings[0]) == "beside the CT slices, left out: 1 localizer"


def test_a_slice_of_another_class_within_the_series_is_an_error(tmp_path: Path) -> None:
    datasets = series(LUNG, 3, "Lung")
    datasets[-1].SOPClassUID = SecondaryCaptureImageStorage
    write_datasets(tmp_path, datasets)
    with pytest.raises(NotCtError):
        read_series(tmp_path)


def test_a_stray_slice_of_another_series_is_no_companion(tmp_path: Path) -> None:
    datasets = series(LUNG, 3, "Lung")
    datasets[-1].SeriesInstanceUID = generate_uid()
    write_datasets(tmp_path, datasets)
    with pytest.raises(MixedSeriesError, match="2 CT series"):
        read_series(tmp_path)


def test_a_multi_frame_series_counts_its_frames(tmp_path: Path) -> None:
    dataset = multi_frame(LUNG)
    dataset.SeriesNumber, dataset.SeriesDescription = 5, "Enhanced"
    reconstruction = Dataset()
    reconstruction.ConvolutionKernel = ["Br64d", "3"]
    dataset.SharedFunctionalGroupsSequence[0].CTReconstructionSequence = [reconstruction]
    write_datasets(tmp_path, [dataset])
    (summary,) = list_series(tmp_path)
    assert (summary.number, summary.kernel, summary.slices) == (5, "Br64d/3", 6)


@given(st.text(max_size=6), st.integers(-5, 10**6) | st.none(), st.text(max_size=6))
def test_a_series_is_named_by_its_own_number_and_description(
    description: str, number: int | None, other: str
) -> None:
    summary = SeriesSummary("1.2.3", number, description, "", 1, None)
    assert summary.is_named(description)
    assert summary.is_named("1.2.3")
    if number is not None and number >= 0:
        assert summary.is_named(str(number))
    if other.casefold() != description.casefold() and not other.isdecimal():
        assert not summary.is_named(other)


def test_a_mask_file_is_the_only_dicom_of_its_folder(tmp_path: Path) -> None:
    write_datasets(tmp_path / "ct", series(LUNG, 3, "Lung"))
    with pytest.raises(InvalidRequestError, match=r"ct holds 6 DICOM instances \(CT\), not one SEG"):
        choose_mask_file(tmp_path / "ct", "tumor")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequestError, match="0 DICOM instances"):
        choose_mask_file(tmp_path / "empty", "tumor")
