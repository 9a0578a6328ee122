"""Names and kinds of files: what is on disk is bytes, and not every path is a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError, UnreadableFileError
from engine.files.displacement_file import read_displacement, write_displacement
from engine.files.image_file import read_ct_image, write_volume
from engine.files.reading import read_ct
from engine.geometry import VolumeGeometry
from engine.registration.field import DisplacementField
from tests.support.image_files.writing import ct_voxels, metaimage, nifti, nrrd, written

VOXELS = ct_voxels()
NAMES = [
    b"plain",
    b"two words",
    "Gr\u00f6\u00dfe \u80ba".encode(),
    b"b\xfccher \xe9",
    b"\xff\xfe",
    b"quote'\"$(x)",
]


@pytest.mark.parametrize("stem", NAMES)
@pytest.mark.parametrize("suffix", [b".nii", b".nii.gz", b".NII.GZ", b".mha", b".MHA", b".nrrd", b".Nrrd"])
def test_any_name_is_read(stem: bytes, suffix: bytes, tmp_path: Path) -> None:
    make = nifti if b"nii" in suffix.lower() else metaimage if b"mha" in suffix.lower() else nrrd
    folder = tmp_path / os.fsdecode(stem)
    folder.mkdir()
    path = folder / os.fsdecode(stem + suffix)
    written(path, make(VOXELS))
    assert np.array_equal(read_ct(path).voxels_hu, VOXELS)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UnreadableFileError) as refused:
        read_ct(path)
    # What says so can be shown and sent: no byte of a name breaks it.
    assert json.loads(json.dumps(str(refused.value), ensure_ascii=False).encode()) == str(refused.value)


@pytest.mark.parametrize("stem", NAMES)
def test_files_beside_their_header_have_any_name(stem: bytes, tmp_path: Path) -> None:
    beside = tmp_path / os.fsdecode(stem + b".raw")
    beside.write_bytes(VOXELS.tobytes())
    name = beside.name
    for suffix, content in ((".mhd", metaimage(VOXELS)), (".nhdr", nrrd(VOXELS, data_file="@"))):
        if suffix == ".mhd":
            head = content[: content.index(b"LOCAL\n")] + os.fsencode(name) + b"\n"
        else:
            head = content.replace(b"data file: @", b"data file: " + os.fsencode(name))
        path = tmp_path / f"ct{suffix}"
        path.write_bytes(head)
        assert np.array_equal(read_ct(path).voxels_hu, VOXELS)


@pytest.mark.parametrize("suffixes", [(".hdr", ".img"), (".HDR", ".IMG"), (".hdr.gz", ".img.gz")])
@pytest.mark.parametrize("version", [1, 2])
def test_a_pair_is_read_from_either_file(suffixes: tuple[str, str], version: int, tmp_path: Path) -> None:
    header = written(tmp_path / f"ct{suffixes[0]}", nifti(VOXELS, version=version, pair=True))
    image = written(tmp_path / f"ct{suffixes[1]}", VOXELS.tobytes())
    for path in (header, image):
        assert np.array_equal(read_ct_image(path).voxels_hu, VOXELS)
    image.unlink()
    with pytest.raises(UnreadableFileError, match="not beside it"):
        read_ct_image(header)


def test_analyze_and_misnamed_headers_are_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path / "a.hdr", nifti(VOXELS, pair=True, magic=b""))
    written(tmp_path / "a.img", VOXELS.tobytes())
    with pytest.raises(UnreadableFileError, match="which side is left"):
        read_ct_image(tmp_path / "a.hdr")
    written(tmp_path / "b.nii", nifti(VOXELS, magic=b"ni1"))
    with pytest.raises(UnreadableFileError, match=r"pair of \.hdr and \.img"):
        read_ct_image(tmp_path / "b.nii")
    written(tmp_path / "c.img", VOXELS.tobytes())
    written(tmp_path / "c.hdr", nifti(VOXELS)[:348])
    with pytest.raises(UnreadableFileError, match="single file"):
        read_ct_image(tmp_path / "c.img")


def test_a_file_of_the_same_name_beside_it_is_not_read(tmp_path: Path) -> None:
    """ITK and niftilib take the voxels of ct.nii.gz from a ct.nii beside it."""
    written(tmp_path / "ct.nii.gz", nifti(VOXELS))
    written(tmp_path / "ct.nii", nifti(ct_voxels(seed=1)))
    written(tmp_path / "ct.hdr", nifti(VOXELS, pair=True))
    written(tmp_path / "ct.img", ct_voxels(seed=2).tobytes())
    assert np.array_equal(read_ct_image(tmp_path / "ct.nii.gz").voxels_hu, VOXELS)
    assert np.array_equal(read_ct_image(tmp_path / "ct.nii").voxels_hu, ct_voxels(seed=1))
    assert np.array_equal(read_ct_image(tmp_path / "ct.img").voxels_hu, ct_voxels(seed=2))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".hdr"])
def test_what_is_no_file_is_refused_by_what_it_is(suffix: str, tmp_path: Path) -> None:
    empty, folder, pipe = (tmp_path / f"{name}{suffix}" for name in ("empty", "folder", "pipe"))
    empty.touch()
    folder.mkdir()
    os.mkfifo(pipe)
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    for path, words in (
        (empty, "is empty"),
        (folder, "is a folder"),
        (pipe, "is a pipe"),
        (tmp_path / f"absent{suffix}", "does not exist"),
        (tmp_path / f"loop{suffix}", "cannot be read"),
    ):
        with pytest.raises(UnreadableFileError, match=words):
            read_ct_image(path)
    for path in (empty, folder, pipe):
        with pytest.raises(InputError):
            read_ct(path)


def test_voxels_beside_a_header_are_a_file(tmp_path: Path) -> None:
    path = written(tmp_path / "ct.mhd", metaimage(VOXELS, ElementDataFile="pipe.raw"))
    os.mkfifo(tmp_path / "pipe.raw")
    with pytest.raises(UnreadableFileError, match="is a pipe"):
        read_ct_image(path)
    path = written(tmp_path / "ct2.mhd", metaimage(VOXELS, ElementDataFile="empty.raw"))
    (tmp_path / "empty.raw").touch()
    with pytest.raises(UnreadableFileError, match="is empty"):
        read_ct_image(path)


@pytest.mark.parametrize("stem", NAMES)
@pytest.mark.parametrize("suffix", [b".nii.gz", b".nii", b".mha", b".nrrd"])
def test_any_name_is_written(stem: bytes, suffix: bytes, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(stem)
    folder.mkdir()
    path = folder / os.fsdecode(stem + suffix)
    write_volume(path, VOXELS, VolumeGeometry(VOXELS.shape, (2.0, 1.0, 1.0)))
    assert np.array_equal(read_ct(path).voxels_hu, VOXELS)
    field = DisplacementField(
        np.ones((*VOXELS.shape, 3), np.float32), VolumeGeometry(VOXELS.shape, (2.0, 1.0, 1.0))
    )
    write_displacement(folder / os.fsdecode(stem + b"-d.nii.gz"), field)
    assert read_displacement(folder / os.fsdecode(stem + b"-d.nii.gz")).geometry == field.geometry
    assert len(list(folder.iterdir())) == 2
