"""TensorRT in host memory, for tests of the adapter where there is no GPU.

The fake library of a version has only the names and takes only the parameters that ``tensorrt_api/names.json``
records of the real one. A plan holds its ONNX model; a context computes it with ONNX Runtime, on the arrays
whose addresses it was given, when its stream says so.
"""

from __future__ import annotations

import enum
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest

from engine.runtime import cuda_device, tensorrt_library
from engine.runtime.onnx_interface import read_interface
from engine.runtime.onnx_session import OnnxSession
from tests.support.devices.fake_cuda import Memory, fake_cupy

Names = dict[str, dict[str, "list[str] | None"]]

NAMES: dict[str, Names] = json.loads(
    (Path(__file__).parent / "tensorrt_api" / "names.json").read_text(encoding="utf-8")
)
VERSIONS = sorted(NAMES)

MAGIC = b"fake plan "

_TYPES = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64"}


class Fake:
    """Base of the templates below: what of them is there, a version decides."""

    _api: ClassVar[Any]
    _memory: ClassVar[Memory]


class IHostMemory(Fake):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return self._content


class Builder(Fake):
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << int(self._api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return self._api.INetworkDefinition()

    def create_builder_config(self) -> Any:
        return self._api.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._api.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        monitor = getattr(config, "progress_monitor", None)
        if monitor is not None:
            monitor.phase_start("Building engine", None, 3)
            for step in range(3):
                if not monitor.step_complete("Building engine", step):
                    return None
            monitor.phase_finish("Building engine")
        if not self._memory.call("build"):
            self._logger.log(self._api.ILogger.ERROR, "no kernel for\nthis operator")
            return None
        head = {"shapes": config._shapes, "targets": config._targets}
        return self._api.IHostMemory(MAGIC + json.dumps(head).encode() + b"\n" + network._model)


class INetworkDefinition(Fake):
    _model = b""


class ParserError(Fake):
    def desc(self) -> str:
        return "unsupported operator"


class OnnxParser(Fake):
    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self.num_errors = network, 0

    def parse(self, model: bytes) -> bool:
        self._network._model = model
        self.num_errors = 0 if self._memory.call("parse") else 1
        return not self.num_errors

    def get_error(self, index: int) -> Any:
        return self._api.ParserError()


class ITimingCache(Fake):
    _content = b""

    def serialize(self) -> bytes:
        return self._content + b"+"


class IOptimizationProfile(Fake):
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        self._shapes[name] = (least, usual, most)


class IBuilderConfig(Fake):
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}
        self._targets: list[str] = []
        self._timings: Any = None

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert pool is self._api.MemoryPoolType.WORKSPACE

    def clear_flag(self, flag: Any) -> None:
        self._memory.call(f"clear {flag.name}")

    def add_optimization_profile(self, profile: Any) -> int:
        self._shapes = profile._shapes
        return 0

    def create_timing_cache(self, content: bytes) -> Any:
        self._memory.call(f"timings {content!r}")
        cache = self._api.ITimingCache()
        cache._content = content
        return cache

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._timings = cache
        return not (cache._content and "timings of another device" in self._memory.fails)

    def get_timing_cache(self) -> Any:
        return self._timings

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        assert (self.num_compute_capabilities, index) == (1, 0)
        self._targets.append(capability.name)
        return True

    num_compute_capabilities = 0
    progress_monitor: Any = None


class Runtime(Fake):
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        assert self.engine_host_code_allowed is False
        if not self._memory.call("deserialize") or not plan.startswith(MAGIC):
            self._logger.log(self._api.ILogger.ERROR, "magic tag")
            return None
        head, model = plan[len(MAGIC) :].split(b"\n", 1)
        engine = self._api.ICudaEngine()
        engine._logger = self._logger
        engine._load(model, json.loads(head)["shapes"])
        return engine

    def get_engine_validity(self, plan: bytes) -> Any:
        validity = self._api.EngineValidity
        flags = self._api.EngineInvalidityDiagnostics
        found = [flag for flag in flags if f"validity {flag.name}" in self._memory.fails]
        if found or "validity" in self._memory.fails:
            return validity.INVALID, sum(int(flag) for flag in found)
        return validity.VALID, 0

    engine_host_code_allowed: Any = None


class ICudaEngine(Fake):
    def _load(self, model: bytes, shapes: dict[str, Any]) -> None:
        interface = read_interface(model)
        self._model, self._shapes = model, shapes
        self._tensors = {spec.name: spec for spec in (*interface.inputs, *interface.outputs)}
        self._given = {spec.name for spec in interface.inputs}
        self.num_io_tensors = len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self._api.TensorIOMode
        return modes.INPUT if name in self._given else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return getattr(self._api.DataType, _TYPES[self._tensors[name].dtype])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Any:
        return self._shapes[name]

    def create_runtime_config(self) -> Any:
        return self._api.IRuntimeConfig()

    def create_execution_context(self, config: Any = None) -> Any:
        if not self._memory.call("context"):
            return None
        context = self._api.IExecutionContext()
        context._engine, context._config = self, config
        return context

    num_io_tensors = 0


