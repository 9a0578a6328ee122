"""``coldspot info``: what is installed here, or what a running service offers."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine import DISCLAIMER, __version__
from engine.runtime.backends import available_backends
from service.client.client import ColdspotClient
from service.credentials import Access

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


def describe_service(address: str, access: Access) -> dict[str, Any]:
    """Return what a running service reports about itself."""
    with ColdspotClient(address, access) as client:
        server = client.info()
        return {
            "version": server.version,
            "serving": client.is_serving(),
            "kernels": server.kernels,
            "inference_backend": server.inference_backend,
            "clinical_mode": server.clinical_mode,
            "models": list(server.models),
            "max_series_bytes": server.max_series_bytes,
            "max_admitted": server.max_admitted,
            "disclaimer": server.disclaimer,
        }


def describe_here(settings: Settings, make_pipeline: Callable[[Settings], Pipeline]) -> dict[str, Any]:
    """Return what is installed on this machine."""
    pipeline = make_pipeline(settings).describe()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "kernels": pipeline.kernels,
        "inference_backend": pipeline.inference_backend,
        "clinical_mode": settings.clinical_mode,
        "models": [model.identity.name for model in pipeline.models],
        "models_dir": str(settings.models_dir),
        "state_dir": str(settings.state_dir),
        "backends": [asdict(status) for status in available_backends()],
        "disclaimer": DISCLAIMER,
    }


def in_lines(described: dict[str, Any]) -> Iterator[str]:
    """Yield what a person reads: a line for each fact, and one for each backend."""
    for name, value in described.items():
        if name == "backends":
            text = "".join(_backend_line(**status) for status in value)
        elif isinstance(value, list):
            text = ", ".join(value) or "none"
        else:
            text = value
        yield f"{name.replace('_', ' ')}: {text}"


def _backend_line(*, name: str, available: bool, version: str, reason: str, executed: str) -> str:
    state = "available" if available else f"not available: {reason}"
    return f"\n  {f'{name} {version}'.strip()}: {state} ({executed})"
