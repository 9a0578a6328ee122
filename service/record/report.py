"""An assessment as JSON: the keys of the message, every one of them always there.

Intervals become ``[low, high]``, points ``[x, y, z]`` (LPS mm), enums a lower-case word; what the
message leaves out is null.
"""

from __future__ import annotations

from typing import Any, Final

from coldspot.v1 import assessment_pb2, geometry_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_NULLED_AS_A_WHOLE: Final = frozenset(
    {
        assessment_pb2.Refusal.DESCRIPTOR.full_name,
        assessment_pb2.MarginShares.DESCRIPTOR.full_name,
        assessment_pb2.Radscore.DESCRIPTOR.full_name,
        assessment_pb2.ModelIdentity.DESCRIPTOR.full_name,
        geometry_pb2.Interval.DESCRIPTOR.full_name,
        geometry_pb2.Point.DESCRIPTOR.full_name,
    }
)
"""Messages that are null when absent; any other is there with null leaves."""


def assessment_json(message: assessment_pb2.Assessment) -> dict[str, Any]:
    """Return the JSON object of an assessment.

    Parameters
    ----------
    message : Assessment

    Returns
    -------
    dict
        Plain dictionaries, lists, numbers, strings, booleans and None.
    """
    return _object(message, present=True)


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
    if isinstance(content, Message):
        return _object(content, present=present)
    if field.enum_type is not None:
        return _word(field.enum_type, content)
    return content


def _word(enum: Any, number: int) -> str:
    """``ASSESSMENT_PHASE_FINAL`` is ``final``: the enum's own prefix is left out."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return str(enum.values_by_number[number].name.removeprefix(prefix).lower())


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)
