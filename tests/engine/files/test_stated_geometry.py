"""A geometry that a file does not state, or states twice and differently, is never filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from engine.errors import (
    ClinicalModeError,
    GantryTiltError,
    InputError,
    InvalidGeometryError,
    NotCtError,
    UnreadableFileError,
)
from engine.files.image_file import read_ct_image, read_mask_image
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarningCode, require_clinical
from tests.support.image_files.writing import ct_voxels, metaimage, nifti, nrrd, quaternion, written

VOXELS = ct_voxels((40, 60, 60))
AFFINE = np.array([[0.78125, 0, 0, -20], [0, 0.78125, 0, 30], [0, 0, 1, -400], [0, 0, 0, 1.0]])


def tilted(degrees: float) -> npt.NDArray[np.float64]:
    sheared = AFFINE.copy()
    sheared[1, 2] = np.tan(np.radians(degrees))
    return sheared


def oblique(degrees: float) -> npt.NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = AFFINE.copy()
    turned[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    return turned


def qform_of(affine: npt.NDArray[np.float64]) -> dict[str, Any]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    quatern, qfac = quaternion(affine[:3, :3] / spacing)
    pixdim = [qfac, *spacing, 0, 0, 0, 0]
    return {"quatern": quatern, "qoffset": affine[:3, 3], "qform_code": 1, "pixdim": pixdim}


NIFTI_REFUSED: dict[str, tuple[dict[str, Any], type[InputError]]] = {
    "pixdim 1 under another sform": ({"pixdim": [1.0] * 8}, InvalidGeometryError),
    "pixdim of the slices alone": ({"pixdim": [1, 0.78125, 0.78125, 1.25, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim off by 0.3 mm over the volume": (
        {"pixdim": [1, 0.78125, 0.78625, 1, 0, 0, 0, 0]},
        InvalidGeometryError,
    ),
    "pixdim off by 0.2 %": ({"pixdim": [1, 0.78125, 0.78125, 1.002, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim 0": ({"pixdim": [1, 0, 0.78125, 1, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim negative": ({"pixdim": [1, -0.78125, 0.78125, 1, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim NaN": ({"pixdim": [1, 0.78125, np.nan, 1, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim inf": ({"pixdim": [1, 0.78125, 0.78125, np.inf, 0, 0, 0, 0]}, InvalidGeometryError),
    "pixdim 0 and no codes": ({"pixdim": [0.0] * 8, "sform_code": 0}, InvalidGeometryError),
    "sform NaN": ({"srow": np.where(AFFINE[:3] == -20, np.nan, AFFINE[:3])}, InvalidGeometryError),
    "sform of zeros": ({"srow": np.zeros((3, 4))}, InvalidGeometryError),
    "qform moved by 1 mm": (
        qform_of(AFFINE) | {"qoffset": AFFINE[:3, 3] + [0, 0, 1]},
        InvalidGeometryError,
    ),
    "qform moved by 0.15 mm": (
        qform_of(AFFINE) | {"qoffset": AFFINE[:3, 3] + [0.15, 0, 0]},
        InvalidGeometryError,
    ),
    "qform turned by 1 degree": (qform_of(oblique(1.0)), InvalidGeometryError),
    "qform mirrored": (
        qform_of(AFFINE) | {"pixdim": [-1, 0.78125, 0.78125, 1, 0, 0, 0, 0]},
        InvalidGeometryError,
    ),
    "qform of the other side": (qform_of(AFFINE * [[-1], [1], [1], [1]]), InvalidGeometryError),
    "qfac 0.5": (qform_of(AFFINE) | {"pixdim": [0.5, 0.78125, 0.78125, 1, 0, 0, 0, 0]}, InvalidGeometryError),
    "no unit quaternion": (qform_of(AFFINE) | {"quatern": [1.0, 1.0, 0.0]}, InvalidGeometryError),
    "tilted sform": (
        {"affine": tilted(10), "pixdim": [1, *np.linalg.norm(tilted(10)[:3, :3], axis=0)] + [0] * 4},
        GantryTiltError,
    ),
    "slightly tilted sform": ({"affine": tilted(0.3)}, GantryTiltError),
    "tilted sform, upright qform": (
        qform_of(AFFINE) | {"srow": tilted(-7)[:3]},
        GantryTiltError,
    ),
    "sheared in the slice": (
        {"affine": AFFINE + np.array([[0, 0.1, 0, 0]] + [[0, 0, 0, 0]] * 3)},
        InvalidGeometryError,
    ),
    "meters": ({"xyzt_units": 1}, InvalidGeometryError),
    "micrometers and seconds": ({"xyzt_units": 3 + 8}, InvalidGeometryError),
    "unknown units": ({"xyzt_units": 5}, InvalidGeometryError),
    "a code that is none": ({"sform_code": 17}, InvalidGeometryError),
    "a negative code": ({"qform_code": -1}, InvalidGeometryError),
    "dim of four counted as three": ({"dim": [3, 60, 60, 40, 2, 1, 1, 1]}, InvalidGeometryError),
    "dim of two volumes": ({"dim": [4, 60, 60, 20, 2, 1, 1, 1]}, InvalidGeometryError),
    "dim of a slice": ({"dim": [2, 60, 60, 1, 1, 1, 1, 1]}, InvalidGeometryError),
    "dim negative": ({"dim": [3, 60, -60, 40, 1, 1, 1, 1]}, InvalidGeometryError),
    "dim[0] of nine": ({"dim": [9, 60, 60, 40, 1, 1, 1, 1]}, InvalidGeometryError),
    "fewer slices than are there": ({"dim": [3, 60, 60, 39, 1, 1, 1, 1]}, UnreadableFileError),
    "more slices than are there": ({"dim": [3, 60, 60, 41, 1, 1, 1, 1]}, UnreadableFileError),
    "bitpix of another type": ({"bitpix": 8}, UnreadableFileError),
    "colors": ({"datatype": 128, "bitpix": 24}, InvalidGeometryError),
    "complex numbers": ({"datatype": 32, "bitpix": 64}, InvalidGeometryError),
    "voxels within the header": ({"vox_offset": 100}, UnreadableFileError),
    "scl_slope NaN": ({"scl_slope": np.nan}, NotCtError),
    "an intercept without slope": ({"scl_slope": 0.0, "scl_inter": -1024.0}, NotCtError),
    "scl_inter inf": ({"scl_inter": np.inf}, NotCtError),
    "Analyze 7.5": ({"magic": b"\0\0\0\0"}, UnreadableFileError),
}

NIFTI_READ: dict[str, dict[str, Any]] = {
    "sform alone": {},
    "qform alone": qform_of(AFFINE) | {"sform_code": 0},
    "both": qform_of(AFFINE),
    "both, turned": qform_of(oblique(33)) | {"affine": oblique(33)},
    "both, left-handed": qform_of(AFFINE * [[-1], [1], [1], [1]])
    | {"affine": AFFINE * [[-1], [1], [1], [1]]},
    "rounded pixdim": {"pixdim": [1, 0.7812, 0.7813, 1, 0, 0, 0, 0]},
    "NaN where no code asks": {"quatern": [np.nan] * 3, "qoffset": [np.nan] * 3},
    "units unknown": {"xyzt_units": 0},
    "millimeters and seconds": {"xyzt_units": 10},
    "a single volume of four dimensions": {"dim": [4, 60, 60, 40, 1, 1, 1, 1]},
    "no scale": {"scl_slope": 0.0},
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case", NIFTI_REFUSED)
def test_nifti_that_states_no_grid_is_refused(case: str, suffix: str, version: int, tmp_path: Path) -> None:
    fields, kind = NIFTI_REFUSED[case]
    if case == "Analyze 7.5" and version == 2:
        fields = {"magic": b"\0" * 8}
    path = written(tmp_path / f"ct{suffix}", nifti(VOXELS, version=version, **({"affine": AFFINE} | fields)))
    with pytest.raises(kind, match=r"ct\.nii"):
        read_ct_image(path)
    if kind is not NotCtError:
        with pytest.raises(kind):
            read_mask_image(path, label=7)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("case", NIFTI_READ)
def test_nifti_that_states_one_grid_is_read(case: str, version: int, tmp_path: Path) -> None:
    fields = {"affine": AFFINE} | NIFTI_READ[case]
    ct = read_ct_image(written(tmp_path / "ct.nii.gz", nifti(VOXELS, version=version, **fields)))
    expected = fields["affine"] * np.array([[-1], [-1], [1], [1]])
    corner = expected @ np.array([59, 59, 39, 1])
    assert np.allclose(ct.geometry.to_lps((39, 59, 59)), corner[:3], atol=0.011)
    assert np.array_equal(ct.voxels_hu, VOXELS)
    assert ct.warnings == ()


@pytest.mark.parametrize("degrees", [179.9, 179.97, 179.9725, 179.99, 180.0, 180.0275])
def test_the_rounding_of_a_quaternion_near_half_a_turn_is_no_contradiction(
    degrees: float, tmp_path: Path
) -> None:
    """In float32 it may be off by 0.03 degrees, which is 0.2 mm over 400."""
    wide, affine = ct_voxels((2, 2, 512)), oblique(degrees)
    ct = read_ct_image(written(tmp_path / "ct.nii", nifti(wide, affine=affine, **qform_of(affine))))
    expected = (affine * np.array([[-1], [-1], [1], [1]])) @ np.array([511, 1, 1, 1])
    assert np.allclose(ct.geometry.to_lps((1, 1, 511)), expected[:3], atol=1e-4)


def test_a_turn_is_a_contradiction_in_a_small_volume_too(tmp_path: Path) -> None:
    """Half a degree moves no corner of three voxels by 0.1 mm."""
    small = VOXELS[:3, :3, :3]
    turned = qform_of(oblique(0.5))
    with pytest.raises(InvalidGeometryError, match="states its place twice"):
        read_ct_image(written(tmp_path / "ct.nii", nifti(small, affine=AFFINE, **turned)))
    slightly = qform_of(oblique(0.03))
    ct = read_ct_image(written(tmp_path / "ct.nii", nifti(small, affine=AFFINE, **slightly)))
    assert np.array_equal(ct.voxels_hu, small)


@pytest.mark.parametrize("spacing_mm", [1.0003, 1.0005, 0.9995, 0.9998])
def test_a_tenth_of_a_millimeter_over_a_long_volume_is_a_contradiction(
    spacing_mm: float, tmp_path: Path
) -> None:
    """Over 299 steps of 1 mm: 0.09, 0.15, 0.15 and 0.06 mm; each less than a thousandth."""
    long = ct_voxels((300, 2, 3))
    for name, content in (
        ("ct.nii", nifti(long, pixdim=[1, 1, 1, spacing_mm, 0, 0, 0, 0])),
        ("ct.mha", metaimage(long, ElementSize=f"1 1 {spacing_mm}")),
        ("ct.nrrd", nrrd(long, spacings=f"1 1 {spacing_mm}")),
    ):
        path = written(tmp_path / name, content)
        if abs(spacing_mm - 1) * 299 > 0.1:
            with pytest.raises(InvalidGeometryError, match="voxel size twice"):
                read_ct_image(path)
        else:
            assert np.array_equal(read_ct_image(path).voxels_hu, long)


META_REFUSED: dict[str, tuple[dict[str, Any], type[InputError]]] = {
    "no spacing": ({"ElementSpacing": None}, InvalidGeometryError),
    "no spacing but a size": ({"ElementSpacing": None, "ElementSize": "1 1 1"}, InvalidGeometryError),
    "spacing of two axes": ({"ElementSpacing": "1 1"}, InvalidGeometryError),
    "spacing 0": ({"ElementSpacing": "1 0 1"}, InvalidGeometryError),
    "spacing negative": ({"ElementSpacing": "1 1 -1"}, InvalidGeometryError),
    "spacing nan": ({"ElementSpacing": "nan 1 1"}, InvalidGeometryError),
    "spacing inf": ({"ElementSpacing": "1 1 inf"}, InvalidGeometryError),
    "spacing in words": ({"ElementSpacing": "1 1 none"}, InvalidGeometryError),
    "another size": ({"ElementSize": "1 1 1.25"}, InvalidGeometryError),
    "a tilted matrix": ({"TransformMatrix": "1 0 0 0 1 0 0 0.17365 0.98481"}, GantryTiltError),
    "a sheared matrix": ({"TransformMatrix": "1 0 0 0.1 0.99499 0 0 0 1"}, InvalidGeometryError),
    "a scaling matrix": ({"TransformMatrix": "0.78 0 0 0 0.78 0 0 0 1"}, InvalidGeometryError),
    "a matrix of zeros": ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, InvalidGeometryError),
    "a matrix of four": ({"TransformMatrix": "1 0 0 1"}, InvalidGeometryError),
    "two matrices": ({"Rotation": "-1 0 0 0 -1 0 0 0 1"}, InvalidGeometryError),
    "two origins": ({"Position": "0 0 5"}, InvalidGeometryError),
    "an origin of nan": ({"Offset": "0 0 nan"}, InvalidGeometryError),
    "another orientation": ({"AnatomicalOrientation": "RPI"}, InvalidGeometryError),
    "one axis turned": ({"AnatomicalOrientation": "RAS"}, InvalidGeometryError),
    "other axes": ({"AnatomicalOrientation": "ASL"}, InvalidGeometryError),
    "centimeters": ({"DistanceUnits": "cm"}, InvalidGeometryError),
    "vectors": ({"ElementNumberOfChannels": "3"}, InvalidGeometryError),
    "too few voxels": ({"DimSize": "60 60 39"}, UnreadableFileError),
    "an unknown type": ({"ElementType": "MET_SHORT_ARRAY"}, InvalidGeometryError),
    "text": ({"BinaryData": "False"}, UnreadableFileError),
    "many files": ({"ElementDataFile": "LIST"}, UnreadableFileError),
    "a pattern of files": ({"ElementDataFile": "ct%03d.raw 1 40 1"}, UnreadableFileError),
    "a file that is not there": ({"ElementDataFile": "elsewhere.raw"}, UnreadableFileError),
    "a rescale that programs ignore": ({"ElementToIntensityFunctionOffset": "-1024"}, UnreadableFileError),
}

META_READ: dict[str, dict[str, Any]] = {
    "as ITK writes": {"AnatomicalOrientation": "RAI", "CenterOfRotation": "0 0 0"},
    "as MetaIO's documentation says": {"AnatomicalOrientation": "LPS"},
    "orientation unknown": {"AnatomicalOrientation": "???"},
    "the same size": {"ElementSize": "1 1 1"},
    "millimeters": {"DistanceUnits": "mm"},
}


@pytest.mark.parametrize("case", META_REFUSED)
def test_metaimage_that_states_no_grid_is_refused(case: str, tmp_path: Path) -> None:
    fields, kind = META_REFUSED[case]
    path = written(tmp_path / "ct.mha", metaimage(VOXELS, **fields))
    for read in (read_ct_image, read_mask_image):
        with pytest.raises(kind):
            read(path)


@pytest.mark.parametrize("case", META_READ)
def test_metaimage_that_states_one_grid_is_read(case: str, tmp_path: Path) -> None:
    ct = read_ct_image(written(tmp_path / "ct.mha", metaimage(VOXELS, **META_READ[case])))
    assert ct.geometry == VolumeGeometry((40, 60, 60), (1.0, 1.0, 1.0))
    assert ct.warnings == ()


NRRD_REFUSED: dict[str, tuple[dict[str, Any], type[InputError]]] = {
    "the last direction none": ({"space_directions": "(1,0,0) (0,1,0) none"}, InvalidGeometryError),
    "the first direction none": ({"space_directions": "none (0,1,0) (0,0,1)"}, InvalidGeometryError),
    "a direction of nan": ({"space_directions": "(1,0,0) (nan,nan,nan) (0,0,1)"}, InvalidGeometryError),
    "a direction of zeros": ({"space_directions": "(1,0,0) (0,0,0) (0,0,1)"}, InvalidGeometryError),
    "two directions": ({"space_directions": "(1,0,0) (0,1,0)"}, InvalidGeometryError),
    "one axis twice": ({"space_directions": "(1,0,0) (0,1,0) (0,1,0)"}, GantryTiltError),
    "tilted": ({"space_directions": "(1,0,0) (0,1,0) (0,0.1,1)"}, GantryTiltError),
    "sheared": ({"space_directions": "(1,0,0) (0.1,1,0) (0,0,1)"}, InvalidGeometryError),
    "no spacing at all": (
        {"space_directions": None, "space": None, "space_origin": None},
        InvalidGeometryError,
    ),
    "spacings of nan": (
        {"space_directions": None, "space": None, "space_origin": None, "spacings": "1 1 nan"},
        InvalidGeometryError,
    ),
    "spacings 0": (
        {"space_directions": None, "space": None, "space_origin": None, "spacings": "1 0 1"},
        InvalidGeometryError,
    ),
    "other spacings": ({"spacings": "1 1 2"}, InvalidGeometryError),
    "axis mins": ({"axis_mins": "0 0 10"}, InvalidGeometryError),
    "a left-handed space": ({"space": "3D-left-handed"}, InvalidGeometryError),
    "an unknown space": ({"space": "MNI-152"}, InvalidGeometryError),
    "a space with time": ({"space": "left-posterior-superior-time"}, InvalidGeometryError),
    "micrometers": ({"space_units": '"um" "um" "um"'}, InvalidGeometryError),
    "one axis in centimeters": ({"space_units": '"mm" "mm" "cm"'}, InvalidGeometryError),
    "an origin of inf": ({"space_origin": "(0,inf,0)"}, InvalidGeometryError),
    "an axis of colors": ({"kinds": "RGB-color domain domain"}, InvalidGeometryError),
    "an axis of time": ({"kinds": "domain domain time"}, InvalidGeometryError),
    "sizes of two dimensions": ({"sizes": "60 2400"}, InvalidGeometryError),
    "too few voxels": ({"sizes": "60 60 39"}, UnreadableFileError),
    "no byte order": ({"endian": None}, UnreadableFileError),
    "blocks": ({"type": "block"}, InvalidGeometryError),
    "text": ({"encoding": "ascii"}, UnreadableFileError),
    "many files": ({"data_file": "LIST"}, UnreadableFileError),
    "counted from the end": ({"byte_skip": "-1"}, UnreadableFileError),
    "lines skipped": ({"line_skip": "2"}, UnreadableFileError),
}


@pytest.mark.parametrize("case", NRRD_REFUSED)
def test_nrrd_that_states_no_grid_is_refused(case: str, tmp_path: Path) -> None:
    fields, kind = NRRD_REFUSED[case]
    path = written(tmp_path / "ct.nrrd", nrrd(VOXELS, **fields))
    for read in (read_ct_image, read_mask_image):
        with pytest.raises(kind):
            read(path)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
    ],
)
def test_named_spaces_of_nrrd_become_lps(space: str, signs: tuple[int, ...], tmp_path: Path) -> None:
    fields = {"space": space, "space_directions": "(0.7,0,0) (0,0.8,0) (0,0,2)", "space_origin": "(3,4,5)"}
    ct = read_ct_image(written(tmp_path / "ct.nrrd", nrrd(VOXELS, **fields)))
    assert np.allclose(ct.geometry.to_lps((10, 10, 10)), np.array([10, 12, 25]) * signs)
    assert ct.warnings == ()


def test_one_segment_of_nrrd_is_read_through_its_list(tmp_path: Path) -> None:
    fields = {
        "dimension": "4",
        "sizes": "1 60 60 40",
        "kinds": "list domain domain domain",
        "space_directions": "none (1,0,0) (0,1,0) (0,0,1)",
    }
    read = read_ct_image(written(tmp_path / "ct.seg.nrrd", nrrd(VOXELS, **fields)))
    assert np.array_equal(read.voxels_hu, VOXELS)
    two = {**fields, "sizes": "2 30 60 40"}
    with pytest.raises(InvalidGeometryError, match="single volume"):
        read_ct_image(written(tmp_path / "two.seg.nrrd", nrrd(VOXELS, **two)))


PLACE_NOT_STATED = {
    "both NIfTI codes 0": ("a.nii.gz", nifti(VOXELS, affine=AFFINE, sform_code=0)),
    "both NIfTI-2 codes 0": ("b.nii", nifti(VOXELS, version=2, affine=AFFINE, sform_code=0)),
    "no matrix": ("c.mha", metaimage(VOXELS, TransformMatrix=None)),
    "no matrix but letters": ("d.mha", metaimage(VOXELS, TransformMatrix=None, AnatomicalOrientation="RAI")),
    "no offset": ("e.mha", metaimage(VOXELS, Offset=None)),
    "no space": ("f.nrrd", nrrd(VOXELS, space=None, space_dimension="3")),
    "a scanner's space": ("g.nrrd", nrrd(VOXELS, space="scanner-xyz")),
    "a right-handed space": ("h.nrrd", nrrd(VOXELS, space="3D-right-handed")),
    "no space origin": ("i.nrrd", nrrd(VOXELS, space_origin=None)),
    "spacings alone": (
        "j.nrrd",
        nrrd(VOXELS, space=None, space_origin=None, space_directions=None, spacings="1 1 2"),
    ),
}


@pytest.mark.parametrize("case", PLACE_NOT_STATED)
def test_a_place_that_is_not_stated_is_said_and_refused_clinically(case: str, tmp_path: Path) -> None:
    name, content = PLACE_NOT_STATED[case]
    ct = read_ct_image(written(tmp_path / name, content))
    assert [warning.code for warning in ct.warnings] == [InputWarningCode.ORIENTATION_NOT_STATED]
    assert np.array_equal(ct.voxels_hu, VOXELS)
    with pytest.raises(ClinicalModeError):
        require_clinical(ct.warnings)


def test_a_mask_without_place_is_said_too(tmp_path: Path) -> None:
    blob = (VOXELS > 0).astype("u1")
    for name, content in (
        ("m.nii", nifti(blob, sform_code=0)),
        ("m.mha", metaimage(blob, TransformMatrix=None)),
        ("m.nrrd", nrrd(blob, space=None, space_dimension="3")),
    ):
        mask = read_mask_image(written(tmp_path / name, content))
        assert [warning.code for warning in mask.warnings] == [InputWarningCode.ORIENTATION_NOT_STATED]
        assert np.array_equal(mask.voxels, blob != 0)


@pytest.mark.parametrize(
    ("make", "field"),
    [(metaimage, "ElementSpacing = 1 1 2\n"), (nrrd, "space origin: (0,0,9)\n"), (nrrd, "sizes: 60 60 41\n")],
)
def test_a_field_that_is_there_twice_and_differs_is_refused(make: Any, field: str, tmp_path: Path) -> None:
    content = make(VOXELS)
    key = field.replace(":", " =").split(" =")[0].encode()
    at = content.index(key)
    path = written(
        tmp_path / ("ct.mha" if make is metaimage else "ct.nrrd"),
        content[:at] + field.encode() + content[at:],
    )
    with pytest.raises(InvalidGeometryError, match="twice"):
        read_ct_image(path)
