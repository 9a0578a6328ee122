"""OpenVINO on the CPU, in 32-bit floats: two to three times as fast as ONNX Runtime on 3D convolutions."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine.errors import BackendError, ModelError, ModelInputError
from engine.runtime.cpu import usable_cpus
from engine.runtime.network_session import NetworkSession
from engine.runtime.normalization import with_exact_normalization
from engine.runtime.onnx_interface import read_interface
from engine.runtime.slice_rewriting import with_minimal_filtering

if TYPE_CHECKING:
    from engine.runtime.session import Tensor

_TELEMETRY = "openvino_telemetry"

KEPT_SHAPES: Final = 2
"""Batch sizes that stay compiled: the usual one and that of the last, smaller part."""

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class OpenVinoSession(NetworkSession):
    """A network in OpenVINO's CPU plugin; an ``InferenceSession``.

    It is compiled again for every batch size: that is faster than a free one, and OpenVINO 2026.4.1 does not
    compile every product of matrices with a free one.

    Parameters
    ----------
    model_bytes : bytes
        A self-contained ONNX model (no external tensors), as ``load_bundle`` hashed it.
    threads : int, optional
        By default the CPUs this process may use.

    Raises
    ------
    BackendError
        If OpenVINO is not installed, or would not compute in 32-bit floats.
    ModelError
        If the model is not whole, or OpenVINO does not accept it.
    """

    def __init__(self, model_bytes: bytes, *, threads: int | None = None) -> None:
        openvino = load_openvino()
        interface = read_interface(model_bytes)
        self._version = openvino.get_version().split("-", maxsplit=1)[0]
        super().__init__(interface.inputs, interface.outputs)
        self._properties = _properties(threads or usable_cpus())
        self._requests: OrderedDict[_Shapes, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._core: Any = openvino.Core()
        try:
            self._model: Any = self._core.read_model(with_exact_normalization(model_bytes))
            self._request({spec.name: tuple(_or_one(spec.shape)) for spec in self._inputs})
        except BackendError:
            raise
        except Exception as error:  # OpenVINO's errors share no root but Exception
            raise ModelError(f"OpenVINO {self._version} cannot load the model: {error}") from error

    @property
    def backend(self) -> str:
        """Name and version of the library and device."""
        return f"openvino {self._version} (CPU, f32)"

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name; one call at a time.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of the graph.
        BackendError
            If the session is closed or OpenVINO fails.
        """
        # One request on all cores: two at once would only share them, and a request is not thread-safe.
        with self._lock:
            self._accepting(self._model, inputs)
            if not all(value.size for value in inputs.values()):
                raise ModelInputError("an input is empty; OpenVINO needs a batch of at least 1")
            arrays = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
            try:
                request = self._request({name: value.shape for name, value in arrays.items()})
                values = request.infer(arrays, share_inputs=True)
                return {spec.name: values[spec.name] for spec in self._outputs}  # copies, by default
            except BackendError:
                raise
            except Exception as error:  # OpenVINO's errors share no root but Exception
                raise BackendError(f"{self.backend} failed: {error}") from error

    def close(self) -> None:
        """Release the network; a second call does nothing."""
        with self._lock:
            self._requests.clear()
            self._model = self._core = None

    def _request(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        """The network compiled for these shapes; those used longest ago make room."""
        key = tuple(sorted(shapes.items()))
        request = self._requests.pop(key, None)
        if request is None:
            while len(self._requests) >= KEPT_SHAPES:
                self._requests.popitem(last=False)
            request = self._compile(shapes)
        self._requests[key] = request
        return request

    def _compile(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        model = self._model.clone()
        model.reshape({name: list(shape) for name, shape in shapes.items()})
        model = with_minimal_filtering(model)
        compiled = self._core.compile_model(model, "CPU", self._properties)
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if precision != "f32":
            raise BackendError(f"OpenVINO would compute in {precision}, not f32; choose another backend")
        return compiled.create_infer_request()


def _or_one(shape: tuple[int | str, ...]) -> list[int]:
    """A shape with its free axes at size 1."""
    return [1 if isinstance(size, str) else size for size in shape]


def load_openvino() -> Any:
    """Import OpenVINO, with the part that reports its use kept out.

    Raises
    ------
    BackendError
        If it is not installed, or does not load.
    """
    # `import openvino` sends an event to its maker where nobody has declined. Without that package it falls
    # back to a stub of its own; an appliance beside a patient reports to nobody.
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment] # None is how an import is barred
    try:
        import openvino  # noqa: PLC0415 - an optional library, and slow to load
    except ImportError as error:
        raise BackendError(
            f"OpenVINO does not load here ({error}); install coldspot[openvino], or choose another backend"
        ) from error
    return openvino


def _properties(threads: int) -> dict[str, Any]:
    """Plugin properties; the default precision is BF16 on CPUs that have it, a hundred times coarser."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Other work runs beside this one; a pinned thread would wait for it.
        "ENABLE_CPU_PINNING": False,
    }
