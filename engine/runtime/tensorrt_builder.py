"""Compiling an ONNX model into a TensorRT plan.

Written over the names that TensorRT 10.3 to 11.4 and TensorRT-RTX 1.7 have in common. Networks are strongly
typed: the precision is that of the ONNX model and nothing here changes it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from engine.errors import BackendError, EngineBuildError, InvalidRequestError
from engine.progress import CountProgress
from engine.runtime.onnx_interface import read_interface
from engine.runtime.tensorrt_library import make_progress_monitor

if TYPE_CHECKING:
    from engine.manifest import TensorSpec
    from engine.runtime.tensorrt_library import TensorRtLibrary

CURRENT: Final = "current"
"""The target that means the device the build runs on."""

_WORKSPACE_BYTES: Final = 2 << 30
"""Scratch memory a kernel may ask for: a quarter of an 8 GB device, which also runs everything else."""


@dataclass(frozen=True)
class BatchRange:
    """Sizes of the free first axis that one plan serves; it is tuned for the usual one."""

    minimum: int = 1
    usual: int = 1
    maximum: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.usual <= self.maximum:
            raise InvalidRequestError(
                f"a batch range needs 1 ≤ minimum ≤ usual ≤ maximum, not {self.minimum}, {self.usual}, {self.maximum}",
                "batch",
            )

    def __str__(self) -> str:
        return f"{self.minimum}-{self.usual}-{self.maximum}"


@dataclass(frozen=True)
class _BuiltPlan:
    """A plan, and what was learned while building it (empty for TensorRT-RTX)."""

    plan: bytes
    timing_cache: bytes = b""


_one_build = threading.Lock()


def build_plan(
    library: TensorRtLibrary,
    model_bytes: bytes,
    *,
    target: str = CURRENT,
    batch: BatchRange | None = None,
    timing_cache: bytes = b"",
    workspace_bytes: int = _WORKSPACE_BYTES,
    on_progress: CountProgress | None = None,
) -> _BuiltPlan:
    """Compile a model.

    Parameters
    ----------
    library : TensorRtLibrary
    model_bytes : bytes
        A self-contained ONNX model whose only free axis is the first one of its inputs.
    target : str, optional
        ``"current"``: the device here; ``"sm_86"`` and the like: a GPU generation, for which only
        TensorRT-RTX can build, and without a GPU.
    batch : BatchRange, optional
    timing_cache : bytes, optional
        Of an earlier build on the same device with the same version; TensorRT-RTX takes none.
    workspace_bytes : int, optional
    on_progress : callable, optional
        Called with a phase's name, its steps done, and its steps in all; raising stops the build.

    Returns
    -------
    _BuiltPlan

    Raises
    ------
    EngineBuildError
        If the library refuses the model or the target.
    ModelError
        If the bytes are not a whole ONNX model.
    BackendError
        If the library cannot start here.
    """
    inputs = read_interface(model_bytes).inputs
    with _one_build:  # device memory and cores are for one build at a time, and so is the log
        library.complaints()
        builder = _start(library)
        network = _parse(library, builder, model_bytes)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(library.api.MemoryPoolType.WORKSPACE, workspace_bytes)
        # TF32 keeps 10 bits of a mantissa; FP32 parts are FP32 because they need 23.
        config.clear_flag(library.api.BuilderFlag.TF32)
        _choose_target(library, config, target)
        _add_profile(builder, config, inputs, batch or BatchRange())
        monitor = make_progress_monitor(library.api, on_progress) if on_progress else None
        if monitor is not None:
            config.progress_monitor = monitor
        cache = None if library.is_rtx else _set_timing_cache(config, timing_cache)
        plan = builder.build_serialized_network(network, config)
        if monitor is not None and monitor.failure is not None:
            raise monitor.failure
        if plan is None:
            raise EngineBuildError(
                f"{library.flavor} {library.version} cannot build for {target}: {library.complaints()}"
            )
        return _BuiltPlan(bytes(plan), b"" if cache is None else bytes(cache.serialize()))


def supported_targets(library: TensorRtLibrary) -> tuple[str, ...]:
    """GPU generations a library can build for without a GPU, ``sm_86`` and the like."""
    if not library.is_rtx:
        return ()
    names = (name for name in dir(library.api.ComputeCapability) if name.startswith("SM"))
    return tuple(f"sm_{number}" for number in sorted(int(name[2:]) for name in names))


def _start(library: TensorRtLibrary) -> Any:
    try:
        builder = library.api.Builder(library.log)
    except Exception as error:  # the binding's errors share no root but Exception
        raise BackendError(f"{library.flavor} cannot start here: {error}; {library.complaints()}") from error
    if builder is None:
        raise BackendError(f"{library.flavor} cannot start here: {library.complaints()}")
    return builder


def _parse(library: TensorRtLibrary, builder: Any, model_bytes: bytes) -> Any:
    """Read the model into a strongly typed network; the flag is ignored where there is no other kind."""
    api = library.api
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, library.log)
    if not parser.parse(model_bytes):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise EngineBuildError(
            f"{library.flavor} {library.version} cannot read the model: {reasons} ({library.complaints()})"
        )
    return network


def _choose_target(library: TensorRtLibrary, config: Any, target: str) -> None:
    """Set the GPU generation; nothing but the device itself is a target of TensorRT."""
    if target == CURRENT and not library.is_rtx:
        return
    known = supported_targets(library)
    if target != CURRENT and target not in known:
        named = (
            f"TensorRT-RTX builds for {', '.join(known)}" if known else "TensorRT builds for its own device"
        )
        raise EngineBuildError(
            f"{library.flavor} {library.version} cannot build for {target}: {named}; "
            f"build on the device itself, with target {CURRENT}"
        )
    name = "CURRENT" if target == CURRENT else target.upper().replace("_", "")
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(getattr(library.api.ComputeCapability, name), 0):
        raise EngineBuildError(f"{library.flavor} refuses the target {target}: {library.complaints()}")


def _add_profile(builder: Any, config: Any, inputs: tuple[TensorSpec, ...], batch: BatchRange) -> None:
    """Say which batch sizes will come; every other axis is fixed."""
    profile, needed = builder.create_optimization_profile(), False
    for spec in inputs:
        free = [axis for axis, size in enumerate(spec.shape) if isinstance(size, str)]
        if free and free != [0]:
            raise EngineBuildError(
                f"input {spec.name} has free axes {free}; only the batch, axis 0, may be free: "
                "export it with a fixed patch shape"
            )
        if free:
            rest = spec.shape[1:]
            profile.set_shape(spec.name, (batch.minimum, *rest), (batch.usual, *rest), (batch.maximum, *rest))
            needed = True
    if needed and config.add_optimization_profile(profile) < 0:
        raise EngineBuildError(f"the batch range {batch} does not fit the network's inputs")


def _set_timing_cache(config: Any, content: bytes) -> Any:
    """Use an earlier build's timings; those of another device or version are left out by the library."""
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return config.get_timing_cache()
