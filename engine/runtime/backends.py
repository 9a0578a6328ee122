"""Choosing what runs a network: by name, with a reason wherever that is not possible.

Nothing is replaced by something else. ``auto`` is not a backend: :func:`fastest_backend` measures, says what
it measured, and its choice is then opened by name.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine.errors import BackendError, ColdspotError, InvalidRequestError, PlanIntegrityError
from engine.progress import CountProgress
from engine.runtime import onnx_session, openvino_session
from engine.runtime.cuda_device import CudaDevice, require_driver
from engine.runtime.onnx_interface import read_interface
from engine.runtime.onnx_session import OnnxSession
from engine.runtime.openvino_session import OpenVinoSession
from engine.runtime.plan_cache import PlanCache
from engine.runtime.tensorrt_builder import BatchRange, supported_targets
from engine.runtime.tensorrt_library import load_library
from engine.runtime.tensorrt_plans import default_plan_folder, obtain_plan, plan_key
from engine.runtime.tensorrt_session import TensorRtSession

if TYPE_CHECKING:
    from engine.manifest import Precision, TensorSpec
    from engine.runtime.session import InferenceSession, Tensor
    from engine.runtime.tensorrt_library import Flavor


class InferenceBackend(StrEnum):
    """What runs a network; which voxel kernels run is a ``KernelBackend``."""

    ONNXRUNTIME = "onnxruntime"
    ONNXRUNTIME_CUDA = "onnxruntime-cuda"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


BACKENDS: Final = tuple(InferenceBackend)

REFERENCE: Final = InferenceBackend.ONNXRUNTIME
"""What the others are compared with: always installed, and what a bundle's parity was measured with."""

NEEDS_A_DEVICE: Final = (
    InferenceBackend.ONNXRUNTIME_CUDA,
    InferenceBackend.TENSORRT,
    InferenceBackend.TENSORRT_RTX,
)

_FLAVORS: Final[dict[InferenceBackend, Flavor]] = {
    InferenceBackend.TENSORRT: "tensorrt",
    InferenceBackend.TENSORRT_RTX: "tensorrt-rtx",
}

EXECUTED_ON_A_DEVICE: Final[dict[InferenceBackend, str]] = {}
"""Receipt under ``benchmarks/results`` by backend; a test holds that it is there."""

TOLERANCES: Final[dict[str, float]] = {"fp32": 1e-3, "fp16_mixed": 2e-2, "int8": 1e-1}
"""Largest difference from the reference, as a share of the largest output (of 1, if that is less).

A guard against a backend that computes something else; parity reports are the measurement.
"""

_VOLUME_AXES: Final = 5
_ALIKE: Final = 0.3
"""Half of a volume that backends are tried on has one value, as air and padding have: sums of many equal numbers
are where a library's single precision fails."""

MAX_TRIAL_S: Final = 4.0
"""A backend is not run again once it has been tried this long: 3D patches take seconds on few cores."""


@dataclass(frozen=True)
class _BackendStatus:
    """What is known of a backend on this machine.

    Parameters
    ----------
    name : InferenceBackend
    available : bool
    version : str
        Empty where the library is not there.
    reason : str
        Why it is not available, and what to do; empty if it is.
    executed : str
        Whether this project has ever run it on the kind of device it is for.
    """

    name: InferenceBackend
    available: bool
    version: str
    reason: str
    executed: str


@dataclass(frozen=True)
class BackendTiming:
    """One backend's trial on one input.

    Parameters
    ----------
    backend : InferenceBackend
    described : str
        Library, version and device, as the session says.
    median_s : float, optional
        Seconds for one run; None where it did not run.
    largest_difference : float, optional
        From the reference, in the outputs' own unit.
    refused : str
        Why it cannot be chosen; empty if it can.
    """

    backend: InferenceBackend
    described: str
    median_s: float | None
    largest_difference: float | None
    refused: str


@dataclass(frozen=True)
class _BackendChoice:
    """The fastest backend that agrees with the reference, and all trials."""

    backend: InferenceBackend
    timings: tuple[BackendTiming, ...]


