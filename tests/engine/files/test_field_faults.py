"""Small files of the kinds that systems in the field write: found through COLDSPOT_DATA, else skipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import (
    ClinicalModeError,
    ColdspotError,
    GantryTiltError,
    InvalidGeometryError,
    UnreadableFileError,
)
from engine.files.image_file import read_ct_image, read_mask_image
from engine.files.reading import read_ct, read_mask
from engine.input_warning import InputWarningCode, require_clinical

DATA = os.environ.get("COLDSPOT_DATA")
FAULTS = Path(DATA or "") / "field-faults"

pytestmark = pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no files from the field to read")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("geometry/nifti_pixdim_1_sform_0.78.nii.gz", InvalidGeometryError, "twice and differently: 1 mm"),
        ("geometry/nifti_sheared_sform.nii.gz", GantryTiltError, r"10\.0°"),
        ("geometry/mha_no_spacing.mha", InvalidGeometryError, "no voxel size"),
        ("geometry/nrrd_direction_none.nrrd", InvalidGeometryError, "none"),
        ("damaged/tumor_one_byte_changed.mha", UnreadableFileError, "damaged"),
    ],
)
def test_what_cannot_be_trusted_is_refused(name: str, kind: type[ColdspotError], words: str) -> None:
    for read in (read_ct_image, read_mask_image):
        with pytest.raises(kind, match=words):
            read(FAULTS / name)


def test_without_orientation_codes_there_is_a_warning_that_clinical_mode_refuses() -> None:
    ct = read_ct(FAULTS / "geometry" / "nifti_no_orientation_codes.nii.gz")
    assert [w.code for w in ct.warnings] == [InputWarningCode.ORIENTATION_NOT_STATED]
    assert ct.geometry.spacing_zyx_mm == (1.0, 0.78125, 0.78125)
    with pytest.raises(ClinicalModeError, match="left"):
        require_clinical(ct.warnings)


def test_the_whole_mask_reads_as_its_nifti() -> None:
    case = Path(DATA or "") / "ablation-cases" / "lidc-half"
    ct = read_ct(case / "planning.nii.gz")
    whole = read_mask(FAULTS / "damaged" / "tumor_whole.mha", ct, "tumor")
    assert np.array_equal(whole.voxels, read_mask(case / "tumor.nii.gz", ct, "tumor").voxels)
    assert whole.warnings == ()
