"""ONNX Runtime: on the CPU, where it is the embedded default, or on a CUDA device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal

# Before the import: the library reports its use to its maker unless told not to, and an appliance beside
# a patient reports to nobody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

from engine.errors import BackendError, ModelError
from engine.manifest import TensorSpec
from engine.runtime.cpu import usable_cpus
from engine.runtime.network_session import NetworkSession
from engine.runtime.normalization import with_exact_normalization

if TYPE_CHECKING:
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

CUDA: Final = "CUDAExecutionProvider"

CUDA_OPTIONS: Final = {
    "device_id": "0",
    # By default the arena doubles; the device also holds volumes and, on a Jetson, the whole system.
    "arena_extend_strategy": "kSameAsRequested",
    # EXHAUSTIVE tries every algorithm on the first run of each shape; DEFAULT may mean a slow one (cuDNN 9).
    "cudnn_conv_algo_search": "HEURISTIC",
    # TF32 keeps 10 bits of a mantissa; parity was measured with 23.
    "use_tf32": "0",
}


class OnnxSession(NetworkSession):
    """A network in ONNX Runtime; an ``InferenceSession``.

    Parameters
    ----------
    model_bytes : bytes
        A self-contained ONNX model (no external tensors), as ``load_bundle`` hashed it.
    threads : int, optional
        Threads inside one operator; by default the CPUs this process may use, which ONNX Runtime
        itself would overestimate in a container.
    device : {"cpu", "cuda"}, optional

    Raises
    ------
    ModelError
        If ONNX Runtime does not accept the model.
    BackendError
        If CUDA was asked for, and the session would run on the CPU instead.
    """

    def __init__(
        self, model_bytes: bytes, *, threads: int | None = None, device: Literal["cpu", "cuda"] = "cpu"
    ) -> None:
        if device == "cuda":
            require_cuda_provider()
        providers: list[Any] = [(CUDA, CUDA_OPTIONS)] if device == "cuda" else []
        try:
            session = onnxruntime.InferenceSession(
                with_exact_normalization(model_bytes) if device == "cpu" else model_bytes,
                _options(threads or usable_cpus()),
                providers=[*providers, "CPUExecutionProvider"],
                enable_fallback=0,  # by default a provider that fails is replaced by the CPU
            )
        except Exception as error:  # ONNX Runtime's errors share no root but Exception
            raise ModelError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {error}"
            ) from error
        if device == "cuda" and CUDA not in session.get_providers():
            raise BackendError(
                "ONNX Runtime was asked for CUDA and would run on the CPU: its CUDA provider did not load; "
                "check the driver and the CUDA and cuDNN libraries, or choose the backend onnxruntime"
            )
        self._session: Any = session
        self._device = device
        super().__init__(
            tuple(_spec(tensor) for tensor in session.get_inputs()),
            tuple(_spec(tensor) for tensor in session.get_outputs()),
        )

    @property
    def backend(self) -> str:
        """Name and version of the library and device."""
        return f"onnxruntime {onnxruntime.__version__} ({self._device.upper()})"

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of the graph.
        BackendError
            If the session is closed or ONNX Runtime fails.
        """
        session = self._accepting(self._session, inputs)
        try:
            values = session.run([spec.name for spec in self._outputs], inputs)
        except Exception as error:  # ONNX Runtime's errors share no root but Exception
            raise BackendError(f"{self.backend} failed: {error}") from error
        return {spec.name: value for spec, value in zip(self._outputs, values, strict=True)}

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        self._session = None


def version() -> str:
    """Version of ONNX Runtime."""
    return str(onnxruntime.__version__)


def require_cuda_provider() -> None:
    """Refuse with a clear message if this ONNX Runtime has no CUDA provider.

    Raises
    ------
    BackendError
    """
    if CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} here has no CUDA provider; "
            "install onnxruntime-gpu in place of onnxruntime, or choose another backend"
        )


def _options(threads: int) -> Any:
    """Session options for a network that shares its cores and its memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # The registration kernels share these cores, and an 8 GB device shares its memory.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    # Tensors outside the model would be read, unhashed, from the working folder.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NOWHERE)
    options.log_severity_level = _ERRORS_ONLY
    return options


def _spec(tensor: Any) -> TensorSpec:
    """Describe one graph input or output."""
    if tensor.type not in _DTYPES:
        raise ModelError(f"tensor {tensor.name} is a {tensor.type}, which no session here can carry")
    shape = tuple(size if isinstance(size, int) else (size or "unnamed") for size in tensor.shape)
    return TensorSpec.model_validate({"name": tensor.name, "dtype": _DTYPES[tensor.type], "shape": shape})
