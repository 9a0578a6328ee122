"""The ONNX Runtime session: what it takes, gives and refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import BackendError, ModelError, ModelInputError
from engine.manifest import TensorSpec
from engine.runtime.onnx_session import OnnxSession

if TYPE_CHECKING:
    from pathlib import Path

    from engine.runtime.session import InferenceSession


def doubling_model(dtype: int = TensorProto.FLOAT) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["twice"])],
        "doubling",
        [helper.make_tensor_value_info("x", dtype, ["batch", 2])],
        [helper.make_tensor_value_info("twice", dtype, ["batch", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def session() -> InferenceSession:
    return OnnxSession(doubling_model())


def test_it_runs_and_describes_itself(session: InferenceSession) -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    outputs = session.run({"x": x})
    assert list(outputs) == ["twice"]
    np.testing.assert_array_equal(outputs["twice"], 2 * x)
    assert session.inputs == (TensorSpec(name="x", dtype="float32", shape=("batch", 2)),)
    assert session.outputs == (TensorSpec(name="twice", dtype="float32", shape=("batch", 2)),)
    assert session.backend.startswith("onnxruntime")
    assert "CPU" in session.backend


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"y": np.zeros((1, 2), np.float32)},
        {"x": np.zeros((1, 2), np.float32), "y": np.zeros((1, 2), np.float32)},
        {"x": np.zeros((1, 2), np.float64)},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros(2, np.float32)},
        {"x": np.zeros((1, 1, 2), np.float32)},
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    session: InferenceSession, inputs: dict[str, npt.NDArray[Any]]
) -> None:
    with pytest.raises(ModelInputError):
        session.run(inputs)


def test_it_is_closed_after_its_block_and_closing_twice_is_nothing() -> None:
    with OnnxSession(doubling_model()) as session:
        session.run({"x": np.zeros((1, 2), np.float32)})
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"x": np.zeros((1, 2), np.float32)})


def test_threads_may_share_it(session: InferenceSession) -> None:
    inputs = [np.full((2, 2), i, dtype=np.float32) for i in range(50)]
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda x: session.run({"x": x})["twice"], inputs))
    for x, twice in zip(inputs, outputs, strict=True):
        np.testing.assert_array_equal(twice, 2 * x)


@pytest.mark.parametrize("content", [b"", b"no model", doubling_model()[:-10]])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        OnnxSession(content)


def test_an_element_type_no_session_carries_is_refused() -> None:
    with pytest.raises(ModelError, match="which no session here can carry"):
        OnnxSession(doubling_model(TensorProto.UINT32))


def external_model(folder: Path) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1024, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1024, 2])],
        initializer=[numpy_helper.from_array(np.ones((1024, 2), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "m.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path.read_bytes()


@pytest.mark.parametrize("in_working_folder", [False, True])
def test_tensors_outside_the_hashed_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_working_folder: bool
) -> None:
    content = external_model(tmp_path)
    if in_working_folder:
        monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        OnnxSession(content)
