"""Bits beyond BitsStored are no image, in any encoding; headers that the values contradict are refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scipy import ndimage

from engine.dicom.pixels import decode_slice_hu
from engine.dicom.series import read_series
from engine.dicom.stored_bits import SampleFormat, image_samples
from engine.errors import InputError, UnreadableFileError
from engine.geometry import VolumeGeometry
from engine.input_warning import InputWarningCode
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded

ENCODINGS = [
    ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1,
]  # fmt: skip
SHAPE = (48, 56)


def tissue(seed: int = 0, low: int = -1000, high: int = 1500) -> npt.NDArray[np.int16]:
    """HU with edges as blurred as those of a CT."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 3)
    scaled = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.asarray(np.rint(low + scaled * (high - low)), dtype=np.int16)


def drawing() -> npt.NDArray[np.bool_]:
    """A frame and some text, as overlays are."""
    drawn = np.zeros(SHAPE, np.bool_)
    drawn[5, 5:50] = drawn[40, 5:50] = drawn[5:40, 5] = drawn[5:40, 50] = True
    drawn[12:18, 10:14:2] = True
    return drawn


def stored_as(samples: npt.NDArray[Any], syntax: str, folder: Path, **header: Any) -> Dataset:
    """One slice that holds 16 bits for each sample, under a header that is changed afterwards."""
    blank = CtVolume(np.zeros((1, *SHAPE), np.int16), VolumeGeometry((1, *SHAPE), (1, 1, 1)))
    (dataset,) = ct_instances(blank)
    dataset.PixelRepresentation, dataset.PixelData = 0, samples.astype("<u2").tobytes()
    if syntax in {JPEGLossless, JPEGLosslessSV1}:
        dataset = _by_gdcm(dataset, syntax, folder)
    elif syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax)
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    return dataset


def _by_gdcm(dataset: Dataset, syntax: str, folder: Path) -> Dataset:
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    dataset.save_as(plain, enforce_file_format=True)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(io.BytesIO(packed.read_bytes()))


TWELVE = {"BitsStored": 12, "HighBit": 11}


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("bit", [12, 13, 15])
def test_an_overlay_in_unused_bits_is_no_image(syntax: str, bit: int, tmp_path: Path) -> None:
    samples = (tissue() + 1024).astype(np.uint16) | (drawing().astype(np.uint16) << bit)
    dataset = stored_as(samples, syntax, tmp_path, **TWELVE)
    assert np.array_equal(decode_slice_hu(encoded(dataset)), tissue())


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("is_extended", [True, False])
def test_signed_values_are_read_with_their_sign_extended_or_not(
    syntax: str, is_extended: bool, tmp_path: Path
) -> None:
    samples = tissue().view(np.uint16) & (0xFFFF if is_extended else 0x0FFF)
    dataset = stored_as(samples, syntax, tmp_path, PixelRepresentation=1, RescaleIntercept=0, **TWELVE)
    assert np.array_equal(decode_slice_hu(encoded(dataset)), tissue())


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_values_that_need_more_bits_than_are_said_are_refused(syntax: str, tmp_path: Path) -> None:
    """Metal of 6000 HU under BitsStored 12: masked, it would be tissue."""
    samples = (tissue(high=6000) + 1024).astype(np.uint16)
    dataset = stored_as(samples, syntax, tmp_path, **TWELVE)
    with pytest.raises(UnreadableFileError, match="unsigned and have 12 bits"):
        decode_slice_hu(encoded(dataset))


@pytest.mark.parametrize("peak_hu", [8000, 20000])
@pytest.mark.parametrize("blur_pixels", [0.5, 0.8, 1.5])
@pytest.mark.parametrize("is_signed", [True, False])
def test_metal_too_dense_for_the_bits_that_are_said_is_refused(
    peak_hu: int, blur_pixels: float, is_signed: bool
) -> None:
    """A marker in soft tissue: most of its edge is too steep to show that bits are lost, and lands on odd values."""
    marker = np.zeros(SHAPE)
    marker[20:25, 30:33] = peak_hu
    values = tissue(high=200) + (0 if is_signed else 1024) + ndimage.gaussian_filter(marker, blur_pixels)
    decoded = values.astype(np.int16 if is_signed else np.uint16)
    with pytest.raises(UnreadableFileError, match="not clear"):
        image_samples(decoded, SampleFormat(16, 12, is_signed), None, None, "a slice")


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize(
    ("samples", "header", "named"),
    [
        (tissue().view(np.uint16), {"PixelRepresentation": 0, "RescaleIntercept": 0}, "are unsigned"),
        (tissue(high=2800).astype(np.uint16) + 1024, {"PixelRepresentation": 1, **TWELVE}, "are signed"),
        (tissue(low=-40, high=40).view(np.uint16), {"RescaleIntercept": 0, **TWELVE}, "are unsigned"),
    ],
    ids=["negative as unsigned", "bone as signed", "negative as unsigned in 12 bits"],
)  # fmt: skip
def test_values_that_contradict_their_sign_are_refused(
    samples: npt.NDArray[np.uint16], header: dict[str, Any], named: str, syntax: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableFileError, match=named):
        decode_slice_hu(encoded(stored_as(samples, syntax, tmp_path, **header)))


