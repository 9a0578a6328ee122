"""FP16-mixed variants, and the proof on real inputs that nothing in them overflows.

An FP16 engine that overflows does not fail: it turns activations into infinity, normalization turns
those into NaN, and the mask is empty (nnU-Net issue 2874: an all-black output). So the range of every
tensor that would be FP16 is measured in FP32 first, on inputs such as the engine makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from engine.errors import ModelInputError, PrecisionOverflowError
from engine.progress import ShareProgress
from engine.runtime.onnx_session import OnnxSession
from export.memory import return_freed_memory
from export.onnx_graph.mixed_precision import (
    FP16_MAX,
    HalfGraph,
    emulate_mixed_precision,
    require_fp16_weight,
    to_mixed_precision,
)

SAFETY_FACTOR = 4.0
"""Activations must stay this many times below FP16's end: another patient's CT can reach further than
those measured. Instance normalization bounds what follows it, so images differ by less than this."""

Inputs = Iterable[dict[str, npt.NDArray[np.float32]]]


@dataclass(frozen=True)
class ActivationRange:
    """The largest magnitude that a tensor reached, and the node that makes (or first takes) it."""

    tensor: str
    node: str
    operator: str
    largest: float


def fp16_variant(
    model_bytes: bytes,
    inputs: Inputs,
    *,
    safety_factor: float = SAFETY_FACTOR,
    emulate: bool = True,
    on_progress: ShareProgress | None = None,
) -> tuple[bytes, tuple[ActivationRange, ...]]:
    """Make the FP16-mixed variant of a model, unless it would overflow.

    Parameters
    ----------
    model_bytes : bytes
        The FP32 model.
    inputs : iterable of dict of str to ndarray
        Inputs as the network gets them: normalized patches of real CT.
    safety_factor : float, optional
    emulate : bool, optional
        Whether the emulated model is run too; leave it out only where a parity report does that next.
    on_progress : callable, optional
        Called with what is being done and a share from 0 to 1.

    Returns
    -------
    bytes
        The mixed model; inputs and outputs stay float32.
    tuple of ActivationRange
        Of every FP16 tensor, the largest first.

    Raises
    ------
    PrecisionOverflowError
        If a weight or an activation is too large for FP16, or the emulated model gives NaN or infinity.
    ModelInputError
        If there is no input to measure with.
    """
    batches = list(inputs)
    ranges = measure_ranges(model_bytes, batches, on_progress=on_progress)
    require_fp16_range(ranges, safety_factor=safety_factor)
    mixed = to_mixed_precision(model_bytes)
    if emulate:
        _require_finite_emulation(model_bytes, batches)
    return mixed, ranges


def measure_ranges(
    model_bytes: bytes, inputs: Inputs, *, on_progress: ShareProgress | None = None
) -> tuple[ActivationRange, ...]:
    """Largest magnitude of every activation that an FP16 variant would store in FP16.

    The FP32 graph is run with two scalars more for each tensor, its least and its largest value, computed as
    soon as the tensor is: memory stays that of inference.

    Parameters
    ----------
    model_bytes : bytes
    inputs : iterable of dict of str to ndarray
    on_progress : callable, optional

    Returns
    -------
    tuple of ActivationRange
        The largest first; NaN counts as infinity.

    Raises
    ------
    PrecisionOverflowError
        If a weight that would be FP16 is beyond it.
    ModelInputError
        If there is no input.
    """
    graph = HalfGraph(model_bytes)
    del model_bytes
    for name, node in graph.half_weights():
        require_fp16_weight(onnx.numpy_helper.to_array(graph.weights[name]), name, node)
    tensors = [(name, node.name or node.op_type, node.op_type) for name, node in graph.half_tensors()]
    batches = list(inputs)
    if not batches:
        raise ModelInputError("no input to measure the range of activations with; give patches of a CT")
    largest = np.zeros(len(tensors))
    probed = _probed(graph, [name for name, _, _ in tensors])
    del graph  # it holds the weights; the session has its own
    with OnnxSession(probed) as session:
        del probed
        return_freed_memory()
        for done, batch in enumerate(batches):
            if on_progress is not None:
                on_progress("activation range", done / len(batches))
            outputs = session.run(batch)
            ends = [[abs(float(outputs[probe])) for probe in _probes(i)] for i in range(len(tensors))]
            magnitudes = np.array(ends).max(axis=1)
            largest = np.maximum(largest, np.where(np.isnan(magnitudes), np.inf, magnitudes))
    ranges = [
        ActivationRange(name, node, operator, float(value))
        for (name, node, operator), value in zip(tensors, largest, strict=True)
    ]
    return tuple(sorted(ranges, key=lambda item: -item.largest))


def require_fp16_range(ranges: Iterable[ActivationRange], *, safety_factor: float = SAFETY_FACTOR) -> None:
    """Refuse activations that are too large for FP16.

    Raises
    ------
    PrecisionOverflowError
        Naming the node and the value.
    """
    limit = FP16_MAX / safety_factor
    for activation in ranges:
        if not activation.largest <= limit:
            raise PrecisionOverflowError(
                f"{activation.node} ({activation.operator}) reaches {activation.largest:g} in {activation.tensor}; "
                f"FP16 ends at {FP16_MAX:g}, and a safety factor of {safety_factor:g} allows {limit:g}. "
                "An FP16 engine would give an empty mask on such an image; export this model in fp32 only"
            )


def _require_finite_emulation(model_bytes: bytes, batches: Inputs) -> None:
    """Run the emulated FP16 model: rounding must not lead to NaN or infinity anywhere."""
    with OnnxSession(emulate_mixed_precision(model_bytes)) as session:
        for batch in batches:
            for name, values in session.run(batch).items():
                if not bool(np.isfinite(values).all()):
                    raise PrecisionOverflowError(
                        f"with FP16 storage the output {name} is not finite; export this model in fp32 only"
                    )


def _probed(graph: HalfGraph, names: list[str]) -> bytes:
    """The FP32 graph with the largest magnitude of each tensor as its only outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.initializer[:], model.graph.output[:], model.graph.value_info[:]
    model.graph.initializer.extend(graph.weights.values())
    # ONNX Runtime computes what the last node needs first. Written from the last probe to the first, each is
    # computed as soon as its tensor is; the other way round all tensors wait in memory for the end.
    for index, name in reversed(list(enumerate(names))):
        for kind, probe in zip(("ReduceMin", "ReduceMax"), _probes(index), strict=True):
            model.graph.node.append(helper.make_node(kind, [name], [probe], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(probe, TensorProto.FLOAT, []))
    return bytes(model.SerializeToString(deterministic=True))


def _probes(index: int) -> tuple[str, str]:
    """Outputs with the least and the largest value of a tensor."""
    return f"probe_{index}.least", f"probe_{index}.largest"
