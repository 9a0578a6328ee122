"""One changed byte, an early end, bytes left over: refused, or nothing has changed."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InputError, UnreadableFileError
from engine.files.image_file import read_ct_image
from engine.volume import CtVolume
from tests.support.image_files.writing import metaimage, nifti, nrrd

SMOOTH = (np.add.outer(np.arange(12), np.add.outer(np.arange(14), np.arange(16))) * 31 - 900).astype("<i2")
"""Compresses well, so that most bytes of the compressed form matter to many voxels."""


def _gzip_nifti(version: int) -> Callable[[Path], tuple[Path, Path, int]]:
    def write(folder: Path) -> tuple[Path, Path, int]:
        path = folder / f"ct{version}.nii.gz"
        path.write_bytes(gzip.compress(nifti(SMOOTH, version=version), 6, mtime=7))
        return path, path, 0

    return write


def _gzip_pair(folder: Path) -> tuple[Path, Path, int]:
    (folder / "pair.hdr").write_bytes(nifti(SMOOTH, pair=True))
    (folder / "pair.img").write_bytes(gzip.compress(SMOOTH.tobytes()))
    return folder / "pair.hdr", folder / "pair.img", 0


def _mha(folder: Path) -> tuple[Path, Path, int]:
    path = folder / "ct.mha"
    content = metaimage(SMOOTH, compressed=True)
    path.write_bytes(content)
    return path, path, content.index(b"LOCAL\n") + 6


def _mhd(folder: Path) -> tuple[Path, Path, int]:
    stored = zlib.compress(SMOOTH.tobytes())
    size = str(len(stored))
    (folder / "ct.mhd").write_bytes(
        metaimage(SMOOTH, CompressedData="True", CompressedDataSize=size, ElementDataFile="ct.zraw")
    )
    (folder / "ct.zraw").write_bytes(stored)
    return folder / "ct.mhd", folder / "ct.zraw", 0


def _nrrd(encoding: str) -> Callable[[Path], tuple[Path, Path, int]]:
    def write(folder: Path) -> tuple[Path, Path, int]:
        path = folder / f"{encoding}.nrrd"
        content = nrrd(SMOOTH, encoding=encoding)
        path.write_bytes(content)
        return path, path, content.index(b"\n\n") + 2

    return write


def _nhdr(encoding: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], tuple[Path, Path, int]]:
    def write(folder: Path) -> tuple[Path, Path, int]:
        path, beside = folder / f"{encoding}.nhdr", folder / f"ct.{encoding}"
        path.write_bytes(nrrd(SMOOTH, encoding=encoding, data_file=beside.name))
        beside.write_bytes(pack(SMOOTH.tobytes()))
        return path, beside, 0

    return write


FORMS: dict[str, Callable[[Path], tuple[Path, Path, int]]] = {
    "NIfTI-1, gzip": _gzip_nifti(1),
    "NIfTI-2, gzip": _gzip_nifti(2),
    "NIfTI pair, gzip": _gzip_pair,
    "mha, zlib": _mha,
    "mhd and zraw": _mhd,
    "nrrd, gzip": _nrrd("gzip"),
    "nrrd, bzip2": _nrrd("bzip2"),
    "nhdr and raw.gz": _nhdr("gzip", gzip.compress),
    "nhdr and raw.bz2": _nhdr("bzip2", bz2.compress),
}
"""Each writes one image; the file to read, the one with the compressed voxels, and where these begin in it."""


def outcome(path: Path, whole: CtVolume) -> str:
    read = None
    try:
        read = read_ct_image(path)
    except InputError:
        return "refused"
    assert np.array_equal(read.voxels_hu, whole.voxels_hu)
    assert read.geometry == whole.geometry
    assert read.warnings == whole.warnings
    return "identical"


def places(start: int, size: int, rng: np.random.Generator, count: int) -> list[int]:
    """The first and last bytes, where headers and checksums are, and some between."""
    ends = [*range(start, min(start + 12, size)), *range(max(start, size - 12), size)]
    return ends + [int(place) for place in rng.integers(start, size, max(0, count - len(ends)))]


def one_byte_trials(form: str, folder: Path, count: int, seed: int) -> Counter[str]:
    rng = np.random.default_rng(seed)
    path, stored, start = FORMS[form](folder)
    whole, content = read_ct_image(path), stored.read_bytes()
    assert np.array_equal(whole.voxels_hu, SMOOTH)
    counted: Counter[str] = Counter()
    for place in places(start, len(content), rng, count):
        changed = bytearray(content)
        changed[place] ^= int(rng.integers(1, 256))
        stored.write_bytes(bytes(changed))
        counted[outcome(path, whole)] += 1
    return counted


@pytest.mark.parametrize("form", FORMS)
def test_one_changed_byte_is_refused_or_changes_nothing(form: str, tmp_path: Path) -> None:
    counted = one_byte_trials(form, tmp_path, 40, 0)
    # Time and system in a gzip header are nobody's voxels.
    assert counted["identical"] <= 8
    assert counted["refused"] >= 30


@pytest.mark.acceptance
def test_three_thousand_changed_bytes(tmp_path: Path) -> None:
    counted = {form: one_byte_trials(form, tmp_path, 340, 1) for form in FORMS}
    print({form: dict(count) for form, count in counted.items()})  # noqa: T201 - the figure of the acceptance run
    assert sum(sum(count.values()) for count in counted.values()) >= 3000


@pytest.mark.parametrize("form", FORMS)
def test_an_early_end_and_bytes_left_over_are_refused(form: str, tmp_path: Path) -> None:
    path, stored, start = FORMS[form](tmp_path)
    content = stored.read_bytes()
    for lost in (1, 4, 8, 9, 60, len(content) - start - 1, len(content) - start):
        stored.write_bytes(content[: len(content) - lost])
        with pytest.raises(InputError):
            read_ct_image(path)
    for left_over in (b"\0", b"\n", b"\0" * 512, b"more", content[start:]):
        stored.write_bytes(content + left_over)
        with pytest.raises(InputError):
            read_ct_image(path)


@pytest.mark.parametrize("form", ["raw.nii", "raw.mha", "raw.nrrd"])
@given(change=st.integers(-300, 300).filter(bool))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_uncompressed_voxels_are_counted(form: str, change: int, tmp_path: Path) -> None:
    write: dict[str, Callable[..., bytes]] = {"nii": nifti, "mha": metaimage, "nrrd": nrrd}
    content = write[form[4:]](SMOOTH)
    path = tmp_path / form
    path.write_bytes(content)
    assert np.array_equal(read_ct_image(path).voxels_hu, SMOOTH)
    path.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    with pytest.raises(UnreadableFileError, match="damaged"):
        read_ct_image(path)


def test_compressed_streams_may_be_strung_together(tmp_path: Path) -> None:
    """RFC 1952, section 2.2: as bgzip, pigz and pbzip2 write them."""
    content, path = nifti(SMOOTH), tmp_path / "ct.nii.gz"
    path.write_bytes(b"".join(gzip.compress(content[i : i + 1000]) for i in range(0, len(content), 1000)))
    assert np.array_equal(read_ct_image(path).voxels_hu, SMOOTH)
    head = nrrd(SMOOTH, encoding="bzip2")
    raw = SMOOTH.tobytes()
    parts = bz2.compress(raw[:999]) + bz2.compress(raw[999:])
    (tmp_path / "ct.nrrd").write_bytes(head[: head.index(b"\n\n") + 2] + parts)
    assert np.array_equal(read_ct_image(tmp_path / "ct.nrrd").voxels_hu, SMOOTH)


def test_what_inflates_without_end_is_stopped(tmp_path: Path) -> None:
    header = nifti(SMOOTH)[:352]
    for name, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress)):
        bomb = pack(header + bytes(1 << 24))
        if name == "gzip":
            path = tmp_path / "bomb.nii.gz"
            path.write_bytes(bomb)
        else:
            path = tmp_path / "bomb.nrrd"
            head = nrrd(SMOOTH, encoding="bzip2")
            path.write_bytes(head[: head.index(b"\n\n") + 2] + bomb)
        with pytest.raises(UnreadableFileError, match="more than"):
            read_ct_image(path)


def test_the_checksum_alone_decides(tmp_path: Path) -> None:
    """The right number of well-formed voxels under a wrong checksum: what a reader without one passes on."""
    path, _, _ = _mha(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UnreadableFileError, match="data check"):
        read_ct_image(path)


def test_a_header_that_announces_what_no_file_of_its_size_holds_is_refused_at_once(tmp_path: Path) -> None:
    for version in (1, 2):
        content = nifti(SMOOTH, version=version, dim=[3, 1000, 1000, 1000, 1, 1, 1, 1])
        path = tmp_path / "ct.nii.gz"
        path.write_bytes(gzip.compress(content))
        with pytest.raises(UnreadableFileError, match="cannot hold"):
            read_ct_image(path)
    (tmp_path / "ct.mha").write_bytes(metaimage(SMOOTH, compressed=True, DimSize="1000 1000 1000"))
    with pytest.raises(UnreadableFileError, match="cannot hold"):
        read_ct_image(tmp_path / "ct.mha")


def test_what_memory_cannot_take_is_an_error_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ct.nrrd"
    path.write_bytes(nrrd(SMOOTH, encoding="bzip2"))

    def none_left(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(np, "empty", none_left)
    with pytest.raises(UnreadableFileError, match="memory"):
        read_ct_image(path)


@pytest.mark.parametrize("off_by", [-1, 1, 1000])
def test_a_compressed_size_that_is_not_there_is_refused(off_by: int, tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    stated = str(len(zlib.compress(SMOOTH.tobytes(), 1)) + off_by)
    path.write_bytes(metaimage(SMOOTH, compressed=True, CompressedDataSize=stated))
    with pytest.raises(UnreadableFileError, match="announces"):
        read_ct_image(path)


@pytest.mark.parametrize("left_over", [b"\0", b"x" * 40, zlib.compress(b"another stream")])
def test_bytes_left_over_show_without_a_compressed_size_too(left_over: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ct.mha"
    content = metaimage(SMOOTH, compressed=True, CompressedDataSize=None)
    path.write_bytes(content)
    assert np.array_equal(read_ct_image(path).voxels_hu, SMOOTH)
    path.write_bytes(content + left_over)
    with pytest.raises(UnreadableFileError, match="follow the end"):
        read_ct_image(path)