def open_session(
    model_bytes: bytes,
    backend: str,
    *,
    threads: int | None = None,
    precision: Precision = "fp32",
    batch: BatchRange | None = None,
    plan_folder: Path | None = None,
    on_progress: CountProgress | None = None,
) -> InferenceSession:
    """Open a network with the backend that was asked for, or fail.

    Parameters
    ----------
    model_bytes : bytes
        A self-contained ONNX model, as ``load_bundle`` hashed it.
    backend : str
        An :class:`InferenceBackend`, or its name.
    threads : int, optional
        For the CPU; by default the CPUs this process may use.
    precision : {"fp32", "fp16_mixed", "int8"}, optional
        Which variant of a bundle the model is: part of a plan's key.
    batch : BatchRange, optional
        Batch sizes a TensorRT plan serves; larger ones are computed in parts.
    plan_folder : Path, optional
        Where TensorRT plans are kept; by default :func:`default_plan_folder`.
    on_progress : callable, optional
        Told of a plan that has to be built: phase, steps done, steps in all.

    Returns
    -------
    InferenceSession

    Raises
    ------
    InvalidRequestError
        If there is no such backend.
    BackendError
        If its library or its device is not there; the message says what to install.
    ModelError
        If the library does not accept the model, or a plan must not be used.
    """
    match inference_backend(backend):
        case InferenceBackend.ONNXRUNTIME:
            return OnnxSession(model_bytes, threads=threads)
        case InferenceBackend.ONNXRUNTIME_CUDA:
            return OnnxSession(model_bytes, threads=threads, device="cuda")
        case InferenceBackend.OPENVINO:
            return OpenVinoSession(model_bytes, threads=threads)
        case InferenceBackend.TENSORRT | InferenceBackend.TENSORRT_RTX as chosen:
            cache = PlanCache(plan_folder or default_plan_folder())
            flavor = _FLAVORS[chosen]
            return _open_plan(model_bytes, flavor, precision, batch or BatchRange(), cache, on_progress)


def inference_backend(name: str) -> InferenceBackend:
    """Return the backend of that name.

    Raises
    ------
    InvalidRequestError
        If there is none; ``auto`` is not a backend.
    """
    try:
        return InferenceBackend(name)
    except ValueError:
        hint = "; choose one with fastest_backend" if name == "auto" else ""
        raise InvalidRequestError(
            f"{name!r} is not a backend; there are {', '.join(BACKENDS)}{hint}", field="backend"
        ) from None


def available_backends() -> tuple[_BackendStatus, ...]:
    """Return the state of every backend on this machine, in the order of :data:`BACKENDS`."""
    return tuple(_status(name) for name in BACKENDS)


def fastest_backend(
    model_bytes: bytes,
    *,
    inputs: dict[str, Tensor] | None = None,
    candidates: Sequence[str] | None = None,
    repeats: int = 3,
    tolerance: float | None = None,
    threads: int | None = None,
    precision: Precision = "fp32",
    batch: BatchRange | None = None,
    plan_folder: Path | None = None,
    on_progress: CountProgress | None = None,
) -> _BackendChoice:
    """Run a network with every backend that is there, and name the fastest that agrees with the reference.

    Parameters
    ----------
    model_bytes : bytes
    inputs : dict of str to ndarray, optional
        What to run it on; by default standard normal numbers, half of a volume one value, free axes of size 1.
    candidates : sequence of str, optional
        By default all backends. The reference is always run.
    repeats : int, optional
        Runs that are timed, after one that is not.
    tolerance : float, optional
        By default that of :data:`TOLERANCES` for the precision.
    threads, precision, batch, plan_folder, on_progress
        As in :func:`open_session`.

    Returns
    -------
    _BackendChoice
        With the timing of every candidate, to be recorded; those that did not run say why.

    Raises
    ------
    ModelError, BackendError
        If the reference itself fails.
    """
    tried = BACKENDS if candidates is None else tuple(inference_backend(name) for name in candidates)
    tensors = inputs or _random_inputs(read_interface(model_bytes).inputs)
    limit = TOLERANCES[precision] if tolerance is None else tolerance

    def opened(name: InferenceBackend) -> InferenceSession:
        return open_session(
            model_bytes,
            name,
            threads=threads,
            precision=precision,
            batch=batch,
            plan_folder=plan_folder,
            on_progress=on_progress,
        )

    with opened(REFERENCE) as session:
        first, expected = _trial(REFERENCE, session, tensors, repeats)
    others = [name for name in tried if name != REFERENCE]
    timings = [first, *(_compare(name, opened, tensors, repeats, expected, limit) for name in others)]
    asked_for = [timing for timing in timings if timing.backend in tried]
    accepted = [timing for timing in asked_for if not timing.refused]
    if not accepted:
        reasons = "; ".join(f"{timing.backend}: {timing.refused}" for timing in asked_for)
        raise BackendError(f"no backend that was asked for can run the model here ({reasons})")
    chosen = min(accepted, key=lambda timing: timing.median_s or 0.0)
    return _BackendChoice(chosen.backend, tuple(timings))


