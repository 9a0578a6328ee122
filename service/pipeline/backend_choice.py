"""Which backend runs a model here: measured at the first start, written down, and used until something changes.

A record holds for one network, one set of installed backends, one kind of processor, and for the code here that hands
networks to the backends: some of it rewrites them. Where any of these is another one, or the record cannot be read, all
backends are measured and compared again; nothing is chosen without a measurement.
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
"""Below the folder of the engines."""

_log = get_logger()


@dataclass(frozen=True)
class RecordedChoice:
    """The fastest backend of a network, and what it was chosen by.

    Parameters
    ----------
    backend : InferenceBackend
    timings : tuple of BackendTiming
        All that were tried, those that were refused too.
    measured_at : str
        ISO 8601, UTC.
    """

    backend: InferenceBackend
    timings: tuple[BackendTiming, ...]
    measured_at: str

    def told(self) -> str:
        """Return the times in words, the fastest first."""
        times = sorted((one.median_s, one.backend) for one in self.timings if one.median_s is not None)
        return f"chosen {self.measured_at[:10]} by the time of one patch: " + ", ".join(
            f"{name} {median_s:.3f} s" for median_s, name in times
        )


class ChoiceShelf:
    """The choices that were made on this appliance.

    Parameters
    ----------
    folder : Path
        Made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, model_sha256: str) -> RecordedChoice | None:
        """Return what was measured of a network on a machine like this one; None where that has to be done."""
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
        """Write down what an open model was chosen by, and tell the log."""
        backend = next(one.backend for one in opened.timings if one.described == opened.backend)
        choice = RecordedChoice(backend, opened.timings, datetime.now(UTC).isoformat(timespec="seconds"))
        for one in opened.timings:
            outcome = "chosen" if one.backend == backend else one.refused or "slower"
            _log.info("backend measured", backend=one.described, duration_s=one.median_s, outcome=outcome)
        path, condition = self._path(model_sha256)
        with suppress(OSError):  # the next start measures again
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished = path.with_name(f".{uuid4().hex}")
            unfinished.write_text(json.dumps({"condition": condition, **asdict(choice)}), encoding="utf-8")
            unfinished.replace(path)
        return choice

    def _path(self, model_sha256: str) -> tuple[Path, dict[str, Any]]:
        condition = _condition(model_sha256)
        named = sha256(json.dumps(condition, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{named[:32]}.json", condition


def _read(record: Any, condition: dict[str, Any]) -> RecordedChoice:
    if record["condition"] != condition:
        raise ValueError("a record of something else")
    timings = tuple(
        BackendTiming(**one | {"backend": InferenceBackend(one["backend"])}) for one in record["timings"]
    )
    accepted = {one.backend for one in timings if not one.refused and one.median_s is not None}
    if record["backend"] not in accepted:
        raise ValueError("a record of a backend that was refused")
    return RecordedChoice(InferenceBackend(record["backend"]), timings, str(record["measured_at"]))


def _condition(model_sha256: str) -> dict[str, Any]:
    """What a measurement holds for."""
    return {
        "model_sha256": model_sha256,
        "backends": [[one.name, one.available, one.version] for one in available_backends()],
        "processor": _processor(),
        "cpus": usable_cpus(),
        "runtime_sha256": _runtime_digest(),
    }


def _runtime_digest() -> str:
    """Digest of the modules that run networks: a version says nothing of what changed between two releases."""
    found = sha256()
    for module in sorted(Path(runtime.__path__[0]).glob("*.py")):
        found.update(module.read_bytes())
    return found.hexdigest()


def _processor() -> str:
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "CPU part")))
    return f"{platform.machine()} {next(named, '')}".strip()
