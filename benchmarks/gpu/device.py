"""What the GPU benchmark asks of a device: events, pinned copies, and kernels seen one by one."""

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
    """One kernel of a call: its time, and its arrays' bytes, each counted once."""

    kernel: str
    ms: float
    bytes: int


class Device(Protocol):
    """A device that times what it does; a test has one that only pretends."""

    def describe(self) -> dict[str, Any]:
        """Name, driver and the like, for the receipt."""

    def copy_bandwidths_gb_s(self) -> dict[str, float]:
        """Bytes read plus written on the device, and over the bus from pinned and pageable memory."""

    def between_events_ms(self, call: Call, repeats: int) -> list[float]:
        """Time of a call whose work stays on the device, as a peer's."""

    def launches(self, call: Call) -> list[Launch]:
        """Every kernel of one call."""

    def host_ms(self, call: Call, repeats: int) -> list[float]:
        """Time of a call as its caller sees it."""

    def resident(self, array: Any) -> Any:
        """An array on the device, as its libraries take it, for peers."""


def gpu_kernel_modules() -> list[Any]:
    """Every module with GPU twins."""
    import engine.kernels.gpu as package

    names = sorted(path.stem for path in Path(package.__file__).parent.glob("[a-z]*.py"))
    return [import_module(f"engine.kernels.gpu.{name}") for name in names]


def is_launched(thing: Any) -> bool:
    """Whether it is a kernel, and no function that kernels call."""
    options = getattr(thing, "targetoptions", None)
    if options is not None:  # of Numba
        return not options.get("device", False)
    return hasattr(thing, "_device") and not thing._device  # noqa: SLF001 - of its simulator


class NumbaDevice:
    """Device 0 through numba.cuda; peers get CuPy arrays.

    Raises
    ------
    BackendError
        If no device answers, or only the simulator does.
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
        there, other = self._cuda.to_device(pinned), self._cuda.device_array(count, np.uint8)
        ways: dict[str, tuple[Call, int]] = {
            "device_to_device": (lambda: other.copy_to_device(there), 2 * count),
            "pinned_to_device": (lambda: there.copy_to_device(pinned), count),
            "device_to_pinned": (lambda: there.copy_to_host(pinned), count),
            "pageable_to_device": (lambda: there.copy_to_device(pageable), count),
        }
        return {
            name: size / 1e6 / max(statistics.median(self.between_events_ms(call, 9)), 1e-9)
            for name, (call, size) in ways.items()
        }

    def between_events_ms(self, call: Call, repeats: int) -> list[float]:
        call()
        found = []
        for _ in range(repeats):
            first, last = self._cuda.event(), self._cuda.event()
            first.record()
            call()
            last.record()
            last.synchronize()
            found.append(self._elapsed(first, last))
        return found

    def launches(self, call: Call) -> list[Launch]:
        seen: list[tuple[str, Any, Any, int]] = []
        call()
        with self._kernels_seen(seen):
            call()
        self._cuda.synchronize()
        return [Launch(name, self._elapsed(first, last), size) for name, first, last, size in seen]

    def host_ms(self, call: Call, repeats: int) -> list[float]:
        call()
        found = []
        for _ in range(repeats):
            self._cuda.synchronize()
            began = time.perf_counter()
            call()
            self._cuda.synchronize()
            found.append(1e3 * (time.perf_counter() - began))
        return found

    def resident(self, array: Any) -> Any:
        return import_module("cupy").asarray(array)

    def _elapsed(self, first: Any, last: Any) -> float:
        return float(first.elapsed_time(last))

    @contextmanager
    def _kernels_seen(self, seen: list[tuple[str, Any, Any, int]]) -> Iterator[None]:
        """Note every launch; the modules get their kernels back."""
        replaced = []
        for module in gpu_kernel_modules():
            for name, thing in list(vars(module).items()):
                if is_launched(thing) and getattr(thing, "__module__", module.__name__) == module.__name__:
                    replaced.append((module, name, thing))
                    setattr(
                        module,
                        name,
                        _Seen(thing, f"{module.__name__.split('.')[-1]}.{name}", seen, self._cuda),
                    )
        try:
            yield
        finally:
            for module, name, thing in replaced:
                setattr(module, name, thing)


class _Seen:
    """A kernel that notes two events around each of its launches."""

    def __init__(self, kernel: Any, name: str, seen: list[tuple[str, Any, Any, int]], cuda: Any) -> None:
        self._kernel, self._name, self._seen, self._cuda = kernel, name, seen, cuda

    def __getitem__(self, launch: Any) -> Callable[..., None]:
        configured, stream = self._kernel[launch], launch[2]

        def launched(*arguments: Any) -> None:
            first, last = self._cuda.event(), self._cuda.event()
            first.record(stream)
            configured(*arguments)
            last.record(stream)
            size = sum(int(one.nbytes) for one in arguments if getattr(one, "ndim", 0))
            self._seen.append((self._name, first, last, size))

        return launched
