"""Which encodings are read: those without loss, and each by one decoder.

Lossy encodings are refused by name. JPEG 2000 (.91), JPEG-LS (.81) and HTJ2K (.203) may carry
either kind; they are read only when the codestream is reversible *and* the header declares
``LossyImageCompression`` 00, for a reversible wavelet can still have been truncated. An image
declared as once compressed with loss (01, PS3.3 C.7.6.1.1.5) is refused whatever its present
encoding: decoding it again does not bring the HU back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.encaps import generate_frames
from pydicom.uid import UID

from engine.dicom.attributes import optional_number, text
from engine.dicom.codestreams import (
    coded_bits,
    coded_shape,
    has_jpeg_end,
    has_reversible_wavelet,
    is_error_free_jpeg_ls,
)
from engine.dicom.image_shape import slice_shape
from engine.dicom.instances import DicomInstance
from engine.errors import LossyCompressionError, UndecodableTransferSyntaxError, UnreadableFileError

# One decoder per syntax: pydicom would try the next one after a failure, and the answer must not
# depend on which succeeded. The empty name is pydicom itself.
DECODERS = {
    "1.2.840.10008.1.2": "",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1": "",  # Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99": "",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2": "",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.5": "pylibjpeg",  # RLE Lossless
    "1.2.840.10008.1.2.4.57": "gdcm",  # JPEG Lossless, Process 14
    "1.2.840.10008.1.2.4.70": "gdcm",  # JPEG Lossless, Process 14, Selection Value 1
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 Lossless Only
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "pylibjpeg",  # HTJ2K Lossless Only
    "1.2.840.10008.1.2.4.202": "pylibjpeg",  # HTJ2K with RPCL Options, Lossless Only
    "1.2.840.10008.1.2.4.203": "pylibjpeg",  # HTJ2K
}
_EITHER_KIND = frozenset({"1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203"})
_ALWAYS_LOSSY = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})

_JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
_JPEG_FAMILY = frozenset(syntax for syntax in DECODERS if syntax.startswith("1.2.840.10008.1.2.4."))


@dataclass(frozen=True)
class Encoding:
    """How to decode an instance.

    Parameters
    ----------
    decoder : str
        Name of the pydicom decoding plugin, empty for native pixel data.
    coded_bits : int or None
        Bits of a sample in the codestreams; ``None`` for encodings that keep all bits that are allocated.
    """

    decoder: str
    coded_bits: int | None = None


def require_lossless(instance: DicomInstance) -> Encoding:
    """How to decode an instance that was never compressed with loss.

    Returns
    -------
    Encoding

    Raises
    ------
    LossyCompressionError
        If the syntax is lossy, or the image is declared as compressed with loss.
    UndecodableTransferSyntaxError
        If no decoder is installed for the syntax.
    UnreadableFileError
        If the codestream is damaged or cut off.
    """
    syntax = instance.transfer_syntax
    named = f"{instance.name} is encoded as {syntax.name} ({syntax})"
    if syntax in _ALWAYS_LOSSY:
        raise LossyCompressionError(f"{named}, which loses HU; export the series without loss")
    if syntax not in DECODERS:
        raise UndecodableTransferSyntaxError(
            f"{named}, which no installed decoder reads; export the series as Explicit VR Little Endian"
        )
    declared = text(instance.dataset, "LossyImageCompression", instance.name)
    if declared == "01":
        raise LossyCompressionError(
            f"{named} and declared as compressed with loss (LossyImageCompression 01), so its HU cannot be "
            "trusted; send the original series"
        )
    frames = _codestreams(instance) if syntax.is_encapsulated else []
    if syntax in _EITHER_KIND and not (declared == "00" and all(map(_reversibility_test(syntax), frames))):
        raise LossyCompressionError(
            f"{named}, and neither header (LossyImageCompression {declared or 'absent'}) nor codestream say "
            "together that nothing was lost; export the series without loss"
        )
    if syntax in _JPEG_FAMILY:
        _require_whole_frames(instance, syntax, frames)
    return Encoding(DECODERS[syntax], _coded_bits(instance, frames) if syntax in _JPEG_FAMILY else None)


def _reversibility_test(syntax: UID) -> Callable[[bytes], bool]:
    return is_error_free_jpeg_ls if syntax == "1.2.840.10008.1.2.4.81" else has_reversible_wavelet


def _require_whole_frames(instance: DicomInstance, syntax: UID, frames: list[bytes]) -> None:
    """Decoders take the size from the codestream, and lossless JPEG's fills up what is missing at its end."""
    shape = slice_shape(instance.dataset, instance.name)
    for frame in frames:
        coded = coded_shape(frame)
        if coded != shape:
            raise UnreadableFileError(
                f"the pixel data of {instance.name} hold {coded or 'no'} rows and columns, not {shape} as "
                "its header says; export or send it again"
            )
        if syntax in _JPEG_LOSSLESS and not has_jpeg_end(frame):
            raise UnreadableFileError(
                f"the pixel data of {instance.name} end before the image does; export or send it again"
            )


def _coded_bits(instance: DicomInstance, frames: list[bytes]) -> int:
    (first, *others) = {coded_bits(frame) for frame in frames}
    if first is None or others:
        raise UnreadableFileError(
            f"the pixel data of {instance.name} do not say how many bits they hold, or differ in it; export or send "
            "it again"
        )
    return first


def _codestreams(instance: DicomInstance) -> list[bytes]:
    """The encoded frames of an instance, at least one."""
    dataset, where = instance.dataset, instance.name
    count = optional_number(dataset, "NumberOfFrames", where) or 1
    try:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=int(count)))
    except Exception as error:  # damaged encapsulation raises anything
        raise UnreadableFileError(
            f"the pixel data of {where} are absent or damaged ({error}); export or send it again"
        ) from error
    if not frames:
        raise UnreadableFileError(f"{where} has no encoded frame; export or send it again")
    return frames
