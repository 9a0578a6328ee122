"""Which bits of a decoded sample are the image: those that the header says, unless the values say otherwise.

Bits beyond BitsStored are no part of the image in any encoding (PS3.5 8.1.1): overlays and leftovers lie there. Some
headers are wrong, though: the values need more bits, or the other sign, than they state. Then taking the header at its
word tears smooth tissue apart wherever a bit is lost, which is how it is noticed, and refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from engine.arrays import AnyArray, BoolArray
from engine.dicom.attributes import optional_number, whole_number
from engine.errors import UnreadableFileError

_ALLOCATED: Final = frozenset({8, 16, 32})
_MAX_TORN: Final = 0.05
"""Share of steps beside what lay in unused bits that may tear tissue. Under an overlay hardly any does, not even along
the pleura; where the values need more bits than are said, most small steps across the last value do."""
_TISSUE_STEP: Final = 1024
"""Stored values: the edge of bone to air, at the usual slope of 1, is blurred over more than one pixel."""
_MAX_TORN_BY_SIGN: Final = 0.5
"""Share of steps that the stated sign may make greater than the other one; most would be if the other were right."""


@dataclass(frozen=True)
class SampleFormat:
    """How a header says that samples are stored (PS3.3 C.7.6.3.1).

    Parameters
    ----------
    allocated, stored : int
        Bits of a sample, and those of them that are the image.
    is_signed : bool
    """

    allocated: int
    stored: int
    is_signed: bool

    def value_of(self, number: int) -> int:
        """A sample value of the header; some writers give a negative one as its unsigned two's complement."""
        if self.is_signed and number >= 1 << (self.stored - 1):
            pattern = number & ((1 << self.stored) - 1)
            return pattern - (1 << self.stored) if pattern >> (self.stored - 1) else pattern
        return number + (1 << self.allocated) if not self.is_signed and number < 0 else number


@dataclass(frozen=True, eq=False)
class ImageSamples:
    """The samples of one slice.

    Parameters
    ----------
    values : ndarray, (rows, columns)
        Stored values, before the rescale.
    with_other_bits : int
        Samples that held something beyond BitsStored, which is not image.
    """

    values: AnyArray
    with_other_bits: int = 0


def read_sample_format(dataset: Dataset, where: str) -> SampleFormat:
    """Read how samples are stored.

    Raises
    ------
    UnreadableFileError
        If the header does not say, or contradicts itself.
    """
    allocated = whole_number(dataset, "BitsAllocated", where, UnreadableFileError)
    stored = whole_number(dataset, "BitsStored", where, UnreadableFileError)
    sign = whole_number(dataset, "PixelRepresentation", where, UnreadableFileError)
    high_bit = optional_number(dataset, "HighBit", where)
    if allocated not in _ALLOCATED or not 1 <= stored <= allocated or sign not in {0, 1}:
        raise UnreadableFileError(
            f"{where} says that {stored} of {allocated} bits are stored, with PixelRepresentation {sign}; no CT is "
            "stored so, export it again"
        )
    if high_bit is not None and high_bit != stored - 1:
        raise UnreadableFileError(
            f"{where} stores {stored} bits and says that the highest is bit {high_bit:g}, not bit {stored - 1} "
            "(HighBit); which bits are the image is not clear, export it again"
        )
    return SampleFormat(allocated, stored, sign == 1)


