"""Image files, and which reader a path goes to."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from engine.errors import (
    EmptyMaskError,
    GridMismatchError,
    InvalidGeometryError,
    InvalidRequestError,
    NotCtError,
    UnreadableFileError,
)
from engine.files.image_file import read_ct_image, read_mask_image, write_mask, write_volume
from engine.files.reading import read_ct, read_mask
from engine.geometry import VolumeGeometry, VoxelBox
from engine.volume import CtVolume, LabelMask
from tests.support.dicom_files import mask_contours, write_ct_series, write_segmentation, write_structure_set

C, S = 0.96, 0.28
GEOMETRY = VolumeGeometry(
    (5, 6, 7),
    (2.5, 0.7, 0.8),
    ((0.0, -S, C), (0.0, C, S), (1.0, 0.0, 0.0)),
    (-10.0, 20.0, -300.0),
    generate_uid(),
)
HU = np.random.default_rng(1).integers(-1024, 2000, GEOMETRY.shape_zyx).astype(np.int16)
CT = CtVolume(HU.copy(), GEOMETRY)
BLOB = np.zeros(GEOMETRY.shape_zyx, np.bool_)
BLOB[1:4, 2:5, 3:6] = True
FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


def write(path: Path, voxels: npt.NDArray[Any], geometry: VolumeGeometry = GEOMETRY) -> Path:
    write_volume(path, voxels, geometry)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_ct_comes_back_in_its_place(suffix: str, tmp_path: Path) -> None:
    read = read_ct(write(tmp_path / f"ct{suffix}", HU))
    assert np.array_equal(read.voxels_hu, HU)
    assert read.geometry.same_grid(GEOMETRY)
    assert read.acquisition.warnings == ()


@pytest.mark.parametrize("suffix", FORMATS)
def test_itk_puts_every_voxel_where_we_do(suffix: str, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(write(tmp_path / f"ct{suffix}", HU)))
    for index in ((0, 0, 0), (4, 5, 6), (1, 2, 3)):
        assert np.allclose(
            image.TransformIndexToPhysicalPoint(index[::-1]), GEOMETRY.to_lps(index), atol=1e-3
        )
        assert image[index[::-1]] == HU[index]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mask_comes_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mask{suffix}"
    write_mask(path, LabelMask(BLOB.copy(), GEOMETRY, "tumor"))
    mask = read_mask(path, CT, "tumor")
    assert np.array_equal(mask.voxels, BLOB)
    assert mask.geometry == GEOMETRY
    assert mask.name == "tumor"


def test_fractional_hu_are_rounded_and_wild_ones_clipped(tmp_path: Path) -> None:
    values = HU.astype(np.float32) + 0.4
    values[0, 0, 0] = 1e6
    read = read_ct(write(tmp_path / "ct.nii.gz", values))
    assert np.array_equal(read.voxels_hu.ravel()[1:], HU.ravel()[1:])
    assert read.voxels_hu[0, 0, 0] == 32767
    assert "1 voxels" in read.warnings[0].message


@pytest.mark.parametrize(
    "values",
    [
        np.full(GEOMETRY.shape_zyx, 120, np.uint8),
        BLOB.astype(np.uint8),
        np.linspace(0, 1, BLOB.size, dtype=np.float32).reshape(BLOB.shape),
        np.where(BLOB, np.nan, HU).astype(np.float32),
        np.where(BLOB, np.inf, HU).astype(np.float64),
    ],
)
def test_what_is_no_hu_is_refused(values: npt.NDArray[Any], tmp_path: Path) -> None:
    with pytest.raises(NotCtError):
        read_ct(write(tmp_path / "ct.nii.gz", values))


def test_no_lung_is_warned_of(tmp_path: Path) -> None:
    read = read_ct(write(tmp_path / "ct.nii.gz", np.maximum(HU, -100)))
    assert "no voxel below -200 HU" in read.warnings[0].message


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_four_dimensions_and_vectors_are_refused(suffix: str, tmp_path: Path) -> None:
    series = sitk.JoinSeries([sitk.GetImageFromArray(HU), sitk.GetImageFromArray(HU)])
    vectors = sitk.GetImageFromArray(np.stack([HU, HU, HU], axis=-1), isVector=True)
    flat = sitk.GetImageFromArray(HU[0])
    for number, image in enumerate((series, vectors, flat)):
        path = tmp_path / f"{number}{suffix}"
        sitk.WriteImage(image, str(path))
        with pytest.raises(InvalidGeometryError):
            read_ct(path)
        with pytest.raises(InvalidGeometryError):
            read_mask_image(path)


def test_a_single_volume_in_four_dimensions_is_read(tmp_path: Path) -> None:
    image = sitk.JoinSeries([sitk.ReadImage(str(write(tmp_path / "3d.nii", HU)))])
    sitk.WriteImage(image, str(tmp_path / "4d.mha"))
    assert np.array_equal(read_ct_image(tmp_path / "4d.mha").voxels_hu, HU)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"NRRD0004\ntype: short\n", b"ObjectType = Image\n"])
def test_damaged_files_are_unreadable(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"ct{suffix}"
    path.write_bytes(content)
    with pytest.raises((UnreadableFileError, InvalidGeometryError)):
        read_ct(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_truncated_files_are_unreadable(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"ct{suffix}", HU)
    path.write_bytes(path.read_bytes()[:-120])
    with pytest.raises(UnreadableFileError):
        read_ct(path)


def test_unknown_and_absent_files_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    for name in ("notes.txt", "nowhere.nii.gz", "nowhere"):
        with pytest.raises(UnreadableFileError):
            read_ct(tmp_path / name)


def test_sheared_axes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nrrd", HU, VolumeGeometry(HU.shape, (1, 1, 1)))
    header, _, rest = path.read_bytes().partition(b"space directions: (1,0,0)")
    path.write_bytes(header + b"space directions: (1,0.4,0)" + rest)
    with pytest.raises(InvalidGeometryError, match="orthogonal"):
        read_ct(path)


def test_itk_prints_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii.gz", HU)
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"\0" * 400)
    code = (
        "import sys; from pathlib import Path; from engine.files.image_file import read_ct_image\n"
        "for p in sys.argv[1:]:\n  try: read_ct_image(Path(p))\n  except Exception: pass\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, path, broken], capture_output=True, check=True)
    assert ran.stdout == b""


def test_labels_are_listed_and_chosen(tmp_path: Path) -> None:
    labels = BLOB.astype(np.int16) * 3
    labels[4, 5, 6] = 7
    path = write(tmp_path / "labels.nii.gz", labels)
    with pytest.raises(InvalidRequestError, match=r"2 labels \(3, 7\)"):
        read_mask(path, CT, "tumor")
    assert np.array_equal(read_mask(path, CT, "tumor", label="3").voxels, BLOB)
    for wrong in ("5", "tumor"):
        with pytest.raises(InvalidRequestError):
            read_mask(path, CT, "tumor", label=wrong)
    one = write(tmp_path / "one.nii.gz", BLOB.astype(np.float32) * 255)
    assert np.array_equal(read_mask(one, CT, "tumor").voxels, BLOB)
    with pytest.raises(InvalidRequestError, match="fractional"):
        read_mask(write(tmp_path / "soft.nii.gz", BLOB * 0.5), CT, "tumor")


def test_empty_and_misplaced_masks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyMaskError):
        read_mask(write(tmp_path / "empty.nii.gz", BLOB & False), CT, "tumor")
    moved = VolumeGeometry(
        GEOMETRY.shape_zyx, GEOMETRY.spacing_zyx_mm, GEOMETRY.directions_zyx_lps, (-9.0, 20, -300)
    )
    with pytest.raises(GridMismatchError):
        read_mask(write(tmp_path / "moved.nii.gz", BLOB, moved), CT, "tumor")
    with pytest.raises(GridMismatchError):
        read_mask(
            write(tmp_path / "cut.nii.gz", BLOB[:4], GEOMETRY.crop(VoxelBox((0, 0, 0), (4, 6, 7)))),
            CT,
            "tumor",
        )


@pytest.mark.parametrize("order", list(permutations("xyz")))
@pytest.mark.parametrize(
    "flips", [(False, False, False), (True, False, False), (True, True, False), (False, True, True)]
)
def test_the_same_voxels_in_another_axis_order_are_laid_on(
    order: tuple[str, str, str], flips: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    """Oracle: ITK's own permutation and flip, which keep every voxel where it is."""
    irregular = BLOB.copy()
    irregular[0, 0, 0] = irregular[4, 0, 5] = True
    path = write(tmp_path / "mask.nii.gz", irregular)
    image = sitk.PermuteAxes(sitk.ReadImage(str(path)), ["xyz".index(axis) for axis in order])
    sitk.WriteImage(sitk.Flip(image, flips, False), str(tmp_path / "other.nii.gz"))
    mask = read_mask(tmp_path / "other.nii.gz", CT, "tumor")
    assert np.array_equal(mask.voxels, irregular)
    assert mask.geometry == GEOMETRY