class IRuntimeConfig(Fake):
    cuda_graph_strategy: Any = None


class IExecutionContext(Fake):
    def __init__(self) -> None:
        self._sizes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._captured = self._has_run = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self._captured, "a context must not change once it was captured"
        limits = self._engine._shapes.get(name)
        self._sizes[name] = tuple(shape)
        return limits is None or limits[0][0] <= shape[0] <= limits[2][0]

    def infer_shapes(self) -> list[str]:
        return sorted(self._engine._given - set(self._sizes))

    def get_tensor_shape(self, name: str) -> Any:
        batch = next(iter(self._sizes.values()))[0]
        spec = self._engine._tensors[name]
        return [batch if isinstance(size, str) else size for size in spec.shape]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert not self._captured, "a context must not change once it was captured"
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._memory.call("enqueue"):
            self._engine._logger.log(self._api.ILogger.ERROR, "out of memory")
            return False
        stream = self._memory.streams[stream_handle]
        assert stream.non_blocking
        if stream.captured is not None:
            assert self._has_run, "TensorRT wants a plain run before a capture"
            self._captured = True
        self._has_run = True
        stream.do(self._compute)
        return True

    def _compute(self) -> None:
        arrays = {name: self._memory.arrays[address] for name, address in self._addresses.items()}
        with OnnxSession(self._engine._model, threads=1) as session:
            found = session.run({name: arrays[name].values for name in self._engine._given})
        for name, values in found.items():
            np.copyto(arrays[name].values, values)

    _engine: Any = None
    _config: Any = None


def fake_library(version: str, memory: Memory) -> ModuleType:
    """A module with the names of ``version``, one of :data:`VERSIONS`."""
    flavor, number = version.split(" ")
    module = ModuleType(flavor)
    vars(module)["__version__"] = number
    templates = {template.__name__: template for template in Fake.__subclasses__()}
    for name, members in NAMES[version].items():
        if name in templates:
            kind = _guarded(name, templates[name], members)
            kind._api, kind._memory = module, memory
        else:
            kind = _plain(name, members)
        vars(module)[name] = kind
    return module


def _plain(name: str, members: dict[str, list[str] | None]) -> Any:
    """An enumeration, or a class to derive from."""
    constants = [member for member in members if member.isupper() or member.startswith("SM")]
    if name in {"ILogger", "IProgressMonitor"}:
        return type(name, (), {constant: number for number, constant in enumerate(constants)})
    return enum.IntEnum(name, [(constant, 1 << number) for number, constant in enumerate(constants)])


def _guarded(name: str, template: type, members: dict[str, list[str] | None]) -> Any:
    """The template without what this version lacks; other attributes cannot be set."""
    content = {
        member: _checked(member, value, members.get(member) or []) if inspect.isfunction(value) else value
        for member, value in vars(template).items()
        if (member.startswith("_") and member not in {"__dict__", "__weakref__"}) or member in members
    }

    def set_only_known(self: Any, member: str, value: Any) -> None:
        if not member.startswith("_") and member not in members:
            raise AttributeError(f"{name} has no {member}")
        object.__setattr__(self, member, value)

    content["__setattr__"] = set_only_known
    return type(name, (), content)


def _checked(member: str, function: Callable[..., Any], overloads: list[str]) -> Callable[..., Any]:
    """The function, taking only what one of the real overloads takes."""
    if member.startswith("_") or not overloads:
        return function

    def checked(self: Any, *given: Any, **named: Any) -> Any:
        fitting = []
        for overload in overloads:
            parameters = [text.strip() for text in overload.split(",") if text.strip()]
            left = parameters[len(given) :]
            known = {parameter.rstrip("=") for parameter in left}
            needed = {parameter for parameter in left if not parameter.endswith("=")}
            fitting.append(len(given) <= len(parameters) and set(named) <= known and needed <= set(named))
        assert any(fitting), f"{member} takes {overloads}, not {len(given)} and {sorted(named)}"
        return function(self, *given, **named)

    return checked


def install(
    monkeypatch: pytest.MonkeyPatch, version: str, *, memory: Memory | None = None, **gpu: Any
) -> Memory:
    """Put a fake library and a fake device in place of the real ones."""
    shared = memory or Memory()
    module = "tensorrt" if version.startswith("tensorrt ") else "tensorrt_rtx_bindings"
    monkeypatch.setitem(sys.modules, module, fake_library(version, shared))
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(shared, **gpu))
    monkeypatch.setattr(tensorrt_library, "_loaded", {})
    monkeypatch.setattr(cuda_device, "require_driver", lambda: None)
    return shared
