"""Nothing that lies in a folder is left out without a word."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from engine.dicom.file_format import starts_as_dicom
from engine.dicom.series import read_series
from engine.errors import ColdspotError, UnreadableFileError
from engine.input_warning import InputWarningCode
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded, write_ct_series
from tests.support.dicom_series import contents, phantom_ct


def without_preamble(content: bytes) -> bytes:
    return content[132:]


def without_128_bytes(content: bytes) -> bytes:
    return content[128:]


def bare(content: bytes, uid: str = ExplicitVRLittleEndian) -> bytes:
    """The data set alone, without meta information, in another encoding."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    del dataset.file_meta
    dataset.preamble = None
    buffer = io.BytesIO()
    little, implicit = uid != ExplicitVRBigEndian, uid == ImplicitVRLittleEndian
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset["PixelData"].VR = "OW"
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little)
    return buffer.getvalue()


STRIPPED: list[Callable[[bytes], bytes]] = [
    without_preamble,
    without_128_bytes,
    bare,
    lambda content: bare(content, ImplicitVRLittleEndian),
    lambda content: bare(content, ExplicitVRBigEndian),
]


@pytest.mark.parametrize("strip", STRIPPED)
@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_a_slice_without_preamble_is_read(
    tmp_path: Path, strip: Callable[[bytes], bytes], suffix: str
) -> None:
    ct = phantom_ct()
    paths = write_ct_series(tmp_path, ct)
    last = paths[-1].with_suffix(suffix)
    stripped = strip(paths[-1].read_bytes())
    paths[-1].unlink()
    last.write_bytes(stripped)
    read = read_series(tmp_path)
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    assert read.warnings == ()
    assert read.acquisition.instance_count == 6


@pytest.mark.parametrize("strip", STRIPPED)
def test_a_series_without_preamble_is_read_from_memory(strip: Callable[[bytes], bytes]) -> None:
    ct = phantom_ct()
    assert np.array_equal(read_series([strip(c) for c in contents(ct)]).voxels_hu, ct.voxels_hu)


def test_compressed_pixels_without_meta_information_are_refused() -> None:
    datasets = ct_instances(phantom_ct())
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 64])
        dataset["PixelData"].is_undefined_length = True
    sent = []
    for dataset in datasets:
        del dataset.file_meta
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
        sent.append(buffer.getvalue())
    with pytest.raises(UnreadableFileError, match="does not name its transfer syntax"):
        read_series(sent)


LOST = {
    "not DICOM": b"\x01\x02\x03" * 700,
    "an error page": b"<html>404 not found</html>",
    "no byte": b"",
    "zeros": bytes(1200),
}


