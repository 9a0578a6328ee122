"""What is read of an ONNX model's bytes before any library sees them."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelError
from engine.runtime.onnx_interface import read_interface
from engine.runtime.onnx_session import OnnxSession
from tests.support.networks import unet_3d, vit_block

MODELS = Path(__file__).parents[3] / "models"
SMALL = unet_3d(width=2, patch=8)


def with_tensor_elsewhere(place: str) -> bytes:
    """A model whose only external tensor is an initializer, in an attribute, or in the branch of an If."""
    tensor = numpy_helper.from_array(np.ones(2, np.float32), "w")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    tensor.ClearField("raw_data")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "inner", [], [output], initializer=[tensor]
    )
    nodes = {
        "initializer": [helper.make_node("Identity", ["w"], ["y"])],
        "attribute": [helper.make_node("Constant", [], ["y"], value=tensor)],
        "branch": [helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)],
        "function": [helper.make_node("F", [], ["y"], domain="own")],
    }[place]
    graph = helper.make_graph(
        nodes,
        "outer",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
        [output],
        initializer=[tensor] if place == "initializer" else [],
    )
    model = helper.make_model(graph)
    if place == "function":
        constant = helper.make_node("Constant", [], ["y"], value=tensor)
        imports = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "F", [], ["y"], [constant], imports))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("place", ["initializer", "attribute", "branch", "function"])
def test_a_tensor_in_another_file_is_refused_wherever_it_is(place: str) -> None:
    with pytest.raises(ModelError, match="another file"):
        read_interface(with_tensor_elsewhere(place))


@pytest.mark.parametrize("marked", ["data_location", "external_data"])
def test_either_mark_of_another_file_will_do(marked: str) -> None:
    model = onnx.load_from_string(SMALL)
    weight = model.graph.initializer[0]
    if marked == "data_location":
        weight.data_location = TensorProto.EXTERNAL
    else:
        weight.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match="another file"):
        read_interface(model.SerializeToString())


@pytest.mark.parametrize("content", [SMALL, vit_block(), *(p.read_bytes() for p in MODELS.rglob("*.onnx"))])
def test_it_reads_what_onnx_runtime_reads(content: bytes) -> None:
    interface = read_interface(content)
    with OnnxSession(content, threads=1) as session:
        assert interface.inputs == session.inputs
        assert interface.outputs == session.outputs


@pytest.mark.parametrize("dtype", ["FLOAT", "DOUBLE", "FLOAT16", "INT64", "INT32", "UINT8", "BOOL"])
def test_every_element_type_and_unnamed_axes(dtype: str) -> None:
    info = helper.make_tensor_value_info("x", getattr(TensorProto, dtype), ["batch", None, 3])
    out = helper.make_tensor_value_info("y", getattr(TensorProto, dtype), ["batch", None, 3])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [info], [out])
    content = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    with OnnxSession(content, threads=1) as session:
        assert read_interface(content).inputs == session.inputs
        assert session.inputs[0].shape == ("batch", "unnamed", 3)


def test_initializers_among_the_inputs_are_no_inputs() -> None:
    model = onnx.load_from_string(SMALL)
    weight = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(weight.name, TensorProto.FLOAT, list(weight.dims)))
    assert [spec.name for spec in read_interface(model.SerializeToString()).inputs] == ["image"]


@pytest.mark.parametrize("dtype", ["UINT32", "STRING", "BFLOAT16"])
def test_an_element_type_no_session_carries(dtype: str) -> None:
    info = helper.make_tensor_value_info("x", getattr(TensorProto, dtype), [1])
    content = helper.make_model(helper.make_graph([], "g", [info], [])).SerializeToString()
    with pytest.raises(ModelError, match="no session here can carry"):
        read_interface(content)


@pytest.mark.parametrize("content", [b"", b"no model", SMALL[:-1], SMALL[: len(SMALL) // 2], SMALL + SMALL])
def test_bytes_that_are_no_model(content: bytes) -> None:
    with pytest.raises(ModelError):
        read_interface(content)


def test_a_bottomless_nest_is_refused() -> None:
    graph = b""
    for _ in range(200):
        attribute = b"\x32" + varint(len(graph)) + graph
        node = b"\x2a" + varint(len(attribute)) + attribute
        graph = b"\x0a" + varint(len(node)) + node
    with pytest.raises(ModelError, match="nested"):
        read_interface(b"\x3a" + varint(len(graph)) + graph)


def varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_model_error_or_an_interface(content: bytes) -> None:
    with contextlib.suppress(ModelError):
        read_interface(content)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(SMALL) - 1), st.integers(0, 7))
def test_a_flipped_bit_never_gets_out_as_another_error(position: int, bit: int) -> None:
    content = bytearray(SMALL)
    content[position] ^= 1 << bit
    with contextlib.suppress(ModelError):
        read_interface(bytes(content))
