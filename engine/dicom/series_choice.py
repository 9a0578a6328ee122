"""Which series of a folder is the CT: told by what is in it, or chosen by number, UID or description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from engine.dicom.attributes import items, optional_number, text, words
from engine.dicom.folder import FoundFiles, counted, find_dicom_files
from engine.dicom.frames import is_ct_class
from engine.dicom.image_kind import kinds_other_than_slice
from engine.dicom.instances import DicomInstance, read_header
from engine.errors import InvalidRequestError, MixedSeriesError, NotCtError, UnreadableFileError
from engine.input_warning import InputWarning, InputWarningCode
from engine.path_text import path_text

_HEADER_KEYWORDS: Final = (
    "SOPClassUID",
    "ImageType",
    "VolumetricProperties",
    "VolumeBasedCalculationTechnique",
    "Modality",
    "SeriesDescription",
    "SliceThickness",
    "ConvolutionKernel",
    "SeriesInstanceUID",
    "SeriesNumber",
    "ImagePositionPatient",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
)

_NOT_IMAGES: Final = frozenset({"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG", "DOC", "FID"})
"""Modalities of objects that archives keep beside the slices and that hold no slice of it."""

_DIRECTORY_CLASS: Final = "1.2.840.10008.1.3.10"
_MASK_MODALITIES: Final = frozenset({"SEG", "RTSTRUCT"})
_MAX_LISTED: Final = 20
_SHORTEST_MODALITY: Final = 2
"""No modality has fewer letters (PS3.3 C.7.3.1.1.1): a slice that was cut off within it has."""


@dataclass(frozen=True)
class SeriesSummary:
    """A series as a person tells it from others; what its header does not say is empty.

    Parameters
    ----------
    uid, description, kernel : str
        Series Instance UID, Series Description, Convolution Kernel.
    number : int or None
    slices : int
        How many CT slices it holds; 0 for a localizer, a report, another modality.
    slice_thickness_mm : float or None
    """

    uid: str
    number: int | None
    description: str
    kernel: str
    slices: int
    slice_thickness_mm: float | None

    @property
    def in_words(self) -> str:
        """For example ``4 'Lung 1.0' (kernel Br64d, 312 slices of 1 mm)``."""
        thickness = "" if self.slice_thickness_mm is None else f" of {self.slice_thickness_mm:.3g} mm"
        kernel = f"kernel {self.kernel}, " if self.kernel else ""
        number = "no number" if self.number is None else str(self.number)
        return f"{number} {self.description!r} ({kernel}{counted(self.slices, 'slice')}{thickness})"

    def is_named(self, choice: str) -> bool:
        """Whether a person's choice names it: its UID, number or description."""
        by_number = choice.isdecimal() and self.number == int(choice)
        return by_number or choice == self.uid or choice.casefold() == self.description.casefold()


@dataclass(frozen=True)
class _ChosenSeries:
    """The files of one CT series, and what was noticed beside them."""

    found: FoundFiles
    files: tuple[Path, ...]
    warnings: tuple[InputWarning, ...]


def list_series(path: Path) -> tuple[SeriesSummary, ...]:
    """List the series of a folder and of all folders below it, in the order of their numbers.

    Raises
    ------
    UnreadableFileError
    """
    return tuple(_summary(members) for members in _by_series(_headers(find_dicom_files(path))))


def choose_series(path: Path, choice: str = "") -> _ChosenSeries:
    """Choose the CT series of a folder; only headers are read.

    Parameters
    ----------
    path : Path
        A folder, with all folders below it, or a file.
    choice : str, optional
        Number, UID or description; may be left out if one series holds CT slices.

    Raises
    ------
    UnreadableFileError
        If a file cannot be read, or there is no DICOM.
    NotCtError
        If no series holds CT slices, or the chosen one does not.
    MixedSeriesError
        If several do and none was chosen, or the choice names several; the message lists them.
    InvalidRequestError
        If the choice names none.
    """
    found = find_dicom_files(path)
    headers = _headers(found)
    if not headers:
        raise UnreadableFileError(
            f"there is no DICOM image in {path_text(path)}"
            + "".join(f" ({warning})" for warning in found.warnings)
            + "; choose the folder of one CT series"
        )
    chosen, warnings = choose_instances(headers, choice, path_text(path))
    files = dict(zip((id(header) for header in headers), found.dicom, strict=True))
    return _ChosenSeries(found, tuple(files[id(header)] for header in chosen), (*found.warnings, *warnings))


