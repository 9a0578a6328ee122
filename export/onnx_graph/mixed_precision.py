"""Rewriting an FP32 graph: FP16 where it is safe and worthwhile, FP32 everywhere else.

Operators on the list below store FP16; all others (instance and layer normalization, softmax,
reductions, powers, roots and whatever is not known) stay in FP32, with casts between. Inputs and
outputs of the graph stay float32. The same walk writes an emulation: an FP32 graph whose FP16 tensors
are rounded to FP16 and back, which a CPU computes as a GPU with FP32 accumulators would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.errors import PrecisionOverflowError
from export.onnx_graph.network_graph import checked_bytes

FP16_MAX = 65504.0
"""Largest finite number of IEEE 754 binary16."""

_HALF_OPERATORS = frozenset(
    {
        *("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "Erf"),
        *("Gelu", "Concat", "AveragePool", "MaxPool", "Reshape", "Transpose", "Gather", "Slice", "Split"),
        *("Squeeze", "Unsqueeze", "Expand", "Identity", "Flatten", "Pad"),
    }
)

_FLOAT = TensorProto.FLOAT


class HalfGraph:
    """Which tensors of a graph would be FP16.

    Parameters
    ----------
    model_bytes : bytes
        A self-contained FP32 model.
    """

    def __init__(self, model_bytes: bytes) -> None:
        loaded = onnx.load_model_from_string(model_bytes)
        self.model = onnx.shape_inference.infer_shapes(loaded, strict_mode=True, data_prop=True)
        graph = self.model.graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self._inline_constants()
        self.types = {name: tensor.data_type for name, tensor in self.weights.items()}
        for info in [*graph.input, *graph.value_info, *graph.output]:
            self.types[info.name] = info.type.tensor_type.elem_type
        self.outputs = {info.name for info in graph.output}
        self.half_nodes = [node for node in graph.node if self.is_half(node)]
        self.half_made = {name for node in self.half_nodes for name in self._floats(node.output)}

    def is_half(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes on FP16: of a kind on the list, and on floating-point numbers."""
        return node.op_type in _HALF_OPERATORS and bool(self._floats(node.output))

    def half_tensors(self) -> list[tuple[str, onnx.NodeProto]]:
        """Activations that would be FP16, each with the node that makes or first takes it."""
        first_user: dict[str, onnx.NodeProto] = {}
        for node in self.half_nodes:
            for name in [*self._floats(node.input), *self._floats(node.output)]:
                if name not in self.weights:
                    first_user.setdefault(name, node)
        return list(first_user.items())

    def half_weights(self) -> Iterator[tuple[str, onnx.NodeProto]]:
        """Weights that would be FP16 (name, node), each with the first node that takes it."""
        seen = set()
        for node in self.half_nodes:
            for name in self._floats(node.input):
                if name in self.weights and name not in seen:
                    seen.add(name)
                    yield name, node

    def floats(self, names: Any) -> list[str]:
        """Those of the names that are float32 tensors."""
        return self._floats(names)

    def _floats(self, names: Any) -> list[str]:
        return [name for name in names if name and self.types.get(name) == _FLOAT]

    def _inline_constants(self) -> None:
        """Constants become initializers, so that they are treated as the weights they are."""
        graph = self.model.graph
        remaining = []
        for node in graph.node:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type != "Constant" or value is None:
                remaining.append(node)
                continue
            value.name = node.output[0]
            self.weights[value.name] = value
        del graph.node[:]
        graph.node.extend(remaining)


def to_mixed_precision(model_bytes: bytes) -> bytes:
    """Rewrite an FP32 model to FP16 storage where that is on the list.

    Parameters
    ----------
    model_bytes : bytes

    Returns
    -------
    bytes
        Inputs and outputs as before; strongly typed (no engine builder needs a precision flag).

    Raises
    ------
    PrecisionOverflowError
        If a weight is beyond FP16.
    """
    return _Rewriter(HalfGraph(model_bytes), emulate=False).run()


def emulate_mixed_precision(model_bytes: bytes) -> bytes:
    """Write the FP32 model that gives what the mixed one gives on a device with FP16 storage.

    ONNX Runtime has no FP16 kernels on the CPU and computes in FP32 between its casts, so it does not
    show an overflow; here every FP16 tensor is rounded to FP16 and back.

    Raises
    ------
    PrecisionOverflowError
        If a weight is beyond FP16.
    """
    return _Rewriter(HalfGraph(model_bytes), emulate=True).run()


