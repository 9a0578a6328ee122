"""The plan of a model: looked up by everything it depends on, or built and kept."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InvalidRequestError
from engine.progress import CountProgress
from engine.runtime.plan_cache import PlanKey
from engine.runtime.tensorrt_builder import BatchRange, build_plan

if TYPE_CHECKING:
    from engine.manifest import Precision
    from engine.runtime.cuda_device import GpuIdentity
    from engine.runtime.plan_cache import PlanCache
    from engine.runtime.tensorrt_library import TensorRtLibrary


def default_plan_folder() -> Path:
    """Where plans are kept when nothing else is said (XDG base directory specification)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path.home() / ".local" / "state") / "coldspot" / "engines"


def plan_key(
    library: TensorRtLibrary,
    model_bytes: bytes,
    *,
    precision: Precision,
    batch: BatchRange,
    gpu: GpuIdentity | None = None,
    target: str = "",
) -> PlanKey:
    """Return the key of a plan.

    A plan of TensorRT belongs to one device and driver. One of TensorRT-RTX serves a GPU generation: it is
    compiled for the device when it is loaded.

    Parameters
    ----------
    library : TensorRtLibrary
    model_bytes : bytes
    precision : {"fp32", "fp16_mixed", "int8"}
    batch : BatchRange
    gpu : GpuIdentity, optional
        The device; TensorRT cannot do without.
    target : str, optional
        In place of a device, for TensorRT-RTX.

    Raises
    ------
    InvalidRequestError
        If there is neither a device nor a target that will do.
    """
    key = PlanKey(
        onnx_sha256=hashlib.sha256(model_bytes).hexdigest(),
        precision=precision,
        batch=str(batch),
        flavor=library.flavor,
        version=library.version,
        target=target or (gpu.compute_capability if gpu else ""),
    )
    if library.is_rtx and key.target:
        return key
    if gpu is None or target:
        raise InvalidRequestError(f"{library.flavor} builds plans on their own device, not for {target!r}")
    return replace(key, gpu_name=gpu.name, sm_count=gpu.sm_count, driver=gpu.driver)


def obtain_plan(
    library: TensorRtLibrary,
    model_bytes: bytes,
    key: PlanKey,
    cache: PlanCache,
    *,
    batch: BatchRange,
    on_progress: CountProgress | None = None,
) -> bytes:
    """Return the plan of a key from the cache, or build and keep it.

    Raises
    ------
    EnginePlanError
        If what is kept under this key must not be used; nothing is built over it.
    EngineBuildError
        If the library refuses the model or the target.
    """

    def build() -> bytes:
        if library.is_rtx:
            built = build_plan(library, model_bytes, target=key.target, batch=batch, on_progress=on_progress)
            return built.plan
        timings = replace(key, content="timing cache", onnx_sha256="", precision="", batch="")
        with cache.only_builder(timings):
            built = build_plan(
                library,
                model_bytes,
                batch=batch,
                timing_cache=cache.load(timings) or b"",
                on_progress=on_progress,
            )
            cache.replace(timings, built.timing_cache)
            cache.remove_superseded(timings)
        return built.plan

    return cache.obtain(key, build)
