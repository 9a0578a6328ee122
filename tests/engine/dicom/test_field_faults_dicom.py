"""DICOM as people's systems write it: small files with the outcome that is right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.dicom.masks import read_dicom_mask
from engine.dicom.series import read_series
from engine.dicom.structure_set import read_structure_set
from engine.errors import GridMismatchError, PatientMismatchError
from engine.input_warning import InputWarningCode

FOLDER = Path(os.environ.get("COLDSPOT_DATA") or "absent") / "field-faults"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="COLDSPOT_DATA is not set, or has no field-faults: no such file to read"
)


def test_an_outline_that_is_repeated_from_another_start_counts_once() -> None:
    ct = read_series(FOLDER / "rtstruct" / "ct")
    mask = read_structure_set(FOLDER / "rtstruct" / "repeated_other_start_3_slices.dcm", ct)
    assert mask.voxels.sum() == 13980
    assert mask.warnings == ()


def test_overlapping_outlines_are_united() -> None:
    ct = read_series(FOLDER / "rtstruct" / "ct")
    mask = read_structure_set(FOLDER / "rtstruct" / "overlapping_two.dcm", ct)
    # The centers on the lines, which rounding decides on, are four in a slice.
    assert mask.voxels.sum() == pytest.approx(13380, abs=4 * 20)
    assert [warning.code for warning in mask.warnings] == [InputWarningCode.OUTLINES_UNITED]


def test_two_planes_on_one_slice_are_refused() -> None:
    ct = read_series(FOLDER / "rtstruct" / "ct")
    with pytest.raises(GridMismatchError, match="several planes"):
        read_structure_set(FOLDER / "rtstruct" / "two_planes_one_slice.dcm", ct)


def test_an_overlay_in_bit_12_under_jpeg_ls_is_no_image() -> None:
    ct = read_series(FOLDER / "dicom-bits" / "overlay_bit12_jpegls")
    assert ct.voxels_hu.max() == 96
    assert [warning.code for warning in ct.acquisition.warnings] == [InputWarningCode.UNUSED_BITS]
    assert str(ct.acquisition.warnings[0]).startswith("400 voxels")


def test_a_structure_set_of_another_patient_is_refused() -> None:
    ct = read_series(FOLDER / "rtstruct" / "ct")
    with pytest.raises(PatientMismatchError):
        read_dicom_mask(FOLDER / "rtstruct" / "other_patient_no_for.dcm", ct, "tumor")


def test_a_slice_without_preamble_is_read_with_the_others() -> None:
    ct = read_series(FOLDER / "left-out" / "last_slice_without_preamble")
    assert ct.geometry.shape_zyx[0] == 12
    assert ct.warnings == ()