def image_samples(
    decoded: AnyArray,
    sample: SampleFormat,
    coded_bits: int | None,
    padding: tuple[int, int] | None,
    where: str,
) -> ImageSamples:
    """Take the image out of decoded samples.

    Parameters
    ----------
    decoded : ndarray of integers, (rows, columns)
        As a decoder left them.
    sample : SampleFormat
        What the header says.
    coded_bits : int or None
        Bits of a sample in the codestream; ``None`` for encodings that keep all bits that are allocated.
    padding : tuple of two ints or None
        Inclusive range of values that are padding; how they step to tissue says nothing of the bits.
    where : str
        For messages.

    Raises
    ------
    UnreadableFileError
        If the values contradict what the header says of their bits or their sign.
    """
    width = min(8 * decoded.dtype.itemsize, coded_bits or sample.allocated)
    bits = min(sample.stored, width)
    raw = decoded.astype(f"u{decoded.dtype.itemsize}")
    image = _low_bits(raw, bits, is_signed=sample.is_signed)
    _require_sign(image, bits, sample, padding, where)
    has_other_bits = np.zeros_like(raw, dtype=np.bool_)
    if width > bits:
        as_decoded = _low_bits(raw, width, is_signed=sample.is_signed)
        if not np.array_equal(as_decoded, image):
            is_padding = _within(as_decoded, padding) | _within(image, padding)
            if _torn_share(image, as_decoded, is_padding, greatest_step=_TISSUE_STEP) > _MAX_TORN:
                raise _contradiction(sample, where)
            image = np.where(_within(as_decoded, padding), as_decoded, image)
            is_extended = raw == _low_bits(raw, bits, is_signed=True).astype(raw.dtype)
            has_other_bits = (raw >> bits != 0) & ~is_extended & ~is_padding
    return ImageSamples(image, int(np.count_nonzero(has_other_bits)))


def _require_sign(
    image: AnyArray, bits: int, sample: SampleFormat, padding: tuple[int, int] | None, where: str
) -> None:
    """Refuse values that read smoothly with the other sign alone."""
    quarter = 1 << bits >> 2
    low, high = (-quarter, quarter) if sample.is_signed else (quarter, 3 * quarter)
    if image.min() >= low or image.max() < high:
        return  # nothing is near both ends of the range, where the sign matters
    other = _low_bits(image.astype(f"u{image.dtype.itemsize}"), bits, is_signed=not sample.is_signed)
    if _torn_share(image, other, _within(image, padding)) > _MAX_TORN_BY_SIGN:
        raise _contradiction(sample, where)


def _contradiction(sample: SampleFormat, where: str) -> UnreadableFileError:
    sign = "signed" if sample.is_signed else "unsigned"
    return UnreadableFileError(
        f"{where} says that its values are {sign} and have {sample.stored} bits (PixelRepresentation, BitsStored), and "
        "they read smoothly in another way alone: which HU they stand for is not clear, export it again"
    )


def _low_bits(raw: AnyArray, bits: int, *, is_signed: bool) -> AnyArray:
    """The value of the lowest bits of unsigned samples, with the highest of them as sign or not."""
    shift = 8 * raw.dtype.itemsize - bits
    if not is_signed:
        return raw if shift == 0 else raw & raw.dtype.type((1 << bits) - 1)
    extended: AnyArray = (raw << shift).view(f"i{raw.dtype.itemsize}")
    return extended >> shift


def _torn_share(
    reading: AnyArray, other: AnyArray, is_padding: BoolArray, *, greatest_step: int | None = None
) -> float:
    """Of the steps between neighbors that two readings see differently, the share that tears tissue in the first.

    Such a step is greater in the first reading, or greater than any in tissue.
    """
    first, second = reading.astype(np.int64), other.astype(np.int64)
    torn = compared = 0
    for axis in (0, 1):
        step, other_step = np.diff(first, axis=axis), np.diff(second, axis=axis)
        beside_padding = np.diff(is_padding, axis=axis) | np.delete(is_padding, 0, axis=axis)
        differs = (step != other_step) & ~beside_padding
        compared += int(np.count_nonzero(differs))
        allowed = np.abs(other_step[differs])
        if greatest_step is not None:
            allowed = np.minimum(allowed, greatest_step)
        torn += int(np.count_nonzero(np.abs(step[differs]) > allowed))
    return torn / compared if compared else 0.0


def _within(values: AnyArray, padding: tuple[int, int] | None) -> BoolArray:
    if padding is None:
        return np.zeros(values.shape, dtype=np.bool_)
    return np.asarray((values >= padding[0]) & (values <= padding[1]))