@pytest.mark.parametrize(
    "header",
    [
        {"HighBit": 12, "BitsStored": 12},
        {"HighBit": 15, "BitsStored": 12},
        {"HighBit": 11},
        {"HighBit": 0, "BitsStored": 16},
        {"BitsStored": 17, "HighBit": 16},
        {"BitsStored": 0},
        {"PixelRepresentation": 2},
        {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_a_header_that_contradicts_itself_is_refused(
    header: dict[str, Any], syntax: str, tmp_path: Path
) -> None:
    dataset = stored_as((tissue() + 1024).astype(np.uint16), syntax, tmp_path, **header)
    with pytest.raises(InputError):
        decode_slice_hu(encoded(dataset))


@pytest.mark.parametrize(
    ("written", "vr", "stored", "header"),
    [
        (-2000, "SS", -2000, {"PixelRepresentation": 1}),
        (65536 - 2000, "US", -2000, {"PixelRepresentation": 1}),
        (-2000, "SS", -2000, {"PixelRepresentation": 1, **TWELVE}),
        (4096 - 2000, "US", -2000, {"PixelRepresentation": 1, **TWELVE}),
        (-2000, "SS", 4096 - 2000, {"PixelRepresentation": 1, **TWELVE}),
        (-2000, "SS", 65536 - 2000, TWELVE),
        (65536 - 2000, "US", 65536 - 2000, TWELVE),
        (4095, "US", 4095, TWELVE),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_padding_is_found_however_it_is_written(
    written: int, vr: str, stored: int, header: dict[str, Any], syntax: str, tmp_path: Path
) -> None:
    samples = (tissue(high=1000) + 1024).astype(np.uint16)
    samples[:8] = samples[:, :8] = stored & 0xFFFF
    dataset = stored_as(samples, syntax, tmp_path, **header)
    dataset.add_new("PixelPaddingValue", vr, written)
    expected = tissue(high=1000)
    expected[:8] = expected[:, :8] = -1024
    assert np.array_equal(decode_slice_hu(encoded(dataset)), expected)


def test_what_lay_in_unused_bits_is_said(tmp_path: Path) -> None:
    ct = CtVolume(np.stack([tissue(seed) for seed in range(3)]), VolumeGeometry((3, *SHAPE), (1, 1, 1)))
    datasets = ct_instances(ct, PixelRepresentation=0, **TWELVE)
    drawn = np.frombuffer(datasets[1].PixelData, "<u2").reshape(SHAPE) | (drawing().astype(np.uint16) << 12)
    datasets[1].PixelData = drawn.tobytes()
    read = read_series([encoded(dataset) for dataset in datasets])
    assert np.array_equal(read.voxels_hu, ct.voxels_hu)
    assert [warning.code for warning in read.acquisition.warnings] == [InputWarningCode.UNUSED_BITS]
    assert str(drawing().sum()) in str(read.acquisition.warnings[0])


@pytest.mark.parametrize("is_extended", [True, False])
def test_a_sign_is_nothing_that_has_to_be_said(is_extended: bool) -> None:
    raw = tissue().view(np.uint16) & (0xFFFF if is_extended else 0x0FFF)
    samples = image_samples(raw.view(np.int16), SampleFormat(16, 12, True), None, None, "a slice")
    assert np.array_equal(samples.values, tissue())
    assert samples.with_other_bits == 0


def test_an_overlay_among_extended_signs_is_counted_where_it_changes_something() -> None:
    raw = tissue().view(np.uint16) | (drawing().astype(np.uint16) << 12)
    samples = image_samples(raw.view(np.int16), SampleFormat(16, 12, True), None, None, "a slice")
    assert np.array_equal(samples.values, tissue())
    assert samples.with_other_bits == (drawing() & (tissue() >= 0)).sum()


@settings(max_examples=60, deadline=None)
@given(
    stored=st.integers(10, 16),
    is_signed=st.booleans(),
    garbage=st.integers(0, 2**16 - 1),
    seed=st.integers(0, 999),
)
def test_the_same_garbage_everywhere_changes_nothing(
    stored: int, is_signed: bool, garbage: int, seed: int
) -> None:
    values = tissue(seed, *((-500, 500) if is_signed else (20, 1000))).astype(np.int32)
    mask = (1 << stored) - 1
    raw = ((values & mask) | (garbage & ~mask & 0xFFFF)).astype(np.uint16)
    decoded = raw.view(np.int16) if is_signed else raw
    samples = image_samples(decoded, SampleFormat(16, stored, is_signed), None, None, "a slice")
    assert np.array_equal(samples.values, values)
