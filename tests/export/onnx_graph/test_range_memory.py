"""Measuring the range of activations must not keep them: a network of full size would fill the memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="torch is not installed: make setup-export")

_LAYERS, _EDGE, _CHANNELS = 40, 64, 16
_TENSOR_BYTES = 4 * _CHANNELS * _EDGE**3

_MEASURED = f"""
import resource
import numpy as np
import onnx
from onnx import TensorProto, helper
from export.onnx_graph.precision import measure_ranges

shape = [1, {_CHANNELS}, {_EDGE}, {_EDGE}, {_EDGE}]
names = ["image"] + [f"layer_{{i}}" for i in range({_LAYERS})]
nodes = [
    helper.make_node("LeakyRelu", [names[i]], [names[i + 1]], name=names[i + 1], alpha=0.99)
    for i in range({_LAYERS})
]
graph = helper.make_graph(
    nodes,
    "chain",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ranges = measure_ranges(model, [{{"image": image}}])
assert len(ranges) == {_LAYERS} + 1
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts KiB on Linux alone")
def test_activations_do_not_wait_for_their_probes() -> None:
    printed = subprocess.run([sys.executable, "-c", _MEASURED], capture_output=True, text=True, check=True)
    # All of them together are 40 tensors; the order of the probes decides.
    assert int(printed.stdout) < 8 * _TENSOR_BYTES
