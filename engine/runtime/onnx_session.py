"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

# Before the import: the library reports its use to its maker unless told not to, and an appliance beside
# a patient reports to nobody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from engine.errors import BackendError, ModelError, ModelInputError
from engine.manifest import TensorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from engine.runtime.session import Tensor

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}

_ERRORS_ONLY = 3

_NOWHERE = "/dev/null/no-external-tensors"
"""A folder that cannot exist."""


class OnnxSession:
    """A network in ONNX Runtime's CPU provider; implements ``InferenceSession``.

    Parameters
    ----------
    model_bytes : bytes
        A self-contained ONNX model (no external tensors), as ``load_bundle`` hashed it.
    threads : int, optional
        Threads inside one operator; by default the CPUs this process may use, which ONNX Runtime
        itself would overestimate in a container.

    Raises
    ------
    ModelError
        If ONNX Runtime does not accept the model.
    """

    def __init__(self, model_bytes: bytes, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        # The registration kernels share these cores, and an 8 GB device shares its memory.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False
        # Tensors outside the model would be read, unhashed, from the working folder.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no root but Exception
            raise ModelError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {error}"
            ) from error
        self._session: Any = session
        self._inputs = tuple(_spec(tensor) for tensor in session.get_inputs())
        self._outputs = tuple(_spec(tensor) for tensor in session.get_outputs())

    @property
    def backend(self) -> str:
        """Name and version of the library and device."""
        return f"onnxruntime {onnxruntime.__version__} (CPU)"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs in the graph's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs in the graph's order."""
        return self._outputs

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of the graph.
        BackendError
            If the session is closed or ONNX Runtime fails.
        """
        session = self._session
        if session is None:
            raise BackendError("the session is closed; open a new one from its bundle")
        if set(inputs) != {spec.name for spec in self._inputs}:
            expected = ", ".join(spec.name for spec in self._inputs)
            raise ModelInputError(f"the model takes {expected}, not {', '.join(sorted(inputs)) or 'nothing'}")
        for spec in self._inputs:
            _require(inputs[spec.name], spec)
        try:
            values = session.run([spec.name for spec in self._outputs], inputs)
        except Exception as error:  # ONNX Runtime's errors share no root but Exception
            raise BackendError(f"{self.backend} failed: {error}") from error
        return {spec.name: value for spec, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        self._session = None

    def __enter__(self) -> Self:
        """Return this session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()


def _spec(tensor: Any) -> TensorSpec:
    """Describe one graph input or output."""
    if tensor.type not in _DTYPES:
        raise ModelError(f"tensor {tensor.name} is a {tensor.type}, which no session here can carry")
    shape = tuple(size if isinstance(size, int) else (size or "unnamed") for size in tensor.shape)
    return TensorSpec.model_validate({"name": tensor.name, "dtype": _DTYPES[tensor.type], "shape": shape})


def _require(value: Tensor, spec: TensorSpec) -> None:
    """Refuse an array that is not what the graph takes."""
    if value.dtype != spec.dtype:
        raise ModelInputError(f"input {spec.name} must be {spec.dtype}, not {value.dtype}")
    fits = value.ndim == len(spec.shape) and all(
        isinstance(size, str) or size == given for size, given in zip(spec.shape, value.shape, strict=True)
    )
    if not fits:
        raise ModelInputError(f"input {spec.name} must have shape {spec.shape}, not {value.shape}")
