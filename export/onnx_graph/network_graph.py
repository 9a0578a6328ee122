"""A traced PyTorch network as an ONNX graph, written node by node with the network's own names.

PyTorch 2.13 has two exporters: the one on ``torch.export`` needs a package of its own and renames
values, the one on TorchScript is deprecated. Segmentation networks use eight kinds of layer, so the
graph of :mod:`torch.fx` is written down directly: a value is named as the module that makes it, and the
same weights give the same bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from engine.errors import SourceModelError
from engine.manifest.segmentation import IMAGE, LOGITS

OPSET = 17
IR_VERSION = 8
_MAX_BYTES = 2**31 - 1
"""Protobuf's limit: beyond it a model cannot be one self-contained file."""

_Attributes = tuple[str, dict[str, Any]]


def network_to_onnx(
    network: nn.Module,
    *,
    channels: int,
    outputs: int,
    patch_shape: Sequence[int],
    name: str,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Write a segmentation network as a self-contained ONNX model.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; convolutions (also transposed), instance normalizations, leaky ReLUs, average
        pooling, concatenation and sums.
    channels, outputs : int
        Of the image and of the logits.
    patch_shape : sequence of 3 ints
        Fixed; the batch is free.
    name : str
        Of the graph.
    metadata : mapping of str to str, optional
        Written into the model's metadata properties.

    Returns
    -------
    bytes
        ``image`` (batch, C, z, y, x) to ``logits`` (batch, K, z, y, x), float32, opset 17; the same
        network gives the same bytes.

    Raises
    ------
    SourceModelError
        If the network has a layer that is not supported, a patch that does not fit it, or more than
        2 GB of weights.
    """
    writer = _GraphWriter(network)
    nodes = writer.nodes()
    size = sum(weight.numel() * 4 for weight in writer.weights.values())
    if size >= _MAX_BYTES:
        raise SourceModelError(
            f"{name} has {size / 2**30:.1f} GiB of weights; one ONNX file holds 2 GiB at most, so this model "
            "cannot be exported"
        )
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["batch", channels, *patch_shape])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["batch", outputs, *patch_shape])],
        initializer=[
            numpy_helper.from_array(np.ascontiguousarray(weight.detach().float().numpy()), key)
            for key, weight in writer.weights.items()
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="coldspot-export",
    )
    helper.set_model_props(model, dict(metadata or {}))
    return checked_bytes(model)


def graph_metadata(model_bytes: bytes) -> dict[str, str]:
    """What was written into a model's metadata properties."""
    model = onnx.load_model_from_string(model_bytes)
    return {entry.key: entry.value for entry in model.metadata_props}


def checked_bytes(model: onnx.ModelProto) -> bytes:
    """Serialize a model after ONNX's checker and strict shape inference; inferred shapes stay in it.

    Raises
    ------
    SourceModelError
        If shapes do not fit each other, for instance a patch that cannot be halved often enough.
    """
    try:
        del model.graph.value_info[:]
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred, full_check=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SourceModelError(f"{model.graph.name} does not make a valid graph: {reason}") from error
    return bytes(inferred.SerializeToString(deterministic=True))


class _GraphWriter:
    """The nodes of a traced network and the weights they name."""

    def __init__(self, network: nn.Module) -> None:
        self.traced = fx.symbolic_trace(network)
        self.modules: dict[str, nn.Module] = dict(self.traced.named_modules())
        self.weights: dict[str, torch.Tensor] = {}
        self.values: dict[str, str] = {}
        self.counts: dict[str, int] = {}

    def nodes(self) -> list[onnx.NodeProto]:
        """ONNX nodes in the order of computation."""
        steps = list(self.traced.graph.nodes)
        (last,) = (step.args[0] for step in steps if step.op == "output")
        written = []
        for step in steps:
            if step.op == "placeholder":
                self.values[step.name] = IMAGE
            elif step.op != "output":
                written.append(self._node(step, LOGITS if step is last else None))
        return written

    def _node(self, step: fx.Node, output: str | None) -> onnx.NodeProto:
        sources = [self.values[source.name] for source in step.all_input_nodes]
        path = str(step.target) if step.op == "call_module" else self._function_name(step)
        if step.op == "call_module":
            kind, attributes, weights = self._layer(path)
        elif step.op == "call_function" and step.target in _FUNCTIONS:
            (kind, attributes), weights = _FUNCTIONS[step.target](step), []
        else:
            raise SourceModelError(f"the network calls {step.target}, which this exporter does not know")
        self.values[step.name] = output or path
        return helper.make_node(kind, [*sources, *weights], [output or path], name=path, **attributes)

    def _function_name(self, step: fx.Node) -> str:
        """A readable name for what no module makes, numbered."""
        word = _WORDS.get(step.target, step.name)
        self.counts[word] = self.counts.get(word, 0) + 1
        return f"{word}.{self.counts[word] - 1}"

    def _layer(self, path: str) -> tuple[str, dict[str, Any], list[str]]:
        """Operator, attributes and names of weights of a module."""
        module = self.modules[path]
        write = _LAYERS.get(type(module))
        if write is None:
            raise SourceModelError(
                f"layer {path} is a {type(module).__name__}, which this exporter does not know"
            )
        kind, attributes = write(module)
        names = []
        for part in ("weight", "bias"):
            weight = getattr(module, part, None)
            if weight is not None:
                names.append(f"{path}.{part}")
                self.weights[names[-1]] = weight
        return kind, attributes, names


def _convolution(module: Any) -> _Attributes:
    """Attributes of a convolution with symmetric padding, down or up."""
    transposed = isinstance(module, nn.ConvTranspose3d)
    if module.groups != 1 or tuple(module.dilation) != (1, 1, 1) or module.padding_mode != "zeros":
        raise SourceModelError(f"{module} has groups, dilation or padding that this exporter does not know")
    if transposed and any(module.output_padding):
        raise SourceModelError(f"{module} has output padding, which this exporter does not know")
    return "ConvTranspose" if transposed else "Conv", {
        "kernel_shape": list(module.kernel_size),
        "strides": list(module.stride),
        "pads": [*module.padding, *module.padding],
    }


def _normalization(module: Any) -> _Attributes:
    """Attributes of an instance normalization with weights and without running statistics."""
    if module.track_running_stats or not module.affine:
        raise SourceModelError(f"{module} uses running statistics or has no weights; neither is supported")
    return "InstanceNormalization", {"epsilon": module.eps}


def _average(module: Any) -> _Attributes:
    """Attributes of average pooling without padding."""
    return "AveragePool", {"kernel_shape": list(module.kernel_size), "strides": list(module.stride)}


_LAYERS: dict[type[nn.Module], Callable[[Any], _Attributes]] = {
    nn.Conv3d: _convolution,
    nn.ConvTranspose3d: _convolution,
    nn.InstanceNorm3d: _normalization,
    nn.LeakyReLU: lambda module: ("LeakyRelu", {"alpha": module.negative_slope}),
    nn.AvgPool3d: _average,
}
_WORDS: dict[Any, str] = {torch.cat: "join_with_skip", operator.add: "residual_sum"}
_FUNCTIONS: dict[Any, Callable[[fx.Node], _Attributes]] = {
    torch.cat: lambda step: ("Concat", {"axis": step.kwargs.get("dim", 0)}),
    operator.add: lambda _: ("Add", {}),
}
