"""The vision transformer as one ONNX graph, written node by node.

Built from the weights and not traced, as the other graphs of the workshop are: names say what they are,
LayerNormalization and Softmax stay whole (so that a mixed-precision variant can keep them in FP32), and
parity with the source network is a real test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.manifest.features import FEATURES, PATCH
from export.fm_lct.vision_transformer import NORM_EPS, VisionTransformer
from export.onnx_graph.network_graph import IR_VERSION, OPSET, checked_bytes


def transformer_to_onnx(network: VisionTransformer, *, name: str, metadata: Mapping[str, str]) -> bytes:
    """Write the network as a self-contained ONNX model.

    Parameters
    ----------
    network : VisionTransformer
    name : str
        Of the graph.
    metadata : mapping of str to str
        Written into the model's metadata properties.

    Returns
    -------
    bytes
        ``patch`` (batch, 1, z, y, x) to ``features`` (batch, width), float32, opset 17; the same weights
        give the same bytes.
    """
    plan = network.plan
    writer = _Writer(network)
    nodes = writer.nodes()
    size = plan.image_size
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(PATCH, TensorProto.FLOAT, ["batch", 1, size, size, size])],
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["batch", plan.width])],
        initializer=[numpy_helper.from_array(value, key) for key, value in writer.constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="coldspot-export",
    )
    helper.set_model_props(model, dict(metadata))
    return checked_bytes(model)


class _Writer:
    """Nodes and the constants they name; a value is named as the module that makes it."""

    def __init__(self, network: VisionTransformer) -> None:
        self.network, self.plan = network, network.plan
        self.weights = {key: _array(value) for key, value in network.state_dict().items()}
        self.constants: dict[str, npt.NDArray[Any]] = {}
        self.written: list[onnx.NodeProto] = []

    def nodes(self) -> list[onnx.NodeProto]:
        """All nodes in the order of computation."""
        tokens = self._tokens()
        for index in range(self.plan.depth):
            tokens = self._block(f"blocks.{index}", tokens)
        # Every token is normalized alone, so the others are left out before, not after.
        class_token = self._op("Gather", [tokens, self._index("first_token", [0])], "class_token", axis=1)
        flat = self._op("Flatten", [class_token], "class_token.flat", axis=1)
        self._norm("norm", flat, FEATURES)
        return self.written

    def _tokens(self) -> str:
        """Patches as tokens behind the class token, with their places added."""
        plan, size = self.plan, self.plan.patch_size
        weights = [self._weight("patch_embed.proj.weight"), self._weight("patch_embed.proj.bias")]
        embedded = self._op(
            "Conv", [PATCH, *weights], "patch_embed.proj", kernel_shape=[size] * 3, strides=[size] * 3
        )
        shape = self._index("patch_embed.shape", [0, plan.width, -1])
        rows = self._op("Reshape", [embedded, shape], "patch_embed.rows")
        patches = self._op("Transpose", [rows], "patch_embed", perm=[0, 2, 1])
        positions = _array(self.network.pos_embed)
        self.constants["patch_places"] = positions[:, 1:]
        placed = self._op("Add", [patches, "patch_places"], "patch_embed.placed")
        # The class token must be repeated for each case; its own place is zero.
        self.constants["class_token.weight"] = self.weights["cls_token"] + positions[:, :1]
        cases = self._op("Shape", [PATCH], "cases", start=0, end=1)
        ones = self._index("one_token", [1, plan.width])
        repeats = self._op("Concat", [cases, ones], "class_token.shape", axis=0)
        first = self._op("Expand", ["class_token.weight", repeats], "class_token.by_case")
        return self._op("Concat", [first, placed], "tokens", axis=1)

    def _block(self, path: str, tokens: str) -> str:
        attended = self._attention(f"{path}.attn", self._norm(f"{path}.norm1", tokens))
        tokens = self._op("Add", [tokens, attended], f"{path}.attended")
        inner = self._linear(f"{path}.mlp.fc1", self._norm(f"{path}.norm2", tokens))
        mixed = self._linear(f"{path}.mlp.fc2", self._gelu(f"{path}.mlp", inner))
        return self._op("Add", [tokens, mixed], path)

    def _attention(self, path: str, tokens: str) -> str:
        """Heads side by side; the scale is folded into the queries, where FP16 needs it."""
        plan = self.plan
        head = plan.width // plan.heads
        split_shape = self._index("heads.shape", [0, plan.tokens, 3, plan.heads, head])
        joined_shape = self._index("tokens.shape", [0, plan.tokens, plan.width])
        split = self._op("Reshape", [self._linear(f"{path}.qkv", tokens), split_shape], f"{path}.split")
        by_part = self._op("Transpose", [split], f"{path}.by_part", perm=[2, 0, 3, 1, 4])
        query, key, value = (
            self._op("Gather", [by_part, self._scalar(f"part_{i}", i)], f"{path}.{part}", axis=0)
            for i, part in enumerate(("query", "key", "value"))
        )
        self.constants["attention_scale"] = np.array(head**-0.5, dtype=np.float32)
        scaled = self._op("Mul", [query, "attention_scale"], f"{path}.query.scaled")
        turned = self._op("Transpose", [key], f"{path}.key.turned", perm=[0, 1, 3, 2])
        scores = self._op("MatMul", [scaled, turned], f"{path}.scores")
        shares = self._op("Softmax", [scores], f"{path}.shares", axis=-1)
        mixed = self._op("MatMul", [shares, value], f"{path}.mixed")
        by_token = self._op("Transpose", [mixed], f"{path}.by_token", perm=[0, 2, 1, 3])
        joined = self._op("Reshape", [by_token, joined_shape], f"{path}.joined")
        return self._linear(f"{path}.proj", joined)

    def _gelu(self, path: str, source: str) -> str:
        """``x (1 + erf(x / √2)) / 2``; opset 17 has no operator for it."""
        self.constants["root_half"] = np.array(0.5**0.5, dtype=np.float32)
        self.constants["one"] = np.array(1, dtype=np.float32)
        self.constants["half"] = np.array(0.5, dtype=np.float32)
        scaled = self._op("Mul", [source, "root_half"], f"{path}.gelu.scaled")
        curve = self._op("Erf", [scaled], f"{path}.gelu.erf")
        raised = self._op("Add", [curve, "one"], f"{path}.gelu.raised")
        halved = self._op("Mul", [raised, "half"], f"{path}.gelu.share")
        return self._op("Mul", [source, halved], f"{path}.gelu")

    def _linear(self, path: str, source: str) -> str:
        """``source @ weightᵀ + bias``, the weight stored transposed."""
        self.constants[f"{path}.weight"] = np.ascontiguousarray(self.weights[f"{path}.weight"].T)
        product = self._op("MatMul", [source, f"{path}.weight"], f"{path}.product")
        return self._op("Add", [product, self._weight(f"{path}.bias")], path)

    def _norm(self, path: str, source: str, output: str | None = None) -> str:
        weights = [self._weight(f"{path}.weight"), self._weight(f"{path}.bias")]
        return self._op(
            "LayerNormalization", [source, *weights], output or path, name=path, axis=-1, epsilon=NORM_EPS
        )

    def _op(self, kind: str, sources: list[str], output: str, **attributes: Any) -> str:
        name = attributes.pop("name", output)
        self.written.append(helper.make_node(kind, sources, [output], name=name, **attributes))
        return output

    def _weight(self, key: str) -> str:
        self.constants[key] = self.weights[key]
        return key

    def _index(self, key: str, values: list[int]) -> str:
        self.constants[key] = np.array(values, dtype=np.int64)
        return key

    def _scalar(self, key: str, value: int) -> str:
        self.constants[key] = np.array(value, dtype=np.int64)
        return key


def _array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """Single-precision copy on the CPU."""
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())
