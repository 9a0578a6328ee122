"""The CUDA device a session runs on: what it is, its memory and streams, through CuPy."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.errors import BackendError

if TYPE_CHECKING:
    import numpy.typing as npt

_DRIVER_FILE: Final = Path("/proc/driver/nvidia/version")
"""Names the kernel module of the driver; a Jetson has none."""


@dataclass(frozen=True)
class GpuIdentity:
    """What an engine was compiled for.

    Parameters
    ----------
    name : str
    compute_capability : str
        ``"sm_86"`` and the like.
    sm_count : int
        Streaming multiprocessors.
    driver : str
        Highest CUDA version of the driver and, where the system tells it, the driver's own.
    """

    name: str
    compute_capability: str
    sm_count: int
    driver: str

    def __str__(self) -> str:
        return f"{self.name}, {self.compute_capability}, {self.sm_count} SMs, driver {self.driver}"


class CudaDevice:
    """Device 0, or an error that says why there is none.

    Raises
    ------
    BackendError
    """

    def __init__(self, driver_file: Path = _DRIVER_FILE) -> None:
        require_driver()
        self._cupy = _load_cupy()
        runtime = self._cupy.cuda.runtime
        try:
            properties = runtime.getDeviceProperties(0)
            cuda = int(runtime.driverGetVersion())
        except RuntimeError as error:  # CUDARuntimeError is one
            raise BackendError(
                f"the CUDA device does not answer ({error}); check nvidia-smi and the driver, or choose a CPU backend"
            ) from error
        self.identity = GpuIdentity(
            name=bytes(properties["name"]).split(b"\0")[0].decode(),
            compute_capability=f"sm_{properties['major']}{properties['minor']}",
            sm_count=int(properties["multiProcessorCount"]),
            driver=_driver(cuda, driver_file),
        )

    def new_stream(self) -> Any:
        """A stream that does not wait for the default one."""
        return self._cupy.cuda.Stream(non_blocking=True)

    def empty(self, shape: Sequence[int], dtype: str) -> Any:
        """An array on the device, not initialized."""
        return self._cupy.empty(tuple(shape), dtype=dtype)

    def holds(self, array: Any) -> bool:
        """Whether an array lies on the device."""
        return isinstance(array, self._cupy.ndarray)

    def upload(self, source: npt.NDArray[Any], target: Any, stream: Any) -> None:
        """Copy from the host, in the order of a stream."""
        target.set(source, stream=stream)

    def download(self, source: Any, stream: Any) -> npt.NDArray[Any]:
        """Copy to the host, and wait until it is there."""
        host: npt.NDArray[Any] = source.get(stream=stream)
        stream.synchronize()
        return host

    def copy(self, source: Any, target: Any, stream: Any) -> None:
        """Copy on the device, in the order of a stream."""
        with stream:
            target[...] = source

    def after_caller(self, stream: Any) -> None:
        """Let a stream wait for what the calling thread has asked the device for so far."""
        stream.wait_event(self._cupy.cuda.get_current_stream().record())

    def before_caller(self, stream: Any) -> None:
        """Let the calling thread's stream wait for a stream."""
        self._cupy.cuda.get_current_stream().wait_event(stream.record())

    def capture(self, stream: Any, enqueue: Callable[[], None]) -> Any:
        """Record what ``enqueue`` puts on a stream as a CUDA graph; nothing is computed."""
        stream.begin_capture()
        try:
            enqueue()
        finally:
            graph = stream.end_capture()
        return graph


def require_driver(library: str = "libcuda.so.1") -> None:
    """Refuse with a clear message if no CUDA driver with a device answers.

    Raises
    ------
    BackendError
    """
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL(library)
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except OSError:
        raise BackendError("there is no NVIDIA driver here; install it, or choose a CPU backend") from None
    if failed or not count.value:
        raise BackendError(
            f"no CUDA device answers here (CUDA error {failed}, {count.value} devices); "
            "check nvidia-smi and the driver, or choose a CPU backend"
        )


def _load_cupy() -> Any:
    try:
        import cupy  # noqa: PLC0415 - an optional library, only for machines with a GPU
    except ImportError as error:
        raise BackendError(
            f"CuPy does not load here ({error}); install coldspot[gpu], or choose a CPU backend"
        ) from error
    return cupy


def _driver(cuda: int, driver_file: Path) -> str:
    """``CUDA 13.0`` and, where there is one, the kernel module's version."""
    text = f"CUDA {cuda // 1000}.{cuda % 1000 // 10}"
    try:
        words = driver_file.read_text(encoding="utf-8").split()
    except OSError:
        return text
    versions = [word for word in words if word.count(".") >= 1 and word.replace(".", "").isdigit()]
    return f"{text}, {versions[0]}" if versions else text
