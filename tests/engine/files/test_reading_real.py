"""Real CT: found through COLDSPOT_DATA, skipped where that is not set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from engine.dicom.pixels import decode_slice_hu
from engine.dicom.segmentation import read_segmentation
from engine.dicom.series import read_series
from engine.errors import (
    DuplicateSlicePositionError,
    GantryTiltError,
    InputError,
    InvalidRequestError,
    LossyCompressionError,
    MissingSliceError,
    UndecodableTransferSyntaxError,
)
from engine.files.image_file import read_mask_image
from engine.files.reading import read_ct, read_mask
from engine.input_warning import InputWarningCode, messages
from engine.volume import CtVolume
from tests.support.dicom_files import mask_contours, write_ct_series, write_segmentation, write_structure_set

DATA = os.environ.get("COLDSPOT_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no real CT to read")
ROOT = Path(DATA or "absent")
SLICE = "CTImage.dcm_"


@pytest.mark.parametrize(
    ("name", "error", "where"),
    [
        ("gantrytilting_001", GantryTiltError, "14.0°"),
        ("notavolume_001", DuplicateSlicePositionError, "001.dcm and 002.dcm at 61.50 mm"),
        ("sliceincrement_001", MissingSliceError, "0009-0001.dcm at 28.11 mm and IM-0001-0010"),
        ("sliceincrement_002", MissingSliceError, "IM-0001-0003.dcm .* IM-0001-0005.dcm .* tilted by 15.5°"),
    ],
)
def test_irregular_sets_get_their_own_error(name: str, error: type[InputError], where: str) -> None:
    with pytest.raises(error, match=where):
        read_series(ROOT / "dicom-irregular" / name)


def test_every_lossless_encoding_of_one_slice_gives_the_same_hu() -> None:
    folder = ROOT / "dicom-transfer-syntaxes"
    expected = decode_slice_hu(folder / "CTImage.dcm")
    uids = ("1.2", "1.2.1", "1.2.1.99", "1.2.2", "1.2.5", "1.2.4.57", "1.2.4.70", "1.2.4.80", "1.2.4.90")
    for uid in uids:
        (path,) = folder.glob(f"{SLICE}*_1.2.840.10008.{uid}.dcm")
        assert np.array_equal(decode_slice_hu(path), expected), uid


@pytest.mark.parametrize(
    ("uid", "error"),
    [
        ("50", LossyCompressionError),
        ("51", LossyCompressionError),
        ("81", LossyCompressionError),
        ("91", LossyCompressionError),
        ("53", UndecodableTransferSyntaxError),
        ("55", UndecodableTransferSyntaxError),
    ],
)
def test_other_encodings_are_refused_by_name(uid: str, error: type[InputError]) -> None:
    (path,) = (ROOT / "dicom-transfer-syntaxes").glob(f"{SLICE}*_1.2.840.10008.1.2.4.{uid}.dcm")
    with pytest.raises(error, match=f"JPEG.*1.2.840.10008.1.2.4.{uid}"):
        decode_slice_hu(path)


def test_anonymized_jpeg_2000_slices_are_a_volume() -> None:
    folder = ROOT / "dicom-totalseg-j2k"
    ct = read_ct(folder)
    labels = sitk.ReadImage(str(folder / "example_seg_dicom.nii.gz"))
    assert ct.geometry.shape_zyx == labels.GetSize()[::-1]
    assert ct.geometry.spacing_zyx_mm == (2.0, 0.9765625, 0.9765625)
    assert messages(ct.warnings)[1:] == ("slices of 3 mm lie 2 mm apart: they overlap",)
    assert ct.warnings[0].code is InputWarningCode.FILES_LEFT_OUT
    assert "example_seg_dicom.nii.gz" in str(ct.warnings[0])
    # The labels come from a converter that turns rows round: the same voxels in another order.
    label = int(np.unique(sitk.GetArrayFromImage(labels))[1])
    mask = read_mask(folder / "example_seg_dicom.nii.gz", ct, "organ", label=str(label))
    index = np.argwhere(mask.voxels)[0]
    there = labels.TransformPhysicalPointToIndex(ct.geometry.to_lps(index).tolist())
    assert labels[there] == label


def test_dicom_nrrd_and_the_rotated_twin_agree() -> None:
    folder = ROOT / "ct-cip-small"
    dicom, nrrd = read_ct(folder / "ct-64Dicom"), read_ct(folder / "ct-64.nrrd")
    assert np.array_equal(dicom.voxels_hu, nrrd.voxels_hu)
    assert dicom.geometry.same_grid(nrrd.geometry)
    twin = read_ct(folder / "ct-64-transformed.nrrd")
    lung = read_mask_image(folder / "lm-64.nrrd", label=512)
    twin_lung = read_mask_image(folder / "lm-64-transformed.nrrd", label=512)
    turned = np.array(twin.geometry.directions_zyx_lps) @ np.array(nrrd.geometry.directions_zyx_lps).T
    assert not np.allclose(turned, np.eye(3), atol=0.1)
    assert np.array_equal(twin.voxels_hu, nrrd.voxels_hu)
    assert twin_lung.volume_ml == pytest.approx(lung.volume_ml)
    # Distances between the same voxels do not know of the rotation.
    ends = np.array([[0, 0, 0], [70, 60, 50]])
    lengths = [np.linalg.norm(np.diff(g.to_lps(ends), axis=0)) for g in (nrrd.geometry, twin.geometry)]
    assert lengths[0] == pytest.approx(lengths[1])


def test_the_rotated_twin_as_dicom_keeps_its_place(tmp_path: Path) -> None:
    twin = read_ct(ROOT / "ct-cip-small" / "ct-64-transformed.nrrd")
    write_ct_series(tmp_path, twin)
    read = read_ct(tmp_path)
    assert np.array_equal(read.voxels_hu, twin.voxels_hu)
    assert read.geometry.same_grid(twin.geometry)


@pytest.mark.parametrize(
    ("seg", "segment", "nrrd", "label"),
    [
        ("liver.dcm", None, "liver_seg.nrrd", 1),
        ("partial_overlaps.dcm", 1, "partial_overlaps-1.nrrd", 1),
        ("partial_overlaps.dcm", 2, "partial_overlaps-2.nrrd", 2),
        ("partial_overlaps.dcm", 3, "partial_overlaps-3.nrrd", 3),
        ("partial_overlaps.dcm", 4, "partial_overlaps-1.nrrd", 4),
        ("partial_overlaps.dcm", 5, "partial_overlaps-1.nrrd", 5),
    ],
)
def test_segmentations_equal_their_nrrd(seg: str, segment: int | None, nrrd: str, label: int) -> None:
    folder = ROOT / "dicom-seg-dcmqi"
    ct = read_ct(folder / "ct-3slice")
    mask = read_segmentation(folder / seg, ct, segment=segment)
    assert np.array_equal(mask.voxels, read_mask_image(folder / nrrd, label=label).voxels)


@pytest.mark.parametrize(
    ("ct", "seg", "nrrd"),
    [
        ("23x38x3/image", "23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/image", "24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("24x38x3/multiframe", "24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("24x38x3/image", "sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd"),
        ("24x38x3/image", "sparse-labelmap-ppv5.dcm", "sparse_labelmap_ppv5_seg.nrrd"),
    ],
)
def test_small_and_sparse_segmentations_equal_their_nrrd(ct: str, seg: str, nrrd: str) -> None:
    folder = ROOT / "dicom-seg-dcmqi"
    mask = read_mask(folder / seg, read_ct(folder / ct), "liver")
    assert np.array_equal(mask.voxels, read_mask_image(folder / nrrd, label=1).voxels)


def test_several_segments_need_a_choice() -> None:
    folder = ROOT / "dicom-seg-dcmqi"
    with pytest.raises(InvalidRequestError, match="3 'PURPLE'"):
        read_mask(folder / "partial_overlaps.dcm", read_ct(folder / "ct-3slice"), "tumor")


def test_multi_frame_equals_single_slices() -> None:
    folder = ROOT / "dicom-seg-dcmqi" / "24x38x3"
    single, multi = read_ct(folder / "image"), read_ct(folder / "multiframe" / "mf.dcm")
    assert np.array_equal(single.voxels_hu, multi.voxels_hu)
    assert single.geometry == multi.geometry


def test_an_ablation_case_survives_its_dicom_form(tmp_path: Path) -> None:
    case = ROOT / "ablation-cases" / "lidc-half"
    planning = read_ct(case / "planning.nii.gz")
    tumor = read_mask(case / "tumor.nii.gz", planning, "tumor")
    write_ct_series(tmp_path / "ct", planning)
    ct: CtVolume = read_ct(tmp_path / "ct")
    assert np.array_equal(ct.voxels_hu, planning.voxels_hu)
    uid = ct.geometry.frame_of_reference_uid
    write_segmentation(tmp_path / "seg.dcm", ct, {"tumor": tumor.voxels})
    write_structure_set(tmp_path / "rs.dcm", {"tumor": mask_contours(tumor)}, frame_of_reference_uid=uid)
    for path in (case / "tumor.nii.gz", tmp_path / "seg.dcm", tmp_path / "rs.dcm"):
        assert np.array_equal(read_mask(path, ct, "tumor").voxels, tumor.voxels)
