"""CT series: place, order, HU, and a typed refusal of everything that is none."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from engine.dicom.series import read_series
from engine.errors import (
    InvalidGeometryError,
    UnreadableFileError,
)
from engine.geometry import Vector3, VolumeGeometry
from engine.input_warning import messages
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded, write_ct_series, write_datasets
from tests.support.dicom_series import AXIAL, contents, multi_frame, phantom_ct, rotated


def test_a_written_series_comes_back(tmp_path: Path) -> None:
    ct = phantom_ct()
    write_ct_series(tmp_path, ct, SeriesDescription="Lung 2.5")
    read = read_series(tmp_path)
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    assert read.geometry.same_grid(ct.geometry)
    assert read.geometry.frame_of_reference_uid == ct.geometry.frame_of_reference_uid
    assert read.acquisition.patient_id == "PHANTOM"
    assert read.acquisition.series_description == "Lung 2.5"
    assert read.acquisition.patient_position == "HFS"
    assert read.acquisition.slice_thickness_mm == 2.5
    assert read.acquisition.acquired_at == "2026-01-02T03:04:05"
    assert read.acquisition.warnings == ()


@settings(max_examples=15, deadline=None)
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1),
    angle_rad=st.floats(0, math.pi),
    seed=st.integers(0, 2**31),
)
def test_oblique_series_in_any_order_keep_their_place(
    axis: tuple[float, float, float], angle_rad: float, seed: int
) -> None:
    ct = phantom_ct(rotated(axis, angle_rad), seed=seed)
    sent = contents(ct)
    np.random.default_rng(seed).shuffle(sent)
    read = read_series(sent)
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    assert np.abs(read.geometry.corners_lps_mm() - ct.geometry.corners_lps_mm()).max() < 1e-4


@pytest.mark.parametrize(
    "directions",
    [
        ((0, 0, -1), (0, 1, 0), (1, 0, 0)),  # left-handed: slices run against their normal
        ((0, 0, -1), (0, -1, 0), (1, 0, 0)),
        ((0, 1, 0), (0, 0, -1), (1, 0, 0)),  # coronal
        ((1, 0, 0), (0, 0, -1), (0, 1, 0)),  # sagittal
    ],
)
def test_flipped_directions_give_each_voxel_its_place(directions: tuple[Vector3, Vector3, Vector3]) -> None:
    ct = phantom_ct(directions)
    read = read_series(contents(ct))
    for index in ((0, 0, 0), (5, 6, 8), (2, 3, 1)):
        there = np.rint(read.geometry.to_index(ct.geometry.to_lps(index))).astype(int)
        assert read.voxels_hu[tuple(there)] == ct.voxels_hu[index]
    assert np.linalg.det(np.array(read.geometry.directions_zyx_lps)[::-1]) == pytest.approx(1)


@pytest.mark.parametrize("directions", [AXIAL, rotated((1, 2, 3), 0.4), ((0, -1, 0), (0, 0, 1), (1, 0, 0))])
def test_simpleitk_reads_the_same(tmp_path: Path, directions: tuple[Vector3, Vector3, Vector3]) -> None:
    write_ct_series(tmp_path, phantom_ct(directions))
    ours = read_series(tmp_path)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    theirs = sitk.ReadImage(names)
    assert np.array_equal(sitk.GetArrayFromImage(theirs), ours.voxels_hu)
    for index in ((0, 0, 0), (5, 6, 8)):
        position = theirs.TransformIndexToPhysicalPoint(index[::-1])
        assert np.allclose(ours.geometry.to_lps(index), position, atol=1e-4)


def test_simpleitk_reads_the_same_of_real_slices() -> None:
    folder = Path(str(get_testdata_file("DICOMDIR"))).parent / "98892001" / "CT5N"
    ours = read_series(folder)
    theirs = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    assert np.array_equal(sitk.GetArrayFromImage(theirs), ours.voxels_hu)
    assert np.allclose(ours.geometry.origin_lps_mm, theirs.GetOrigin())
    assert np.allclose(ours.geometry.spacing_zyx_mm[::-1], theirs.GetSpacing())


def test_other_files_and_a_nested_folder_are_no_obstacle(tmp_path: Path) -> None:
    ct = phantom_ct()
    paths = write_datasets(tmp_path / "IMAGES", ct_instances(ct), suffix="")
    paths[0].rename(tmp_path / "first")
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / ".hidden.dcm").write_bytes(b"")
    (tmp_path / "DICOMDIR").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    assert np.array_equal(read_series(tmp_path).voxels_hu, ct.voxels_hu)


def test_a_structure_set_beside_the_slices_is_named() -> None:
    other = ct_instances(phantom_ct())[0]
    other.Modality, other.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    read = read_series([*contents(phantom_ct()), encoded(other)])
    assert messages(read.warnings) == ("beside the CT slices, left out: 1 RTSTRUCT",)


def test_anonymized_oddities_are_read() -> None:
    sent = contents(phantom_ct(), SOPClassUID="", PatientID="", SliceThickness="3")
    read = read_series(sent)
    assert read.acquisition.patient_id == ""
    assert messages(read.warnings) == ("slices of 3 mm lie 2.5 mm apart: they overlap",)
    gapped = read_series(contents(phantom_ct(), SliceThickness="1"))
    assert "1.5 mm between them were not imaged" in gapped.warnings[0].message


def test_rescale_padding_and_unsigned_values() -> None:
    stored = np.arange(2 * 3 * 4, dtype="<u2").reshape(2, 3, 4) * 100
    ct = CtVolume(np.zeros((2, 3, 4), np.int16), VolumeGeometry((2, 3, 4), (1, 1, 1)))
    datasets = ct_instances(ct, RescaleSlope="-0.5", RescaleIntercept="10.25", PixelRepresentation=0)
    for dataset, values in zip(datasets, stored, strict=True):
        dataset.PixelData = values.tobytes()
        dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = 2200, 2300
        dataset["PixelPaddingValue"].VR = dataset["PixelPaddingRangeLimit"].VR = "US"
    read = read_series([encoded(d) for d in datasets])
    expected = np.rint(stored * -0.5 + 10.25)
    expected[((stored >= 2200) & (stored <= 2300)) | (expected < -1024)] = -1024
    assert np.array_equal(read.voxels_hu, expected)


def test_negative_padding_written_as_unsigned_is_understood() -> None:
    ct = phantom_ct()
    datasets = ct_instances(ct)
    for dataset in datasets:
        values = np.frombuffer(dataset.PixelData, "<i2").copy()
        values[:3] = -2000
        dataset.PixelData = values.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    assert (read_series([encoded(d) for d in datasets]).voxels_hu[:, 0, :3] == -1024).all()


@pytest.mark.parametrize("padding_hu", [-1025, -2000, -3024, -8192, -31744])
def test_what_lies_below_air_is_air_without_a_padding_value(padding_hu: int) -> None:
    datasets = ct_instances(phantom_ct())
    for dataset in datasets:
        values = np.frombuffer(dataset.PixelData, "<i2").copy()
        values[:3] = padding_hu + 1024
        dataset.PixelData = values.tobytes()
    read = read_series([encoded(d) for d in datasets])
    assert (read.voxels_hu[:, 0, :3] == -1024).all()
    assert np.array_equal(read.voxels_hu[:, 1:], phantom_ct().voxels_hu[:, 1:])


def test_padding_that_hides_tissue_and_clipped_values_are_warned_of() -> None:
    datasets = ct_instances(phantom_ct(), PixelPaddingValue=1024 + 40)
    assert "padding value" in read_series([encoded(d) for d in datasets]).warnings[0].message
    clipped = read_series(contents(phantom_ct(), RescaleSlope="20"))
    assert "were clipped" in clipped.warnings[0].message
    assert clipped.voxels_hu.max() == 32767


def test_stored_bits_above_bits_stored_do_not_count() -> None:
    ct = CtVolume(np.zeros((2, 3, 4), np.int16), VolumeGeometry((2, 3, 4), (1, 1, 1)))
    datasets = ct_instances(ct, BitsStored=12, HighBit=11, PixelRepresentation=0)
    for dataset in datasets:
        dataset.PixelData = np.full(12, 0xF000 + 1064, "<u2").tobytes()
    assert (read_series([encoded(d) for d in datasets]).voxels_hu == 40).all()


def test_a_multi_frame_ct_is_read() -> None:
    ct = phantom_ct(rotated((3, 1, 0), 0.3))
    read = read_series([encoded(multi_frame(ct))])
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    assert np.abs(read.geometry.corners_lps_mm() - ct.geometry.corners_lps_mm()).max() < 1e-4


def test_a_multi_frame_ct_without_positions_is_refused() -> None:
    dataset = multi_frame(phantom_ct())
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    with pytest.raises(InvalidGeometryError, match=r"frame 3 .* has no PlanePositionSequence"):
        read_series([encoded(dataset)])
    del dataset.PerFrameFunctionalGroupsSequence
    with pytest.raises(InvalidGeometryError):
        read_series([encoded(dataset)])


def test_a_multi_frame_ct_with_frames_undescribed_is_unreadable() -> None:
    dataset = multi_frame(phantom_ct())
    dataset.PerFrameFunctionalGroupsSequence.pop()
    with pytest.raises(UnreadableFileError, match="declares 6 frames and describes 5"):
        read_series([encoded(dataset)])
