"""DICOM instances from a folder, a file or memory, each with a name for messages."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from engine.dicom.attributes import text
from engine.dicom.file_format import HEAD_BYTES, data_set_offset, starts_as_dicom, starts_with_preamble
from engine.errors import UnreadableFileError

# Values are checked where they are used; pydicom's own warnings would name them without the file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, eq=False)
class DicomInstance:
    """A parsed instance; ``name`` is its file name, or its place in the order it was sent."""

    name: str
    dataset: Dataset

    @property
    def transfer_syntax(self) -> UID:
        """Transfer Syntax UID of the file meta information.

        Raises
        ------
        UnreadableFileError
            If the file does not name one.
        """
        uid = text(self.dataset.file_meta, "TransferSyntaxUID", self.name)
        if not uid:
            raise UnreadableFileError(
                f"{self.name} does not name its transfer syntax; export it again as a DICOM file (PS3.10)"
            )
        return UID(uid)


InstanceSource = Path | bytes | DicomInstance
"""A DICOM file, its content, or what was parsed of it."""


def parse_instances(contents: Sequence[bytes]) -> tuple[DicomInstance, ...]:
    """Parse instances that were sent one after the other.

    Raises
    ------
    UnreadableFileError
        If one cannot be parsed.
    """
    return tuple(
        parse_instance(content, f"instance {number}") for number, content in enumerate(contents, start=1)
    )


def one_instance(source: InstanceSource, name: str) -> DicomInstance:
    """Parse one instance from a file, under its own name, or from memory, under the name given; a parsed one is itself.

    Raises
    ------
    UnreadableFileError
        If it cannot be read, or is not DICOM, or damaged.
    """
    if isinstance(source, DicomInstance):
        return source
    if isinstance(source, bytes):
        return parse_instance(source, name)
    return parse_instance(file_content(source, source.name), source.name)


def parse_instance(content: bytes, name: str) -> DicomInstance:
    """Parse one instance, with the preamble of a DICOM file or without.

    Raises
    ------
    UnreadableFileError
        If ``content`` is not DICOM, or damaged.
    """
    dataset = _parse(io.BytesIO(content), name)
    if not len(dataset):
        raise UnreadableFileError(f"{name} is cut off after its DICOM header; export or send it again")
    if not starts_with_preamble(content):
        _complete_meta_information(dataset, name)
    return DicomInstance(name, dataset)


def read_header(path: Path, name: str, keywords: Sequence[str]) -> DicomInstance:
    """Parse the named attributes of a file, and no pixels.

    Raises
    ------
    UnreadableFileError
        As for :func:`parse_instance`, or if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return DicomInstance(name, _parse(file, name, keywords))
    except OSError as error:
        raise UnreadableFileError(f"{name} cannot be read: {error.strerror}") from error


def file_content(path: Path, name: str) -> bytes:
    """The bytes of a file.

    Raises
    ------
    UnreadableFileError
        If it cannot be read, or is empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{name} cannot be read: {error.strerror}") from error
    if not content:
        raise UnreadableFileError(f"{name} is empty; export or send it again")
    return content


def _parse(stream: BinaryIO, name: str, keywords: Sequence[str] | None = None) -> FileDataset:
    head = stream.read(HEAD_BYTES)
    if not starts_as_dicom(head):
        what = "not a DICOM file (PS3.10)" if head else "empty"
        raise UnreadableFileError(f"{name} is {what}; export or send it again")
    has_preamble = starts_with_preamble(head)
    stream.seek(0)
    if not has_preamble and data_set_offset(head):
        stream = io.BytesIO(stream.read()[data_set_offset(head) :])  # pydicom begins at the start of a stream
    try:
        return pydicom.dcmread(
            stream,
            force=not has_preamble,
            stop_before_pixels=keywords is not None,
            specific_tags=None if keywords is None else list(keywords),
        )
    except OSError:
        raise
    except Exception as error:  # a damaged header raises anything from EOFError to zlib.error
        raise UnreadableFileError(
            f"{name} is a damaged DICOM file ({error}); export or send it again"
        ) from error


def _complete_meta_information(dataset: FileDataset, name: str) -> None:
    """Name the encoding of a data set without meta information, as far as it can be told from its elements."""
    if not text(dataset, "SOPClassUID", name) and not text(dataset, "Modality", name):
        raise UnreadableFileError(f"{name} is not a DICOM file (PS3.10); export or send it again")
    if text(dataset.file_meta, "TransferSyntaxUID", name):
        return
    if "PixelData" in dataset and dataset["PixelData"].is_undefined_length:
        return  # compressed, and nothing says how
    is_implicit, is_little_endian = dataset.original_encoding
    syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax if is_little_endian else ExplicitVRBigEndian