def _open_plan(
    model_bytes: bytes,
    flavor: Flavor,
    precision: Precision,
    batch: BatchRange,
    cache: PlanCache,
    on_progress: CountProgress | None,
) -> TensorRtSession:
    library, device = load_library(flavor), CudaDevice()
    key = plan_key(library, model_bytes, precision=precision, batch=batch, gpu=device.identity)
    plan = obtain_plan(library, model_bytes, key, cache, batch=batch, on_progress=on_progress)
    return TensorRtSession(plan, read_interface(model_bytes), library=library, device=device)


def _compare(
    name: InferenceBackend,
    opened: Callable[[InferenceBackend], InferenceSession],
    inputs: dict[str, Tensor],
    repeats: int,
    expected: dict[str, Tensor],
    limit: float,
) -> BackendTiming:
    """Try one backend; whatever keeps it from running is the reason it is refused."""
    try:
        with opened(name) as session:
            timing, outputs = _trial(name, session, inputs, repeats)
    except PlanIntegrityError:
        raise  # somebody has to look at that before anything else is chosen
    except ColdspotError as error:
        return BackendTiming(name, name, None, None, str(error))
    worst, refused = 0.0, ""
    for output, values in expected.items():
        difference = float(np.abs(outputs[output].astype(np.float64) - values).max(initial=0))
        worst = max(worst, difference)
        # Written so that a difference that is not a number is refused too.
        if not difference <= limit * max(1.0, float(np.abs(values).max(initial=0))):
            worst, refused = difference, f"{output} differs from {REFERENCE} by {difference:g}"
            break
    return BackendTiming(name, timing.described, timing.median_s, worst, refused)


def _trial(
    name: InferenceBackend, session: InferenceSession, inputs: dict[str, Tensor], repeats: int
) -> tuple[BackendTiming, dict[str, Tensor]]:
    """Time a session: the first run warms it up, and counts only where it is long."""
    began = time.perf_counter()
    outputs = session.run(inputs)
    spent = time.perf_counter() - began
    runs: list[float] = []
    for _ in range(repeats):
        if spent > MAX_TRIAL_S:
            break
        started = time.perf_counter()
        session.run(inputs)
        runs.append(time.perf_counter() - started)
        spent += runs[-1]
    return BackendTiming(name, session.backend, statistics.median(runs or [spent]), 0.0, ""), outputs


def _random_inputs(specs: Sequence[TensorSpec]) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    shapes = {spec.name: [1 if isinstance(size, str) else size for size in spec.shape] for spec in specs}
    inputs: dict[str, Tensor] = {}
    for spec in specs:
        if not spec.dtype.startswith("float"):
            inputs[spec.name] = np.zeros(shapes[spec.name], spec.dtype)
            continue
        values = rng.standard_normal(shapes[spec.name]).astype(spec.dtype)
        if values.ndim == _VOLUME_AXES:
            values[..., : values.shape[-1] // 2] = _ALIKE
        inputs[spec.name] = values
    return inputs


def _status(name: InferenceBackend) -> _BackendStatus:
    version, reason = "", ""
    try:
        version = _version(name)
        if name is InferenceBackend.ONNXRUNTIME_CUDA:
            require_driver()
        elif name in NEEDS_A_DEVICE:
            CudaDevice()
    except BackendError as error:
        reason = str(error)
        if version and name is InferenceBackend.TENSORRT_RTX:
            targets = ", ".join(supported_targets(load_library(_FLAVORS[name])))
            reason = f"builds plans for {targets}, but cannot run them: {reason}"
    return _BackendStatus(name, not reason, version, reason, _executed(name))


def _version(name: InferenceBackend) -> str:
    """Version of a backend's library, if it loads."""
    match name:
        case InferenceBackend.ONNXRUNTIME:
            return onnx_session.version()
        case InferenceBackend.ONNXRUNTIME_CUDA:
            onnx_session.require_cuda_provider()
            return onnx_session.version()
        case InferenceBackend.OPENVINO:
            library: Any = openvino_session.load_openvino()
            return str(library.get_version()).split("-", maxsplit=1)[0]
        case InferenceBackend.TENSORRT | InferenceBackend.TENSORRT_RTX:
            return load_library(_FLAVORS[name]).version


def _executed(name: InferenceBackend) -> str:
    if name not in NEEDS_A_DEVICE:
        return "on CPUs, in the project's tests"
    receipt = EXECUTED_ON_A_DEVICE.get(name)
    return f"on a device: {receipt}" if receipt else "never executed on a device by this project"
