"""The DeepSurv ensemble as one ONNX graph, written node by node.

Every member is a slice of stacked weights, so one pass computes all of them. The graph is built
from the weights and not traced, which keeps its names readable and its parity with the source
network a real test.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
RESIDUAL_BLOCKS = 2

Weights = Mapping[str, npt.NDArray[np.float32]]


def weight_shapes(members: int, covariates: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stacked weights (member, in, out) and biases (member, 1, out)."""
    layers = {
        "attention_hidden": (covariates, hidden),
        "attention_score": (hidden, covariates),
        "stem": (covariates, hidden),
    }
    for block in range(1, RESIDUAL_BLOCKS + 1):
        layers[f"residual_{block}_inner"] = (hidden, hidden)
        layers[f"residual_{block}_outer"] = (hidden, hidden)
    layers["log_risk_head"] = (hidden, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (size_in, size_out) in layers.items():
        shapes[f"{layer}.weight"] = (members, size_in, size_out)
        shapes[f"{layer}.bias"] = (members, 1, size_out)
    return shapes


def build_graph(weights: Weights) -> bytes:
    """Serialize the ensemble.

    Parameters
    ----------
    weights : mapping
        Arrays of float32 as :func:`weight_shapes` names them.

    Returns
    -------
    bytes
        ONNX model: ``covariates`` (batch, covariate), standardized, to ``log_risk`` (batch, member),
        ``attention`` (batch, member, covariate), whose entries have the mean 1, and
        ``effective_signal``, attention times the standardized covariate.
    """
    members, covariates, _ = weights["stem.weight"].shape
    graph = helper.make_graph(
        _nodes(),
        "deepsurv_ensemble",
        [helper.make_tensor_value_info("covariates", TensorProto.FLOAT, ["batch", covariates])],
        [
            helper.make_tensor_value_info("log_risk", TensorProto.FLOAT, ["batch", members]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", members, covariates]),
            helper.make_tensor_value_info(
                "effective_signal", TensorProto.FLOAT, ["batch", members, covariates]
            ),
        ],
        initializer=[
            *(numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items()),
            numpy_helper.from_array(np.array(covariates, dtype=np.float32), "covariate_count"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last_axis"),
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="coldspot-export",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _nodes() -> list[onnx.NodeProto]:
    """Feature attention, two residual blocks and the head; inner tensors are (member, batch, width)."""
    nodes = [
        *_dense("attention_hidden", "covariates", "attention_hidden"),
        helper.make_node("Elu", ["attention_hidden"], ["attention_active"]),
        *_dense("attention_score", "attention_active", "attention_score"),
        helper.make_node("Softmax", ["attention_score"], ["attention_share"], axis=-1),
        helper.make_node("Mul", ["attention_share", "covariate_count"], ["attention_by_member"]),
        helper.make_node("Mul", ["attention_by_member", "covariates"], ["weighted_covariates"]),
        *_dense("stem", "weighted_covariates", "residual_0"),
    ]
    for block in range(1, RESIDUAL_BLOCKS + 1):
        name = f"residual_{block}"
        nodes += [
            *_dense(f"{name}_inner", f"residual_{block - 1}", f"{name}_inner"),
            helper.make_node("Elu", [f"{name}_inner"], [f"{name}_active"]),
            *_dense(f"{name}_outer", f"{name}_active", f"{name}_outer"),
            helper.make_node("Add", [f"residual_{block - 1}", f"{name}_outer"], [name]),
        ]
    return [
        *nodes,
        *_dense("log_risk_head", f"residual_{RESIDUAL_BLOCKS}", "log_risk_by_member"),
        helper.make_node("Squeeze", ["log_risk_by_member", "last_axis"], ["log_risk_rows"]),
        helper.make_node("Transpose", ["log_risk_rows"], ["log_risk"], perm=[1, 0]),
        helper.make_node("Transpose", ["attention_by_member"], ["attention"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["weighted_covariates"], ["effective_signal"], perm=[1, 0, 2]),
    ]


def _dense(layer: str, source: str, target: str) -> list[onnx.NodeProto]:
    """``source @ weight + bias`` for all members at once."""
    return [
        helper.make_node("MatMul", [source, f"{layer}.weight"], [f"{target}.product"]),
        helper.make_node("Add", [f"{target}.product", f"{layer}.bias"], [target]),
    ]
