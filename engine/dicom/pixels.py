"""From encoded pixel data to Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from engine.dicom.attributes import numbers, optional_number, text
from engine.dicom.image_shape import slice_shape
from engine.dicom.instances import DicomInstance, one_instance
from engine.dicom.stored_bits import ImageSamples, image_samples, read_sample_format
from engine.dicom.transfer_syntaxes import Encoding, require_lossless
from engine.errors import NotCtError, UnreadableFileError
from engine.hounsfield import AIR_HU, padding_to_air

_HU_TYPES = frozenset({"", "HU", "US"})
_MIN_TISSUE_HU = -900
"""Padding above this could be mistaken for tissue."""
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class HounsfieldRescale:
    """Stored value to HU: ``slope · stored + intercept`` (PS3.3 C.11.1.1.2), padding to air.

    ``padding`` is the inclusive range of stored values that mean "no measurement here";
    ``unit_is_stated`` is False where the header leaves the unit open (``RescaleType`` US).
    """

    slope: float
    intercept: float
    padding: tuple[int, int] | None = None
    unit_is_stated: bool = True

    def padding_hides_tissue(self) -> bool:
        """Whether the padding range stands for HU that tissue can have."""
        if self.padding is None:
            return False
        return max(self.slope * p + self.intercept for p in self.padding) > _MIN_TISSUE_HU

    def to_hu(self, stored: npt.NDArray[Any], out: npt.NDArray[np.int16]) -> int:
        """Write the HU of stored values to ``out``; returns how many did not fit int16 and were clipped."""
        hu = self._rescaled(stored)
        if self.padding is not None:
            hu[(stored >= self.padding[0]) & (stored <= self.padding[1])] = AIR_HU
        hu = padding_to_air(hu)
        clipped = 0
        if hu.max() > _INT16.max:
            clipped = int(np.count_nonzero(hu > _INT16.max))
            np.minimum(hu, _INT16.max, out=hu)
        out[...] = hu
        return clipped

    def _rescaled(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Whole numbers stay whole (16 bits through int32); a fractional rescale is rounded."""
        if self.slope != int(self.slope) or self.intercept != int(self.intercept):
            return np.rint(stored.astype(np.float64) * self.slope + self.intercept)
        hu: npt.NDArray[Any] = stored.astype(np.int64 if stored.dtype.itemsize > 2 else np.int32)
        if self.slope != 1:
            hu *= int(self.slope)
        hu += int(self.intercept)
        return hu


def read_rescale(dataset: Dataset, transformation: Dataset, where: str) -> HounsfieldRescale:
    """The rescale of an image.

    ``transformation`` is the item that holds it: the dataset itself, or a functional group.

    Raises
    ------
    NotCtError
        If the header says nothing of HU, or that the values are something else.
    """
    kind = text(transformation, "RescaleType", where).upper()
    if kind not in _HU_TYPES:
        raise NotCtError(f"{where} holds {kind}, not HU (RescaleType); choose the series in Hounsfield units")
    slope = numbers(transformation, "RescaleSlope", 1, where, NotCtError)[0]
    intercept = numbers(transformation, "RescaleIntercept", 1, where, NotCtError)[0]
    if slope == 0 or abs(slope) > _INT16.max or abs(intercept) > 1e6:
        raise NotCtError(
            f"{where} has a rescale of {slope} · value + {intercept}, which gives no HU; export it again"
        )
    return HounsfieldRescale(slope, intercept, _padding(dataset, where), kind != "US")


def stored_samples(instance: DicomInstance, encoding: Encoding, frame: int = 0) -> ImageSamples:
    """Decode one frame.

    Parameters
    ----------
    instance : DicomInstance
    encoding : Encoding
        What :func:`engine.dicom.transfer_syntaxes.require_lossless` returned.
    frame : int
        Index of the frame.

    Returns
    -------
    ImageSamples
        Stored values, before the rescale, of the bits that are the image.

    Raises
    ------
    UnreadableFileError
        If pixel data are absent, cut off or damaged, or contradict what the header says of their bits.
    """
    dataset, name = instance.dataset, instance.name
    slice_shape(dataset, name)
    sample = read_sample_format(dataset, name)
    if "PixelData" not in dataset:
        raise UnreadableFileError(f"{name} has no pixel data (cut off in transfer?); send it again")
    try:
        decoded, _ = get_decoder(instance.transfer_syntax).as_array(
            dataset, index=frame, raw=True, decoding_plugin=encoding.decoder, **_bits_as_decoded(encoding)
        )
    except Exception as error:  # every codec raises its own kinds
        raise UnreadableFileError(
            f"the pixel data of {name} cannot be decoded ({error}); export or send it again"
        ) from error
    return image_samples(decoded, sample, encoding.coded_bits, _padding(dataset, name), name)


def _bits_as_decoded(encoding: Encoding) -> dict[str, Any]:
    """Leave the corrections of pydicom and GDCM out: they differ between encodings, and hide what contradicts."""
    options: dict[str, Any] = {
        "correct_unused_bits": False,
        "apply_jls_sign_correction": False,
        "apply_j2k_sign_correction": False,
    }
    if encoding.coded_bits is not None:
        options["bits_stored"] = encoding.coded_bits
    return options


def decode_slice_hu(source: Path | bytes) -> npt.NDArray[np.int16]:
    """Hounsfield units of one single-frame CT instance.

    Parameters
    ----------
    source : Path or bytes
        A DICOM file, or its content.

    Returns
    -------
    ndarray of int16, (rows, columns)

    Raises
    ------
    UnreadableFileError, NotCtError, InvalidGeometryError
    LossyCompressionError, UndecodableTransferSyntaxError
    """
    instance = one_instance(source, "the instance")
    encoding = require_lossless(instance)
    rescale = read_rescale(instance.dataset, instance.dataset, instance.name)
    stored = stored_samples(instance, encoding).values
    hu = np.empty(stored.shape, dtype=np.int16)
    rescale.to_hu(stored, out=hu)
    return hu


def _padding(dataset: Dataset, where: str) -> tuple[int, int] | None:
    """Inclusive range of stored values that are padding (PS3.3 C.7.5.1.1.2)."""
    first = _stored_integer(dataset, "PixelPaddingValue", where)
    if first is None:
        return None
    second = _stored_integer(dataset, "PixelPaddingRangeLimit", where)
    last = first if second is None else second
    return min(first, last), max(first, last)


def _stored_integer(dataset: Dataset, keyword: str, where: str) -> int | None:
    number = optional_number(dataset, keyword, where)
    return None if number is None else read_sample_format(dataset, where).value_of(int(number))
