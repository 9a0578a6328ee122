"""Instance normalization that stays exact on large patches.

ONNX Runtime 1.32 and OpenVINO 2026.4.1 add up a channel's voxels one after the other in single precision. On
128³ voxels of which many are alike (air below the window, padding) each addition is rounded the same way:
normalized values are off by 1e-3, the logits of a standard nnU-Net by 0.02 (ONNX Runtime) and 0.2 (OpenVINO).
Means along one axis after the other add no more than a patch's edge at a time, and are off by 1e-6.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from engine.runtime.wire_format import (
    Field,
    bytes_field,
    fields,
    float_field,
    integer_field,
    text,
    text_field,
)

_OPSETS: Final = range(13, 18)
"""Of ONNX, in which reductions have their axes as an attribute and constants their value as another."""

_OPSET_IMPORT, _GRAPH = 8, 7
_NODE, _INITIALIZER, _INPUT = 1, 5, 11
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _OP_TYPE, _ATTRIBUTE = 1, 2, 3, 4, 5
_FLOAT_KIND, _INTS_KIND, _INT_KIND = 1, 7, 2
_TENSOR_TYPE, _TENSOR_NAME, _FLOAT_TENSOR = 2, 8, 1
_SPATIAL: Final = ((4, 1), (3, 0), (2, 1))
"""Axes, and whether each is kept: OpenVINO makes one mean again of those that are alike in that."""

_DEFAULT_EPSILON: Final = 1e-5


def with_exact_normalization(model_bytes: bytes) -> bytes:
    """Write out the instance normalizations of a network of volumes as means along one axis at a time.

    Parameters
    ----------
    model_bytes : bytes
        A serialized ``onnx.ModelProto`` that :func:`engine.runtime.onnx_interface.read_interface` has read.

    Returns
    -------
    bytes
        The same bytes where there is nothing to write out: no such layer, other than single precision, no
        volumes (N, C, z, y, x), another opset.
    """
    if b"InstanceNormalization" not in model_bytes:
        return model_bytes
    whole = list(fields(memoryview(model_bytes)))
    opset = max((_opset(field.content) for field in whole if field.number == _OPSET_IMPORT), default=0)
    if opset not in _OPSETS:
        return model_bytes
    return b"".join(
        bytes_field(_GRAPH, b"".join(_rewritten(field.content)))
        if field.number == _GRAPH
        else bytes(field.raw)
        for field in whole
    )


def _opset(content: memoryview) -> int:
    """Version of the opset, 0 where it is not ONNX's own."""
    members = list(fields(content))
    domain = "".join(text(field.content) for field in members if field.number == 1)
    return max((field.value for field in members if field.number == 2), default=0) if not domain else 0


def _rewritten(graph: memoryview) -> Iterator[bytes | memoryview]:
    whole = list(fields(graph))
    single = {
        name for field in whole if field.number == _INITIALIZER for name in _single_precision(field.content)
    }
    of_volumes = any(field.number == _INPUT and _rank(field.content) == 5 for field in whole)
    for field in whole:
        node = _Normalization.read(field) if of_volumes and field.number == _NODE else None
        yield field.raw if node is None or node.scale not in single else node.written_out()


def _single_precision(tensor: memoryview) -> Iterator[str]:
    """The name of a weight, if it is in single precision."""
    members = list(fields(tensor))
    if any(field.number == _TENSOR_TYPE and field.value == _FLOAT_TENSOR for field in members):
        yield from (text(field.content) for field in members if field.number == _TENSOR_NAME)


def _rank(value_info: memoryview) -> int:
    """Number of axes of a graph's input: type, tensor, shape, dimensions."""
    level = [value_info]
    for number in (2, 1, 2, 1):
        level = [inner.content for field in level for inner in fields(field) if inner.number == number]
    return len(level)


class _Normalization:
    """One node: ``output = (image - mean) / sqrt(variance + epsilon) * scale + shift``."""

    def __init__(self, names: Sequence[str], output: str, epsilon: float) -> None:
        self.image, self.scale, self.shift = names
        self.output, self.epsilon = output, epsilon

    @classmethod
    def read(cls, field: Field) -> _Normalization | None:
        """Read a node; None if it is another one."""
        inside = list(fields(field.content))
        if not any(
            field.number == _OP_TYPE and bytes(field.content) == b"InstanceNormalization" for field in inside
        ):
            return None
        names = [text(field.content) for field in inside if field.number == _NODE_INPUT]
        outputs = [text(field.content) for field in inside if field.number == _NODE_OUTPUT]
        epsilon = _DEFAULT_EPSILON
        for attribute in (list(fields(field.content)) for field in inside if field.number == _ATTRIBUTE):
            if any(field.number == 1 and bytes(field.content) == b"epsilon" for field in attribute):
                epsilon = next(
                    struct.unpack("<f", field.content)[0] for field in attribute if field.number == 2
                )
        return cls(names, outputs[0], epsilon) if len(names) == 3 and len(outputs) == 1 else None

    def written_out(self) -> bytes:
        """The nodes in its place, each a field of the graph."""
        of = f"{self.output}/{{}}".format
        least = bytes_field(
            _ATTRIBUTE,
            text_field(1, "value_float") + float_field(2, self.epsilon) + integer_field(20, _FLOAT_KIND),
        )
        return b"".join(
            [
                *_mean(self.image, of("mean")),
                _node("Sub", [self.image, of("mean")], of("centered")),
                _node("Mul", [of("centered"), of("centered")], of("squared")),
                *_mean(of("squared"), of("variance")),
                _node("Constant", [], of("epsilon"), least),
                _node("Add", [of("variance"), of("epsilon")], of("variance_epsilon")),
                _node("Sqrt", [of("variance_epsilon")], of("deviation")),
                *_reshaped(self.scale, of("scale"), (1, -1, 1, 1, 1)),
                *_reshaped(self.shift, of("shift"), (1, -1, 1, 1, 1)),
                _node("Div", [of("scale"), of("deviation")], of("factor")),
                _node("Mul", [of("centered"), of("factor")], of("scaled")),
                _node("Add", [of("scaled"), of("shift")], self.output),
            ]
        )


def _mean(source: str, output: str) -> Iterator[bytes]:
    """The mean over a volume, along one axis after the other, as (N, C, 1, 1, 1)."""
    for axis, keeps_axis in _SPATIAL:
        mean = f"{output}_{axis}"
        axes = text_field(1, "axes") + integer_field(8, axis) + integer_field(20, _INTS_KIND)
        keeps = text_field(1, "keepdims") + integer_field(3, keeps_axis) + integer_field(20, _INT_KIND)
        attributes = bytes_field(_ATTRIBUTE, axes) + bytes_field(_ATTRIBUTE, keeps)
        yield _node("ReduceMean", [source], mean, attributes)
        source = mean
    yield from _reshaped(source, output, (0, 0, 1, 1, 1))


def _reshaped(source: str, output: str, shape: Sequence[int]) -> Iterator[bytes]:
    """The same values in another shape."""
    sizes = b"".join(integer_field(8, size) for size in shape)
    value = text_field(1, "value_ints") + sizes + integer_field(20, _INTS_KIND)
    yield _node("Constant", [], f"{output}_shape", bytes_field(_ATTRIBUTE, value))
    yield _node("Reshape", [source, f"{output}_shape"], output)


def _node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    content = b"".join(text_field(_NODE_INPUT, name) for name in inputs)
    content += text_field(_NODE_OUTPUT, output) + text_field(_NODE_NAME, output) + text_field(_OP_TYPE, kind)
    return bytes_field(_NODE, content + attributes)