def choose_instances(
    instances: Sequence[DicomInstance], choice: str = "", where: str = "what was sent"
) -> tuple[list[DicomInstance], tuple[InputWarning, ...]]:
    """Choose the instances of one CT series of those in ``where``; what is left out is said in a warning.

    Raises
    ------
    NotCtError, MixedSeriesError, InvalidRequestError
        As for :func:`choose_series`.
    """
    groups = _by_series(instances)
    members = _named(groups, choice.strip(), where) if choice.strip() else _only_ct(groups, where)
    _require_modalities(instances)
    chosen = [instance for instance in members if _role(instance) is not _Role.ASIDE]
    kept = {id(instance) for instance in chosen}
    return chosen, _left_out_warnings([i for i in instances if id(i) not in kept])


def choose_mask_file(path: Path, name: str) -> Path:
    """Return the one SEG or RTSTRUCT file at a path.

    Parameters
    ----------
    path : Path
        A file, or a folder that holds one such file and no other DICOM.
    name : str
        What it marks, for messages.

    Raises
    ------
    InvalidRequestError
        If there is no such object, or several.
    UnreadableFileError
    """
    found = find_dicom_files(path)
    headers = _headers(found)
    kinds = [text(header.dataset, "Modality", header.name) for header in headers]
    if len(headers) != 1 or kinds[0] not in _MASK_MODALITIES:
        raise InvalidRequestError(
            f"{path_text(Path(path.name))} holds {counted(len(headers), 'DICOM instance')}"
            f" ({', '.join(sorted(set(kinds)))}), not one SEG or RTSTRUCT; choose the file of the {name}"
        )
    return found.dicom[0]


class _Role(Enum):
    SLICE = auto()
    ASIDE = auto()
    """A localizer, a report, a mask: never a slice of a CT."""
    FOREIGN = auto()
    """An image of another kind: no CT, and an error where it stands in the series of a CT."""


def _role(instance: DicomInstance) -> _Role:
    dataset, name = instance.dataset, instance.name
    modality = text(dataset, "Modality", name)
    if modality in _NOT_IMAGES:
        return _Role.ASIDE
    if modality != "CT":
        return _Role.FOREIGN
    if kinds_other_than_slice(dataset, name):
        return _Role.ASIDE
    if is_ct_class(text(dataset, "SOPClassUID", name)):
        return _Role.SLICE
    return _Role.FOREIGN if "ImagePositionPatient" in dataset else _Role.ASIDE


def _headers(found: FoundFiles) -> tuple[DicomInstance, ...]:
    return tuple(read_header(file, found.name(file), _HEADER_KEYWORDS) for file in found.dicom)


def _by_series(instances: Sequence[DicomInstance]) -> list[list[DicomInstance]]:
    groups: dict[str, list[DicomInstance]] = {}
    for instance in instances:
        groups.setdefault(text(instance.dataset, "SeriesInstanceUID", instance.name), []).append(instance)
    return sorted(groups.values(), key=lambda members: _number(members[0]) or 0)


def _require_modalities(instances: Sequence[DicomInstance]) -> None:
    """Refuse an object that does not say what it is: every one has to, and a slice cut off in its header does not."""
    for instance in instances:
        if len(text(instance.dataset, "Modality", instance.name)) < _SHORTEST_MODALITY:
            raise UnreadableFileError(
                f"{instance.name} names no modality and may be a damaged slice; export it again, or take it away"
            )


