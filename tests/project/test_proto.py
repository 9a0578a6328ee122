"""The generated code is what the .proto files say, and both keep the house's rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from coldspot.v1 import assessment_pb2, geometry_pb2, service_pb2
from google.protobuf.descriptor import Descriptor, FileDescriptor

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
SOURCES = sorted(PROTO.glob("coldspot/v1/*.proto"))
FILES = (assessment_pb2.DESCRIPTOR, geometry_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR)
UNIT = re.compile(r"_(mm|ml|s|hu|g_per_l|bytes|lps_mm|90_mm)$")
MEASURES = re.compile(r"distance|volume|duration|latency|spacing|thickness|margin_mm|minimal$")


def generated(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in ("*.py", "*.pyi")
        for path in folder.rglob(pattern)
    }


def test_the_generated_code_is_fresh(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed (make setup)")
    outputs = (f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python"))
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *outputs, *map(str, SOURCES)],
        check=True,
        timeout=120,
    )
    fresh, kept = generated(tmp_path), generated(PROTO / "gen")
    assert len(fresh) == 3 * len(SOURCES)
    assert set(fresh) == set(kept)
    stale = [name for name, text in fresh.items() if kept[name] != text]
    assert not stale, f"run `make proto`: {stale}"


def test_the_page_of_the_api_is_fresh() -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed (make setup)")
    command = [sys.executable, "-c", "import api_reference; print(api_reference.rendered(), end='')"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, PROTO, PROTO / "gen")))}
    made = subprocess.run(command, check=True, timeout=120, env=environment, capture_output=True, text=True)
    assert made.stdout == (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), "run `make proto`"


def test_proto_is_no_package() -> None:
    """``import proto`` belongs to proto-plus, which other libraries may need."""
    assert not list(PROTO.glob("**/__init__.py"))


def messages(file: FileDescriptor) -> list[Descriptor]:
    found = list(file.message_types_by_name.values())
    for message in found:
        found += [nested for nested in message.nested_types if not nested.GetOptions().map_entry]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_names_say_their_units(file: FileDescriptor) -> None:
    unnamed = [
        field.full_name
        for message in messages(file)
        for field in message.fields
        if field.type == field.TYPE_DOUBLE and MEASURES.search(field.name) and not UNIT.search(field.name)
    ]
    assert not unnamed


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_enums_begin_with_unspecified(file: FileDescriptor) -> None:
    for enum in file.enum_types_by_name.values():
        prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
        assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
        assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


def test_every_call_has_a_request_and_a_response_of_its_own() -> None:
    for service in service_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            assert method.input_type.name == f"{method.name}Request"
            assert method.output_type.name == f"{method.name}Response"
