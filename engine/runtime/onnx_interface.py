"""What every session must know of an ONNX model before a library reads it, straight from its bytes.

Two things: the names, element types and axis names of inputs and outputs (OpenVINO and TensorRT lose the
names of free axes), and that every tensor lies inside the bytes that were hashed. A library that is given a
reference to a tensor file may read it, unhashed, from the working folder (OpenVINO 2026.4.1 does).

Field numbers: onnx.proto of ONNX 1.23.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engine.errors import ModelError
from engine.manifest import TensorSpec
from engine.runtime.wire_format import fields, text

_MAX_NESTING: Final = 64
"""Messages inside one another; a graph in a loop in a branch needs fewer than 20."""

_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
"""Where in a message others lie that can hold a tensor."""

_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14

_DTYPES: Final = {
    1: "float32",
    2: "uint8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
}


@dataclass(frozen=True)
class OnnxInterface:
    """Inputs and outputs of a graph, in its order; an axis without a fixed size has a name."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_interface(model_bytes: bytes) -> OnnxInterface:
    """Read what an ONNX model takes and gives, after checking that it is whole.

    Parameters
    ----------
    model_bytes : bytes
        A serialized ``onnx.ModelProto``.

    Returns
    -------
    OnnxInterface

    Raises
    ------
    ModelError
        If the bytes are not an ONNX model, or a tensor lies in another file.
    """
    try:
        _require_own_tensors("model", memoryview(model_bytes), 0)
        graphs = [field.content for field in fields(memoryview(model_bytes)) if field.number == _GRAPH]
        if len(graphs) != 1:
            raise ModelError("the bytes are not an ONNX model: exactly one graph is needed; export it again")
        return _interface(graphs[0])
    except (IndexError, ValueError) as error:  # cut short, or a name or size that no tensor can have
        raise ModelError("the bytes are not an ONNX model, or it is cut short; export it again") from error


def _interface(graph: memoryview) -> OnnxInterface:
    """Inputs without those that are only initializers (as old ONNX lists them), and outputs."""
    parts = list(fields(graph))
    constants = {
        text(part.content)
        for field in parts
        if field.number == _INITIALIZER
        for part in fields(field.content)
        if part.number == _TENSOR_NAME
    }
    inputs = [_spec(field.content) for field in parts if field.number == _INPUT]
    outputs = [_spec(field.content) for field in parts if field.number == _OUTPUT]
    return OnnxInterface(tuple(spec for spec in inputs if spec.name not in constants), tuple(outputs))


def _spec(value_info: memoryview) -> TensorSpec:
    """Describe one ``ValueInfoProto``."""
    name, dtype = "", ""
    shape: tuple[int | str, ...] = ()
    for number, _, content, _ in fields(value_info):
        if number == 1:
            name = text(content)
        elif number == 2:
            dtype, shape = _tensor_type(content)
    if dtype not in _DTYPES.values():
        raise ModelError(f"tensor {name} is of a type that no session here can carry; export it as float32")
    return TensorSpec.model_validate({"name": name, "dtype": dtype, "shape": shape})


def _tensor_type(type_proto: memoryview) -> tuple[str, tuple[int | str, ...]]:
    """Element type and axes of a ``TypeProto`` that is a tensor."""
    dtype = ""
    shape: tuple[int | str, ...] = ()
    for tensor in (field.content for field in fields(type_proto) if field.number == 1):
        for number, value, content, _ in fields(tensor):
            if number == 1:
                dtype = _DTYPES.get(value, "")
            elif number == 2:
                shape = tuple(_axis(field.content) for field in fields(content) if field.number == 1)
    return dtype, shape


def _axis(dimension: memoryview) -> int | str:
    """A fixed size, or the name of a free one."""
    size: int | str = "unnamed"
    for number, value, content, _ in fields(dimension):
        if number == 1:
            size = value
        elif number == 2:
            size = text(content) or "unnamed"
    return size


def _require_own_tensors(kind: str, message: memoryview, depth: int) -> None:
    """Refuse a tensor that is kept in another file, wherever in the model it is."""
    if depth > _MAX_NESTING:
        raise ModelError(f"the model is nested more than {_MAX_NESTING} levels deep; export it again")
    children = _CHILDREN[kind]
    for number, value, content, _ in fields(message):
        if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
            raise ModelError(
                "the model keeps a tensor in another file, which nobody hashed; export it as a single file"
            )
        if number in children:
            _require_own_tensors(children[number], content, depth + 1)
