"""A multi-frame image that was sent in parts (a concatenation, PS3.3 C.7.6.16.2.2.4) needs all of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from engine.dicom.attributes import optional_number, text, whole_number
from engine.dicom.instances import DicomInstance
from engine.errors import DuplicateSlicePositionError, MissingSliceError, UnreadableFileError


def require_whole_concatenations(instances: Iterable[DicomInstance]) -> None:
    """Refuse a part of a concatenation without the others.

    Parameters
    ----------
    instances : iterable of DicomInstance
        All instances of a series.

    Raises
    ------
    MissingSliceError
        If a part is missing, or the header does not say how many there are.
    DuplicateSlicePositionError
        If a part is there twice.
    UnreadableFileError
        If the parts contradict each other.
    """
    parts: dict[str, list[DicomInstance]] = defaultdict(list)
    for instance in instances:
        uid = text(instance.dataset, "ConcatenationUID", instance.name)
        if uid or "InConcatenationNumber" in instance.dataset:
            parts[uid].append(instance)
    for members in parts.values():
        _require_whole(members)


def _require_whole(members: list[DicomInstance]) -> None:
    first = members[0].name
    totals = {optional_number(i.dataset, "InConcatenationTotalNumber", i.name) for i in members}
    numbers = Counter(
        whole_number(i.dataset, "InConcatenationNumber", i.name, UnreadableFileError) for i in members
    )
    if None in totals:
        raise MissingSliceError(
            f"{first} is a part of a concatenation and does not say of how many; send the image as a whole"
        )
    if len(totals) > 1:
        raise UnreadableFileError(
            f"the parts of a concatenation ({first}, …) differ in how many there are; export it again"
        )
    total = int(totals.pop() or 0)
    missing = [number for number in range(1, total + 1) if number not in numbers]
    if missing:
        raise MissingSliceError(
            f"{first} is a part of a concatenation of {total}, and {len(missing)} of them not there (the first is "
            f"number {missing[0]}); send all parts"
        )
    repeated = [number for number, count in numbers.items() if count > 1]
    if repeated or len(numbers) != total:
        raise DuplicateSlicePositionError(
            f"{first} is a part of a concatenation of {total}, and {len(members)} parts are there; send each once"
        )
