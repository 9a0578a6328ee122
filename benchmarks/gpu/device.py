"""What the GPU benchmark needs of a device: events, pinned copies, and the time of every single kernel."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from engine.errors import BackendError

COPY_BYTES: Final = 1 << 28
"""More than any cache holds."""

Call = Callable[[], Any]


@dataclass(frozen=True)
class Launch:
    """One kernel launch: its time, and the bytes of its arrays, each counted once."""

    kernel: str
    ms: float
    bytes: int


class Device(Protocol):
    """A device that times what it does; tests use a fake one."""

    def describe(self) -> dict[str, Any]:
        """Name, driver and the like, for the receipt."""

    def copy_bandwidths_gb_s(self) -> dict[str, float]:
        """GB/s: read plus written on the device, and over the bus from pinned and pageable memory."""

    def between_events_ms(self, call: Call, repeats: int) -> list[float]:
        """Milliseconds of each of several calls whose work stays on the device, such as a peer's."""

    def launches(self, call: Call) -> list[Launch]:
        """Every kernel launch of one call, in order."""

    def host_ms(self, call: Call, repeats: int) -> list[float]:
        """Milliseconds of each of several calls, transfers included."""

    def resident(self, array: Any) -> Any:
        """Copy an array to the device, in the type that peers take."""


def gpu_kernel_modules() -> list[Any]:
    """Every module with GPU twins."""
    import engine.kernels.gpu as package

    names = sorted(path.stem for path in Path(package.__file__).parent.glob("[a-z]*.py"))
    return [import_module(f"engine.kernels.gpu.{name}") for name in names]


def is_launched(candidate: Any) -> bool:
    """Whether it is a kernel, rather than a function that kernels call."""
    options = getattr(candidate, "targetoptions", None)
    if options is not None:  # of Numba
        return not options.get("device", False)
    return hasattr(candidate, "_device") and not candidate._device  # noqa: SLF001 - of its simulator


class NumbaDevice:
    """Device 0 through numba.cuda; peers get CuPy arrays.

    Raises
    ------
    BackendError
        If there is no device, or only the simulator.
    """

    def __init__(self, *, rehearse: bool = False) -> None:
        from engine.kernels.gpu import device

        device.require()
        if device.is_simulated() and not rehearse:
            raise BackendError(
                "NUMBA_ENABLE_CUDASIM is set: the simulator is no GPU and its times say nothing"
            )
        from numba import cuda

        self._cuda = cuda
        self._simulated = device.is_simulated()

    def describe(self) -> dict[str, Any]:
        if self._simulated:
            return {"name": "Numba's simulator"}
        from engine.runtime.cuda_device import CudaDevice

        gpu = self._cuda.get_current_device()
        free, total = self._cuda.current_context().get_memory_info()
        described = {
            "name": gpu.name.decode() if isinstance(gpu.name, bytes) else gpu.name,
            "compute_capability": "sm_{}{}".format(*gpu.compute_capability),
            "sm_count": gpu.MULTIPROCESSOR_COUNT,
            "shares_memory_with_the_cpu": bool(gpu.INTEGRATED),
            "free_bytes": int(free),
            "total_bytes": int(total),
        }
        try:
            described["driver"] = CudaDevice().identity.driver
        except BackendError as error:
            described["driver"] = f"unknown: {error}"
        return described

    def copy_bandwidths_gb_s(self) -> dict[str, float]:
        count = COPY_BYTES if not self._simulated else 1 << 10
        pinned = self._cuda.pinned_array(count, np.uint8)
        pinned[:] = np.random.default_rng(0).integers(0, 255, count, np.uint8)
        pageable = pinned.copy()
        on_device, target = self._cuda.to_device(pinned), self._cuda.device_array(count, np.uint8)
        copies: dict[str, tuple[Call, int]] = {
            "device_to_device": (lambda: target.copy_to_device(on_device), 2 * count),
            "pinned_to_device": (lambda: on_device.copy_to_device(pinned), count),
            "device_to_pinned": (lambda: on_device.copy_to_host(pinned), count),
            "pageable_to_device": (lambda: on_device.copy_to_device(pageable), count),
        }
        return {
            name: size / 1e6 / max(statistics.median(self.between_events_ms(call, 9)), 1e-9)
            for name, (call, size) in copies.items()
        }

    def between_events_ms(self, call: Call, repeats: int) -> list[float]:
        call()
        times_ms = []
        for _ in range(repeats):
            begin, end = self._cuda.event(), self._cuda.event()
            begin.record()
            call()
            end.record()
            end.synchronize()
            times_ms.append(self._elapsed(begin, end))
        return times_ms

    def launches(self, call: Call) -> list[Launch]:
        events: list[tuple[str, Any, Any, int]] = []
        call()
        with self._kernels_timed(events):
            call()
        self._cuda.synchronize()
        return [Launch(name, self._elapsed(begin, end), size) for name, begin, end, size in events]

    def host_ms(self, call: Call, repeats: int) -> list[float]:
        call()
        times_ms = []
        for _ in range(repeats):
            self._cuda.synchronize()
            started = time.perf_counter()
            call()
            self._cuda.synchronize()
            times_ms.append(1e3 * (time.perf_counter() - started))
        return times_ms

    def resident(self, array: Any) -> Any:
        return import_module("cupy").asarray(array)

    def _elapsed(self, begin: Any, end: Any) -> float:
        return float(begin.elapsed_time(end))

    @contextmanager
    def _kernels_timed(self, events: list[tuple[str, Any, Any, int]]) -> Iterator[None]:
        """Append (name, begin, end, bytes) of every launch to ``events``; the modules get their kernels back."""
        replaced = []
        for module in gpu_kernel_modules():
            for name, kernel in list(vars(module).items()):
                if is_launched(kernel) and getattr(kernel, "__module__", module.__name__) == module.__name__:
                    replaced.append((module, name, kernel))
                    setattr(
                        module,
                        name,
                        _TimedKernel(kernel, f"{module.__name__.split('.')[-1]}.{name}", events, self._cuda),
                    )
        try:
            yield
        finally:
            for module, name, kernel in replaced:
                setattr(module, name, kernel)


class _TimedKernel:
    """A kernel that records an event before and after each of its launches."""

    def __init__(self, kernel: Any, name: str, events: list[tuple[str, Any, Any, int]], cuda: Any) -> None:
        self._kernel, self._name, self._events, self._cuda = kernel, name, events, cuda

    def __getitem__(self, launch: Any) -> Callable[..., None]:
        configured, stream = self._kernel[launch], launch[2]

        def launched(*arguments: Any) -> None:
            begin, end = self._cuda.event(), self._cuda.event()
            begin.record(stream)
            configured(*arguments)
            end.record(stream)
            size = sum(int(argument.nbytes) for argument in arguments if getattr(argument, "ndim", 0))
            self._events.append((self._name, begin, end, size))

        return launched
