"""Encodings: the same HU from every lossless one, and a refusal by name of the others."""

from __future__ import annotations

import io
from pathlib import Path

import gdcm
import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from engine.dicom.pixels import decode_slice_hu
from engine.dicom.transfer_syntaxes import DECODERS
from engine.errors import LossyCompressionError, UndecodableTransferSyntaxError, UnreadableFileError
from engine.geometry import VolumeGeometry
from engine.volume import CtVolume
from tests.support.dicom_files import ct_instances, encoded

HU = (np.random.default_rng(3).normal(0, 300, (64, 48)).cumsum(axis=1) / 8).clip(-1024, 3000).astype(np.int16)


def slice_of(hu: npt.NDArray[np.int16]) -> Dataset:
    return ct_instances(CtVolume(hu[np.newaxis].copy(), VolumeGeometry((1, *hu.shape), (1, 1, 1))))[0]


def renamed(syntax: UID) -> bytes:
    """Native pixel data under the name of another syntax: decoders are never reached."""
    dataset = slice_of(HU)
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    return encoded(dataset)


def by_gdcm(dataset: Dataset, kind: int, folder: Path) -> bytes:
    plain, packed = folder / "plain.dcm", folder / "packed.dcm"
    dataset.save_as(plain, enforce_file_format=True)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(kind))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return packed.read_bytes()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_encodings_give_the_same_hu(syntax: UID) -> None:
    dataset = slice_of(HU)
    dataset.compress(syntax)
    assert np.array_equal(decode_slice_hu(encoded(dataset)), HU)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_native_encodings_give_the_same_hu(syntax: UID) -> None:
    dataset = slice_of(HU)
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    assert np.array_equal(decode_slice_hu(buffer.getvalue()), HU)


@pytest.mark.parametrize(
    "kind",
    [
        gdcm.TransferSyntax.JPEGLosslessProcess14,
        gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        gdcm.TransferSyntax.JPEGLSLossless,
        gdcm.TransferSyntax.JPEG2000Lossless,
    ],
)
@pytest.mark.parametrize("is_signed", [True, False])
def test_another_encoder_gives_the_same_hu(kind: int, is_signed: bool, tmp_path: Path) -> None:
    dataset = slice_of(HU)
    if not is_signed:
        dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
    assert np.array_equal(decode_slice_hu(by_gdcm(dataset, kind, tmp_path)), HU)


@pytest.mark.parametrize("syntax", [JPEGLSNearLossless, JPEG2000])
def test_syntaxes_of_either_kind_need_header_and_codestream(syntax: UID) -> None:
    """Reversible and declared so: read. Reversible and not declared: refused."""
    dataset = slice_of(HU)
    dataset.compress(JPEGLSLossless if syntax == JPEGLSNearLossless else JPEG2000Lossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    with pytest.raises(LossyCompressionError, match="LossyImageCompression absent"):
        decode_slice_hu(encoded(dataset))
    dataset.LossyImageCompression = "00"
    assert np.array_equal(decode_slice_hu(encoded(dataset)), HU)


@pytest.mark.parametrize("syntax", [JPEGLSNearLossless, JPEG2000])
def test_a_lossy_codestream_is_refused_whatever_the_header_says(syntax: UID) -> None:
    dataset = slice_of(HU)
    if syntax == JPEGLSNearLossless:
        dataset.compress(syntax, jls_error=3)
    else:
        dataset.compress(syntax, j2k_cr=[8])
    dataset.LossyImageCompression = "00"
    with pytest.raises(LossyCompressionError, match=syntax):
        decode_slice_hu(encoded(dataset))


def test_an_image_that_was_lossy_once_is_refused() -> None:
    dataset = slice_of(HU)
    dataset.LossyImageCompression = "01"
    with pytest.raises(LossyCompressionError, match="LossyImageCompression 01"):
        decode_slice_hu(encoded(dataset))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_lossy_syntaxes_are_refused_by_name(syntax: UID) -> None:
    with pytest.raises(LossyCompressionError, match=f"{syntax.name.split('(')[0]}.*{syntax}"):
        decode_slice_hu(renamed(syntax))


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", MPEG2MPML, "1.2.840.10008.1.2.4.94"]
)
def test_undecodable_syntaxes_are_refused_by_name(syntax: str) -> None:
    with pytest.raises(UndecodableTransferSyntaxError, match=syntax):
        decode_slice_hu(renamed(UID(syntax)))


def test_damaged_codestreams_are_unreadable() -> None:
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset = slice_of(HU)
        dataset.compress(syntax)
        dataset.PixelData = dataset.PixelData[:40] + b"\0" * (len(dataset.PixelData) - 40)
        with pytest.raises(UnreadableFileError):
            decode_slice_hu(encoded(dataset))


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(("rows", "columns"), [(32, 48), (48, 64)])
def test_a_codestream_of_another_size_is_unreadable(syntax: UID, rows: int, columns: int) -> None:
    dataset = slice_of(HU)
    dataset.compress(syntax)
    dataset.Rows, dataset.Columns = rows, columns
    with pytest.raises(UnreadableFileError, match="rows and columns"):
        decode_slice_hu(encoded(dataset))


@pytest.mark.parametrize("kept", [0.6, 0.99])
def test_a_lossless_jpeg_with_a_lost_end_is_unreadable(kept: float, tmp_path: Path) -> None:
    """Its decoder would fill up the rest of the slice without a word."""
    content = by_gdcm(slice_of(HU), gdcm.TransferSyntax.JPEGLosslessProcess14_1, tmp_path)
    dataset = pydicom.dcmread(io.BytesIO(content))
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    end = int(len(frame) * kept)
    dataset.PixelData = encapsulate([frame[:end] + bytes(len(frame) - end)])
    with pytest.raises(UnreadableFileError, match="end before the image does"):
        decode_slice_hu(encoded(dataset))


def test_no_transfer_syntax_is_unreadable() -> None:
    content = encoded(slice_of(HU))
    at = content.index(b"\x02\x00\x10\x00UI")
    with pytest.raises(UnreadableFileError):
        decode_slice_hu(content[:at] + content[at + 8 + 20 :])


@pytest.mark.parametrize("syntax", sorted(DECODERS))
def test_every_named_decoder_is_installed(syntax: str) -> None:
    decoder = get_decoder(UID(syntax))
    assert decoder.is_available
    assert DECODERS[syntax] in (*decoder.available_plugins, "")


@pytest.mark.parametrize("name", ["CT_small.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_real_slices_equal_pydicoms_own_reading(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
    padding = dataset.get("PixelPaddingValue")
    expected[dataset.pixel_array == padding] = -1024
    expected = np.maximum(expected, -1024)  # other padding, stored without its attribute
    assert np.array_equal(decode_slice_hu(path), expected)
    assert (decode_slice_hu(path) != -1024).any()


def test_a_real_lossy_slice_is_refused() -> None:
    with pytest.raises(LossyCompressionError):
        decode_slice_hu(Path(str(get_testdata_file("693_J2KI.dcm"))))
