"""Which files below a folder are DICOM, and what else lies there: the one rule of reader and client.

Nothing is passed over in silence. A file is DICOM, or plainly something else (a text, a viewer, DICOMDIR), or it is
left out and named; and a file that cannot be read but looks like one more slice is an error, because a lost slice
shortens the CT without a trace.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from statistics import median
from typing import Final, Self

from engine.dicom.file_format import DICOM_SUFFIXES, HEAD_BYTES, starts_as_dicom
from engine.errors import UnreadableFileError
from engine.input_warning import InputWarning, InputWarningCode
from engine.path_text import path_text

_COMPANION: Final = re.compile(
    r"\.(txt|md|pdf|rtf|docx?|csv|tsv|xlsx?|xml|json|ya?ml|log|html?|css|js|png|jpe?g|gif|bmp|ico|exe|dll|jar|inf|ini"
    r"|cfg|bat|sh|py|db|lnk|url|chm)$"
)
"""Files of these kinds hold no slice: reports, pictures of the viewer on a disc, the viewer itself."""

_APPLE_DOUBLE: Final = b"\x00\x05\x16\x07"
"""Start of the ``._NAME`` files that macOS lays beside every file on foreign disks."""

_SLICE_SIZE_RATIO: Final = 2.0
"""A file within this factor of the slices' size may be one; compressed slices of a series differ as much."""

_UNFINISHED: Final = re.compile(r"\.(gz|bz2|xz|zip|z|part|partial|tmp|crdownload)$")
"""What is behind the name of a slice that is compressed, or whose download did not end."""

_NAMED: Final = 3
_DIGITS: Final = re.compile(r"\d+")
_NOT_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")


@dataclass(frozen=True)
class _LeftOutFile:
    """A file or folder that may hold an image and was not read, with the reason in words."""

    name: str
    why: str


@dataclass(frozen=True)
class FoundFiles:
    """What lies below a folder.

    Parameters
    ----------
    folder : Path
    dicom : tuple of Path
        Files to be read, in a fixed order; an empty one is among them, because it may be a slice lost in transfer.
    left_out : tuple of _LeftOutFile
        What may be an image and was not read.
    companions : tuple of str
        What plainly is none, by kind: ``txt``, ``DICOMDIR``, …
    """

    folder: Path
    dicom: tuple[Path, ...]
    left_out: tuple[_LeftOutFile, ...] = ()
    companions: tuple[str, ...] = ()

    def name(self, file: Path) -> str:
        """The name of a file for messages: its path below the folder."""
        return path_text(file.relative_to(self.folder)) if file != self.folder else path_text(Path(file.name))

    @property
    def warnings(self) -> tuple[InputWarning, ...]:
        """What a reader of the answer should know of the files that were not read."""
        warnings = []
        if self.left_out:
            listed = "; ".join(f"{file.name} ({file.why})" for file in self.left_out[:_NAMED])
            more = f"; and {len(self.left_out) - _NAMED} more" if len(self.left_out) > _NAMED else ""
            message = f"left out, though an image may be in it ({counted(len(self.left_out), 'file')}): {listed}{more}"
            warnings.append(InputWarning(InputWarningCode.FILES_LEFT_OUT, message))
        if self.companions:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(Counter(self.companions).items()))
            warnings.append(
                InputWarning(InputWarningCode.COMPANION_FILES, f"beside the DICOM files, not read: {kinds}")
            )
        return tuple(warnings)


def find_dicom_files(path: Path) -> FoundFiles:
    """Find the DICOM files of a folder and of all folders below it; a file stands for itself.

    Links are followed, each folder is visited once. Hidden files are left out.

    Raises
    ------
    UnreadableFileError
        If nothing is there, or a file that is no DICOM or cannot be opened looks like one more slice.
    """
    if not path.exists():
        raise UnreadableFileError(f"{path_text(path)} does not exist; check the path")
    if path.is_file():
        return FoundFiles(path, (path,))
    if not path.is_dir():
        raise UnreadableFileError(
            f"{path_text(path)} is no file and no folder; choose the folder of one CT series"
        )
    entries = list(_entries_below(path, set(), hidden=False))
    slices = [entry for entry in entries if entry.kind is _Kind.DICOM]
    found = FoundFiles(path, tuple(entry.path for entry in slices))
    likeness = _Likeness.of(slices)
    unknown = [entry for entry in entries if entry.kind is _Kind.UNKNOWN]
    for entry in unknown:
        if likeness and entry.may_be_a_slice and likeness.has(entry):
            raise UnreadableFileError(
                f"{found.name(entry.path)} {entry.why}, and looks like one of the {len(slices)} DICOM files beside it: "
                "a slice may be lost; export the series again, or take the file away"
            )
    return replace(
        found,
        left_out=tuple(_LeftOutFile(found.name(e.path), e.why) for e in unknown if not e.is_text),
        companions=tuple(e.why for e in entries if e.kind is _Kind.COMPANION)
        + ("text",) * sum(e.is_text for e in unknown),
    )


