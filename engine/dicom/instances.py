"""DICOM instances from a folder, a file or memory, each with a name for messages."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID

from engine.dicom.attributes import text
from engine.errors import UnreadableFileError

# Values are checked where they are used; pydicom's own warnings would name them without the file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

_PREAMBLE_BYTES = 128
MAGIC = b"DICM"
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"


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


def is_dicom_file(path: Path) -> bool:
    """Whether a file starts as PS3.10 says: 128 bytes, then ``DICM``."""
    try:
        with path.open("rb") as file:
            return file.read(_PREAMBLE_BYTES + len(MAGIC))[_PREAMBLE_BYTES:] == MAGIC
    except OSError as error:
        raise UnreadableFileError(f"{path.name} cannot be opened: {error.strerror}") from error


def read_instances(source: Path | Sequence[bytes]) -> tuple[DicomInstance, ...]:
    """Parse every DICOM instance of a folder (and the folders right below it), file or list.

    Files that are not DICOM, DICOMDIR and hidden files are skipped; a file that calls itself
    DICOM by suffix, or has no byte at all, is not: it may be a slice that was lost in transfer.

    Raises
    ------
    UnreadableFileError
        If nothing is there, or an instance cannot be parsed.
    """
    if isinstance(source, Path):
        instances = tuple(_from_path(source))
    else:
        instances = tuple(
            parse_instance(content, f"instance {number}") for number, content in enumerate(source, start=1)
        )
    images = tuple(
        i
        for i in instances
        if text(i.dataset.file_meta, "MediaStorageSOPClassUID", i.name) != _DIRECTORY_CLASS
    )
    if not images:
        where = f"the folder {source.name}" if isinstance(source, Path) else "what was sent"
        raise UnreadableFileError(f"there is no DICOM image in {where}; choose the folder of one CT series")
    return images


def parse_instance(content: bytes, name: str) -> DicomInstance:
    """Parse one instance.

    Raises
    ------
    UnreadableFileError
        If ``content`` is not a DICOM file, or a damaged one.
    """
    if content[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(MAGIC)] != MAGIC:
        what = "empty" if not content else "not a DICOM file (PS3.10)"
        raise UnreadableFileError(f"{name} is {what}; export or send it again")
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
    except Exception as error:  # a damaged header raises anything from EOFError to zlib.error
        raise UnreadableFileError(
            f"{name} is a damaged DICOM file ({error}); export or send it again"
        ) from error
    if not len(dataset):
        raise UnreadableFileError(f"{name} is cut off after its DICOM header; export or send it again")
    return DicomInstance(name, dataset)


def _from_path(path: Path) -> list[DicomInstance]:
    if not path.exists():
        raise UnreadableFileError(f"{path.name} does not exist; check the path")
    files = [path] if path.is_file() else _files_below(path)
    instances = []
    for file in files:
        must_be_dicom = path.is_file() or file.suffix.lower() in DICOM_SUFFIXES or file.stat().st_size == 0
        if must_be_dicom or is_dicom_file(file):
            instances.append(parse_instance(_content(file), file.name))
    return instances


def _files_below(folder: Path) -> list[Path]:
    """Files of a folder and of the folders right below it, hidden ones left out, in a fixed order."""
    files: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            files += [f for f in sorted(entry.iterdir()) if f.is_file() and not f.name.startswith(".")]
        else:
            files.append(entry)
    return [file for file in files if file.is_file() and os.access(file, os.R_OK)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{path.name} cannot be read: {error.strerror}") from error
