"""Small networks with the operators of those that are exported, written node by node, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
KEPT_IN_FP32 = ["InstanceNormalization", "LayerNormalization", "Softmax"]


class Graph:
    """Nodes and weights, as they are added."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, scale: float | None = None) -> str:
        spread = 1 / np.sqrt(np.prod(shape[1:])) if scale is None else scale
        return self.constant(self.rng.normal(0, spread, shape).astype(np.float32))

    def constant(self, values: npt.NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"t{len(self.nodes)}"
        # Converters name what they add after the nodes beside it.
        self.nodes.append(helper.make_node(operator, list(inputs), [name], f"node_{name}", **attributes))
        return name

    def model(self, inputs: dict[str, tuple[Any, ...]], outputs: dict[str, tuple[Any, ...]]) -> bytes:
        def infos(specs: dict[str, tuple[Any, ...]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in specs.items()]

        graph = helper.make_graph(
            self.nodes, "small", infos(inputs), infos(outputs), initializer=self.weights
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def unet_3d(*, width: int = 8, patch: int = 32, labels: int = 3, batch: int | str = "batch") -> bytes:
    """Two levels of Conv3d, InstanceNorm, LeakyReLU and one ConvTranspose3d, with a skip connection."""
    graph = Graph(seed=1)

    def block(x: str, size_in: int, size_out: int, stride: int = 1) -> str:
        weight, bias = graph.weight(size_out, size_in, 3, 3, 3), graph.weight(size_out, scale=0.1)
        x = graph.add("Conv", x, weight, bias, kernel_shape=[3] * 3, pads=[1] * 6, strides=[stride] * 3)
        ones, zeros = graph.constant(np.ones(size_out, np.float32)), graph.weight(size_out, scale=0.1)
        x = graph.add("InstanceNormalization", x, ones, zeros, epsilon=1e-5)
        return graph.add("LeakyRelu", x, alpha=0.01)

    skip = block("image", 1, width)
    deep = block(skip, width, 2 * width, stride=2)
    up = graph.weight(2 * width, width, 2, 2, 2, scale=0.2)
    risen = graph.add("ConvTranspose", deep, up, kernel_shape=[2] * 3, strides=[2] * 3)
    merged = block(graph.add("Concat", risen, skip, axis=1), 2 * width, width)
    graph.add("Conv", merged, graph.weight(labels, width, 1, 1, 1), output="logits", kernel_shape=[1] * 3)
    sizes = (patch, patch, patch)
    return graph.model({"image": (batch, 1, *sizes)}, {"logits": (batch, labels, *sizes)})


def vit_block(*, width: int = 32, heads: int = 4) -> bytes:
    """One transformer block (LayerNorm, attention, GELU by Erf) on a patch embedding of 24³ voxels."""
    tokens = 27
    graph = Graph(seed=2)

    def norm(x: str) -> str:
        ones = graph.constant(np.ones(width, np.float32))
        return graph.add("LayerNormalization", x, ones, graph.weight(width, scale=0.1), axis=-1, epsilon=1e-6)

    def dense(x: str, size_in: int, size_out: int) -> str:
        product = graph.add("MatMul", x, graph.weight(size_in, size_out, scale=size_in**-0.5))
        return graph.add("Add", product, graph.weight(size_out, scale=0.1))

    def split(x: str, order: list[int]) -> str:
        shape = graph.constant(np.array([0, tokens, heads, width // heads], np.int64))
        return graph.add("Transpose", graph.add("Reshape", x, shape), perm=order)

    patches = graph.add(
        "Conv", "image", graph.weight(width, 1, 8, 8, 8), kernel_shape=[8] * 3, strides=[8] * 3
    )
    flat = graph.add("Reshape", patches, graph.constant(np.array([0, width, tokens], np.int64)))
    x = graph.add("Transpose", flat, perm=[0, 2, 1])
    x = graph.add("Add", x, graph.weight(1, tokens, width, scale=0.5))
    normed = norm(x)
    query, key, value = (
        split(dense(normed, width, width), order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scaled = graph.add(
        "Mul", graph.add("MatMul", query, key), graph.constant(np.array((width // heads) ** -0.5, np.float32))
    )
    mixed = graph.add("MatMul", graph.add("Softmax", scaled, axis=-1), value)
    joined = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    rows = graph.add("Reshape", joined, graph.constant(np.array([0, tokens, width], np.int64)))
    x = graph.add("Add", x, dense(rows, width, width))
    hidden = dense(norm(x), width, 4 * width)
    error = graph.add("Erf", graph.add("Mul", hidden, graph.constant(np.array(0.5**0.5, np.float32))))
    gate = graph.add("Add", error, graph.constant(np.array(1, np.float32)))
    active = graph.add("Mul", graph.add("Mul", hidden, gate), graph.constant(np.array(0.5, np.float32)))
    x = graph.add("Add", x, dense(active, 4 * width, width))
    graph.add("ReduceMean", norm(x), output="features", axes=[1], keepdims=0)
    return graph.model({"image": ("batch", 1, 24, 24, 24)}, {"features": ("batch", width)})


def fp16_mixed(model_bytes: bytes) -> bytes:
    """The same network in FP16, its normalizations and softmax in FP32, inputs and outputs in float32."""
    from onnxconverter_common import float16

    model = float16.convert_float_to_float16(
        onnx.load_from_string(model_bytes), keep_io_types=True, op_block_list=KEPT_IN_FP32
    )
    return bytes(model.SerializeToString(deterministic=True))
