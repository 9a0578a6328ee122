"""Instance normalization on large patches, on every CPU backend; messages that are changed and left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engine.errors import ModelError
from engine.runtime.backends import open_session
from engine.runtime.normalization import with_exact_normalization
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.wire_format import fields, float_field, integer_field, text_field
from tests.support.networks import unet_3d

CHANNELS = 3
EPSILON = 3e-3
SCALE = np.array([2.0, 0.5, -1.0], dtype=np.float32)
SHIFT = np.array([0.0, 1.0, -2.0], dtype=np.float32)


def network(
    size: tuple[int, ...] = (8, 8, 8), *, opset: int = 17, kind: int = TensorProto.FLOAT, **attributes: Any
) -> bytes:
    """One normalization of volumes."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    node = helper.make_node("InstanceNormalization", ["image", "scale", "shift"], ["logits"], **attributes)
    shape: list[str | int] = ["batch", CHANNELS, *size]
    graph = helper.make_graph(
        [node],
        "norm",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info("logits", kind, shape)],
        initializer=[
            numpy_helper.from_array(values.astype(dtype), name)
            for name, values in (("scale", SCALE), ("shift", SHIFT))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


def expected(image: npt.NDArray[np.float32], epsilon: float) -> npt.NDArray[np.float64]:
    """The definition, in double precision."""
    x = image.astype(np.float64)
    axes = tuple(range(2, x.ndim))
    x -= x.mean(axis=axes, keepdims=True)
    x /= np.sqrt((x**2).mean(axis=axes, keepdims=True) + epsilon)
    return np.asarray(x * SCALE.reshape(-1, 1, 1, 1) + SHIFT.reshape(-1, 1, 1, 1))


def after_a_convolution(size: int, weights: npt.NDArray[np.float32]) -> bytes:
    """A normalization behind a convolution, as networks have it: libraries turn channels innermost there."""
    count = len(weights)
    names: dict[str, npt.NDArray[Any]] = {
        "weights": weights.reshape(count, 1, 1, 1, 1),
        "ones": np.ones(count),
        "zeros": np.zeros(count),
    }
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["product"], kernel_shape=[1, 1, 1]),
        helper.make_node("InstanceNormalization", ["product", "ones", "zeros"], ["norm"], epsilon=EPSILON),
        helper.make_node("LeakyRelu", ["norm"], ["logits"], alpha=1.0),
    ]
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, size, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", count, size, size, size])],
        initializer=[numpy_helper.from_array(v.astype(np.float32), name) for name, v in names.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_patch_with_padding_is_normalized_exactly(backend: str) -> None:
    """Half of it is one value, as padding or air below the window is; the libraries' kernels are off by 1e-3."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: make setup-export")
    image = np.random.default_rng(0).standard_normal((1, 1, 64, 64, 64), dtype=np.float32) + np.float32(2.14)
    image[:, :, 16:48] = 2.14
    weights = np.linspace(-1.1, 1.3, 16, dtype=np.float32)
    with open_session(after_a_convolution(64, weights), backend, threads=1) as session:
        found = session.run({"image": image})["logits"]
    x = (image * weights.reshape(1, -1, 1, 1, 1)).astype(np.float64)
    x -= x.mean(axis=(2, 3, 4), keepdims=True)
    x /= np.sqrt((x**2).mean(axis=(2, 3, 4), keepdims=True) + EPSILON)
    np.testing.assert_allclose(found, x, atol=2e-5)


def test_epsilon_is_kept_and_has_its_default() -> None:
    image = 0.01 * np.random.default_rng(1).standard_normal((2, CHANNELS, 8, 8, 8), dtype=np.float32)
    given: list[tuple[dict[str, Any], float]] = [({"epsilon": EPSILON}, EPSILON), ({}, 1e-5)]
    for attributes, epsilon in given:
        with OnnxSession(network(**attributes), threads=1) as session:
            found = session.run({"image": image})["logits"]
        np.testing.assert_allclose(found, expected(image, epsilon), atol=1e-5)


def test_a_whole_network_keeps_everything_else() -> None:
    before = onnx.load_from_string(unet_3d())
    after = onnx.load_from_string(with_exact_normalization(unet_3d()))
    onnx.checker.check_model(after, full_check=True)
    assert not any(node.op_type == "InstanceNormalization" for node in after.graph.node)
    kept = [node for node in after.graph.node if "/" not in node.output[0]]
    assert [node.output for node in kept] == [node.output for node in before.graph.node]
    for part in ("initializer", "input", "output"):
        assert list(getattr(after.graph, part)) == list(getattr(before.graph, part))
    assert after.opset_import == before.opset_import


@pytest.mark.parametrize(
    "model",
    [
        network(opset=18),
        network(opset=12),
        network((8, 8)),
        network(kind=TensorProto.FLOAT16),
        b"InstanceNormalization"[:9],
    ],
    ids=["axes as an input", "no value_ints", "planes", "half precision", "no such layer"],
)
def test_other_models_stay_as_they_are(model: bytes) -> None:
    assert with_exact_normalization(model) == model


def test_a_model_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot load"):
        OnnxSession(network()[:-20])


@given(number=st.integers(1, 1 << 28), value=st.integers(-(1 << 63), (1 << 63) - 1), word=st.text())
def test_what_is_written_is_read(number: int, value: int, word: str) -> None:
    message = integer_field(number, value) + text_field(number, word) + float_field(number, 1.5)
    first, second, third = fields(memoryview(message))
    assert (first.number, first.value) == (number, value % (1 << 64))
    assert bytes(second.content) == word.encode()
    assert bytes(third.content) == np.float32(1.5).tobytes()
    assert b"".join(bytes(field.raw) for field in (first, second, third)) == message