@pytest.mark.parametrize("content", LOST.values(), ids=LOST)
@pytest.mark.parametrize("suffix", ["", ".dcm", ".gz", ".part"])
def test_a_file_that_is_named_as_the_slices_are_is_no_companion(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    paths = write_ct_series(tmp_path, phantom_ct(slices=7))
    for path in paths:
        path.rename(path.with_suffix(""))
    (tmp_path / "slice0006").unlink()
    (tmp_path / f"slice0006{suffix}").write_bytes(content)
    with pytest.raises(UnreadableFileError, match="slice0006"):
        read_series(tmp_path)


def test_a_file_without_a_kind_of_the_size_of_a_slice_is_no_companion(tmp_path: Path) -> None:
    (first, *_) = write_ct_series(tmp_path, phantom_ct())
    size = first.stat().st_size
    (tmp_path / "lost").write_bytes(bytes(range(256)) * (size // 256))
    with pytest.raises(UnreadableFileError, match="lost is no DICOM file, and looks like one of the 6"):
        read_series(tmp_path)
    (tmp_path / "lost").write_bytes(bytes(20 * size))
    assert "lost (is no DICOM file)" in str(read_series(tmp_path).warnings[0])


def test_what_may_be_an_image_is_named(tmp_path: Path) -> None:
    ct = phantom_ct()
    write_ct_series(tmp_path, ct)
    (tmp_path / ".first.dcm").write_bytes(contents(ct)[0])
    (tmp_path / "mask.nii.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    read = read_series(tmp_path)
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    (warning,) = read.warnings
    assert warning.code is InputWarningCode.FILES_LEFT_OUT
    assert "(4 files)" in str(warning)
    for named in (".first.dcm (hidden)", "gone (cannot be read", "mask.nii.gz", "and 1 more"):
        assert named in str(warning)


def test_what_plainly_is_none_is_counted(tmp_path: Path) -> None:
    ct = phantom_ct()
    write_ct_series(tmp_path / "images", ct)
    for name in ("a.txt", "b.TXT", "report.pdf", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\x00text")
    (tmp_path / "LICENSE").write_text("free " * 300)
    (tmp_path / "images" / "._slice0000.dcm").write_bytes(b"\x00\x05\x16\x07\x00")
    (tmp_path / "DICOMDIR").write_bytes(Path(str(get_testdata_file("DICOMDIR"))).read_bytes())
    (warning,) = read_series(tmp_path).warnings
    assert warning.code is InputWarningCode.COMPANION_FILES
    assert str(warning) == (
        "beside the DICOM files, not read: 1 ._ file of macOS, 1 DICOMDIR, 1 hidden, 1 pdf, 1 text, 2 txt"
    )


def test_a_folder_without_dicom_says_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "ct.nii.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UnreadableFileError, match=r"no DICOM image in .*ct.nii.gz \(is no DICOM file\)"):
        read_series(tmp_path)


def test_folders_of_any_depth_are_read_and_each_once(tmp_path: Path) -> None:
    ct = phantom_ct(slices=12)
    paths = write_ct_series(tmp_path, ct)
    place = tmp_path
    for path in paths:
        place /= "deeper"
        place.mkdir()
        path.rename(place / path.name)
    (place / "round").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(place)
    assert np.array_equal(read_series(tmp_path).voxels_hu, ct.voxels_hu)


def test_a_message_names_the_place_below_the_folder(tmp_path: Path) -> None:
    write_ct_series(tmp_path / "A" / "B", phantom_ct())
    (tmp_path / "A" / "B" / "slice0003.dcm").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match=r"A/B/slice0003.dcm is empty"):
        read_series(tmp_path)


def forbid(monkeypatch: pytest.MonkeyPatch, forbidden: str) -> None:
    """Take the right to read away; root, as whom tests may run, has it always."""
    genuine = Path.open

    def opened(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == forbidden:
            raise PermissionError(13, "Permission denied")
        return genuine(path, *args, **options)

    monkeypatch.setattr(Path, "open", opened)


def test_a_slice_that_may_not_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ct_series(tmp_path, phantom_ct())
    forbid(monkeypatch, "slice0005.dcm")
    with pytest.raises(UnreadableFileError, match=r"slice0005.dcm cannot be read: Permission denied"):
        read_series(tmp_path)


def test_another_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ct_series(tmp_path, phantom_ct())
    (tmp_path / "viewer.bin").write_bytes(b"")
    forbid(monkeypatch, "viewer.bin")
    assert "viewer.bin (cannot be read: Permission denied)" in str(read_series(tmp_path).warnings[0])


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ct_series(tmp_path, phantom_ct())
    (tmp_path / "more").mkdir()
    genuine = os.scandir

    def listed(path: Path) -> Any:
        if Path(path).name == "more":
            raise PermissionError(13, "Permission denied")
        return genuine(path)

    monkeypatch.setattr(os, "scandir", listed)
    assert "more (a folder that cannot be opened: Permission denied)" in str(
        read_series(tmp_path).warnings[0]
    )


def test_names_that_are_no_utf_8_are_written_as_escapes(tmp_path: Path) -> None:
    ct = phantom_ct()
    inner = tmp_path / os.fsdecode(b"M\xfcller")
    write_ct_series(inner, ct)
    assert np.array_equal(read_series(tmp_path).voxels_hu, ct.voxels_hu)
    (inner / "slice0002.dcm").write_bytes(b"")
    with pytest.raises(UnreadableFileError) as caught:
        read_series(tmp_path)
    assert "M\\xfcller/slice0002.dcm is empty" in str(caught.value).encode().decode()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_dicom_but_what_begins_with_an_element(head: bytes) -> None:
    if starts_as_dicom(head):
        group = head[4:6] if head.startswith(b"DICM") else head[:2]
        assert group in {b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"} or head[128:132] == b"DICM"


SLICES = contents(phantom_ct(slices=3))


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, len(SLICES[0])), strip=st.sampled_from(STRIPPED[:3]))
def test_a_cut_slice_without_preamble_is_an_error_or_whole(cut: int, strip: Callable[[bytes], bytes]) -> None:
    whole = strip(SLICES[1])
    try:
        read = read_series([SLICES[0], whole[:cut], SLICES[2]])
    except ColdspotError:
        assert cut < len(whole)
        return
    assert np.array_equal(read.voxels_hu, PHANTOM.voxels_hu)


PHANTOM: CtVolume = phantom_ct(slices=3)


def test_a_data_set_that_is_no_instance_is_refused() -> None:
    dataset = Dataset()
    dataset.ImageComments = "no instance"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    with pytest.raises(UnreadableFileError, match="not a DICOM file"):
        read_series([buffer.getvalue()])


def test_a_plain_instance_is_still_one() -> None:
    assert starts_as_dicom(encoded(ct_instances(phantom_ct())[0]))
