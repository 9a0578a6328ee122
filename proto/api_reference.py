"""Writes ``docs/api.md`` from the .proto files and the error tree: ``python proto/api_reference.py``.

The comments of the .proto files are its text. ``make proto`` runs it.
"""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from engine import DISCLAIMER
from engine.command_line import exit_code_of
from service.wire.status import DOMAIN, error_classes, reason_of, status_code_of

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "api.md"

_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
"""Field numbers of ``FileDescriptorProto``, of which the places of comments are made."""

_METHODS, _FIELDS, _VALUES = 2, 2, 2
"""Field numbers of methods in a service, fields in a message, values in an enum."""

_INTRODUCTION: Final = f"""# The gRPC API

{DISCLAIMER} This page is made from the .proto files ([proto/coldspot/v1](../proto/coldspot/v1)) and the error tree;
change those, then run `make proto`. The words are in the [glossary](glossary.md), example clients in
[clients](../clients).

Arrays are indexed (z, y, x), positions are LPS in mm, intensities HU; units stand in names. An `optional` field, a
message or a repeated field that is not there was not measured. Ignore fields and enum numbers that your version
does not know.

## A procedure

1. `OpenCase` with a `request_id` of your own (a repeated call returns the same case).
2. `UploadSeries` for the planning CT, then for its tumor mask, which names the CT in `reference_series_id`; then
   `Prepare`.
3. After the ablation `UploadSeries` for the verification CT and, if there are some, its zone and core masks; then
   `Assess`. Show a preliminary answer as preliminary; the final one ends the stream.
4. `FetchArtifact` for `sheet.png` and the masks, `DeleteCase` when the case is no longer needed.

Set a deadline on every call. Where a call ends with `RESOURCE_EXHAUSTED`, wait as `RetryInfo` says and try again.
The standard health check says `SERVING` once the service has tested itself; server reflection is on. `coldspot
serve --mock` gives canned answers in turn (miss, complete, refusal, busy, error), for trying out a client.
"""

_ERRORS: Final = f"""## Errors

A call that fails carries a `google.rpc.Status` with an `ErrorInfo` (`domain` is `{DOMAIN}`, `reason` one of the
words below), a `BadRequest` where the field is known, and a `RetryInfo` where trying again makes sense. The message
says what is wrong and what to do. An answer without a number is not an error but a `Refusal` in the assessment.

| Reason | Status | Exit code of `coldspot` | Meaning |
|---|---|---|---|
"""


class _Comments:
    """The leading comments of one file, by the place of what they stand before."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_place = {
            tuple(location.path): " ".join(location.leading_comments.split())
            for location in file.source_code_info.location
        }

    def at(self, *place: int) -> str:
        """Return the comment before the thing at a place; empty if there is none."""
        return self._by_place.get(place, "")


def rendered() -> str:
    """Return the page's text."""
    files = _described()
    services = [text for file in files for text in _services(file)]
    messages = sorted(part for file in files for part in _messages(file))
    enums = sorted(part for file in files for part in _enums(file))
    sections = [
        _INTRODUCTION,
        *services,
        _ERRORS + "\n".join(_error_rows()) + "\n",
        "## Messages\n",
        *(text for _, text in messages),
        "## Enums\n",
        *(text for _, text in enums),
    ]
    return "\n".join(sections)


def _described() -> Sequence[FileDescriptorProto]:
    sources = sorted((ROOT / "proto").glob("coldspot/v1/*.proto"))
    with TemporaryDirectory() as folder:
        target = Path(folder) / "files"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={target}", *map(str, sources)], check=True)
        return list(FileDescriptorSet.FromString(target.read_bytes()).file)


def _services(file: FileDescriptorProto) -> Iterator[str]:
    comments = _Comments(file)
    for number, service in enumerate(file.service):
        yield "\n".join(
            [
                f"## {file.package}.{service.name}\n",
                comments.at(_SERVICES, number) + "\n",
                "| Method | Request | Response | |",
                "|---|---|---|---|",
                *_method_rows(service, comments, number),
                "",
            ]
        )


def _method_rows(service: ServiceDescriptorProto, comments: _Comments, place: int) -> Iterator[str]:
    for number, method in enumerate(service.method):
        request = ("stream of " if method.client_streaming else "") + _link(method.input_type)
        response = ("stream of " if method.server_streaming else "") + _link(method.output_type)
        says = comments.at(_SERVICES, place, _METHODS, number)
        yield f"| `{method.name}` | {request} | {response} | {_cell(says)} |"


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    comments = _Comments(file)
    for number, message in enumerate(file.message_type):
        lines = [f"### {message.name}\n"]
        if says := comments.at(_MESSAGES, number):
            lines.append(says + "\n")
        if message.field:
            lines += ["| Field | Type | |", "|---|---|---|"]
            lines += _field_rows(message, comments, number)
        else:
            lines.append("No fields.")
        yield message.name, "\n".join([*lines, ""])


def _field_rows(message: DescriptorProto, comments: _Comments, place: int) -> Iterator[str]:
    for number, field in enumerate(message.field):
        says = comments.at(_MESSAGES, place, _FIELDS, number)
        yield f"| `{field.name}` ({field.number}) | {_type(message, field)} | {_cell(says)} |"


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    name = _named_type(field)
    entries = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    entry = entries.get(field.type_name.rsplit(".", 1)[-1])
    if entry is not None:
        return f"map of {_named_type(entry.field[0])} to {_named_type(entry.field[1])}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    if field.HasField("oneof_index"):
        return f"{name}, one of `{message.oneof_decl[field.oneof_index].name}`"
    return name


def _named_type(field: FieldDescriptorProto) -> str:
    if field.type_name:
        return _link(field.type_name)
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _enums(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    comments = _Comments(file)
    for number, enum in enumerate(file.enum_type):
        says = comments.at(_ENUMS, number)
        lines = [f"### {enum.name}\n", *([says + "\n"] if says else []), "| Value | |", "|---|---|"]
        yield enum.name, "\n".join([*lines, *_value_rows(enum, comments, number), ""])


def _value_rows(enum: EnumDescriptorProto, comments: _Comments, place: int) -> Iterator[str]:
    for number, value in enumerate(enum.value):
        says = comments.at(_ENUMS, place, _VALUES, number)
        yield f"| `{value.name}` ({value.number}) | {_cell(says)} |"


def _error_rows() -> Iterator[str]:
    for kind in sorted(error_classes(), key=reason_of):
        (summary, *_) = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
        status: Any = status_code_of(kind)
        meaning = _cell(" ".join(summary.split()))
        yield f"| `{reason_of(kind)}` | `{status.name}` | {exit_code_of(kind)} | {meaning} |"


def _link(type_name: str) -> str:
    name = type_name.rsplit(".", 1)[-1]
    if type_name.startswith(".google."):
        return f"`{type_name.removeprefix('.')}`"
    return f"[{name}](#{name.lower()})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
