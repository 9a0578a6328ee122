"""TensorRT and TensorRT-RTX: the two modules, loaded when asked for, and what they log.

Both have the same class names. What differs: TensorRT-RTX builds for named GPU generations without a GPU,
takes no timing cache, and captures CUDA graphs itself.
"""

from __future__ import annotations

import importlib
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from engine.errors import BackendError
from engine.progress import CountProgress

Flavor = Literal["tensorrt", "tensorrt-rtx"]

FLAVORS: Final[tuple[Flavor, ...]] = get_args(Flavor)

_MODULES: Final[dict[Flavor, tuple[str, ...]]] = {
    # NVIDIA's own package, then the wheel that has the bindings alone and takes a system's libraries.
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx_bindings",),
}

_INSTALL: Final[dict[Flavor, str]] = {
    "tensorrt": (
        "install TensorRT 10.3 to 11 (on a Jetson it comes with JetPack) and coldspot[tensorrt] of its version"
    ),
    "tensorrt-rtx": "install tensorrt-rtx-cu13-bindings and tensorrt-rtx-cu13-libs of one version",
}

_KEPT_LINES: Final = 40


@dataclass(frozen=True, eq=False)
class TensorRtLibrary:
    """One of the two libraries.

    Parameters
    ----------
    flavor : {"tensorrt", "tensorrt-rtx"}
    version : str
    api : module
    log : object
        An ``ILogger`` with ``lines()``; the first one a library sees gets all its messages.
    """

    flavor: Flavor
    version: str
    api: Any
    log: Any

    @property
    def is_rtx(self) -> bool:
        """Whether this is TensorRT-RTX."""
        return self.flavor == "tensorrt-rtx"

    def complaints(self) -> str:
        """What the library complained of since the last call, in one line."""
        return " | ".join(self.log.take()) or "the library gave no reason"


_loaded: dict[Flavor, TensorRtLibrary] = {}
_loading = threading.Lock()


def load_library(flavor: Flavor) -> TensorRtLibrary:
    """Import a library once for the whole process.

    Raises
    ------
    BackendError
        If it is not installed, or its own libraries do not load.
    """
    with _loading:
        if flavor not in _loaded:
            api = _import(flavor)
            _loaded[flavor] = TensorRtLibrary(flavor, str(api.__version__), api, _make_log(api))
        return _loaded[flavor]


def _import(flavor: Flavor) -> Any:
    reasons = []
    for name in _MODULES[flavor]:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError) as error:  # OSError: a shared library that is not there
            reasons.append(str(error))
    raise BackendError(f"{flavor} does not load here ({'; '.join(reasons)}); {_INSTALL[flavor]}")


def _make_log(api: Any) -> Any:
    """Make a logger that keeps the latest errors and warnings."""

    class Log(api.ILogger):  # type: ignore[misc]  # a base class that is only known at run time
        def __init__(self) -> None:
            api.ILogger.__init__(self)
            self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

        def log(self, severity: Any, message: str) -> None:
            if severity in {api.ILogger.INTERNAL_ERROR, api.ILogger.ERROR, api.ILogger.WARNING}:
                self._lines.append(" ".join(message.split()))

        def take(self) -> list[str]:
            lines = list(dict.fromkeys(self._lines))
            self._lines.clear()
            return lines

    return Log()


def make_progress_monitor(api: Any, on_progress: CountProgress) -> Any:
    """Make an ``IProgressMonitor`` that tells a listener, and stops the build where that raises."""

    class Monitor(api.IProgressMonitor):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._report(phase_name, 0)

        def phase_finish(self, phase_name: str) -> None:
            self._report(phase_name, self._steps.pop(phase_name, 0))

        def step_complete(self, phase_name: str, step: int) -> bool:
            return self._report(phase_name, step + 1)

        def _report(self, phase: str, done: int) -> bool:
            if self.failure is None:
                try:
                    on_progress(phase, done, max(done, self._steps.get(phase, done)))
                except BaseException as failure:  # noqa: BLE001 - nothing may cross the C++ that calls this
                    self.failure = failure
            return self.failure is None

    return Monitor()