def is_dicom(path: Path) -> bool:
    """Whether a path is read as DICOM: a folder, or a file that begins or calls itself so.

    Raises
    ------
    UnreadableFileError
        If a file cannot be opened.
    """
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    try:
        return starts_as_dicom(_head(path)) or path.suffix.lower() in DICOM_SUFFIXES
    except OSError as error:
        raise UnreadableFileError(f"{path_text(path)} cannot be opened: {error.strerror}") from error


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class _Kind(Enum):
    DICOM = auto()
    COMPANION = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class _Entry:
    """A file; ``why`` is the reason for leaving it out, or the kind of a companion."""

    path: Path
    kind: _Kind
    why: str = ""
    size: int = 0
    may_be_a_slice: bool = False
    is_text: bool = False


def _entries_below(folder: Path, visited: set[tuple[int, int]], *, hidden: bool) -> Iterator[_Entry]:
    """Every file below a folder, in a fixed order."""
    try:
        state = folder.stat()
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as error:
        yield _Entry(folder, _Kind.UNKNOWN, f"a folder that cannot be opened: {error.strerror}")
        return
    if (state.st_dev, state.st_ino) in visited:
        return
    visited.add((state.st_dev, state.st_ino))
    for name in names:
        path, is_hidden = folder / name, hidden or name.startswith(".")
        if _is_folder(path):
            yield from _entries_below(path, visited, hidden=is_hidden)
        else:
            yield _classified(path, hidden=is_hidden)


def _classified(path: Path, *, hidden: bool) -> _Entry:
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            return _Entry(path, _Kind.UNKNOWN, "is no regular file")
        head = _head(path)
    except OSError as error:
        return _Entry(path, _Kind.UNKNOWN, f"cannot be read: {error.strerror}", may_be_a_slice=not hidden)
    companion = _companion_kind(path, head)
    if companion:
        return _Entry(path, _Kind.COMPANION, companion)
    if starts_as_dicom(head) or path.suffix.lower() in DICOM_SUFFIXES:
        kind = _Kind.UNKNOWN if hidden else _Kind.DICOM
        return _Entry(path, kind, "hidden" if hidden else "", state.st_size)
    if hidden or not head:
        return _Entry(path, _Kind.COMPANION, "hidden") if hidden else _Entry(path, _Kind.DICOM)
    is_text = not path.suffix and _NOT_TEXT.search(head) is None
    return _Entry(
        path, _Kind.UNKNOWN, "is no DICOM file", state.st_size, may_be_a_slice=True, is_text=is_text
    )


def _companion_kind(path: Path, head: bytes) -> str:
    """What a file is that plainly holds no slice; empty if it may hold one."""
    if path.name.upper() == "DICOMDIR":
        return "DICOMDIR"
    if head.startswith(_APPLE_DOUBLE):
        return "._ file of macOS"
    kind = _COMPANION.search(path.name.lower())
    return kind[1] if kind and not starts_as_dicom(head) else ""


@dataclass(frozen=True)
class _Likeness:
    """How the slices of a folder are named but for numbers, and how large they are."""

    patterns: frozenset[str]
    size: float

    @classmethod
    def of(cls, slices: Sequence[_Entry]) -> Self | None:
        """What is common to the slices; None if there is none."""
        if not slices:
            return None
        names = (name for entry in slices for name in (entry.path.name, entry.path.stem))
        return cls(frozenset(map(_numbered, names)), median(entry.size for entry in slices))

    def has(self, entry: _Entry) -> bool:
        """Whether a file is named as the slices are, or has no kind of its own and their size."""
        pattern = _numbered(_UNFINISHED.sub("", entry.path.name.lower()))
        if "#" in pattern and pattern in self.patterns:
            return True
        has_kind = bool(entry.path.suffix) and not entry.path.suffix[1:].isdecimal()
        if has_kind or entry.is_text:
            return False
        return self.size / _SLICE_SIZE_RATIO <= entry.size <= self.size * _SLICE_SIZE_RATIO


def _numbered(name: str) -> str:
    return _DIGITS.sub("#", name.lower())


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder; what may not be looked at is none, and is named when it is opened."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
