"""What ``coldspot info`` says."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine import DISCLAIMER, __version__
from engine.runtime.backends import available_backends
from service.client.client import ColdspotClient

if TYPE_CHECKING:
    from service.pipeline.protocol import Pipeline
    from service.settings import Settings


def describe_service(address: str) -> dict[str, Any]:
    """Return what a running service says of itself."""
    with ColdspotClient(address) as client:
        told = client.info()
        return {
            "version": told.version,
            "serving": client.is_serving(),
            "kernels": told.kernels,
            "inference_backend": told.inference_backend,
            "models": list(told.models),
            "max_series_bytes": told.max_series_bytes,
            "max_admitted": told.max_admitted,
            "disclaimer": told.disclaimer,
        }


def describe_here(settings: Settings, make_pipeline: Callable[[Settings], Pipeline]) -> dict[str, Any]:
    """Return what is installed on this machine."""
    described = make_pipeline(settings).describe()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "kernels": described.kernels,
        "inference_backend": described.inference_backend,
        "models": [f"{model.name} {model.version}" for model in described.models],
        "models_dir": str(settings.models_dir),
        "state_dir": str(settings.state_dir),
        "backends": [asdict(status) for status in available_backends()],
        "disclaimer": DISCLAIMER,
    }


def readable(described: dict[str, Any]) -> dict[str, Any]:
    """Return the same for a person: a line of text for each backend."""
    told = {**described, "models": described["models"] or "none"}
    if "backends" in told:
        told["backends"] = "".join(_backend_line(**status) for status in told["backends"])
    return told


def _backend_line(*, name: str, available: bool, version: str, reason: str, executed: str) -> str:
    state = "available" if available else f"not available: {reason}"
    return f"\n  {f'{name} {version}'.strip()}: {state} ({executed})"