def test_dicom_masks_are_found_by_content(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "ct", CT)
    ct = read_ct(tmp_path / "ct")
    assert ct.geometry.same_grid(GEOMETRY)
    write_segmentation(tmp_path / "seg", ct, {"a": BLOB, "b": ~BLOB})
    contours = mask_contours(LabelMask(BLOB.copy(), GEOMETRY))
    (tmp_path / "rs").mkdir()
    uid = GEOMETRY.frame_of_reference_uid
    write_structure_set(tmp_path / "rs" / "rs.dcm", {"GTV": contours}, frame_of_reference_uid=uid)
    for path, label in (
        (tmp_path / "seg", "1"),
        (tmp_path / "rs", None),
        (tmp_path / "rs" / "rs.dcm", "GTV"),
    ):
        mask = read_mask(path, ct, "tumor", label=label)
        assert np.array_equal(mask.voxels, BLOB)
        assert mask.name == "tumor"
    with pytest.raises(InvalidRequestError, match="5 DICOM instances"):
        read_mask(tmp_path / "ct", ct, "tumor")
    assert np.array_equal(read_mask(tmp_path / "seg", ct, "tumor", label="b").voxels, ~BLOB)
    with pytest.raises(InvalidRequestError, match="has no segment 'c'"):
        read_mask(tmp_path / "seg", ct, "tumor", label="c")


@pytest.mark.parametrize(("header", "content"), [("ct.mhd", "ct.zraw"), ("ct.nhdr", "ct.raw.gz")])
def test_a_truncated_detached_file_is_unreadable(header: str, content: str, tmp_path: Path) -> None:
    path = write(tmp_path / header, HU)
    assert np.array_equal(read_ct(path).voxels_hu, HU)
    detached = tmp_path / content
    detached.write_bytes(detached.read_bytes()[:-60])
    with pytest.raises(UnreadableFileError):
        read_ct(path)


def test_a_truncated_raw_file_is_unreadable(tmp_path: Path) -> None:
    image = sitk.ReadImage(str(write(tmp_path / "ct.nrrd", HU)))
    for name in ("raw.mha", "raw.nrrd"):
        path = tmp_path / name
        sitk.WriteImage(image, str(path), useCompression=False)
        assert np.array_equal(read_ct(path).voxels_hu, HU)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(UnreadableFileError):
            read_ct(path)
