"""FP16 variants: what stays in FP32, and that an overflow is found where ONNX Runtime hides it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.arrays import Float32Array
from engine.errors import ModelInputError, PrecisionOverflowError
from engine.runtime.onnx_session import OnnxSession

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-export")
from export.onnx_graph.mixed_precision import (  # noqa: E402 - it needs torch
    FP16_MAX,
    HalfGraph,
    emulate_mixed_precision,
    to_mixed_precision,
)
from export.onnx_graph.precision import (  # noqa: E402 - it needs torch
    SAFETY_FACTOR,
    ActivationRange,
    fp16_variant,
    measure_ranges,
    require_fp16_range,
)
from tests.support.networks import unet_3d, vit_block  # noqa: E402 - beside the others

IN_FP32 = {"InstanceNormalization", "LayerNormalization", "Softmax", "ReduceMean", "Sqrt", "Pow"}


def patch(seed: int = 0, size: int = 16) -> dict[str, Float32Array]:
    return {"image": np.random.default_rng(seed).normal(size=(1, 1, size, size, size)).astype(np.float32)}


@pytest.fixture(scope="module")
def unet() -> bytes:
    return unet_3d(width=4, patch=16)


def run(model: bytes, inputs: dict[str, Float32Array]) -> Float32Array:
    with OnnxSession(model, threads=1) as session:
        (output,) = session.run(inputs).values()
    return np.asarray(output)


def scaled(model_bytes: bytes, factor: float) -> bytes:
    """The same network with its second convolution scaled: the normalization behind it takes that back.

    This is an FP16 engine that comes out all black: infinite in FP16 between the two, and no
    difference at all in FP32.
    """
    model = onnx.load_model_from_string(model_bytes)
    convolution = [node for node in model.graph.node if node.op_type == "Conv"][1]
    for tensor in model.graph.initializer:
        if tensor.name in convolution.input:
            values = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(model.SerializeToString())


def types_of(model_bytes: bytes) -> tuple[onnx.ModelProto, dict[str, int]]:
    model = onnx.load_model_from_string(model_bytes)
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    types = {t.name: t.data_type for t in graph.initializer}
    for info in [*graph.input, *graph.value_info, *graph.output]:
        types[info.name] = info.type.tensor_type.elem_type
    return model, types


@pytest.mark.parametrize("network", ["unet", "vit"])
def test_sensitive_operators_stay_in_fp32_and_so_do_inputs_and_outputs(network: str, unet: bytes) -> None:
    source = unet if network == "unet" else vit_block()
    model, types = types_of(to_mixed_precision(source))
    kinds = {node.op_type for node in model.graph.node}
    for node in model.graph.node:
        floats = {types[n] for n in [*node.input, *node.output] if n and types[n] != TensorProto.INT64}
        if node.op_type in IN_FP32:
            assert floats == {TensorProto.FLOAT}, node.op_type
        elif node.op_type in {"Conv", "ConvTranspose", "MatMul", "Gemm", "LeakyRelu"}:
            assert floats == {TensorProto.FLOAT16}, node.op_type
    assert kinds & IN_FP32
    for info in [*model.graph.input, *model.graph.output]:
        assert types[info.name] == TensorProto.FLOAT
    before = onnx.load_model_from_string(source)
    assert [i.name for i in model.graph.input] == [i.name for i in before.graph.input]
    assert [o.name for o in model.graph.output] == [o.name for o in before.graph.output]


def test_the_variant_is_small_deterministic_and_close(unet: bytes) -> None:
    mixed, ranges = fp16_variant(unet, [patch()])
    assert mixed == fp16_variant(unet, [patch()])[0]
    expected, found = run(unet, patch(1)), run(mixed, patch(1))
    assert 0 < np.abs(found - expected).max() < 0.02 * np.ptp(expected)
    weights = [
        sum(len(t.raw_data) for t in onnx.load_model_from_string(m).graph.initializer) for m in (unet, mixed)
    ]
    assert weights[1] < 0.6 * weights[0]
    assert ranges[0].largest < FP16_MAX / SAFETY_FACTOR


def test_a_vit_gets_a_variant_too() -> None:
    source = vit_block()
    (spec,) = onnx.load_model_from_string(source).graph.input
    shape = [d.dim_value or 2 for d in spec.type.tensor_type.shape.dim]
    given = {spec.name: np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    mixed, _ = fp16_variant(source, [given])
    expected = run(source, given)
    assert np.abs(run(mixed, given) - expected).max() < 0.02 * np.ptp(expected)
    assert np.abs(run(emulate_mixed_precision(source), given) - expected).max() < 0.02 * np.ptp(expected)


def test_an_all_black_engine_is_refused_though_onnx_runtime_sees_nothing(unet: bytes) -> None:
    black = scaled(unet, 5e4)
    expected = run(unet, patch())
    np.testing.assert_allclose(run(black, patch()), expected, atol=1e-3)
    # ONNX Runtime has no FP16 arithmetic on the CPU: it computes in FP32 and gives a good answer.
    np.testing.assert_allclose(run(to_mixed_precision(black), patch()), expected, atol=0.1)
    assert not np.isfinite(run(emulate_mixed_precision(black), patch())).all()
    with pytest.raises(PrecisionOverflowError, match=r"\(Conv\) reaches \d+ in .*65504.*empty mask"):
        fp16_variant(black, [patch()])


def test_emulation_alone_would_find_it_too(unet: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.onnx_graph.precision.require_fp16_range", lambda *_, **__: None)
    with pytest.raises(PrecisionOverflowError, match="is not finite"):
        fp16_variant(scaled(unet, 5e4), [patch()])


def test_a_value_within_fp16_but_not_within_the_margin_is_refused(unet: bytes) -> None:
    largest = measure_ranges(unet, [patch()])[0].largest
    close = scaled(unet, 0.5 * FP16_MAX / largest)
    with pytest.raises(PrecisionOverflowError, match="safety factor of 4"):
        fp16_variant(close, [patch()])
    assert np.isfinite(run(emulate_mixed_precision(close), patch())).all()


def test_a_weight_beyond_fp16_is_refused_by_name(unet: bytes) -> None:
    with pytest.raises(PrecisionOverflowError, match=r"the weight w\d+ of"):
        to_mixed_precision(scaled(unet, 1e7))
    with pytest.raises(PrecisionOverflowError, match="the weight"):
        to_mixed_precision(scaled(unet, float("nan")))


def test_emulation_gives_what_torch_gives_in_fp16() -> None:
    """One convolution: FP16 storage, FP32 sums."""
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(2, 1, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["logits"], pads=[1] * 6)],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 16, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2, 16, 16, 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = run(emulate_mixed_precision(model.SerializeToString()), patch())
    image, kernel = (torch.from_numpy(a).half().float() for a in (patch()["image"], weight))
    expected = torch.nn.functional.conv3d(image, kernel, padding=1).half().float().numpy()
    # Sums in another order may round to the neighbor.
    step = np.abs(np.spacing(expected.astype(np.float16))).astype(np.float32)
    assert (np.abs(found - expected) <= step).all()
    assert (found == found.astype(np.float16)).all()


def test_ranges_are_those_of_the_activations(unet: bytes) -> None:
    """Oracle: every tensor of the graph as an output of its own."""
    inputs = [patch(0), patch(1)]
    ranges = {found.tensor: found for found in measure_ranges(unet, inputs)}
    graph = HalfGraph(unet)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    names = [name for name, _ in graph.half_tensors()]
    assert set(ranges) == set(names)
    exposed = [n for n in names if n not in {"image", *(o.name for o in model.graph.output)}]
    model.graph.output.extend(i for i in graph.model.graph.value_info if i.name in exposed)
    largest: dict[str, float] = {"image": max(float(np.abs(i["image"]).max()) for i in inputs)}
    with OnnxSession(model.SerializeToString(), threads=1) as session:
        for given in inputs:
            for name, value in session.run(given).items():
                largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max()))
    for name in names:
        assert ranges[name].largest == pytest.approx(largest[name], rel=1e-5), name


def test_nan_counts_as_too_large() -> None:
    with pytest.raises(PrecisionOverflowError, match="reaches nan"):
        require_fp16_range([ActivationRange("x", "n", "Conv", float("nan"))])


def test_no_input_is_refused(unet: bytes) -> None:
    with pytest.raises(ModelInputError, match="patches"):
        fp16_variant(unet, [])


def test_constants_and_shared_weights_are_converted_once() -> None:
    """A weight that FP16 and FP32 nodes share is kept in both; an output in the middle keeps its name."""
    shared = numpy_helper.from_array(np.linspace(0.5, 2, 4, dtype=np.float32), "shared")
    nodes: list[Any] = [
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array(2.0, np.float32))),
        helper.make_node("Mul", ["x", "shared"], ["scaled"]),
        helper.make_node("Sqrt", ["shared"], ["root"]),
        helper.make_node("Mul", ["scaled", "two"], ["doubled"]),
        helper.make_node("Softmax", ["doubled"], ["share"], axis=-1),
        helper.make_node("Add", ["share", "root"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4]) for n in ("x", "y", "doubled")]
    graph = helper.make_graph(nodes, "mixed", infos[:1], infos[1:], [shared])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    given = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    content = model.SerializeToString()
    mixed, types = types_of(to_mixed_precision(content))
    assert types["shared"] == TensorProto.FLOAT
    assert types["shared.fp16"] == TensorProto.FLOAT16
    assert types["doubled"] == types["y"] == TensorProto.FLOAT
    assert [n.op_type for n in mixed.graph.node].count("Constant") == 0
    with OnnxSession(content, threads=1) as full, OnnxSession(mixed.SerializeToString(), threads=1) as half:
        for name, value in full.run(given).items():
            np.testing.assert_allclose(half.run(given)[name], value, atol=5e-3)