def _only_ct(groups: list[list[DicomInstance]], where: str) -> list[DicomInstance]:
    with_slices = [members for members in groups if any(_role(i) is _Role.SLICE for i in members)]
    if not with_slices:
        every = [instance for members in groups for instance in members]
        raise NotCtError(
            f"there is no CT slice in {where}, only {_counted_kinds(every)}; choose the folder of a CT series"
        )
    if len(with_slices) > 1:
        raise MixedSeriesError(
            f"there are {len(with_slices)} CT series in {where}: {_listed(with_slices)}; "
            "choose one by its number, UID or description (option --…-series)"
        )
    return with_slices[0]


def _named(groups: list[list[DicomInstance]], choice: str, where: str) -> list[DicomInstance]:
    named = [members for members in groups if _summary(members).is_named(choice)]
    if not named:
        raise InvalidRequestError(
            f"no series in {where} is numbered or called {choice!r}, only {_listed(groups)}; choose one of these"
        )
    if len(named) > 1:
        named = [members for members in named if _summary(members).slices]
    if len(named) > 1:
        raise MixedSeriesError(f"{choice!r} names {_listed(named)}; choose one by its UID")
    if not named or not _summary(named[0]).slices:
        raise NotCtError(
            f"the series {choice!r} in {where} holds no CT slice; choose one of {_listed(groups)}"
        )
    return named[0]


def _listed(groups: Sequence[list[DicomInstance]]) -> str:
    """The series in words; with their UIDs where number and description do not tell them apart."""
    summaries = [_summary(members) for members in groups]
    same = Counter((s.number, s.description) for s in summaries)
    listed = [
        s.in_words + (f" {s.uid}" if same[s.number, s.description] > 1 else "")
        for s in summaries[:_MAX_LISTED]
    ]
    more = len(summaries) - _MAX_LISTED
    return "; ".join(listed) + (f"; and {more} more" if more > 0 else "")


def _left_out_warnings(others: Sequence[DicomInstance]) -> tuple[InputWarning, ...]:
    if not others:
        return ()
    message = f"beside the CT slices, left out: {_counted_kinds(others)}"
    return (InputWarning(InputWarningCode.OTHER_OBJECTS_LEFT_OUT, message),)


def _counted_kinds(instances: Sequence[DicomInstance]) -> str:
    counts = Counter(_kind_in_words(instance) for instance in instances)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))


def _kind_in_words(instance: DicomInstance) -> str:
    dataset, name = instance.dataset, instance.name
    modality = text(dataset, "Modality", name)
    if modality != "CT":
        return modality or "of no modality"
    kinds = kinds_other_than_slice(dataset, name)
    if kinds:
        return ", ".join(kinds)
    if not is_ct_class(text(dataset, "SOPClassUID", name)):
        return "secondary capture"
    return f"slice of series {_summary([instance]).number} {_summary([instance]).description!r}"


def _summary(members: Sequence[DicomInstance]) -> SeriesSummary:
    slices = [instance for instance in members if _role(instance) is _Role.SLICE]
    first = (slices or members)[0]
    dataset, name = first.dataset, first.name
    measures = _shared(dataset, "PixelMeasuresSequence", name)
    return SeriesSummary(
        uid=text(dataset, "SeriesInstanceUID", name),
        number=_number(first),
        description=text(dataset, "SeriesDescription", name),
        kernel=convolution_kernel(first),
        slices=sum(int(optional_number(i.dataset, "NumberOfFrames", i.name) or 1) for i in slices),
        slice_thickness_mm=optional_number(measures, "SliceThickness", name),
    )


def convolution_kernel(instance: DicomInstance) -> str:
    """The reconstruction kernel, of a single slice or shared by all frames; empty where the header does not say."""
    group = _shared(instance.dataset, "CTReconstructionSequence", instance.name)
    return "/".join(words(group, "ConvolutionKernel", instance.name))


def _shared(dataset: Dataset, keyword: str, name: str) -> Dataset:
    """The functional group that all frames share, or the data set itself."""
    for shared in items(dataset, "SharedFunctionalGroupsSequence", name)[:1]:
        for group in items(shared, keyword, name)[:1]:
            return group
    return dataset


def _number(instance: DicomInstance) -> int | None:
    number = text(instance.dataset, "SeriesNumber", instance.name)
    return int(number) if number.lstrip("-").isdecimal() else None
