"""What the labels and channels of a trained network mean to an assessment, which no data set says in its terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engine.errors import SourceModelError
from engine.manifest import ROLES, Channel, Purpose, Role, SegmentationSection
from engine.manifest.segmentation import usual_roles

IGNORE: Final = "ignore"
"""Meaning of a label that is no part of the structure."""


def labels_with_meaning(
    section: SegmentationSection, purpose: Purpose, meanings: Mapping[int | str, str], where: str
) -> tuple[dict[str, int], dict[Role, tuple[str, ...]]]:
    """Names of the labels, and their roles for a purpose.

    Parameters
    ----------
    section : SegmentationSection
        With the names of the data set.
    purpose : str
    meanings : mapping of int or str to str
        By a label's number or name: a role of the purpose, ``ignore``, or another name, under which it does not
        count. A label that is given by its number gets the meaning for its name too, where no other has it.
    where : str
        The model, for messages.

    Returns
    -------
    labels : dict of str to int
    roles : dict of str to tuple of str

    Raises
    ------
    SourceModelError
        If there is no such label, two would have one name, or a label is left without a meaning.
    """
    given = {_number(section, label, where): (label, meaning) for label, meaning in meanings.items()}
    names = dict(section.labels)
    for number, (label, meaning) in given.items():
        named_by_number = isinstance(label, int) and meaning not in names
        is_name = meaning != IGNORE and meaning not in ROLES[purpose]
        if is_name or (named_by_number and meaning != IGNORE):
            names = _renamed(names, number, meaning, where)
    roles: dict[Role, tuple[str, ...]] = {}
    undecided = []
    for name in _written(section, names):
        if names[name] in given:
            role = _role(purpose, given[names[name]][1])
            if role is not None:
                roles[role] = (*roles.get(role, ()), name)
        else:
            undecided.append(name)
    for role, usual in usual_roles(purpose, undecided if meanings else _written(section, names)).items():
        roles[role] = (*roles.get(role, ()), *usual)
        undecided = [name for name in undecided if name not in usual]
    if purpose != "other" and (undecided or not roles.get(ROLES[purpose][0])):
        _ask(section, purpose, names, undecided, where)
    return names, {role: roles[role] for role in ROLES[purpose] if role in roles}


def channels_named(
    section: SegmentationSection, names: Mapping[int | str, str], where: str
) -> tuple[Channel, ...]:
    """The channels under other names.

    Raises
    ------
    SourceModelError
        If there is no such channel.
    """
    renamed = list(section.channels)
    known = [channel.name for channel in section.channels]
    for channel, name in names.items():
        matching = [i for i, own in enumerate(known) if channel in (i, own)]
        if len(matching) != 1:
            raise SourceModelError(
                f"{where} has no channel {channel!r}, or several: its channels are {', '.join(known)}; give its number"
            )
        renamed[matching[0]] = renamed[matching[0]].model_copy(update={"name": name})
    return tuple(renamed)


def _number(section: SegmentationSection, label: int | str, where: str) -> int:
    number = label if isinstance(label, int) else section.labels.get(label)
    if number is None or number not in section.labels.values():
        raise SourceModelError(f"{where} has no label [{label}]; its labels are {section.labels}")
    return number


def _renamed(names: dict[str, int], number: int, name: str, where: str) -> dict[str, int]:
    if names.get(name, number) != number:
        raise SourceModelError(f"{where}: two labels would have one name, {name}")
    return {name if value == number else old: value for old, value in names.items()}


def _written(section: SegmentationSection, names: Mapping[str, int]) -> list[str]:
    written = {section.labels[name] for name in section.written_labels}
    return [name for name, number in names.items() if number in written]


def _role(purpose: Purpose, meaning: str) -> Role | None:
    return next((role for role in ROLES[purpose] if role == meaning), None)


def _ask(
    section: SegmentationSection, purpose: Purpose, names: Mapping[str, int], undecided: list[str], where: str
) -> None:
    """Refuse labels without a meaning, and say what to type.

    Raises
    ------
    SourceModelError
    """
    known = ", ".join(f"{number} {name}" for name, number in names.items() if number)
    meanings = [*ROLES[purpose], IGNORE]
    example = " ".join(
        f"--label {name}={'|'.join(meanings)}" for name in undecided or _written(section, names)
    )
    fault = (
        f"it is not said what {', '.join(undecided)} means" if undecided else f"no label means {meanings[0]}"
    )
    raise SourceModelError(
        f"{where} cannot be exported for the purpose {purpose}: {fault}. Its labels are {known}; only what means "
        f"{' or '.join(ROLES[purpose])} counts. Add {example}, with one meaning for each"
    )
