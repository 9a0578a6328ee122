"""The report of an assessment as a message, and back: the keys of the report are the fields of the message.

In a report every key is there: intervals are ``[low, high]``, points ``[x, y, z]`` (LPS mm), enums a lower-case
word, times ISO 8601, and what the message leaves out is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from coldspot.v1 import assessment_pb2, geometry_pb2, service_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_NULLED_AS_A_WHOLE: Final = frozenset(
    {
        assessment_pb2.Refusal.DESCRIPTOR.full_name,
        assessment_pb2.MarginShares.DESCRIPTOR.full_name,
        assessment_pb2.Radscore.DESCRIPTOR.full_name,
        assessment_pb2.ModelIdentity.DESCRIPTOR.full_name,
        geometry_pb2.Interval.DESCRIPTOR.full_name,
        geometry_pb2.Point.DESCRIPTOR.full_name,
        assessment_pb2.RiskAbsence.DESCRIPTOR.full_name,
        Timestamp.DESCRIPTOR.full_name,
    }
)
"""Message fields that become null when absent; any other becomes an object with null values."""


def assessment_message(report: Mapping[str, Any]) -> assessment_pb2.Assessment:
    """Return a report as a message.

    Parameters
    ----------
    report : mapping
        As :func:`service.record.report.assessment_report` makes its content.
    """
    message = assessment_pb2.Assessment()
    _fill(message, report)
    return message


def prepared_message(report: Mapping[str, Any]) -> service_pb2.Prepared:
    """Return the report of a planning side (:func:`service.record.report.planning_report`) as a message."""
    message = service_pb2.Prepared()
    _fill(message, report)
    return message


def assessment_json(message: assessment_pb2.Assessment) -> dict[str, Any]:
    """Return the report in an assessment message.

    Parameters
    ----------
    message : Assessment

    Returns
    -------
    dict
        Plain dictionaries, lists, numbers, strings, booleans and None.
    """
    return _object(message, present=True)


def case_json(message: service_pb2.GetCaseResponse) -> dict[str, Any]:
    """Return what is stored for a case as plain JSON."""
    return _object(message, present=True)


def overview_json(message: service_pb2.CaseOverview) -> dict[str, Any]:
    """Return one case of a list as plain JSON."""
    return _object(message, present=True)


def _fill(message: Message, report: Mapping[str, Any]) -> None:
    for field in message.DESCRIPTOR.fields:
        content = report[field.name]
        if _is_map(field):
            getattr(message, field.name).update(content)
        elif field.is_repeated:
            _fill_list(getattr(message, field.name), field, content)
        elif field.message_type is not None:
            if not _is_empty(content):
                _fill_message(getattr(message, field.name), content)
        elif content is not None:
            setattr(message, field.name, _scalar(field, content))


def _fill_list(items: Any, field: Any, content: Iterable[Any]) -> None:
    for item in content:
        if field.message_type is not None:
            _fill_message(items.add(), item)
        else:
            items.append(_scalar(field, item))


def _scalar(field: Any, content: Any) -> Any:
    return content if field.enum_type is None else _enum_number(field.enum_type, content)


def _fill_message(message: Message, content: Any) -> None:
    message.SetInParent()
    if isinstance(message, geometry_pb2.Interval):
        message.low, message.high = content
    elif isinstance(message, geometry_pb2.Point):
        message.x, message.y, message.z = content
    elif isinstance(message, Timestamp):
        message.FromDatetime(datetime.fromisoformat(content))
    else:
        _fill(message, content)


def _is_empty(content: Any) -> bool:
    """Whether the content is empty: null, an empty list, or an object of empty values only."""
    if isinstance(content, dict):
        return all(_is_empty(value) for value in content.values())
    return content is None or content == []


def _object(message: Message, *, present: bool) -> dict[str, Any]:
    return {field.name: _field(message, field, present=present) for field in message.DESCRIPTOR.fields}


def _field(message: Message, field: Any, *, present: bool) -> Any:
    content = getattr(message, field.name)
    if _is_map(field):
        return {key: content[key] for key in sorted(content)}
    if field.is_repeated:
        return [_leaf(field, item) for item in content]
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        there = present and message.HasField(field.name)
        if not there and field.message_type.full_name in _NULLED_AS_A_WHOLE:
            return None
        return _leaf(field, content, present=there)
    if not present or (field.has_presence and not message.HasField(field.name)) or content == "":
        return None
    return _leaf(field, content)


def _leaf(field: Any, content: Any, *, present: bool = True) -> Any:
    if isinstance(content, geometry_pb2.Interval):
        return [content.low, content.high]
    if isinstance(content, geometry_pb2.Point):
        return [content.x, content.y, content.z]
    if isinstance(content, Timestamp):
        return content.ToDatetime(tzinfo=UTC).isoformat(timespec="seconds")
    if isinstance(content, Message):
        return _object(content, present=present)
    if field.enum_type is not None:
        return _word(field.enum_type, content)
    return content.hex() if isinstance(content, bytes) else content


def _word(enum: Any, number: int) -> str:
    """``ASSESSMENT_PHASE_FINAL`` is ``final``; a number that this version does not know is ``unspecified``."""
    value = enum.values_by_number.get(number, enum.values_by_number[0])
    return str(value.name.removeprefix(_prefix(enum)).lower())


def _enum_number(enum: Any, word: str) -> int:
    return int(enum.values_by_name[_prefix(enum) + word.upper()].number)


def _prefix(enum: Any) -> str:
    return str(enum.values[0].name.removesuffix("UNSPECIFIED"))


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