class _Rewriter:
    """One pass over the nodes; casts are made once for each tensor."""

    def __init__(self, graph: HalfGraph, *, emulate: bool) -> None:
        self.graph, self.emulate = graph, emulate
        self.nodes: list[onnx.NodeProto] = []
        self.halves: dict[str, str] = {}
        self.fulls: dict[str, str] = {}
        self.new_weights: dict[str, onnx.TensorProto] = {}

    def run(self) -> bytes:
        model = self.graph.model
        half = {id(node) for node in self.graph.half_nodes}
        for node in model.graph.node:
            self._half_node(node) if id(node) in half else self._full_node(node)
        used = {name for node in self.nodes for name in node.input}
        weights = [*self.graph.weights.values(), *self.new_weights.values()]
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(self.nodes)
        model.graph.initializer.extend(weight for weight in weights if weight.name in used)
        return checked_bytes(model)

    def _half_node(self, node: onnx.NodeProto) -> None:
        floats = set(self.graph.floats(node.input))
        written = onnx.NodeProto()
        written.CopyFrom(node)
        written.input[:] = [self._as_half(name, node) if name in floats else name for name in node.input]
        outputs = set(self.graph.floats(node.output))
        # What leaves the graph, or is rounded on the way, is made under another name first.
        renamed = {name for name in outputs if self.emulate or name in self.graph.outputs}
        written.output[:] = [f"{name}.unrounded" if name in renamed else name for name in node.output]
        self.nodes.append(written)
        for name in (name for name in node.output if name in renamed):
            if self.emulate:
                self._round(f"{name}.unrounded", name)
            else:
                self._cast(f"{name}.unrounded", name, TensorProto.FLOAT)
                self.halves[name] = f"{name}.unrounded"

    def _full_node(self, node: onnx.NodeProto) -> None:
        written = onnx.NodeProto()
        written.CopyFrom(node)
        written.input[:] = [self._as_full(name) for name in node.input]
        self.nodes.append(written)

    def _as_half(self, name: str, node: onnx.NodeProto) -> str:
        """Name under which a tensor is FP16 (or rounded to it)."""
        if name in self.graph.half_made:
            return self.halves.get(name, name)
        if name not in self.halves:
            if name in self.graph.weights:
                self.halves[name] = self._half_weight(name, node)
            else:
                self.halves[name] = f"{name}.fp16"
                if self.emulate:
                    self._round(name, self.halves[name])
                else:
                    self._cast(name, self.halves[name], TensorProto.FLOAT16)
        return self.halves[name]

    def _as_full(self, name: str) -> str:
        """Name under which a tensor is FP32."""
        if self.emulate or name not in self.graph.half_made or name in self.graph.outputs:
            return name
        if name not in self.fulls:
            self.fulls[name] = f"{name}.fp32"
            self._cast(name, self.fulls[name], TensorProto.FLOAT)
        return self.fulls[name]

    def _half_weight(self, name: str, node: onnx.NodeProto) -> str:
        values = numpy_helper.to_array(self.graph.weights[name])
        rounded = require_fp16_weight(values, name, node)
        stored = rounded.astype(np.float32) if self.emulate else rounded
        self.new_weights[name] = numpy_helper.from_array(stored, f"{name}.fp16")
        return f"{name}.fp16"

    def _round(self, source: str, target: str) -> None:
        self._cast(source, f"{target}.stored", TensorProto.FLOAT16)
        self._cast(f"{target}.stored", target, TensorProto.FLOAT)

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind))


def require_fp16_weight(values: npt.NDArray[Any], name: str, node: onnx.NodeProto) -> npt.NDArray[np.float16]:
    """Round a weight to FP16.

    Raises
    ------
    PrecisionOverflowError
        If a value of it is beyond FP16 or not finite.
    """
    # NaN compares false with everything, so the test asks for what is right.
    if values.size and not float(np.abs(values).max()) <= FP16_MAX:
        raise PrecisionOverflowError(
            f"the weight {name} of {node.name or node.op_type} reaches {float(np.abs(values).max()):g}, FP16 "
            f"ends at {FP16_MAX:g}; export this model in fp32 only"
        )
    return values.astype(np.float16)
