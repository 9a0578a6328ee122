"""Which backend runs a model here: measured at the first start, recorded, and used until something changes.

A record holds for one network, one set of installed backends, one kind of processor, and one version of the code that
hands networks to the backends, some of which rewrites them. Where any of these differs, or the record cannot be read,
all backends are measured and compared again; nothing is chosen without a measurement.
"""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from engine import runtime
from engine.runtime.backends import BackendTiming, InferenceBackend, available_backends
from engine.runtime.cpu import usable_cpus
from service.logging import get_logger

if TYPE_CHECKING:
    from engine.segmentation import Segmenter

CHOICES: Final = "choices"
"""Name of the folder, below that of the engines."""

_log = get_logger()


@dataclass(frozen=True)
class RecordedChoice:
    """The fastest backend for a network, and the timings it was chosen by.

    Parameters
    ----------
    backend : InferenceBackend
    timings : tuple of BackendTiming
        One for every backend that was tried, including those that were refused.
    measured_at : str
        ISO 8601, UTC.
    """

    backend: InferenceBackend
    timings: tuple[BackendTiming, ...]
    measured_at: str

    def in_words(self) -> str:
        """Return when it was chosen and the times, the fastest first."""
        times = sorted(
            (timing.median_s, timing.backend) for timing in self.timings if timing.median_s is not None
        )
        return f"chosen {self.measured_at[:10]} by the time of one patch: " + ", ".join(
            f"{name} {median_s:.3f} s" for median_s, name in times
        )


class ChoiceShelf:
    """The choices recorded on this machine.

    Parameters
    ----------
    folder : Path
        Created when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, model_sha256: str) -> RecordedChoice | None:
        """Return the recorded choice for a network on this machine; None where it has to be measured."""
        path, condition = self._path(model_sha256)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return _read(json.loads(text), condition)
        except (ValueError, KeyError, TypeError) as error:
            _log.warning("the record of a backend's choice is unreadable", error_class=type(error).__name__)
            return None

    def keep(self, model_sha256: str, opened: Segmenter) -> RecordedChoice:
        """Record the timings that the backend of an open model was chosen by, and log them."""
        backend = next(timing.backend for timing in opened.timings if timing.described == opened.backend)
        choice = RecordedChoice(backend, opened.timings, datetime.now(UTC).isoformat(timespec="seconds"))
        for timing in opened.timings:
            outcome = "chosen" if timing.backend == backend else timing.refused or "slower"
            _log.info(
                "backend measured", backend=timing.described, duration_s=timing.median_s, outcome=outcome
            )
        path, condition = self._path(model_sha256)
        with suppress(OSError):  # the next start measures again
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = path.with_name(f".{uuid4().hex}")
            unfinished.write_text(json.dumps({"condition": condition, **asdict(choice)}), encoding="utf-8")
            unfinished.replace(path)
        return choice

    def _path(self, model_sha256: str) -> tuple[Path, dict[str, Any]]:
        condition = _condition(model_sha256)
        digest = sha256(json.dumps(condition, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.json", condition


def _read(record: Any, condition: dict[str, Any]) -> RecordedChoice:
    if record["condition"] != condition:
        raise ValueError("a record of something else")
    timings = tuple(
        BackendTiming(**timing | {"backend": InferenceBackend(timing["backend"])})
        for timing in record["timings"]
    )
    accepted = {timing.backend for timing in timings if not timing.refused and timing.median_s is not None}
    if record["backend"] not in accepted:
        raise ValueError("a record of a backend that was refused")
    return RecordedChoice(InferenceBackend(record["backend"]), timings, str(record["measured_at"]))


def _condition(model_sha256: str) -> dict[str, Any]:
    """Return the conditions under which a measurement is valid: if any of them changes, it is repeated."""
    return {
        "model_sha256": model_sha256,
        "backends": [[status.name, status.available, status.version] for status in available_backends()],
        "processor": _processor(),
        "cpus": usable_cpus(),
        "runtime_sha256": _runtime_digest(),
    }


def _runtime_digest() -> str:
    """Return the digest of the modules that run networks: a version number misses changes between two releases."""
    digest = sha256()
    for module in sorted(Path(runtime.__path__[0]).glob("*.py")):
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _processor() -> str:
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "CPU part")))
    return f"{platform.machine()} {next(names, '')}".strip()
