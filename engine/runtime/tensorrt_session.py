"""A TensorRT or TensorRT-RTX plan on a CUDA device.

Not yet executed on a device: see ``engine.runtime.backends.EXECUTED_ON_A_DEVICE`` and docs/unverified.md.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine.errors import (
    BackendError,
    EnginePlanError,
    ModelInputError,
    PlanDeviceError,
    PlanIntegrityError,
    PlanModelError,
    PlanVersionError,
)
from engine.runtime.network_session import NetworkSession

if TYPE_CHECKING:
    from engine.manifest import TensorSpec
    from engine.runtime.cuda_device import CudaDevice
    from engine.runtime.onnx_interface import OnnxInterface
    from engine.runtime.session import Tensor
    from engine.runtime.tensorrt_library import TensorRtLibrary

_KEPT_BATCHES: Final = 2
"""Batch sizes with buffers of their own: the usual one and that of the last, smaller part."""

_DTYPES: Final = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}

_INVALIDITY: Final[dict[str, type[EnginePlanError]]] = {
    "MALFORMED_ENGINE": PlanIntegrityError,
    "VERSION_MISMATCH": PlanVersionError,
    "UNSUPPORTED_CC": PlanDeviceError,
    "OLD_CUDA_DRIVER": PlanDeviceError,
    "OLD_CUDA_RUNTIME": PlanDeviceError,
    "INSUFFICIENT_GPU_MEMORY": PlanDeviceError,
}


@dataclass
class _Lane:
    """What one batch size needs: a context of its own, as a captured graph must have, and its buffers."""

    context: Any
    buffers: dict[str, Any]
    has_run: bool = False
    graph: Any = field(default=None)


class TensorRtSession(NetworkSession):
    """A compiled network on a device; an ``InferenceSession``.

    Inputs with a larger batch than the plan serves are computed in parts. The first run of a batch size is
    slower; from the second on it is one CUDA graph.

    Parameters
    ----------
    plan : bytes
        As a :class:`engine.runtime.plan_cache.PlanCache` gives it out, checked: loading a plan runs it.
    interface : OnnxInterface
        Of the model the plan was built from.
    library : TensorRtLibrary
    device : CudaDevice
    cuda_graph : bool, optional

    Raises
    ------
    EnginePlanError
        If the library refuses the plan, or its inputs and outputs are not the model's.
    """

    def __init__(
        self,
        plan: bytes,
        interface: OnnxInterface,
        *,
        library: TensorRtLibrary,
        device: CudaDevice,
        cuda_graph: bool = True,
    ) -> None:
        super().__init__(interface.inputs, interface.outputs)
        self._library, self._device = library, device
        self._cuda_graph = cuda_graph
        self._lock = threading.RLock()
        self._lanes: OrderedDict[int, _Lane] = OrderedDict()
        library.complaints()
        self._runtime: Any = library.api.Runtime(library.log)
        # A plan may carry host code only where it has to run under other versions; ours never does.
        self._runtime.engine_host_code_allowed = False
        _require_valid(self._runtime, plan, library)
        self._engine: Any = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EnginePlanError(
                f"{library.flavor} {library.version} cannot load the plan: {library.complaints()}"
            )
        _require_same_interface(self._engine, interface, library)
        self._max_batch = _largest_batch(self._engine, interface)
        self._stream: Any = device.new_stream()

    @property
    def backend(self) -> str:
        """Name and version of the library, and the device."""
        identity = self._device.identity
        graphs = "CUDA graphs" if self._cuda_graph else "no CUDA graphs"
        return (
            f"{self._library.flavor} {self._library.version} "
            f"({identity.name}, {identity.compute_capability}, {graphs})"
        )

    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all outputs by name from all inputs by name; one call at a time.

        Raises
        ------
        ModelInputError
            If a name, element type or shape is not the one of the graph.
        BackendError
            If the session is closed or the library fails.
        """
        with self._lock:
            batch = self._checked_batch(inputs)
            try:
                parts = [self._run_part(part) for part in _parts(inputs, batch, self._max_batch)]
            except (RuntimeError, MemoryError) as error:  # all of CuPy's errors are one of these
                raise BackendError(f"{self.backend} failed: {error}") from error
            if len(parts) == 1:
                return parts[0]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Compute from and to CuPy arrays, in the order of the caller's current stream.

        Parameters
        ----------
        inputs : dict of str to cupy.ndarray
            With no larger batch than the plan serves.

        Returns
        -------
        dict of str to cupy.ndarray
            New arrays.

        Raises
        ------
        ModelInputError
            If an array is not on the device, or is not what the graph takes.
        BackendError
            If the session is closed or the library fails.
        """
        with self._lock:
            batch = self._checked_batch(inputs)
            if not all(self._device.holds(value) for value in inputs.values()):
                raise ModelInputError("run_on_device takes CuPy arrays; use run for arrays on the host")
            if batch > self._max_batch:
                raise ModelInputError(f"the plan serves batches of at most {self._max_batch}, not {batch}")
            try:
                lane = self._lane(batch)
                self._device.after_caller(self._stream)
                for name, value in inputs.items():
                    self._device.copy(value, lane.buffers[name], self._stream)
                self._compute(lane)
                outputs = {}
                for spec in self.outputs:
                    source = lane.buffers[spec.name]
                    outputs[spec.name] = self._device.empty(source.shape, spec.dtype)
                    self._device.copy(source, outputs[spec.name], self._stream)
                self._device.before_caller(self._stream)
            except (RuntimeError, MemoryError) as error:  # all of CuPy's errors are one of these
                raise BackendError(f"{self.backend} failed: {error}") from error
            return outputs

    def close(self) -> None:
        """Release device memory; a second call does nothing."""
        with self._lock:
            if self._engine is not None:
                self._stream.synchronize()
            self._lanes.clear()
            self._engine = self._runtime = None

    def _checked_batch(self, inputs: Mapping[str, Any]) -> int:
        """Size of the free first axis, which all inputs that have one share; 1 where none has."""
        self._accepting(self._engine, inputs)
        free = {inputs[spec.name].shape[0] for spec in self.inputs if _is_free(spec)}
        if len(free) > 1 or 0 in free:
            raise ModelInputError(f"all inputs must have one batch size, at least 1, not {sorted(free)}")
        return free.pop() if free else 1

    def _run_part(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        free = [inputs[spec.name].shape[0] for spec in self.inputs if _is_free(spec)]
        lane = self._lane(free[0] if free else 1)
        for name, value in inputs.items():
            self._device.upload(np.ascontiguousarray(value), lane.buffers[name], self._stream)
        self._compute(lane)
        return {
            spec.name: self._device.download(lane.buffers[spec.name], self._stream) for spec in self.outputs
        }

    def _lane(self, batch: int) -> _Lane:
        """Context and buffers of a batch size; those used longest ago make room."""
        lane = self._lanes.pop(batch, None)
        while lane is None and len(self._lanes) >= _KEPT_BATCHES:
            self._stream.synchronize()
            self._lanes.popitem(last=False)
        lane = lane or self._new_lane(batch)
        self._lanes[batch] = lane
        return lane

    def _new_lane(self, batch: int) -> _Lane:
        context = self._new_context()
        for spec in self.inputs:
            shape = (batch, *spec.shape[1:]) if _is_free(spec) else spec.shape
            if not context.set_input_shape(spec.name, shape):
                raise ModelInputError(f"the plan does not serve {spec.name} of shape {shape}")
        missing = context.infer_shapes()
        if missing:
            raise BackendError(f"{self.backend} cannot infer the shapes of {', '.join(missing)}")
        buffers = {}
        for spec in (*self.inputs, *self.outputs):
            sizes = [int(size) for size in context.get_tensor_shape(spec.name)]
            buffers[spec.name] = self._device.empty(sizes, spec.dtype)
            if not context.set_tensor_address(spec.name, buffers[spec.name].data.ptr):
                raise BackendError(f"{self.backend}: {self._library.complaints()}")
        return _Lane(context, buffers)

    def _new_context(self) -> Any:
        """A context; TensorRT-RTX captures graphs itself where it is told to."""
        if self._library.is_rtx and self._cuda_graph:
            settings = self._engine.create_runtime_config()
            settings.cuda_graph_strategy = self._library.api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(settings)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise BackendError(f"{self.backend} has no execution context: {self._library.complaints()}")
        return context

    def _compute(self, lane: _Lane) -> None:
        """Enqueue; TensorRT wants one plain run of a shape before it is captured."""
        if not self._cuda_graph or self._library.is_rtx or not lane.has_run:
            self._enqueue(lane)
            lane.has_run = True
            return
        if lane.graph is None:
            lane.graph = self._device.capture(self._stream, lambda: self._enqueue(lane))
        lane.graph.launch(stream=self._stream)

    def _enqueue(self, lane: _Lane) -> None:
        if not lane.context.execute_async_v3(self._stream.ptr):
            raise BackendError(f"{self.backend} failed: {self._library.complaints()}")


def _is_free(spec: TensorSpec) -> bool:
    return bool(spec.shape) and isinstance(spec.shape[0], str)


def _parts(inputs: Mapping[str, Tensor], batch: int, max_batch: int) -> list[dict[str, Tensor]]:
    """Cut a batch into parts that the plan serves."""
    if batch <= max_batch:
        return [dict(inputs)]
    return [
        {name: value[first : first + max_batch] for name, value in inputs.items()}
        for first in range(0, batch, max_batch)
    ]


def _require_valid(runtime: Any, plan: bytes, library: TensorRtLibrary) -> None:
    """Ask TensorRT-RTX what it makes of a plan's header. This finds mistakes, not tampering."""
    if not hasattr(runtime, "get_engine_validity"):
        return
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity != library.api.EngineValidity.INVALID:
        return
    flags = library.api.EngineInvalidityDiagnostics
    named = [name for name in _INVALIDITY if int(diagnostics) & int(getattr(flags, name))]
    kind = _INVALIDITY[named[0]] if named else EnginePlanError
    reason = ", ".join(named) or library.complaints()
    raise kind(f"{library.flavor} {library.version} refuses the plan: {reason}; build it on this device")


def _require_same_interface(engine: Any, interface: OnnxInterface, library: TensorRtLibrary) -> None:
    """Refuse a plan whose tensors are not those of its model."""
    modes = library.api.TensorIOMode
    tensors: dict[Any, dict[str, str]] = {modes.INPUT: {}, modes.OUTPUT: {}}
    for name in map(engine.get_tensor_name, range(engine.num_io_tensors)):
        tensors[engine.get_tensor_mode(name)][name] = _DTYPES.get(
            engine.get_tensor_dtype(name).name, "unknown"
        )
    for mode, specs in ((modes.INPUT, interface.inputs), (modes.OUTPUT, interface.outputs)):
        expected = {spec.name: spec.dtype for spec in specs}
        if tensors[mode] != expected:
            raise PlanModelError(
                f"the plan has {tensors[mode]} where its model has {expected}; build it again"
            )


def _largest_batch(engine: Any, interface: OnnxInterface) -> int:
    """Largest size of the free first axis that the plan serves."""
    free = [spec.name for spec in interface.inputs if _is_free(spec)]
    return min((int(engine.get_tensor_profile_shape(name, 0)[2][0]) for name in free), default=1)
