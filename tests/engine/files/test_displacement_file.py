from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from engine.errors import InputError, InvalidGeometryError, UnreadableFileError
from engine.files.displacement_file import read_displacement, write_displacement
from engine.files.image_file import write_volume
from engine.geometry import VolumeGeometry
from engine.registration.field import DisplacementField

DATA = os.environ.get("COLDSPOT_DATA")
GRID = VolumeGeometry(
    (4, 5, 6),
    (3.0, 2.0, 1.5),
    directions_zyx_lps=((0.0, 0.6, 0.8), (0.0, 0.8, -0.6), (1.0, 0.0, 0.0)),
    origin_lps_mm=(-10.0, 20.0, -300.0),
)


def some_field() -> DisplacementField:
    vectors = np.random.default_rng(0).normal(0, 5, (*GRID.shape_zyx, 3)).astype(np.float32)
    return DisplacementField(vectors, GRID)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, field = tmp_path / "displacement.nii.gz", some_field()
    write_displacement(path, field)
    again = read_displacement(path)
    assert np.array_equal(again.displacement_lps_mm, field.displacement_lps_mm)
    assert again.geometry.same_grid(GRID)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_itk_moves_points_by_it(tmp_path: Path) -> None:
    """The oracle: ITK's own displacement field transform, fed with the file."""
    path, field = tmp_path / "displacement.nii.gz", some_field()
    write_displacement(path, field)
    stored = sitk.ReadImage(str(path))
    assert stored.GetMetaData("intent_code") == "1007"
    transform = sitk.DisplacementFieldTransform(sitk.Cast(stored, sitk.sitkVectorFloat64))
    for index in ((1.0, 2.0, 3.0), (0.4, 3.3, 2.7), (2.5, 0.2, 4.9)):
        point = GRID.to_lps(np.array(index))
        expected = point + field.at(point)
        assert np.allclose(transform.TransformPoint(point.tolist()), expected, atol=1e-4)


@pytest.mark.skipif(not DATA, reason="COLDSPOT_DATA is not set: no true displacement to read")
def test_same_convention_as_the_true_displacements(tmp_path: Path) -> None:
    source = Path(DATA or "") / "ablation-cases" / "lidc-half" / "truth" / "displacement_lps_mm.nii.gz"
    path = tmp_path / "again.nii.gz"
    write_displacement(path, read_displacement(source))
    theirs, ours = sitk.ReadImage(str(source)), sitk.ReadImage(str(path))
    keys = [f"dim[{n}]" for n in range(8)] + [
        "intent_code",
        "datatype",
        "qform_code",
        "sform_code",
        "xyzt_units",
    ]
    for key in (*keys, "srow_x", "srow_y", "srow_z"):
        assert ours.GetMetaData(key) == theirs.GetMetaData(key), key
    assert np.array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    field = some_field()
    field.displacement_lps_mm[0, 0, 0, 0] = np.nan
    with pytest.raises(InvalidGeometryError, match="finite"):
        write_displacement(tmp_path / "d.nii.gz", field)
    wrong = DisplacementField(np.zeros((2, 2, 2, 3), dtype=np.float32), GRID)
    with pytest.raises(InvalidGeometryError, match="do not fit"):
        write_displacement(tmp_path / "d.nii.gz", wrong)
    assert not list(tmp_path.iterdir())


def test_what_is_no_field_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="does not exist"):
        read_displacement(tmp_path / "nowhere.nii.gz")
    scalar = tmp_path / "scalar.nii.gz"
    write_volume(scalar, np.zeros(GRID.shape_zyx, dtype=np.float32), GRID)
    with pytest.raises(InvalidGeometryError, match="not one vector in three"):
        read_displacement(scalar)
    whole = tmp_path / "whole.nii.gz"
    write_displacement(whole, some_field())
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(gzip.compress(gzip.decompress(whole.read_bytes())[:-40]))
    with pytest.raises(InputError):
        read_displacement(cut)


@pytest.mark.parametrize(
    ("offset", "form", "values"),
    [
        (76 + 4, "<3f", (1.0, 1.0, 1.0)),  # pixdim
        (268, "<3f", (0.0, 0.0, 0.0)),  # place of the qform
        (280 + 8, "<f", (1.0,)),  # shear in the sform
        (252, "<2h", (0, 0)),  # both codes
        (123, "<b", (1,)),  # meters
        (68, "<h", (1006,)),  # vectors that some programs turn
        (352 + 40, "<f", (np.nan,)),
        (352 + 400, "<f", (np.inf,)),
    ],
)
def test_a_field_whose_grid_or_vectors_are_in_doubt_is_not_read(
    offset: int, form: str, values: tuple[float, ...], tmp_path: Path
) -> None:
    path = tmp_path / "displacement.nii.gz"
    write_displacement(path, some_field())
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(InputError):
        read_displacement(path)
